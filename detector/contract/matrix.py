"""Rules about the matrix and the routes: every mode that acts leads somewhere, and every row is led to."""

from fnmatch import fnmatchcase

from detector.contract.draft import Draft, nearest, shown
from detector.contract.fields import ROUTE
from detector.contract.model import Contract, MatrixRow

_PATTERN = frozenset("?[]")
_WILD = frozenset("*?")
_MOST_SHOWN = 8
_MOST_COMPARED = 500  # rules compared with each other; the work grows with the square


def routes(draft: Draft, contract: Contract) -> None:
    """No route rule stands behind one that takes all it matches.

    Wider is told apart soundly only for patterns of text and `*`: such a one takes in another pattern if it
    matches the other's text. Other patterns are compared as they are written.
    """
    earlier: list[str] = []
    for index, rule in enumerate(contract.routes):
        if not draft.sound("routes", index, "match"):
            continue
        wider = next((one for one in earlier if one == rule.match or _takes_in(one, rule.match)), None)
        if wider is not None:
            message = f"{shown(wider)} above takes every route that {shown(rule.match)} matches"
            draft.report("unreachable-route", ("routes", index, "match"), message)
        elif len(earlier) < _MOST_COMPARED:
            earlier.append(rule.match)


def _takes_in(wider: str, pattern: str) -> bool:
    return not _PATTERN & set(wider) and fnmatchcase(pattern, wider)


def named(draft: Draft, contract: Contract) -> None:
    """Routes that a predicate names are ones that a route rule matches, where any rules are written."""
    patterns = [rule.match for rule in contract.routes]
    known = draft.written("routes") and draft.sound("routes")
    for spec in contract.predicates.values():
        path = ("predicates", spec.name, "where", ROUTE)
        for name in spec.routes if draft.sound(*path) else ():
            if _WILD & set(name):
                message = f"{shown(name)} is the name of one route, not a pattern"
                draft.report("filter-route", path, message, "write the names of the routes as a list")
            elif known and not any(fnmatchcase(name, pattern) for pattern in patterns):
                message = f"no pattern under `routes` matches the route {shown(name)}"
                near = nearest(name, patterns, "correct the name, or add it to `routes`")
                draft.report("filter-route", path, message, near)


def rows(draft: Draft, contract: Contract) -> None:
    """Rows name what is declared, each acting mode has one for each class, each row decides somewhere."""
    classes = sorted({name for rule in contract.routes for name in rule.input_classes})
    known_classes = set(classes)
    declared_modes, declared_fallbacks = draft.names("modes"), draft.names("fallbacks")
    known_modes, known_fallbacks = set(declared_modes or ()), set(declared_fallbacks or ())
    for index, row in enumerate(contract.matrix):
        here = ("matrix", index)
        if not draft.sound(*here):
            continue
        if row.mode != "*" and declared_modes is not None and row.mode not in known_modes:
            advice = nearest(row.mode, declared_modes)
            draft.report("unknown-mode", (*here, "mode"), f"no mode {shown(row.mode)}", advice)
        if row.input_class != "*" and draft.sound("routes") and row.input_class not in known_classes:
            message = f"no route has the input class {shown(row.input_class)}"
            draft.report(
                "unknown-input-class", (*here, "input_class"), message, nearest(row.input_class, classes)
            )
        for place, name in enumerate(row.fallbacks):
            if declared_fallbacks is not None and name not in known_fallbacks:
                advice = nearest(name, declared_fallbacks, "declare it under `fallbacks`")
                draft.report(
                    "unknown-fallback", (*here, "fallbacks", place), f"no fallback {shown(name)}", advice
                )
    if draft.sound("matrix") and draft.sound("routes"):
        _coverage(draft, contract, [*classes, "*"])


def _coverage(draft: Draft, contract: Contract, classes: list[str]) -> None:
    chosen: set[int] = set()
    lookup = _Lookup(contract)
    # Classes that no row names all fare alike: one stands for them.
    named = {row.input_class for row in contract.matrix}
    unnamed = [name for name in classes if name not in named and name != "*"]
    asked = [*(name for name in classes if name in named and name != "*"), *unnamed[:1], "*"]
    for mode in contract.modes.values():
        found = {input_class: lookup.row(mode.name, input_class) for input_class in asked}
        chosen.update(id(row) for row in found.values() if row is not None)
        if mode.severity != "act" or not draft.sound("modes", mode.name):
            continue
        here = ("modes", mode.name)
        without = [name for name, row in found.items() if row is None and name != "*"]
        if not any(found.values()):
            example = f'{{mode: {mode.name}, input_class: "*", fallbacks: [...]}}'
            advice = f"add {example} to the matrix, or severity: notice to the mode"
            message = f"{shown(mode.name)} acts, and no row says what to do"
            draft.report("mode-without-row", here, message, advice, key=True)
        elif without:
            missing = [*without, *unnamed[1:]] if unnamed[:1] == without[-1:] else without
            listed = ", ".join(shown(name) for name in missing[:_MOST_SHOWN])
            message = f"{shown(mode.name)} has no row for the input class {listed}"
            draft.report("class-without-row", here, message, key=True)
    # `force` takes the rows for any mode, be there one for each of them or not.
    chosen.update(id(row) for each in asked if (row := lookup.row("*", each)) is not None)
    known_modes, known_classes = {"*", *(draft.names("modes") or ())}, set(classes)
    for index, row in enumerate(contract.matrix):
        names_known = row.mode in known_modes and row.input_class in known_classes
        if id(row) not in chosen and names_known and contract.modes:
            place = f"mode {shown(row.mode)} and input class {shown(row.input_class)}"
            draft.report("unreachable-row", ("matrix", index), f"the row for {place} never decides")


class _Lookup:
    """What `Contract.fallbacks_for` chooses by, as an index: a broken file may hold very many rows."""

    def __init__(self, contract: Contract) -> None:
        self._rows: dict[tuple[str, str], MatrixRow] = {}
        for row in contract.matrix:
            self._rows.setdefault((row.mode, row.input_class), row)

    def row(self, mode: str, input_class: str) -> MatrixRow | None:
        for key in ((mode, input_class), (mode, "*"), ("*", input_class), ("*", "*")):
            if key in self._rows:
                return self._rows[key]
        return None
