"""Contract text in; a contract, or everything that is wrong with it, out. No I/O: callers read the file."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from detector.contract import calibration_rules, envelope, matrix, references
from detector.contract.calibration import build_calibration
from detector.contract.digest import digest
from detector.contract.draft import Draft
from detector.contract.fields import ROUTE
from detector.contract.finding import ContractError, Finding
from detector.contract.grammar import CONTRACT
from detector.contract.model import (
    Condition,
    Contract,
    Defaults,
    Fallback,
    JudgeQuality,
    MatrixRow,
    Mode,
    PredicateSpec,
    Reference,
    RouteRule,
    Slo,
)
from detector.contract.nodes import Mapping, Mark, read_nodes

# Each sees the whole contract as far as it could be read, and says what does not hold together.
CHECKS: tuple[Callable[[Draft, Contract], None], ...] = (
    envelope.version,
    references.predicates,
    references.modes,
    matrix.routes,
    matrix.rows,
    matrix.named,
    envelope.latency,
    envelope.promises,
    envelope.runs,
    references.unused,
    calibration_rules.bins,
    calibration_rules.known,
    calibration_rules.agreement,
)


def load_contract(
    text: str | bytes, name: str = "contract.yaml", *, despite: Collection[str] = ()
) -> Contract:
    """Read a contract file's text; `name` is what findings call the file.

    Args:
        despite: rules whose errors are put up with: whoever asks looks at the same thing more closely.

    Raises:
        ContractError: with every problem found, if one of them is an error. Warnings alone do not stop it.
    """
    findings, contract = _read(text, name, despite)
    if contract is None:
        raise ContractError(findings)
    return contract


def check_text(text: str | bytes, name: str = "contract.yaml") -> list[Finding]:
    """Every problem of a contract file's text, in the file's order; empty if there is none. Never raises."""
    return _read(text, name)[0]


def _read(
    text: str | bytes, name: str, despite: Collection[str] = ()
) -> tuple[list[Finding], Contract | None]:
    draft = Draft(name)
    root = _nodes(text, draft)
    contract = _checked(root, draft) if root is not None else None
    findings = sorted(set(draft.findings))
    fatal = any(found.severity == "error" and found.rule not in despite for found in findings)
    if contract is None or root is None or fatal:
        return findings, None
    return findings, replace(contract, digest=digest(root))


def _nodes(text: str | bytes, draft: Draft) -> Mapping | None:
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = error.object[: error.start]
            mark = Mark(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
            draft.report_at("not-utf8", mark, f"byte 0x{error.object[error.start]:02x} is not UTF-8")
            return None
    return read_nodes(text, draft.report_at)


def _checked(root: Mapping, draft: Draft) -> Contract | None:
    values = draft.read_mapping(root, CONTRACT)
    if values is None:
        return None
    contract = build(values)
    for check in CHECKS:
        check(draft, contract)
    return contract


def build(values: dict[str, Any]) -> Contract:
    """The contract that values of the grammar's shape stand for; what is missing keeps its default.

    Named parts that lack what they cannot do without are left out; entries of lists become empty ones, so
    that an index keeps its meaning. Findings already speak of both.
    """
    predicates: dict[str, Any] = values.get("predicates", {})
    modes: dict[str, Any] = values.get("modes", {})
    fallbacks: dict[str, Any] = values.get("fallbacks", {})
    sections: dict[str, Any] = {
        "predicates": {
            name: _predicate(name, keys) for name, keys in predicates.items() if "type" in (keys or ())
        },
        "modes": {
            name: Mode(name=name, **keys | {"when": _condition(keys["when"])})
            for name, keys in modes.items()
            if "when" in (keys or ())
        },
        "fallbacks": {
            name: Fallback(name=name, **keys) for name, keys in fallbacks.items() if keys is not None
        },
        "matrix": tuple(_row(keys or {}) for keys in values.get("matrix", ())),
        "defaults": Defaults(**values.get("defaults", {}), stated=tuple(sorted(values.get("defaults", {})))),
        "calibration": build_calibration(values.get("calibration", {})),
    }
    if "routes" in values:
        sections["routes"] = tuple(_route(keys or {}) for keys in values["routes"])
    if "version" in values:
        sections["version"] = values["version"]
    return Contract(**sections)


def _condition(when: str | dict[str, Any]) -> str | Condition:
    if isinstance(when, str):
        return when
    (way, names), *_ = when.items()
    if way == "at_least":
        return Condition(names.get("n", 1), names.get("of", ()))
    return Condition(1 if way == "any" else len(names), names)


def _predicate(name: str, keys: dict[str, Any]) -> PredicateSpec:
    made = {"judge": JudgeQuality, "reference": Reference}
    sections: dict[str, Any] = {key: make(**keys[key]) for key, make in made.items() if key in keys}
    if "where" in keys:
        picked = dict(keys["where"])
        sections |= {"routes": picked.pop(ROUTE, ()), "where": tuple(picked.items())}
    return PredicateSpec(name=name, stated=tuple(sorted(keys)), **keys | sections)


def _row(keys: dict[str, Any]) -> MatrixRow:
    return MatrixRow(**{"mode": "", "input_class": "", "fallbacks": (), **keys})


def _route(keys: dict[str, Any]) -> RouteRule:
    return RouteRule(**{**keys, "slo": Slo(**keys.get("slo", {}))})
