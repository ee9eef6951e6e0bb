"""A contract file as far as it can be read: sound values, their places, and what is wrong with the rest."""

from difflib import get_close_matches
from math import isfinite
from operator import ge, gt, le, lt
from typing import Any, cast

from detector.contract.fields import ROUTE
from detector.contract.finding import RULES, Finding
from detector.contract.grammar import LONGEST_WINDOW_S, Key, Keys
from detector.contract.nodes import Listing, Mapping, Mark, Node, Scalar
from topics.types import LONGEST_NAME

Path = tuple[str | int, ...]
Filter = tuple[tuple[str, tuple[str | bool, ...]], ...]
_MOST_COMPARED = 200  # a comparison takes microseconds, and a broken file can ask for very many
_NAMED = {"predicates": "predicate", "modes": "mode", "fallbacks": "fallback", "routes": "route"}
_TYPES = {"number": "a number", "integer": "a whole number", "boolean": "true or false", "text": "text"}


def shown(name: object) -> str:
    """A name from the file, safe to print on one line."""
    text = repr(name)
    return text if len(text) <= 64 else text[:60] + "..." + text[-1]


def plain(text: str) -> str:
    """Text from the file as it stands, to be copied; what is not safe to print as in messages."""
    return text if text.isprintable() and len(text) <= LONGEST_NAME else shown(text)


