"""One contract, one calibration rule, one way to count, for every set of real data. See PROTOCOL.md."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.evaluation.traces import LONGEST_S, Case
from detector.contract import example_text, load_contract
from detector.contract.model import Condition, Contract, Mode, PredicateSpec
from detector.lab.calibrate import calibrate
from detector.lab.calibrate.learn import Learnt
from detector.lab.feed import Feed
from detector.lab.outcome import Activation, activations_of
from detector.pipeline import Pipeline
from topics.telemetry import TelemetryRecord

PREFIX_S = 600.0
PREFIX_SHARE = 0.25
LEAST_JUDGED = 50
JUST_BEFORE_S = 60.0
_LINES = 100_000
# What traffic sets, not the user: learnt where the protocol calibrates.
LEARNT = ("hallucinations", "slow_responses", "slow_first_token", "slow_upstream")


def example(*, learnt: bool = False) -> Contract:
    """The contract that ships with the package, and a divergence for the sets without tokens.

    `learnt`: without the ceilings that are to come from calibration.
    """
    contract = load_contract(example_text())
    if learnt:
        contract = replace(contract, predicates=dict(map(_unstated, contract.predicates.items())))
    drift = PredicateSpec(name="value_drift", type="divergence", field="features.value")
    return replace(
        contract,
        predicates={**contract.predicates, drift.name: drift},
        modes={**contract.modes, drift.name: Mode(name=drift.name, when=drift.name)},
    )


def with_first_token(contract: Contract) -> Contract:
    """The contract with time to first token judged beside the whole call, which is as long as its answer."""
    return _beside(contract, "slow_responses", "latency_spike", name="slow_first_token", field="ttft_s")


def with_unqueued_first_token(contract: Contract) -> Contract:
    """The same less the wait in the queue, for engines that say how long that was."""
    field = "ttft_unqueued_s"
    return _beside(contract, "slow_responses", "latency_spike", name="slow_first_token", field=field)


def with_given(contract: Contract) -> Contract:
    """The contract with what a tenant asks and gets compared with the same tenant's, as README advises.

    Answers beside all answers as they come; questions in place of all questions.
    """
    contract = _beside(contract, "output_drift", "token_drift", name="answer_drift", given="tenant")
    contract = _beside(contract, "input_drift", "input_drift", name="question_drift", given="tenant")
    predicates = {name: spec for name, spec in contract.predicates.items() if name != "input_drift"}
    mode = replace(contract.modes["input_drift"], when="question_drift")
    return replace(contract, predicates=predicates, modes={**contract.modes, mode.name: mode})


def _beside(contract: Contract, plain: str, mode: str, *, name: str, **changed: str) -> Contract:
    spec = replace(contract.predicates[plain], name=name, **changed)  # type: ignore[arg-type]  # text keys
    when = Condition(1, (name, plain))
    return replace(
        contract,
        predicates={**contract.predicates, name: spec},
        modes={**contract.modes, mode: replace(contract.modes[mode], when=when)},
    )


# What may be judged beside the example contract's predicates.
BESIDE = {
    "first-token": with_first_token,
    "unqueued-first-token": with_unqueued_first_token,
    "given-tenant": with_given,
}


def _unstated(item: tuple[str, PredicateSpec]) -> tuple[str, PredicateSpec]:
    name, spec = item
    stated = tuple(key for key in spec.stated if key != "ceiling" or name not in LEARNT)
    return name, replace(spec, stated=stated)


def prefix_of(case: Case) -> Sequence[TelemetryRecord]:
    """Records to calibrate on: 10 minutes of a set with times, else 25 %, and at least 50 judged ones."""
    if case.prefix is not None:
        return case.prefix
    records = case.records
    if case.timed:
        end = bisect_right(records, records[0].event_time + PREFIX_S, key=lambda each: each.event_time)
    else:
        end = ceil(PREFIX_SHARE * len(records))
    return records[: max(end, LEAST_JUDGED)]


@dataclass(frozen=True)
class Outcome:
    """What a replay of a case came to.

    Attributes:
        false: acting activations that no fault explains.
        found: the one that tells of the fault; `delay` from the first faulty record to the decision, records
            that had ended by then, and `delay_s` in event time.
        active_before: whether something was active in the minute before the fault.
        armed: predicate -> share of records judged while it was armed.
        unusable: predicates that said so.
    """

    case: Case
    activations: tuple[Activation, ...]
    false: tuple[Activation, ...]
    found: Activation | None
    delay: int | None
    delay_s: float | None
    active_before: bool
    armed: dict[str, float]
    unusable: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Positives: found, inactive just before, nothing false. Controls: silent while armed for half."""
        if self.case.fault is not None:
            return self.found is not None and not self.active_before and not self.false
        return not self.false and all(self.armed[name] >= 0.5 for name in self.case.watched)


