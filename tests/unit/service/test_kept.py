"""What is read out of a snapshot."""

from detector.pipeline import Pipeline
from detector.service.kept import active_since, deployments_of
from tests.builders import ERRORS_AND_SLOWNESS, in_order, record, run

NAMES = ("eu-0", "eu-1", "eu-2", "eu-3")


def judged(*faulty):
    """A route after a minute in whose last seconds calls of some deployments fail; what was decided."""
    pipeline = Pipeline(ERRORS_AND_SLOWNESS)
    calls = [
        record(i / 40, deployment=name, latency_s=0.05, error="boom" if i > 2200 and name in faulty else "")
        for i in range(2400)
        for name in (NAMES[i % 4],)
    ]
    acting = [each for each in run(pipeline, in_order(calls)) if each.disposition == "act"]
    return pipeline.snapshot("chat"), acting


def test_a_route_tells_since_when_it_is_active():
    """In the time of its calls; one that is well has nothing to tell."""
    snapshot, (activated, *_) = judged(*NAMES)
    well, _ = judged()

    assert activated.scope == "chat"
    assert active_since(snapshot) == activated.at
    assert active_since(well) is None
    assert active_since(well, "eu-1") is None


def test_a_deployment_tells_it_of_itself():
    """Its route is well meanwhile."""
    snapshot, (activated, *_) = judged("eu-1")

    assert activated.scope == "chat@eu-1"
    assert active_since(snapshot, "eu-1") == activated.at
    assert active_since(snapshot) is None


def test_a_route_names_its_deployments():
    """Those that had calls."""
    snapshot, _ = judged()

    assert deployments_of(snapshot) == set(NAMES)


def test_what_cannot_be_read_tells_nothing():
    """Another version may have written it."""
    for snapshot in (b"\xc1", b"\x80", b"\x90"):
        assert deployments_of(snapshot) == set()
        assert active_since(snapshot) is None
