"""What makes a recording doubtful as a whole, though every row of it can be read."""


class Doubts:
    """Sentences for whoever gave the files; filled while they are read, complete after the last row."""

    def __init__(self) -> None:
        self._told: list[str] = []

    def tell(self, sentence: str) -> None:
        """Take what a reader of files found."""
        self._told.append(sentence)

    def said(self) -> tuple[str, ...]:
        """All of it, a sentence each."""
        return tuple(self._told)
