"""A name of a transition or notice is given once, also where its scope was let go and is met again."""

from detector.contract.model import Mode, PredicateSpec
from detector.modes import deployments
from detector.pipeline import Caps, Pipeline
from tests.builders import T0, contract, record, spec
from topics.control import Override

SILENCE = contract(
    [PredicateSpec(name="silence", type="absence", after_s=1.0)],
    [Mode(name="quiet", when="silence", severity="notice")],
)
FAULTS = contract(
    [spec("rate", name="errors", field="error"), spec("exceedance", name="slow")],
    [
        Mode(name="error_spike", when="errors", keep_s=0.0),
        Mode(name="slowness", when="slow", severity="notice"),
    ],
)


def test_a_route_that_was_forgotten_goes_on_counting_its_notices():
    """It falls silent, is forgotten for another route, and comes back to fall silent again."""
    pipeline, said, offset = Pipeline(SILENCE, caps=Caps(routes=1)), [], 0

    def come(at, route="chat"):
        nonlocal offset
        said.extend(pipeline.step([record(at, route=route)], [offset], [T0 + at]))
        offset += 1

    for begins in (0, 1000):
        for i in range(20):
            come(begins + i / 10)
        said += pipeline.tick(T0 + begins + 60)
        come(begins + 61)
        come(begins + 70, "other")

    assert [each.transition for each in said] == [1, 2, 3, 4]
    assert len({each.event_id for each in said}) == 4


def test_an_order_is_carried_out_once_also_on_a_route_that_was_forgotten():
    """Whoever reads the orders again meets those of a route that was forgotten since."""
    order = Override(scope="chat", state="inactive", until=T0, issued_at=T0, accept=True)
    pipeline = Pipeline(SILENCE, caps=Caps(routes=1))
    pipeline.step([record(0, route="chat")], [0], [T0])
    assert pipeline.accept(order)
    for offset, route in enumerate(["other", "chat"], 1):
        pipeline.step([record(offset, route=route)], [offset], [T0 + offset])

    assert pipeline.accept(order) == []


def test_a_deployment_that_is_watched_again_goes_on_counting_its_notices(monkeypatch):
    """It fails and is slow, is let go, survives a takeover as a number, and fails again."""
    monkeypatch.setattr(deployments, "WATCHED_S", 10.0)
    pipeline, said, avoided = Pipeline(FAULTS), [], False
    for i in range(230 * 50):
        at, name = i / 50, f"eu-{i % 4}"
        if i == 150 * 50:
            assert not len(pipeline.route("chat").deployments)
            data, pipeline = pipeline.snapshot("chat"), Pipeline(FAULTS)
            pipeline.restore(data)
        bad = name == "eu-1" and (100 <= at < 115 or 200 <= at < 215)
        call = record(
            at,
            route="chat",
            deployment=name,
            error="500" if bad and i % 8 < 4 else "",
            latency_s=1.0 if bad and i % 3 else 0.1,
            probe=avoided and name == "eu-1",
        )
        for each in pipeline.step([call], [i], [T0 + at]):
            if each.deployment and each.kind != "extended":
                said.append(each)
                avoided = each.state == "active" if each.disposition == "act" else avoided

    notices = [each.transition for each in said if each.disposition == "notice"]
    assert notices == list(range(1, 1 + len(notices)))
    assert [each.kind for each in said].count("activated") == 4
    assert len({each.event_id for each in said}) == len(said)
