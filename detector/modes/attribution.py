"""Why is it so? Names the cause behind the symptoms that hold on a route, or says that it is unknown.

A route acts on its symptoms at once. From then on, at every pane, each signal's last seconds are
compared with its healthy blocks, and the decision table is read from the top: the first row counts
that explains one of the symptoms, all of whose `all_of` and one of whose `one_of` signals are high,
and whose `normal` signals were measured and are normal. A signal that is missing or unclear is neither, so
that a row whose signals nobody measures never matches: there is no guessing by elimination.
Two evaluations in a row have to agree. What is named stays so while the symptoms last, unless a
row further up comes to match within the first minute, which is as long as golden prompts take.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from detector.contract.model import PredicateSpec
from detector.modes.localisation import at_fault
from detector.predicates.attributed import Attributed
from detector.predicates.base import Judge, Outcome, Verdict
from detector.predicates.shift import SIGNALS, Level, Shift, golden_shift, shift_of
from detector.windows.segment import Segment
from detector.windows.signals import RECENT_S, SignalWindow

SPANS_S = (3, RECENT_S)
NAMED_WITHIN_S = 10  # then it is said that the cause is unknown; it may still be named
WATCHED_S = 60
_AGREE = 2

# What a symptom says, by the field that its predicate judges.
_SYMPTOMS = {
    "slow": ("latency_s", "ttft_s", "ttft_unqueued_s", "tpot_s", "queue_s", "upstream_s"),
    "failing": ("error",),
    "quality": ("hallucinated", "refused", "golden_ok", "logprob_mean"),
    "answers": ("output_tokens", "token_ids", "finish_reason"),
    "questions": ("input_tokens", "template", "tenant", "input_class"),
}
_KIND_OF = {field: kind for kind, fields in _SYMPTOMS.items() for field in fields}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the decision table.

    Attributes:
        cause: failure mode.
        explains: kinds of symptoms.
        all_of, one_of: signals that have to be high; `normal` ones have to be normal.
        not_high: may be missing, but not high.
    """

    cause: str
    explains: frozenset[str]
    all_of: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    normal: tuple[str, ...] = ()
    not_high: tuple[str, ...] = ()

    def matches(self, kinds: frozenset[str], shifts: Mapping[str, Shift]) -> bool:
        """Whether the row explains one of the symptoms and the signals are as it says."""
        return (
            bool(self.explains & kinds)
            and all(shifts[name].level is Level.HIGH for name in self.all_of)
            and (not self.one_of or any(shifts[name].level is Level.HIGH for name in self.one_of))
            and all(shifts[name].level is Level.NORMAL for name in self.normal)
            and all(shifts[name].level in (Level.NORMAL, Level.MISSING) for name in self.not_high)
        )

    @property
    def signals(self) -> tuple[str, ...]:
        """All that the row looks at."""
        return (*self.all_of, *self.one_of, *self.normal, *self.not_high)


_TIME = frozenset({"slow", "failing"})
_CONTENT = frozenset({"quality", "answers"})

TABLE = (
    Row(cause="parameter_corruption", explains=_CONTENT, one_of=("golden",)),
    Row(cause="external_api_latency", explains=_TIME, all_of=("upstream",), normal=("own",)),
    Row(cause="hardware_throttling", explains=_TIME, all_of=("decode",), one_of=("clock", "throttle")),
    Row(cause="inference_overload", explains=_TIME, all_of=("queue", "batch"), normal=("decode",)),
    Row(
        cause="parameter_corruption",
        explains=_CONTENT,
        one_of=("logprob", "repetition"),
        normal=("input",),
    ),
    Row(
        cause="token_drift",
        explains=frozenset({"answers"}),
        all_of=("output",),
        normal=("input",),
        not_high=("logprob", "repetition", "golden"),
    ),
    Row(
        cause="input_drift",
        explains=frozenset({"questions", "answers", "slow"}),
        all_of=("input",),
        normal=("output",),
        not_high=("logprob", "repetition", "golden"),
    ),
)
CAUSES = tuple(dict.fromkeys(row.cause for row in TABLE))


