"""`where: {route: ..}`: predicates for some routes alone, as a contract says it and as `check` sees it."""

import jsonschema
import pytest
import yaml

from detector.contract import check_text, contract_schema, load_contract

TEXT = """version: 1
routes: [{{match: "chat*"}}, {{match: embed}}]
predicates:
  a: {{type: rate, field: error, ceiling: 0.01, where: {where}}}
  b: {{type: rate, field: refused, ceiling: 0.01, where: {{route: embed}}}}
modes: {{m: {{when: {when}, severity: notice}}, n: {{when: b, severity: notice}}}}
"""


def text(where: str = "{}", when: str = "a") -> str:
    return TEXT.format(where=where, when=when)


@pytest.mark.parametrize(
    ("where", "routes", "seen"),
    [
        ("{route: embed}", ("embed",), ()),
        ("{route: [chat, embed, chat]}", ("chat", "embed"), ()),
        ("{route: chat-eu, probe: true}", ("chat-eu",), (("probe", (True,)),)),
        ("{tenant: acme, route: chat}", ("chat",), (("tenant", ("acme",)),)),
        ("{tenant: acme}", (), (("tenant", ("acme",)),)),
    ],
)
def test_routes_are_told_apart_from_what_is_seen_of_their_calls(
    where: str, routes: tuple[str, ...], seen: tuple[tuple[str, tuple[str | bool, ...]], ...]
) -> None:
    """Where a predicate is judged is no filter: whoever judges there sees every call that is left."""
    assert check_text(text(where)) == []
    found = load_contract(text(where)).predicates["a"]

    assert (found.routes, found.where) == (routes, seen)


@pytest.mark.parametrize(
    ("where", "rule", "message", "advice"),
    [
        ("{route: embd}", "filter-route", "matches the route 'embd'", "did you mean 'embed'?"),
        ("{route: [chat, 'chat-*']}", "filter-route", "'chat-*' is the name of one route", "as a list"),
        ("{request_id: x}", "filter-field", "picked by 'request_id'", "they can by: route, deployment, "),
        ("{rout: x}", "filter-field", "no field 'rout'", "did you mean 'route'?"),
        ("{route: true}", "wrong-type", "has to be text", "put it in quotes"),
        ("{route: []}", "empty-list", "'route' is empty", "name at least one"),
    ],
)
def test_what_is_wrong_with_a_route_is_told_with_what_to_do(
    where: str, rule: str, message: str, advice: str
) -> None:
    """One finding each; a name that no pattern matches is a warning, as routes come with the telemetry."""
    (found,) = check_text(text(where))

    assert found.rule == rule
    assert message in found.message
    assert advice in found.advice
    assert (found.severity == "warning") == (rule == "filter-route")


def test_without_rules_about_routes_no_name_is_doubted() -> None:
    """A contract that does not name its routes says nothing of which there are."""
    plain = "\n".join(line for line in text("{route: x}").splitlines() if not line.startswith("routes:"))

    assert check_text(plain) == []


@pytest.mark.parametrize("source", ["type: absence", "type: rate, evaluation: faith"])
def test_what_sees_no_single_calls_is_for_all_routes(source: str) -> None:
    """Silence and verdicts take no `where`, of a route neither."""
    changed = text("{route: chat}").replace("type: rate, field: error, ceiling: 0.01", source, 1)

    assert [found.rule for found in check_text(changed)] == ["filter-unread"]


@pytest.mark.parametrize(
    ("where", "when", "rules"),
    [
        ("{route: chat}", "{all: [a, b]}", ["never-holds"]),
        ("{route: chat}", "{at_least: {n: 2, of: [a, b]}}", ["never-holds"]),
        ("{route: chat}", "{any: [a, b]}", []),
        ("{route: [chat, embed]}", "{all: [a, b]}", []),
        ("{}", "{all: [a, b]}", []),
    ],
)
def test_predicates_that_never_meet_hold_nothing_together(where: str, when: str, rules: list[str]) -> None:
    """What does not exist on a route does not hold there."""
    assert [found.rule for found in check_text(text(where, when))] == rules


LEARNT = """calibration:
  routes:
    chat: {predicates: {a: {records: 3000, rate: 0.011, ceiling: 0.02}}}
    embed: {predicates: {a: {records: 3000, rate: 0.001, ceiling: 0.002}}}
"""


def test_what_was_learnt_where_it_is_not_judged_any_more_is_stale() -> None:
    """And does not contradict what is judged elsewhere."""
    assert [found.rule for found in check_text(text() + LEARNT)] == ["ceiling-under-traffic"]
    assert [found.rule for found in check_text(text("{route: embed}") + LEARNT)] == ["stale-calibration"]


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ("{route: chat}", True),
        ("{route: [chat, embed], tenant: acme}", True),
        ("{route: true}", False),
        ("{route: []}", False),
        ("{route: [true]}", False),
    ],
)
def test_the_schema_agrees(where: str, fits: bool) -> None:
    """A name or names of routes; unlike other fields it is never true or false."""
    given = yaml.safe_load(text(where))
    wrong = [found for found in check_text(text(where)) if found.severity == "error"]

    assert jsonschema.Draft202012Validator(contract_schema()).is_valid(given) == fits == (not wrong)
