"""Which row and which route rule decide, and which never do."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.contract import check_text
from detector.contract.matrix import _Lookup
from detector.contract.model import Contract, MatrixRow, RouteRule

CLASSES = ("low", "high")
MODES = ("slow", "wrong")
rows = st.lists(
    st.builds(
        MatrixRow,
        mode=st.sampled_from([*MODES, "*"]),
        input_class=st.sampled_from([*CLASSES, "*"]),
        fallbacks=st.sampled_from([("a",), ("b",), ("c",), ("d",)]),
    ),
    max_size=6,
)


@given(rows)
def test_the_check_chooses_rows_as_the_contract_does(matrix: list[MatrixRow]) -> None:
    """What is checked is what gateways will be told."""
    contract = Contract(matrix=tuple(matrix), routes=(RouteRule(input_classes=CLASSES),))
    lookup = _Lookup(contract)
    for mode in MODES:
        told = contract.fallbacks_for(mode, "chat")
        for input_class in (*CLASSES, "*"):
            row = lookup.row(mode, input_class)
            assert told.get(input_class, told.get("*")) == (None if row is None else list(row.fallbacks))


@given(
    st.lists(st.text("ab*?[]-", min_size=1, max_size=4), min_size=2, max_size=5),
    st.text("ab*?[]-", max_size=4),
)
@example(["?", "*"], "ab")
@example(["a*]", "a[x]"], "ax")
def test_a_route_that_a_rule_decides_is_not_called_unreachable(patterns: list[str], route: str) -> None:
    """No false accusation: the first rule that matches a route is never reported."""
    listed = "\n".join(f"  - {{match: '{pattern}'}}" for pattern in patterns)
    findings = check_text(f"routes:\n{listed}\n")
    reported = {found.line - 2 for found in findings if found.rule == "unreachable-route"}
    first = next((i for i, pattern in enumerate(patterns) if fnmatchcase(route, pattern)), None)

    assert first not in reported


def test_a_class_that_rows_leave_out_is_named_in_the_warning() -> None:
    """All of them, not the first."""
    text = (
        "version: 1\nroutes: [{match: '*', input_classes: [low, high, other]}]\n"
        "predicates: {errors: {type: rate, field: error}}\nmodes: {wrong: {when: errors}}\n"
        "fallbacks: {a: {p99_ms: 20}}\nmatrix: [{mode: wrong, input_class: high, fallbacks: [a]}]\n"
    )
    (found,) = check_text(text)

    assert found.rule == "class-without-row"
    assert found.message.endswith("'low', 'other'")


@pytest.mark.parametrize(
    ("mutes", "circles"),
    [
        ({"a": "bc", "b": "d", "c": "d", "d": ""}, 0),
        ({"a": "b", "b": "c", "c": "b", "d": "b"}, 1),
        ({"a": "b", "b": "a", "c": "d", "d": "c"}, 2),
        ({"a": "bc", "b": "a", "c": "a", "d": "abc"}, 2),
    ],
)
def test_each_circle_of_muting_is_reported_once(mutes: dict[str, str], circles: int) -> None:
    """Two ways to one symptom are no circle, and a way into a circle is not part of it."""
    modes = "".join(f"  {name}: {{when: errors, mutes: [{', '.join(to)}]}}\n" for name, to in mutes.items())
    findings = check_text(f"version: 1\nmodes:\n{modes}")

    assert [found.rule for found in findings].count("mute-cycle") == circles