def judge(case: Case, contract: Contract) -> Outcome:
    """Replay a case, as `detector replay` would, and match what was activated with what is known."""
    pipeline = Pipeline(contract)
    feed = Feed([pipeline], contract.defaults.lateness_s, 67.0)
    for index, record in enumerate(case.records):
        feed.add(record, index)
    feed.finish()
    acting = tuple(each for each in activations_of(feed.decisions) if each.disposition == "act")
    unusable = sorted(
        {each.evidence.predicate for each in feed.decisions if "is unusable" in each.reason}
        & set(contract.predicates)
    )
    return _match(case, acting, pipeline.armed(), tuple(unusable))


def _match(
    case: Case, acting: tuple[Activation, ...], armed: dict[str, float], unusable: tuple[str, ...]
) -> Outcome:
    if case.fault is None:
        return Outcome(case, acting, acting, None, None, None, False, armed, unusable)
    begins = case.records[case.fault].event_time
    ends = case.records[case.until - 1].event_time + LONGEST_S if case.until else float("inf")
    inside = [each for each in acting if begins <= each.activated_at <= ends]
    expected = [each for each in inside if each.predicate in case.expected]
    found = expected[0] if expected else None
    false = tuple(each for each in acting if each not in inside and not _excused(case, each))
    before = any(
        each.activated_at < begins
        and (each.deactivated_at is None or each.deactivated_at > begins - JUST_BEFORE_S)
        for each in acting
    )
    delay = None
    if found is not None:
        delay = sum(record.event_time <= found.activated_at for record in case.records[case.fault :])
    return Outcome(
        case,
        acting,
        false,
        found,
        delay,
        found.activated_at - begins if found else None,
        before,
        armed,
        unusable,
    )


def _excused(case: Case, activation: Activation) -> bool:
    return any(begins <= activation.activated_at <= ends for begins, ends in case.excused)


def calibrated(contract: Contract, prefix: Sequence[TelemetryRecord]) -> Contract:
    """The contract with what `detector calibrate` learns from a prefix."""
    return calibrated_on(contract, prefix)[0]


def calibrated_on(
    contract: Contract, prefix: Sequence[TelemetryRecord]
) -> tuple[Contract, tuple[Learnt, ...]]:
    """The same, and what its report says.

    Where healthy traffic does not keep a limit of the contract's, the limit that calibration proposes is
    taken, and calibrated once more.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder, "prefix.jsonl")
        with file.open("wb") as out:
            encoder = msgspec.json.Encoder()
            for first in range(0, len(prefix), _LINES):
                out.write(encoder.encode_lines(list(prefix[first : first + _LINES])))
        found = calibrate([file], contract)
        limits = {
            name: learnt.proposed_above_ms
            for route in found.calibration.routes.values()
            for name, learnt in route.predicates.items()
            if learnt.proposed_above_ms is not None
        }
        if limits:
            predicates = {
                name: replace(spec, above_ms=limits.get(name, spec.above_ms))
                for name, spec in contract.predicates.items()
            }
            contract = replace(contract, predicates=predicates)
            found = calibrate([file], contract)
    return replace(contract, calibration=found.calibration), found.learnt
