"""Predicates that judge a field which no row carries: being armed says nothing of them."""

from collections.abc import Iterable, Iterator, Mapping

from detector.contract.model import PredicateSpec
from detector.lab.files import Malformed, Row
from detector.windows.columns import value_of

_NOTHING = (None, "")


class Unmeasured:
    """Fields of predicates that were in no row so far; `error` is not one, as empty it says "success"."""

    def __init__(self, predicates: Mapping[str, PredicateSpec]) -> None:
        self._field = {
            name: spec.field for name, spec in predicates.items() if spec.field not in ("", "error")
        }
        self._open = {field: value_of(field) for field in self._field.values()}

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Hand rows on, looking at each for what none before it had."""
        for row in rows:
            if self._open and not isinstance(row, Malformed):
                self._open = {field: read for field, read in self._open.items() if read(row) in _NOTHING}
            yield row

    def fields(self) -> dict[str, str]:
        """Predicate -> its field, of those whose field no row had."""
        return {name: field for name, field in sorted(self._field.items()) if field in self._open}
