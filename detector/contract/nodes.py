"""YAML text as nodes that know their place; nothing of YAML's cleverness survives.

The text is read as a stream of events, so nesting and size are bounded before anything is built. Scalars
follow YAML 1.2's core schema, as editors and JSON Schema do: `no` is text and `1e-3` a number.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import yaml

MAX_CHARACTERS = 1 << 20
MAX_BYTES = 4 * MAX_CHARACTERS  # as much of a file as is worth reading
MAX_DEPTH = 24
_LONGEST_INTEGER = 300  # digits; a longer one is infinite for every purpose here
_LONGEST_OTHER_BASE = 66

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the text, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    mark: Mark
    value: str | int | float | bool | None
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    mark: Mark
    items: list["Node"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mapping:
    """Entries in the file's order, each with the place of its key."""

    mark: Mark
    entries: dict[str, tuple[Mark, "Node"]] = field(default_factory=dict)


Node = Scalar | Listing | Mapping
Report = Callable[[str, Mark, str], None]  # rule, place, message


def read_nodes(text: str, report: Report) -> Mapping | None:
    """Return the document, or None if it cannot be read at all; every problem goes to `report`.

    A key that stands twice is reported and its first value kept.
    """
    if len(text) > MAX_CHARACTERS:
        report("file-too-large", Mark(1, 1), f"more than {MAX_CHARACTERS} characters")
        return None
    builder = _Builder(report)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
            if builder.hopeless:
                return None
    except yaml.YAMLError as error:
        _report_syntax(text, error, report)
        return None
    except UnicodeError:
        report("yaml-syntax", Mark(1, 1), "the text holds half of a surrogate pair")
        return None
    if builder.broken:
        return None
    if not isinstance(builder.root, Mapping):
        mark = Mark(1, 1) if builder.root is None else builder.root.mark
        what = {Scalar: "a single value", Listing: "a list"}.get(type(builder.root), "empty")
        report("not-a-mapping", mark, f"the document is {what}, not a mapping")
        return None
    return builder.root


def scalar_value(text: str) -> str | int | float | bool | None:
    """A plain scalar's value under the core schema. Integers out of any range become infinite floats."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= _LONGEST_INTEGER else float(text)
    if _OTHER_BASE.fullmatch(text) and len(text) <= _LONGEST_OTHER_BASE:
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def plain_value(node: Node) -> object:
    """The node as plain dicts, lists and scalars."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Listing):
        return [plain_value(item) for item in node.items]
    return {key: plain_value(value) for key, (_, value) in node.entries.items()}


class _Builder:
    """Assembles nodes from events on a stack of its own: the depth of a file is no recursion here."""

    def __init__(self, report: Report) -> None:
        self.root: Node | None = None
        self.broken = False  # a part could not be read: what follows from it would be noise
        self.hopeless = False  # reading on is of no use
        self._report = report
        self._open: list[Listing | Mapping] = []
        self._keys: list[
            tuple[str, Mark] | None
        ] = []  # for each open mapping the key that waits for its value
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        place = event.start_mark
        mark = Mark(place.line + 1, place.column + 1) if place is not None else Mark(1, 1)
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._fail("several-documents", mark, "a second document begins here")
                self.hopeless = True
        elif isinstance(event, yaml.ScalarEvent):
            self._refuse_tag(event, mark)
            value = scalar_value(event.value) if event.implicit[0] else event.value
            self._place(Scalar(mark, value, event.value))
        elif isinstance(event, yaml.AliasEvent):
            self._fail("yaml-alias", mark, "an alias stands here instead of a value")
            self._place(Scalar(mark, None, ""))
        elif isinstance(event, yaml.CollectionStartEvent):
            self._refuse_tag(event, mark)
            self._start(Mapping(mark) if isinstance(event, yaml.MappingStartEvent) else Listing(mark))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._keys.pop()
            self._place(self._open.pop())

    def _start(self, node: Listing | Mapping) -> None:
        self._open.append(node)
        self._keys.append(None)
        if len(self._open) > MAX_DEPTH:
            self._fail("too-deep", node.mark, f"values nested more than {MAX_DEPTH} deep")
            self.hopeless = True

    def _place(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if isinstance(parent, Listing):
            parent.items.append(node)
        elif (key := self._keys[-1]) is None:
            if not isinstance(node, Scalar):
                self._fail("key-not-text", node.mark, "a key has to be plain text")
            self._keys[-1] = (node.text if isinstance(node, Scalar) else "", node.mark)
        else:
            self._keys[-1] = None
            name, mark = key
            if name in parent.entries:
                first = parent.entries[name][0]
                self._report("duplicate-key", mark, f"{name[:60]!r} stands in line {first.line} already")
            else:
                parent.entries[name] = (mark, node)

    def _refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, mark: Mark) -> None:
        if event.tag is not None:
            self._fail("yaml-tag", mark, f"the tag {event.tag[:60]!r} has no meaning in a contract")

    def _fail(self, rule: str, mark: Mark, message: str) -> None:
        self.broken = True
        self._report(rule, mark, message)


def _report_syntax(text: str, error: yaml.YAMLError, report: Report) -> None:
    mark = Mark(1, 1)
    place = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if place is not None:
        mark = Mark(place.line + 1, place.column + 1)
        lines = text.splitlines()
        line = lines[place.line] if place.line < len(lines) else ""
        if "\t" in line[: len(line) - len(line.lstrip())]:
            report("tab-indent", Mark(mark.line, line.index("\t") + 1), "a tab in the indentation")
            return
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "the text is not YAML"
    report("yaml-syntax", mark, str(problem))
