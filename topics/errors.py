"""What the wire layer raises: one error, which names the path to the fault."""


class DecodeError(ValueError):
    """Bytes that are not a record of the wire contract.

    Args:
        path: JSON path to the fault, such as ``$.latency_s``; ``$`` is the document itself.
        expected: what should have stood there, in words.
    """

    def __init__(self, path: str, expected: str) -> None:
        super().__init__(f"{expected} - at `{path}`")
        self.path = path
        self.expected = expected
