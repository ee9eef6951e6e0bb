"""What makes a recording doubtful as a whole, though every row of it can be read."""

from collections.abc import Iterable, Iterator

from detector.lab.files import Malformed, Row

_LEAST_CALLS = 100
_NEARLY_ALL = 0.9
_VALUES = 20  # of errors that are told apart on a route: what nearly every call carries is among the first
_LISTED = 3


class Doubts:
    """Sentences for whoever gave the files; filled while they are read, complete after the last row."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._calls: dict[str, int] = {}
        self._errors: dict[str, dict[str, int]] = {}  # route -> error -> calls

    def tell(self, sentence: str) -> None:
        """Take what a reader of files found."""
        self._told.append(sentence)

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Hand rows on, looking at each."""
        calls, errors = self._calls, self._errors
        for row in rows:
            if not isinstance(row, Malformed):
                calls[row.route] = calls.get(row.route, 0) + 1
                if row.error:
                    found = errors.setdefault(row.route, {})
                    if row.error in found or len(found) < _VALUES:
                        found[row.error] = found.get(row.error, 0) + 1
            yield row

    def said(self) -> tuple[str, ...]:
        """All of it, a sentence each."""
        return (*self._told, *self._always_in_error())

    def _always_in_error(self) -> Iterator[str]:
        """Status codes and flags that were taken for errors: what nearly every call carries is none."""
        odd = []
        for route, errors in sorted(self._errors.items()):
            error, count = max(errors.items(), key=lambda each: each[1])
            of_all = count / self._calls[route]
            if self._calls[route] >= _LEAST_CALLS and of_all > _NEARLY_ALL:
                share = "every call" if of_all == 1.0 else f"{of_all:.1%} of the calls"
                odd.append(f"{share} of route {route!r} carries error {error!r}")
        if odd:
            more = f"; so it is on {len(odd) - _LISTED} more routes" if len(odd) > _LISTED else ""
            yield (
                f"{'; '.join(odd[:_LISTED])}{more}; success is the empty string: if it is a code or a flag, "
                "leave the field empty where a call went well"
            )