class Attribution:
    """Signals of one route, and what they say of its symptoms.

    Args:
        judges: all of the route's, by predicate; those of type attribution are told what is named.
        acting: predicates that a mode which acts rests on.
    """

    def __init__(self, judges: Mapping[str, Judge], acting: Iterable[str]) -> None:
        self._causes = {judge.spec.cause: judge for judge in judges.values() if isinstance(judge, Attributed)}
        wanted = set(acting)
        self._symptoms = {
            judge: kind_of(judge.spec)
            for name, judge in judges.items()
            if name in wanted and not isinstance(judge, Attributed)
        }
        self._window = SignalWindow()
        self._deployment = ""
        self._since: int | None = None
        self._candidate = ""
        self._agreed = 0
        self._place = len(TABLE)  # of the row that was named
        self._said = False

    def begin_as(self, route: "Attribution", deployment: str) -> None:
        """Go on from what a route knows of one of its deployments, which is all that comes from now on."""
        self._deployment = deployment
        self._window = route._window.only(deployment)

    def absorb(self, segment: Segment) -> None:
        """Take the primary's calls into the signals."""
        self._window.absorb(segment)

    def skip(self) -> None:
        """Time has jumped over seconds without calls."""
        self._window.skip()

    def close(self, boundary: int, *, frozen: bool) -> str:
        """Close a pane and look for the cause if there are symptoms.

        Returns:
            what is to be said of a cause that cannot be told, once per fault; else "".
        """
        self._window.close(boundary, frozen=frozen)
        kinds = frozenset(kind for judge, kind in self._symptoms.items() if judge.latched)
        if not kinds:
            self._over()
            return ""
        if self._since is None:
            self._since = boundary
        if boundary - self._since > WATCHED_S:
            return ""
        shifts = self._shifts(0)
        place = next((i for i, row in enumerate(TABLE) if row.matches(kinds, shifts)), len(TABLE))
        self._consider(place, shifts)
        if self._place < len(TABLE) or self._said or boundary - self._since < NAMED_WITHIN_S:
            return ""
        self._said = True
        return f"cause unknown: {_why_unknown(kinds, shifts)}{self._where(_telling(kinds))}"

    def settle(self) -> bool:
        """Let go of the cause if its symptoms are over; return whether there was one to let go of."""
        if self._since is None or any(judge.latched for judge in self._symptoms):
            return False
        self._over()
        return True

    def _over(self) -> None:
        known = self._window.known
        for judge in self._causes.values():
            judge.watch(known=known)
        self._since, self._candidate, self._agreed, self._place = None, "", 0, len(TABLE)
        self._said = False

    def _consider(self, place: int, shifts: Mapping[str, Shift]) -> None:
        """Name the cause of a row once two evaluations agree, unless one further up has been named."""
        cause = TABLE[place].cause if place < len(TABLE) else ""
        self._agreed = self._agreed + 1 if cause and cause == self._candidate else 1
        self._candidate = cause
        if not cause or self._agreed < _AGREE or place >= self._place:
            return
        changed = self._place == len(TABLE) or TABLE[self._place].cause != cause
        self._place = place
        if not changed:
            return
        for name, judge in self._causes.items():
            if name == cause:
                judge.name(self._verdict(TABLE[place], shifts))
            elif judge.latched:
                judge.watch(known=True)

    def _verdict(self, row: Row, shifts: Mapping[str, Shift]) -> Verdict:
        for_it = [name for name in (*row.all_of, *row.one_of) if shifts[name].level is Level.HIGH]
        against = [name for name, shift in shifts.items() if shift.level is Level.HIGH and name not in for_it]
        missing = [name for name in row.signals if shifts[name].level is Level.MISSING]
        detail: dict[str, float | str] = {"decided by": _said(for_it, shifts)}
        if row.normal:
            detail["normal"] = ", ".join(row.normal)
        if against:
            detail["also changed"] = _said(against, shifts)
        if missing:
            detail["not measured"] = ", ".join(missing)
        deployment = self._at_fault(for_it)
        detail["deployment"] = deployment or "not localised"
        leading = for_it[0]
        return Verdict(
            Outcome.BREACH,
            shifts[leading].change,
            SIGNALS[leading].matters,
            shifts[leading].samples,
            float(RECENT_S),
            detail,
        )

    def _shifts(self, row: int) -> dict[str, Shift]:
        """Every signal's shift, of the route (0) or of a deployment, over the clearer of the spans."""
        blocks = self._window.reference()[:, row]
        recent = [self._window.recent(seconds)[row] for seconds in SPANS_S]
        shifts = {}
        for name in SIGNALS:
            if name == "golden":
                shifts[name] = golden_shift(self._window.golden()[row], blocks)
            else:
                found = [shift_of(name, sums, blocks) for sums in recent]
                shifts[name] = found[-1] if found[0].z < found[-1].z else found[0]
                if shifts[name].level is Level.MISSING:
                    shifts[name] = found[-1]
        return shifts

    def _at_fault(self, signals: Iterable[str]) -> str:
        if self._deployment:
            return self._deployment
        by_deployment = {name: self._shifts(row) for name, row in self._window.deployments.items()}
        return at_fault(signals, by_deployment)

    def others_change(self, predicate: PredicateSpec, deployment: str) -> bool:
        """Whether another deployment shows the symptom too, though it may not be beyond its limit yet.

        Where all slow down, one of them is the first to be too slow.
        """
        kind = kind_of(predicate)
        signals = (*_telling(frozenset({kind})), *(("queue",) if kind == "slow" else ()))
        healthy = self._window.reference()
        lately = [self._window.unclosed(), *(self._window.recent(seconds) for seconds in SPANS_S)]
        rows = [row for name, row in self._window.deployments.items() if name != deployment]
        return any(
            shift_of(signal, sums[row], healthy[:, row]).level is Level.HIGH
            for row, signal, sums in product(rows, signals, lately)
        )

    def _where(self, signals: Iterable[str]) -> str:
        deployment = "" if self._deployment else self._at_fault(signals)
        return f"; {deployment} alone has changed" if deployment else ""

    def state(self) -> dict[str, Any]:
        """Plain values that `load` takes back."""
        return {
            "window": self._window.state(),
            "deployment": self._deployment,
            "since": self._since,
            "candidate": self._candidate,
            "agreed": self._agreed,
            "place": self._place,
            "said": self._said,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""
        self._window.load(state["window"])
        self._deployment = state["deployment"]
        self._since, self._candidate, self._agreed = state["since"], state["candidate"], state["agreed"]
        self._place, self._said = state["place"], state["said"]


def kind_of(spec: PredicateSpec) -> str:
    """What a predicate is a symptom of; "" for a field that the table does not know."""
    return "quality" if spec.evaluation else _KIND_OF.get(spec.field, "")


def _telling(kinds: frozenset[str]) -> tuple[str, ...]:
    """Signals that show a symptom itself."""
    shown = {
        "slow": ("latency",),
        "failing": ("error",),
        "quality": ("hallucinated", "refused"),
        "answers": ("output",),
    }
    return tuple(name for kind, names in shown.items() if kind in kinds for name in names)


def _why_unknown(kinds: frozenset[str], shifts: Mapping[str, Shift]) -> str:
    rows = [row for row in TABLE if row.explains & kinds]
    looked = dict.fromkeys(name for row in rows for name in row.signals)
    if not looked:
        return "no row of the table explains this symptom"
    high = [name for name in looked if shifts[name].level is Level.HIGH]
    missing = [name for name in looked if shifts[name].level is Level.MISSING]
    said = f"changed: {_said(high, shifts)}" if high else "no signal of a cause has changed"
    return said + (f"; not measured enough: {', '.join(missing)}" if missing else "")


def _said(names: Iterable[str], shifts: Mapping[str, Shift]) -> str:
    return ", ".join(f"{name} {_amount(name, shifts[name])}" for name in names)


def _amount(name: str, shift: Shift) -> str:
    signal = SIGNALS[name]
    if signal.relative:
        return f"{shift.change:+.0%} (z {shift.z:.0f})"
    return f"{shift.change:+.3g}{' ' + signal.unit if signal.unit else ''} (z {shift.z:.0f})"