def nearest(name: str, known: list[str], otherwise: str = "") -> str:
    """Advice that names the nearest known word, else lists what there is."""
    close = get_close_matches(name[:LONGEST_NAME], known[:_MOST_COMPARED], n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    if not known:
        return otherwise
    listed = ", ".join(map(plain, known[:16])) + (", ..." if len(known) > 16 else "")
    return f"known: {listed}" + (f"; {otherwise}" if otherwise else "")


def _found(node: Node) -> str:
    if isinstance(node, Scalar):
        return "nothing" if node.value is None else shown(node.text)
    return "a list" if isinstance(node, Listing) else "a mapping"


class Draft:
    """Collects findings while values are read by the grammar, and afterwards for the rules.

    A wrong value is left out, so that its default stands for it, and its path is remembered as broken.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self._values: dict[Path, Mark] = {}
        self._keys: dict[Path, Mark] = {}
        self._broken: set[Path] = set()  # broken paths and all above them
        self._names_of: dict[str, list[str]] = {}

    def report_at(self, rule: str, mark: Mark, message: str, advice: str = "") -> None:
        """Record a finding at a place."""
        known = RULES[rule]
        self.findings.append(
            Finding(self.file, mark.line, mark.column, rule, message, advice or known.advice, known.severity)
        )

    def report(self, rule: str, path: Path, message: str, advice: str = "", *, key: bool = False) -> None:
        """Record a finding at the value of `path`, or its key, or the nearest part above that was written."""
        places = self._keys if key else self._values
        mark = places.get(path) or self._values.get(path)
        while mark is None:
            path = path[:-1]
            mark = self._keys.get(path) or self._values[path]
        self.report_at(rule, mark, message, advice)

    def written(self, *path: str | int) -> bool:
        """Whether the file says anything at `path`, right or wrong."""
        return path in self._values

    def sound(self, *path: str | int) -> bool:
        """Whether nothing at or below `path` is broken."""
        return path not in self._broken

    def names(self, section: str) -> list[str] | None:
        """Names declared in a section, broken ones included; None if the section itself is unreadable."""
        return self._names_of.get(section, None if self.written(section) else [])

    def read_mapping(self, node: Node, keys: Keys, path: Path = ()) -> dict[str, Any] | None:
        """Sound values of a mapping by its table of keys; None if the node is no mapping."""
        self._values.setdefault(path, node.mark)
        if not isinstance(node, Mapping):
            self._wrong_type(path, node, "a mapping of keys")
            return None
        values: dict[str, Any] = {}
        for name, (mark, child) in node.entries.items():
            here = (*path, name)
            self._keys[here] = mark
            if name not in keys:
                missing = [key for key in keys if key not in node.entries]
                self.report_at(
                    "unknown-key", mark, f"unknown key {shown(name)}", nearest(name, missing or list(keys))
                )
                continue
            self._values[here] = child.mark
            value = self._read(child, keys[name], here)
            if value is not None:
                values[name] = value
        for name, key in keys.items():
            if key.required and name not in node.entries:
                self._break((*path, name))
                self.report("missing-key", path, f"{name!r} is missing", f"add {name}: {key.says}", key=True)
        return values

    def _read(self, node: Node, key: Key, path: Path) -> Any:
        """A sound value, or None."""
        if key.nullable and isinstance(node, Scalar) and node.value is None:
            return None
        if key.kind in ("number", "integer", "boolean", "text", "choice"):
            return self._scalar(node, key, path)
        if key.kind == "section":
            return self.read_mapping(node, cast("Keys", key.of), path)
        if key.kind == "named":
            return self._named(node, cast("Keys", key.of), path)
        if key.kind == "spans":
            return self._spans(node, cast("Key", key.entry), path)
        if key.kind == "condition":
            return self._condition(node, key, path)
        if key.kind == "filter":
            return self._filter(node, path)
        if not isinstance(node, Listing):
            wanted = f"a list of {key.kind}" if key.kind != "list" else "a list"
            advice = f"write [{plain(node.text)}]" if isinstance(node, Scalar) and node.text else ""
            self._wrong_type(path, node, wanted, advice)
            return None
        if key.filled and not node.items:
            self._fail("empty-list", path, f"{path[-1]!r} is empty")
            return None
        for index, item in enumerate(node.items):
            self._values[(*path, index)] = item.mark
        if key.kind == "names":
            return self._names(node.items, path)
        if key.kind in ("numbers", "texts"):
            read = self._texts if key.kind == "texts" else self._numbers
            return read(node.items, key, path)
        # A list of mappings keeps unreadable ones as None, so that an index stays the file's own.
        return [
            self.read_mapping(item, cast("Keys", key.of), (*path, index))
            for index, item in enumerate(node.items)
        ]

    def _names(self, items: list[Node], path: Path) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for index, item in enumerate(items):
            name = self._name(item, (*path, index))
            if name is not None and name in names:
                self._fail("repeated-name", (*path, index), f"{shown(name)} stands earlier in this list")
            elif name is not None:
                names[name] = None
        return tuple(names)

    def _condition(self, node: Node, key: Key, path: Path) -> str | dict[str, Any] | None:
        """A name, or a mapping with one of the condition's keys."""
        if not isinstance(node, Mapping):
            return self._name(node, path)
        found = self.read_mapping(node, cast("Keys", key.of), path)
        if len(node.entries) != 1:
            several = "nothing" if not node.entries else "several conditions at once"
            self._fail("condition-shape", path, f"{path[-1]!r} asks for {several}")
            return None
        return found or None

    def _filter(self, node: Node, path: Path) -> Filter | None:
        """Values by field; which fields there are, and what fits them, is for the rules to say."""
        if not isinstance(node, Mapping):
            self._wrong_type(path, node, "a mapping of fields to values", "write {field: value}")
            return None
        wanted: list[tuple[str, tuple[str | bool, ...]]] = []
        for name, (mark, child) in node.entries.items():
            here = (*path, name)
            self._keys[here], self._values[here] = mark, child.mark
            items = child.items if isinstance(child, Listing) else [child]
            if not items:
                self._fail("empty-list", here, f"{name!r} is empty")
            values: dict[str | bool, None] = {}
            for item in items:
                value = item.value if isinstance(item, Scalar) else None
                if isinstance(value, bool) and name != ROUTE:
                    values[value] = None
                elif (text := self._name(item, here)) is not None:
                    values[text] = None
            wanted.append((name, tuple(values)))
        return tuple(wanted)

    def _named(self, node: Node, keys: Keys, path: Path) -> dict[str, Any] | None:
        if not isinstance(node, Mapping):
            self._wrong_type(path, node, "a mapping of names", "write names with their keys, or {} for none")
            return None
        named: dict[str, Any] = {}
        if len(path) == 1:
            self._names_of[str(path[0])] = list(node.entries)
        for name, (mark, child) in node.entries.items():
            here = (*path, name)
            self._keys[here] = mark
            self._values[here] = child.mark
            if (
                not 1 <= len(name) <= LONGEST_NAME
                or name == "*"
                or not name.isprintable()
                or name.strip() != name
            ):
                self._break(here)
                self.report(
                    "bad-name", here, f"{shown(name)} is no name for a {_NAMED[str(path[-1])]}", key=True
                )
            named[name] = self.read_mapping(child, keys, here)
        return named

    def _scalar(self, node: Node, key: Key, path: Path) -> Any:
        value = node.value if isinstance(node, Scalar) else None
        if key.kind in ("number", "integer"):
            if isinstance(value, bool) or not isinstance(value, int | float):
                self._wrong_type(
                    path, node, _TYPES[key.kind], "write a bare number; the unit is in the key's name"
                )
                return None
            return self._number(value, key, path)
        if key.kind == "boolean":
            if not isinstance(value, bool):
                self._wrong_type(path, node, _TYPES[key.kind], "write true or false")
                return None
            return value
        if key.kind == "choice":
            if not isinstance(value, str) or value not in key.choices:
                text = node.text if isinstance(node, Scalar) else ""
                message = f"{path[-1]!r} does not take {_found(node)}"
                self._fail("unknown-choice", path, message, nearest(text, list(key.choices)))
                return None
            return value
        return self._name(node, path)

    def _name(self, node: Node, path: Path) -> str | None:
        value = node.value if isinstance(node, Scalar) else None
        if not isinstance(value, str):
            plain = isinstance(node, Scalar) and value is not None
            self._wrong_type(path, node, "text", "put it in quotes" if plain else "")
            return None
        if not 1 <= len(value) <= LONGEST_NAME:
            self._fail(
                "bad-name", path, f"text of {len(value)} characters", f"use 1 to {LONGEST_NAME} characters"
            )
            return None
        return value

    def _number(self, value: float, key: Key, path: Path) -> float | None:
        if key.kind == "integer" and isfinite(value) and value != int(value):
            self._fail("wrong-type", path, f"{path[-1]!r} has to be a whole number, not {value!r}")
            return None
        try:
            number = int(value) if key.kind == "integer" else float(value)
        except (OverflowError, ValueError):
            number = float("inf")
        wanted, kept = [], isfinite(number)
        for bound, words, compare in (
            (key.above, "more than", gt),
            (key.least, "at least", ge),
            (key.below, "less than", lt),
            (key.most, "at most", le),
        ):
            if bound is not None:
                wanted.append(f"{words} {bound:g}")
                kept = kept and compare(number, bound)
        if key.whole:
            wanted.append("whole")
            kept = kept and number == int(number)
        if kept:
            return number
        need = " and ".join(wanted) or "finite"
        rule = key.rule if isfinite(number) and number > 0 else "out-of-range"
        if key.most is not None and number > key.most:
            rule = key.most_rule or rule
        self._fail(rule, path, f"{path[-1]!r} is {number:g}, and has to be {need}")
        return None

    def _numbers(self, items: list[Node], key: Key, path: Path) -> tuple[float, ...] | None:
        entry = cast("Key", key.entry)
        numbers = [self._scalar(item, entry, (*path, index)) for index, item in enumerate(items)]
        return None if None in numbers else tuple(numbers)

    def _texts(self, items: list[Node], key: Key, path: Path) -> tuple[str, ...] | None:
        """Any texts at all, empty ones too: they are values of telemetry, not names of the contract."""
        texts: list[str] = []
        for index, item in enumerate(items):
            value = item.value if isinstance(item, Scalar) else None
            if not isinstance(value, str):
                self._wrong_type((*path, index), item, "text", "put it in quotes")
                return None
            texts.append(value)
        return tuple(texts)

    def _spans(self, node: Node, entry: Key, path: Path) -> dict[int, float] | None:
        if not isinstance(node, Mapping):
            self._wrong_type(path, node, "a mapping of seconds to numbers")
            return None
        spans: dict[int, float] = {}
        for name, (mark, child) in node.entries.items():
            here = (*path, name)
            self._keys[here], self._values[here] = mark, child.mark
            value = self._scalar(child, entry, here)
            if not (name.isascii() and name.isdecimal() and 1 <= int(name[:9]) <= LONGEST_WINDOW_S):
                self._break(here)
                self.report("window-length", here, f"{shown(name)} is no window", key=True)
            elif value is not None:
                spans[int(name[:9])] = value
        return spans

    def _break(self, path: Path) -> None:
        self._broken.update(path[:length] for length in range(len(path) + 1))

    def _wrong_type(self, path: Path, node: Node, wanted: str, advice: str = "") -> None:
        subject = f"{path[-1]!r}" if path and isinstance(path[-1], str) else "this entry"
        self._fail("wrong-type", path, f"{subject} has to be {wanted}, not {_found(node)}", advice)

    def _fail(self, rule: str, path: Path, message: str, advice: str = "") -> None:
        self._break(path)
        self.report(rule, path, message, advice)
