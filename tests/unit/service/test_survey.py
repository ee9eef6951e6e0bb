"""How predicates stand on the routes held, as `detector state` tells it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from detector.contract.calibration import CalibratedPredicate, CalibratedRoute, Calibration
from detector.pipeline import Pipeline
from detector.predicates.base import Outcome
from detector.service.survey import MOST_NAMES, OUTCOMES, Standing, Survey, outcome_of, together
from tests.builders import contract, in_order, record, spec

ERRORS, DRIFT = spec("rate", field="error", name="errors"), spec("divergence", name="drift")


def surveyed(pipeline: Pipeline, now: float = 0.0) -> Survey:
    """After one whole round."""
    survey = Survey(pipeline)
    survey.turn(now)
    for _ in range(len(pipeline.routes)):
        if not survey.found:
            survey.turn(now)
    return survey


@pytest.mark.parametrize(
    ("outcome", "latched", "armed", "said"),
    [
        (Outcome.CLEAR, False, True, "armed"),
        (Outcome.BREACH, True, True, "breach"),
        (Outcome.INSUFFICIENT, True, False, "breach"),
        (Outcome.UNUSABLE, False, False, "unusable"),
        (Outcome.UNUSABLE, True, False, "unusable"),
        (Outcome.LEARNING, False, False, "learning"),
        (Outcome.INSUFFICIENT, False, False, "insufficient"),
        (Outcome.CLEAR, False, False, "insufficient"),
    ],
)
def test_a_judge_stands_in_one_place(outcome: Outcome, latched: bool, armed: bool, said: str) -> None:
    """A breach holds until it is over, however little is seen; `armed` is said of none that is deaf."""
    judge = SimpleNamespace(verdict=SimpleNamespace(outcome=outcome), latched=latched, armed=armed)

    assert outcome_of(judge) == said  # type: ignore[arg-type]


def test_each_predicate_tells_of_each_route_how_it_stands() -> None:
    """A rate is armed by its first call, a divergence has to learn, and a breach is named."""
    pipeline = Pipeline(contract([ERRORS, DRIFT]))
    calls = [record(i / 10, route="good", output_tokens=9) for i in range(100)]
    calls += [record(10 + i / 10, route="bad", error="500") for i in range(100)]
    pipeline.step(*in_order(calls).args())

    found = surveyed(pipeline).found

    assert found["errors"].named == {"breach": ["bad"]}
    assert (found["errors"].routes["armed"], found["errors"].routes["breach"]) == (1, 1)
    assert found["drift"].named == {"learning": ["bad", "good"]}
    # On the route where errors hold, the reference of the drift does not learn; a rate has none.
    assert (found["drift"].frozen, found["errors"].frozen) == (1, 0)
    # Only of a drift it makes sense to say that it is meant.
    assert (found["drift"].drift, found["errors"].drift) == (True, False)
    assert together([found["errors"], found["drift"]]).drift
    assert all(sum(standing.routes.values()) == 2 for standing in found.values())
    assert all(set(standing.routes) == set(OUTCOMES) for standing in found.values())


def test_routes_that_the_panic_threshold_keeps_are_named() -> None:
    """Of four that fail one may go to its fallbacks; when all is over none is kept."""
    pipeline = Pipeline(contract([ERRORS], max_active_share=0.25))
    routes = ("a", "b", "c", "d")
    calls = [record(i / 10, route=route, error="500") for i in range(200) for route in routes]
    acting = {each.scope for each in pipeline.step(*in_order(calls).args()) if each.disposition == "act"}

    assert len(acting) == 1
    assert surveyed(pipeline).withheld == sorted(set(routes) - acting)
    well = [record(20 + i / 10, route=route) for i in range(9000) for route in routes]
    pipeline.step(*in_order(well).args())
    assert surveyed(pipeline).withheld == []


def test_many_routes_are_counted_whole_and_named_in_part() -> None:
    """Every route is counted, some dozens are named, and no turn looks at them all."""
    pipeline = Pipeline(contract([DRIFT]))
    pipeline.step(*in_order(record(0.0, route=f"r{i}") for i in range(500)).args())
    survey = Survey(pipeline)
    survey.turn(0.0)
    assert not survey.found

    for _ in range(500):
        survey.turn(0.0)

    assert survey.found["drift"].routes["learning"] == 500
    assert sum(map(len, survey.found["drift"].named.values())) == MOST_NAMES


def test_a_round_comes_only_every_few_seconds() -> None:
    """What changed is told by the next round, and that one waits."""
    pipeline = Pipeline(contract([ERRORS]))
    pipeline.step(*in_order([record(0.0, route="a")]).args())
    survey = surveyed(pipeline, now=100.0)
    first = survey.found
    survey.turn(100.5)
    assert survey.found is first

    survey.turn(110.0)
    assert survey.found is not first


def test_what_is_worst_is_named_first() -> None:
    """Where names have to be left out, those of breaches and of unusable predicates stay."""
    parts = [
        Standing(routes={"learning": 60, "breach": 1}, named={"learning": [f"r{i}" for i in range(50)]}),
        Standing(routes={"breach": 1, "unusable": 1}, named={"breach": ["bad"], "unusable": ["deaf"]}),
    ]

    parts[0].frozen, parts[1].frozen = 3, 4
    whole = together(parts)

    assert whole.frozen == 7
    assert whole.routes["learning"] == 60
    assert (whole.routes["breach"], whole.routes["armed"]) == (2, 0)
    assert (whole.named["breach"], whole.named["unusable"]) == (["bad"], ["deaf"])
    assert sum(map(len, whole.named.values())) == MOST_NAMES


def test_it_tells_what_would_be_found_at_the_present_rate_of_calls() -> None:
    """Twice the calls, smaller faults; a predicate that is not armed finds nothing."""
    pipeline = Pipeline(contract([ERRORS, DRIFT]))
    calls = [record(i / 100, route="busy") for i in range(3000)]
    calls += [record(i / 10, route="calm") for i in range(300)]
    pipeline.step(*in_order(calls).args())

    found = surveyed(pipeline).found
    least, greatest = found["errors"].finds
    whole = together([found["errors"], Standing(finds=[0.01, 0.02])])

    assert 0.01 < least < greatest < 1.0
    assert found["drift"].finds == []
    assert whole.finds == [0.01, greatest]


def test_routes_whose_traffic_has_crept_away_are_named() -> None:
    """The reference that is learnt from healthy calls is another than the calibrated one."""
    learnt = CalibratedPredicate(
        records=100_000, edges=(10.0, 100.0), reference=(90_000, 9_000, 1_000), thresholds_nats={60: 0.3}
    )
    routes = {name: CalibratedRoute(records_per_s=20.0, predicates={"drift": learnt}) for name in ("a", "b")}
    made = replace(
        contract([spec("divergence", name="drift", window_s=60.0)]), calibration=Calibration(routes=routes)
    )
    pipeline = Pipeline(made)
    calls = [record(i / 5, route="a", output_tokens=5) for i in range(33_000)]
    # It creeps in fifty minutes and stays: no window is far from the hour before it.
    calls += [
        record(i / 5, route="b", output_tokens=50 if i * 7919 % 1000 < 600 * min(1.0, i / 15_000) else 5)
        for i in range(33_000)
    ]
    pipeline.step(*in_order(calls).args())

    standing = surveyed(pipeline).found["drift"]

    assert standing.crept_named == ["b"]
    assert standing.crept == 1
