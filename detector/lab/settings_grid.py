"""A contract with other numbers in it: dotted paths, a grid over several of them, and each one checked."""

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from detector.contract import ContractError, load_contract
from detector.contract.grammar import CONTRACT, Key
from detector.contract.model import Contract
from detector.contract.nodes import plain_value, read_nodes, scalar_value
from detector.lab.coerce import is_field

Value = str | int | float | bool | None
_SINGLE = ("number", "integer", "boolean", "text", "choice", "condition")  # a condition may be one predicate


class SettingError(ValueError):
    """A setting that cannot be tried; the message says which, and names the nearest key."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One contract of the grid, and what in it differs from the file: path -> value.

    Attributes:
        distance: sum over the paths of how far a value is from the contract's own, in shares of the greater
            of the two; 0 is the contract as it is written.
    """

    values: Mapping[str, Value]
    contract: Contract
    distance: float = 0.0

    @property
    def name(self) -> str:
        """Short form for tables: last part of each path and its value."""
        said = (f"{path.rpartition('.')[2]}={value}" for path, value in self.values.items())
        return " ".join(said) or "as written"


def parse_sets(texts: Iterable[str]) -> dict[str, list[Value]]:
    """Read `--set PATH=VALUE,VALUE`; values are read as a contract file would.

    Raises:
        SettingError: no `=`, no value, or a path twice.

    >>> parse_sets(["predicates.errors.ceiling=0.01,0.02"])
    {'predicates.errors.ceiling': [0.01, 0.02]}
    """
    found: dict[str, list[Value]] = {}
    for text in texts:
        path, equals, values = text.partition("=")
        cells = [cell.strip() for cell in values.split(",")]
        if not (equals and path and all(cells)):
            raise SettingError(
                f"--set {text}: expected PATH=VALUE,VALUE such as predicates.errors.ceiling=0.01,0.02"
            )
        if path in found:
            raise SettingError(f"--set {path}: asked for twice; give all its values at once")
        found[path] = list(dict.fromkeys(scalar_value(cell) for cell in cells))
    return found


def is_path(text: str) -> bool:
    """Whether `--set TEXT` speaks of the contract: anything that is no field of a record does.

    >>> is_path("predicates.errors.ceiling=0.1"), is_path("predicate.errors=1"), is_path("route=chat")
    (True, True, False)
    """
    name = text.partition("=")[0]
    return not is_field(name) and (name.partition(".")[0] in CONTRACT or "." in name)


def grid(text: str | bytes, name: str, sets: Mapping[str, Iterable[Value]]) -> list[Setting]:
    """Every combination of the values, each a whole contract.

    Args:
        text: of the contract file; `name` is what findings call it.
        sets: dotted path -> values to try. Without any, the contract as it is written.

    Raises:
        ContractError: the file itself is no contract that can run.
        SettingError: a path leads nowhere, or a value makes a contract that cannot run.
    """
    written = load_contract(text, name)
    root = read_nodes(text.decode("utf-8-sig") if isinstance(text, bytes) else text, lambda *_: None)
    if root is None or not sets:
        return [Setting({}, written)]
    content = plain_value(root)
    own = {path: _own(content, written, path) for path in sets}
    combinations = itertools.product(*(list(values) for values in sets.values()))
    return [_setting(content, dict(zip(sets, values, strict=True)), own) for values in combinations]


def _own(content: object, written: Contract, path: str) -> Any:
    """The value that the contract has at `path`, its default where the file has none; None if unknown."""
    holder, key = _place(content, path)
    if isinstance(holder, list) or key in holder:
        return holder[key]
    node: Any = written
    names = path.split(".")
    while names and node is not None:
        # Names of predicates may have dots in them.
        count = len(names) if isinstance(node, Mapping) else 1
        while count > 1 and ".".join(names[:count]) not in node:
            count -= 1
        name, names = ".".join(names[:count]), names[count:]
        if isinstance(node, Mapping):
            node = node.get(name)
        elif isinstance(node, tuple):
            node = node[int(name)]
        else:
            node = getattr(node, name, None)
    return node


def _apart(value: Any, own: Any) -> float:
    if value == own:
        return 0.0
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (value, own))
    return abs(value - own) / max(abs(value), abs(own)) if numbers else 1.0


def _setting(content: object, values: dict[str, Value], own: Mapping[str, Any]) -> Setting:
    changed = json.loads(json.dumps(content))
    for path, value in values.items():
        holder, key = _place(changed, path)
        holder[key] = value
    said = ", ".join(f"{path}={value}" for path, value in values.items())
    try:
        contract = load_contract(json.dumps(changed, ensure_ascii=False), said)
    except ContractError as error:
        wrong = next(found for found in error.findings if found.severity == "error")
        raise SettingError(f"--set {said}: {wrong.message}; {wrong.advice}") from None
    return Setting(values, contract, sum(_apart(value, own[path]) for path, value in values.items()))


def _place(content: Any, path: str) -> tuple[Any, Any]:
    """The mapping or list that holds the value of `path`, and its key or index in there."""
    node, key, names, done = content, Key(kind="section", says="", of=CONTRACT), path.split("."), ""
    while True:
        name, names, inner = _step(node, key, names, path, done)
        done = f"{done}.{name}" if done else name
        step: Any = int(name) if isinstance(node, list) else name
        present = isinstance(node, list) or step in node
        value = node[step] if present else None
        if not names:
            if inner.kind not in _SINGLE or isinstance(value, dict | list):
                raise SettingError(f"--set {path}: {_no_single(done, value, inner)}")
            return node, step
        if not present:
            value = node[step] = {}
        node, key = value, inner


def _no_single(done: str, value: Any, inner: Key) -> str:
    """What to say of a path to something that a list of values cannot be tried for."""
    known = _known(value, inner)
    if known:
        return f"a single value is wanted; there are {done}.* of {', '.join(known[:16])}"
    return f"{done} takes several values at once; write a contract for each and sweep them one by one"


def _step(node: Any, key: Key, names: list[str], path: str, done: str) -> tuple[str, list[str], Key]:
    """The next name of a path, the rest of it, and what the grammar says of the value there."""
    known = _known(node, key)
    # The longest run of parts that is a known name: names of predicates may have dots in them.
    joined = (".".join(names[:count]) for count in range(len(names), 0, -1))
    name = next((each for each in joined if each in known), None)
    if name is None:
        raise SettingError(_nowhere(path, done, names[0], known))
    rest = names[name.count(".") + 1 :]
    if key.kind == "section" and key.of is not None:
        return name, rest, key.of[name]
    # An entry of a named or listed part is a mapping of keys; below anything else every key is taken.
    return name, rest, Key(kind="section" if key.kind in ("named", "list") else "text", says="", of=key.of)


def _known(node: Any, key: Key) -> list[str]:
    if key.kind == "section" and key.of is not None:
        return list(key.of)
    if isinstance(node, list):
        return [str(index) for index in range(len(node))]
    return list(node) if isinstance(node, dict) else []


def _nowhere(path: str, done: str, name: str, known: list[str]) -> str:
    where = f"in {done}" if done else "in a contract"
    prefix = f"{done}." if done else ""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    listed = ", ".join(known[:16]) or "none"
    advice = f"did you mean {prefix}{close[0]}?" if close else f"there are {listed}"
    return f"--set {path}: no {name!r} {where}; {advice}"
