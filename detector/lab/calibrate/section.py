"""The calibration as a section of the contract file, in place of the one that is there.

All other text stays as the user wrote it, comments included.
"""

import json
import re
from dataclasses import fields, replace
from typing import Any

from detector.contract import ContractError, load_contract
from detector.contract.calibration import CalibratedPredicate, CalibratedRoute, Calibration
from detector.contract.nodes import MAX_CHARACTERS

_KEY = re.compile(r"(?P<quote>[\"']?)calibration(?P=quote)[ \t]*:")
_COMMENT = re.compile(_KEY.pattern + r"[ \t]*(?:\{[ \t]*\})?[ \t]*(?P<comment>#.*)?$")
_ROOM = MAX_CHARACTERS - 1000


class SectionError(ValueError):
    """The file is written so that the section cannot be placed; the message says what to change."""


def with_calibration(text: str, calibration: Calibration, name: str = "contract.yaml") -> tuple[str, int]:
    """The text with `calibration` as its section, and how many routes had to be left out to fit.

    Raises:
        SectionError: the contract is one flow mapping, `{version: 1, ...}` or JSON, which has no lines of its
            own, or writes the key in another way than `calibration:`.
        ContractError: the text is no contract to begin with.
    """
    head, comment, tail = _cut(text)
    routes = sorted(calibration.routes.items(), key=lambda each: -each[1].records_per_s)
    kept = len(routes)
    while True:
        section = render(replace(calibration, routes=dict(sorted(routes[:kept]))), comment)
        section = section.replace("\n", _line_end(text))
        written = head + section + tail
        if len(written) <= _ROOM or not kept:
            break
        kept = kept * 3 // 4
    before = load_contract(text, name)
    misplaced = SectionError(
        f"{name}: the calibration could not be placed; write the contract as lines, `version: 1` and so on,"
        " and `calibration: {}` as one of them"
    )
    try:
        after = load_contract(written, name)
    except ContractError:
        raise misplaced from None
    if replace(before, calibration=after.calibration, digest="") != replace(after, digest=""):
        raise misplaced
    return written, len(routes) - kept


def dropped_said(routes: int) -> str:
    """What to say of routes that had to be left out."""
    return f"{routes:,} routes of the least traffic were left out: the file would grow too large"


def _cut(text: str) -> tuple[str, str, str]:
    """Text before the section, the comment on its first line, and the text after it."""
    lines = text.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if _KEY.match(line)), None)
    if start is None:
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += _line_end(text)
        return "".join(lines), "# written by `detector calibrate`", ""
    end = start + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t}]"):
        end += 1
    # Blank lines before the next part belong to it.
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    found = _COMMENT.match(lines[start].rstrip())
    return "".join(lines[:start]), found["comment"] or "" if found else "", "".join(lines[end:])


def _line_end(text: str) -> str:
    """As the user's own lines end."""
    return "\r\n" if "\r\n" in text else "\n"


def render(calibration: Calibration, comment: str = "") -> str:
    """The section as YAML, a line for each predicate."""
    lines = [f"calibration:  {comment}".rstrip()]
    for each in fields(Calibration):
        value = getattr(calibration, each.name)
        if each.name != "routes" and value not in (None, (), ""):
            lines.append(f"  {each.name}: {_value(value)}")
    if calibration.routes:
        lines.append("  routes:")
    for name, route in calibration.routes.items():
        lines += _route(name, route)
    return "\n".join(lines) + "\n"


def _route(name: str, route: CalibratedRoute) -> list[str]:
    lines = [f"    {_text(name)}:", f"      records_per_s: {_value(route.records_per_s)}"]
    if route.predicates:
        lines.append("      predicates:")
    for predicate, one in route.predicates.items():
        lines += [f"        {_text(predicate)}:", f"          {_flow(one)}"]
    return lines


def _flow(one: CalibratedPredicate) -> str:
    is_share = one.rate is not None
    parts = []
    for each in fields(CalibratedPredicate):
        value = getattr(one, each.name)
        if value not in (None, {}, "") and (is_share or each.name != "usable"):
            parts.append(f"{each.name}: {_value(value)}")
    return "{" + ", ".join(parts) + "}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # Seconds since 1970 keep their digits; of everything else six say enough.
        return f"{value:.3f}" if 1e9 <= value < 1e10 else f"{value:.6g}"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {_value(each)}' for key, each in value.items()) + "}"
    return "[" + ", ".join(map(_value, value)) + "]"


def _text(text: str) -> str:
    """A double-quoted scalar; what YAML does not take as it stands is escaped."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
