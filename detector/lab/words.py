"""Numbers in sentences."""


def counted(number: int, noun: str) -> str:
    """So many of a thing whose plural ends in s.

    >>> counted(1, "record"), counted(1200, "record")
    ('1 record', '1,200 records')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
