"""Silence of most routes together is one notice; silence of one is its own, a little later."""

from detector.contract.model import Contract, Mode, PredicateSpec
from detector.modes.decision import Decision, event_id
from detector.modes.silence import EVERYTHING, HOLD_S, SilenceDigest
from topics.control import Evidence

CONTRACT = Contract(
    predicates={"silence": PredicateSpec(name="silence", type="absence")},
    modes={"telemetry_silence": Mode(name="telemetry_silence", when="silence", severity="notice")},
)
NOW = 1_700_000_000.0


def notice(scope: str, kind: str = "activated", at: float = NOW, mode: str = "telemetry_silence") -> Decision:
    """A decision of severity notice."""
    return Decision(
        kind=kind,  # type: ignore[arg-type]
        scope=scope,
        route=scope,
        deployment="",
        partition=3,
        state="active" if kind == "activated" else "inactive",
        mode=mode,
        modes=(mode,),
        muted=(),
        fallbacks={},
        primary_share=1.0,
        probes_per_s=None,
        transition=1,
        event_id=event_id(scope, 1),
        at=at,
        on_expiry="revert",
        next_revert_at=None,
        damped_until=None,
        evidence=Evidence(),
        disposition="notice",
        reason="",
        contract="",
    )


def test_one_silent_route_among_many_is_said_once_after_the_hold() -> None:
    """A single silence waits for `HOLD_S`, then is said as it was decided."""
    digest = SilenceDigest(CONTRACT)

    assert digest.fold([notice("a")], NOW, 10) == []
    assert digest.fold([], NOW + HOLD_S - 0.1, 10) == []
    assert digest.fold([], NOW + HOLD_S, 10) == [notice("a")]
    assert digest.fold([], NOW + 60, 10) == []


def test_its_end_is_said_only_if_its_beginning_was() -> None:
    """A route that speaks again within the hold leaves no trace; one that was said is taken back."""
    digest = SilenceDigest(CONTRACT)
    digest.fold([notice("a")], NOW, 10)
    assert digest.fold([notice("a", "deactivated")], NOW + 1, 10) == []

    digest.fold([notice("b", at=NOW + 2)], NOW + 2, 10)
    digest.fold([], NOW + 2 + HOLD_S, 10)
    assert digest.fold([notice("b", "deactivated")], NOW + 20, 10) == [notice("b", "deactivated")]


def test_most_routes_together_are_one_alarm_with_one_end() -> None:
    """Six of ten routes going silent within the hold make one `*` notice, and one when they are back."""
    digest = SilenceDigest(CONTRACT)
    names = "abcdef"
    said = [d for i, name in enumerate(names) for d in digest.fold([notice(name)], NOW + i * 0.5, 10)]

    assert [(d.scope, d.kind, d.disposition) for d in said] == [(EVERYTHING, "activated", "notice")]
    back = [d for name in names for d in digest.fold([notice(name, "deactivated")], NOW + 30, 10)]
    assert [(d.scope, d.kind) for d in back] == [(EVERYTHING, "deactivated")]
    assert back[0].event_id != said[0].event_id


def test_few_routes_are_never_everything() -> None:
    """Two silent routes of three are two notices: too few to blame the telemetry."""
    digest = SilenceDigest(CONTRACT)
    digest.fold([notice("a"), notice("b")], NOW, 3)

    assert {d.scope for d in digest.fold([], NOW + HOLD_S, 3)} == {"a", "b"}


def test_other_decisions_pass_untouched() -> None:
    """Only notices of absence are folded."""
    digest = SilenceDigest(CONTRACT)
    other = notice("a", mode="latency_spike")

    assert digest.fold([other], NOW, 10) == [other]
