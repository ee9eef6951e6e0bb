"""Rules about names: what a predicate judges, what a mode rests on, what mutes what."""

from collections.abc import Callable, Iterator

from detector.contract.draft import Draft, Path, nearest, shown
from detector.contract.fields import (
    ASKED,
    FEATURES,
    GIVEN,
    KINDS,
    ROUTE,
    SHORTFALLS,
    FieldKind,
    field_kind,
    fits,
    fitting,
)
from detector.contract.grammar import READ_BY_ALL, READ_BY_METHOD, READ_BY_TYPE
from detector.contract.model import Condition, Contract, Mode, PredicateSpec, most_on_a_route

_MOST_SHOWN = 8
EARLY = "log_cusum"  # sees calls become slower within any limit, which is no harm yet
HIGHEST_OBSERVED = 0.9  # share of bad calls above which no test looks for more
_KINDS_SAID: dict[FieldKind, str] = {
    "number": "a number",
    "boolean": "true or false",
    "text": "text",
    "feature": "a number or text",
    "list": "a list",
    "identity": "the identity of a call",
}
_FILTERS = ("text", "boolean", "feature")
FILTERING = [ROUTE, *(name for name, kind in KINDS.items() if kind in _FILTERS)]
_SCORES = ("score_below", "score_above")


def predicates(draft: Draft, contract: Contract) -> None:
    """Each predicate has one source that fits it, a limit where it needs one, and no key it does not read."""
    acting = {name for mode in contract.modes.values() if mode.acts for name in mode.predicates}
    for spec in contract.predicates.values():
        for rule, keys in _RULES.items():
            if all(draft.sound("predicates", spec.name, key) for key in ("type", "method", *keys)):
                rule(draft, spec)
        if spec.name in acting and draft.sound("predicates", spec.name, "where"):
            _way_back(draft, spec)


def _source(draft: Draft, spec: PredicateSpec) -> None:
    here = ("predicates", spec.name)
    takes_evaluation = "evaluation" in READ_BY_TYPE[spec.type]
    if spec.evaluation and not takes_evaluation:
        message = f"evaluations are verdicts, which a {spec.type} cannot judge"
        draft.report("field-type", (*here, "evaluation"), message, "use a rate or an exceedance", key=True)
    elif spec.type == "absence":
        return
    elif spec.type == "attribution":
        if not spec.cause:
            draft.report(
                "missing-key", here, "an attribution needs its `cause`", "name a failure mode", key=True
            )
    elif spec.field and spec.evaluation:
        draft.report(
            "two-sources", (*here, "evaluation"), "both a field and an evaluation are named", key=True
        )
    elif not spec.field and not spec.evaluation:
        wanted = "a `field` or an `evaluation`" if takes_evaluation else "a `field`"
        known = ", ".join(fitting(spec.type)[:6])
        draft.report(
            "no-source", here, f"type {spec.type} needs {wanted}", f"name one, such as {known}", key=True
        )
    elif spec.field:
        _field(draft, spec)


def _field(draft: Draft, spec: PredicateSpec) -> None:
    here = ("predicates", spec.name, "field")
    kind = field_kind(spec.field)
    if kind is None:
        advice = nearest(spec.field, fitting(spec.type), f"or {FEATURES}<name> for one of your own")
        draft.report("unknown-field", here, f"telemetry has no field {shown(spec.field)}", advice)
    elif not fits(spec.field, spec.type):
        advice = f"type {spec.type} takes: {', '.join(fitting(spec.type))}"
        draft.report(
            "field-type",
            here,
            f"{spec.field} is {_KINDS_SAID[kind]}, which a {spec.type} cannot judge",
            advice,
        )
    elif spec.type == "divergence" and kind in ("text", "list") and spec.method not in ("default", "literal"):
        message = f"{spec.field} is {_KINDS_SAID[kind]}, and {spec.method} needs numbers"
        draft.report("field-type", here, message, "use the default method, or literal")


def _limit(draft: Draft, spec: PredicateSpec) -> None:
    here = ("predicates", spec.name)
    if spec.type == "repetition" and spec.above_share is None:
        advice = "give above_share, such as 0.7"
        draft.report("no-limit", here, "a repetition needs its limit", advice, key=True)
    if spec.type == "shortfall" and spec.field in SHORTFALLS:
        _usual(draft, spec)
    if spec.type != "exceedance":
        return
    if spec.evaluation:
        if spec.score_below is None and spec.score_above is None:
            advice = "give score_below or score_above"
            draft.report("no-limit", here, "an exceedance of a score needs its limit", advice, key=True)
    elif spec.method == EARLY:
        return
    elif spec.field and spec.above_ms is None:
        draft.report("no-limit", here, "an exceedance needs its limit", "give above_ms", key=True)
    elif field_kind(spec.field) == "number" and not spec.field.endswith("_s"):
        message = f"{spec.field} is not in seconds, and above_ms is in milliseconds"
        draft.report("unit-mismatch", (*here, "above_ms"), message, key=True)


def _judge(draft: Draft, spec: PredicateSpec) -> None:
    if spec.judge is None or spec.type != "rate":
        return
    here, judge = ("predicates", spec.name, "judge"), spec.judge
    if judge.sensitivity + judge.specificity <= 1:
        message = "sensitivity and specificity sum to 1 or less: its verdicts say no more than a coin"
        draft.report("judge-tells-nothing", here, message, key=True)
    elif judge.observed(spec.ceiling) >= HIGHEST_OBSERVED:
        share = judge.observed(spec.ceiling)
        message = f"at the ceiling this judge calls {share:.0%} of all calls bad: more cannot be told"
        draft.report("judge-tells-nothing", here, message, key=True)


def _usual(draft: Draft, spec: PredicateSpec) -> None:
    here = ("predicates", spec.name)
    wanted = SHORTFALLS[spec.field]
    if getattr(spec, wanted) is None:
        draft.report("no-limit", here, "a shortfall needs its limit", f"give {wanted}", key=True)
    for key in set(SHORTFALLS.values()) - {wanted}:
        if getattr(spec, key) is not None:
            message = f"{spec.field} falls short by {wanted}, not by {key}"
            draft.report("unit-mismatch", (*here, key), message, f"use {wanted}", key=True)


def _filter(draft: Draft, spec: PredicateSpec) -> None:
    here = ("predicates", spec.name, "where")
    if (spec.where or spec.routes) and (spec.evaluation or spec.type in ("absence", "attribution")):
        what = (
            "an evaluation's verdicts have no fields of a call"
            if spec.evaluation
            else "silence has no calls"
            if spec.type == "absence"
            else "a cause is told from all calls; there is nothing"
        )
        draft.report("filter-unread", here, f"{what} to filter by", key=True)
        return
    for name, values in spec.where:
        kind = field_kind(name)
        more = f"or {FEATURES}<name> for one of your own"
        if kind is None:
            message, advice = f"telemetry has no field {shown(name)}", nearest(name, FILTERING, more)
            draft.report("filter-field", (*here, name), message, advice, key=True)
        elif kind not in _FILTERS:
            message = f"calls cannot be picked by {shown(name)}"
            advice = f"they can by: {', '.join(FILTERING)}; {more}"
            draft.report("filter-field", (*here, name), message, advice, key=True)
        for value in values:
            if kind in _FILTERS and isinstance(value, bool) != (kind == "boolean"):
                fitting_value = (
                    "true or false" if kind == "boolean" else "text, in quotes where YAML reads it otherwise"
                )
                message = f"{name} is never {shown(value)}"
                draft.report("filter-value", (*here, name), message, f"write {fitting_value}")


def _blind(draft: Draft, spec: PredicateSpec) -> None:
    """A filter must leave the calls that tell good from bad."""
    if spec.evaluation or spec.type in ("absence", "attribution"):  # which is said already
        return
    wanted = dict(spec.where)
    where = ("predicates", spec.name, "where")
    if "error" in wanted and (spec.type != "rate" or spec.field == "error"):
        message = f"a {spec.type} leaves failed calls out: it would see none"
        if spec.type == "rate":
            message = "it would see failed calls alone, and all that it sees would be bad"
        draft.report("filter-blind", (*where, "error"), message, "remove it", key=True)
    if "primary" not in wanted.get("served_by", ("primary",)) and spec.type != "divergence":
        message = "what a fallback answers is not judged: it would see no call"
        draft.report("filter-blind", (*where, "served_by"), message, key=True)


def _way_back(draft: Draft, spec: PredicateSpec) -> None:
    """A filter must leave the calls that tell that a fault is over."""
    if dict(spec.where).get("probe") == (False,):
        where = ("predicates", spec.name, "where", "probe")
        message = "all that reaches the primary of an active scope are probes: it would never see the end"
        draft.report("filter-blind", where, message, key=True)


def _strata(draft: Draft, spec: PredicateSpec) -> None:
    """Strata are told apart by text fields that are not of one call alone."""
    texts = [name for name, kind in KINDS.items() if kind == "text"]
    for index, name in enumerate(spec.by):
        path = ("predicates", spec.name, "by", index)
        kind = field_kind(name)
        if kind is None:
            draft.report("unknown-field", path, f"telemetry has no field {shown(name)}", nearest(name, texts))
        elif kind not in ("text", "feature"):
            advice = f"strata are told apart by: {', '.join(texts)}"
            draft.report("field-type", path, f"{name} is {_KINDS_SAID[kind]}, not a group of calls", advice)


def _alone(draft: Draft, spec: PredicateSpec) -> None:
    """Callers are told apart by what was asked, or of whom."""
    here: Path = ("predicates", spec.name, "unless_alone")
    if not spec.unless_alone or spec.unless_alone in ASKED:
        return
    if field_kind(spec.unless_alone) is None:
        message = f"telemetry has no field {shown(spec.unless_alone)}"
        draft.report("unknown-field", here, message, nearest(spec.unless_alone, list(ASKED)))
    else:
        message = f"{spec.unless_alone} does not say who asked, or what"
        draft.report("field-type", here, message, f"callers are told apart by: {', '.join(ASKED)}")


def _given(draft: Draft, spec: PredicateSpec) -> None:
    """Token counts are compared at equal values of what was asked."""
    kind = field_kind(spec.given)
    default = spec.type == "divergence" and spec.method == "default"
    if not spec.given or not default or field_kind(spec.field) is None:  # which is said already
        return
    here: Path = ("predicates", spec.name, "given")
    strata = GIVEN.get(spec.field)
    if strata is None:
        message = f"{shown(spec.field)} is no token count, and only those are compared given something"
        draft.report("field-type", here, message, f"judge {' or '.join(GIVEN)}", key=True)
    elif kind is None:
        advice = nearest(spec.given, list(strata))
        draft.report("unknown-field", here, f"telemetry has no field {shown(spec.given)}", advice)
    elif spec.given not in strata:
        advice = f"{spec.field} is compared given one of: {', '.join(strata)}"
        draft.report("field-type", here, f"{spec.given} does not say what was asked before", advice)
    elif spec.by:
        message = "strata `by` are judged each by itself already; `given` judges all together"
        draft.report("two-ways", here, message, key=True)


def _unread(draft: Draft, spec: PredicateSpec) -> None:
    read = READ_BY_TYPE[spec.type] | READ_BY_ALL
    if not spec.evaluation:
        read -= set(_SCORES)
    else:
        # Where no evaluation belongs, that is said already.
        read = read - {"above_ms", "unless_alone"} | {"evaluation"}
    for key in (*READ_BY_ALL, *sorted(frozenset().union(*READ_BY_TYPE.values()) - READ_BY_ALL)):
        if not draft.written("predicates", spec.name, key):
            continue
        path = ("predicates", spec.name, key)
        methods = READ_BY_METHOD.get((spec.type, key))
        if key not in read:
            what = "a field" if key in _SCORES and key in READ_BY_TYPE[spec.type] else f"type {spec.type}"
            draft.report("unused-key", path, f"{what} does not read {key!r}", key=True)
        elif methods is not None and spec.method not in methods:
            message = f"the {spec.method} method of a {spec.type} does not read {key!r}"
            advice = f"remove it; it belongs to method {', '.join(sorted(methods))}"
            draft.report("unused-key", path, message, advice, key=True)
    single = {
        "absence": "an absence",
        "attribution": "an attribution",
        "repetition": "a repetition",
        "shortfall": "a shortfall",
    }
    one_method = "an evaluation" if spec.evaluation else single.get(spec.type, "")
    plain = ("default", "literal") if spec.type == "absence" else ("default",)
    if one_method and spec.method not in plain:
        path = ("predicates", spec.name, "method")
        draft.report("unknown-choice", path, f"{one_method} has no method {spec.method!r}", "remove it")
    elif not one_method and spec.method == EARLY and spec.type != "exceedance":
        path = ("predicates", spec.name, "method")
        draft.report("unknown-choice", path, f"type {spec.type} has no method {EARLY!r}", "use an exceedance")


_LIMITS = ("above_ms", "score_below", "score_above", "above_share", "below_share", "below_nats")
# Each with the keys that must have been read for it to say anything.
_RULES: dict[Callable[[Draft, PredicateSpec], None], tuple[str, ...]] = {
    _source: ("field", "evaluation", "cause"),
    _limit: ("field", "evaluation", *_LIMITS),
    _judge: ("judge", "ceiling"),
    _filter: ("where", "evaluation"),
    _blind: ("where", "field", "evaluation"),
    _unread: ("evaluation",),
    _strata: ("by",),
    _given: ("given", "field", "by"),
    _alone: ("unless_alone",),
}


def modes(draft: Draft, contract: Contract) -> None:
    """There are modes, each rests on a declared predicate and mutes declared modes, never itself."""
    declared, known = draft.names("modes"), draft.names("predicates")
    mode_names, predicate_names = set(declared or ()), set(known or ())
    if declared == []:
        draft.report(
            "no-modes", ("modes",), "no failure mode is declared: nothing could ever happen", key=True
        )
    for mode in contract.modes.values():
        here = ("modes", mode.name)
        for name, at in _rests_on(draft, mode):
            if known is not None and name not in predicate_names:
                advice = nearest(name, known, "declare it under `predicates`")
                draft.report("unknown-predicate", at, f"no predicate {shown(name)}", advice)
        if isinstance(mode.when, Condition) and draft.sound(*here, "when"):
            _together(draft, contract, mode.when, (*here, "when"))
        for name, at in _rests_on(draft, mode):
            early = name in contract.predicates and contract.predicates[name].method == EARLY
            if early and mode.acts:
                draft.report(
                    "early-acts", at, f"{shown(name)} says that calls are slower, not that any is too slow"
                )
        for index, muted in enumerate(mode.mutes):
            # A list with a broken entry has moved up: point at the list then.
            at = (*here, "mutes", index) if draft.sound(*here, "mutes") else (*here, "mutes")
            if muted == mode.name:
                draft.report("mutes-itself", at, f"{shown(mode.name)} mutes itself")
            elif muted not in mode_names:
                draft.report("unknown-mode", at, f"no mode {shown(muted)}", nearest(muted, declared or []))
    _cycles(draft, contract.modes)


def _together(draft: Draft, contract: Contract, when: Condition, here: Path) -> None:
    """Enough predicates can hold at once, on one route."""
    known = [contract.predicates[name] for name in when.of if name in contract.predicates]
    unknown = len(when.of) - len(known)
    if when.least > len(when.of):
        message = f"{when.least} of {len(when.of)} predicates can never hold"
        draft.report("never-holds", (*here, "at_least", "n"), message)
    elif when.least > most_on_a_route(known) + unknown:
        message = f"there is no route on which {when.least} of these predicates are judged"
        draft.report("never-holds", here, message, "name predicates of the same routes, or use `any`")


def _rests_on(draft: Draft, mode: Mode) -> Iterator[tuple[str, Path]]:
    """Each predicate of a mode, and where the file names it."""
    here: Path = ("modes", mode.name, "when")
    if isinstance(mode.when, str):
        yield mode.when, here
        return
    for way in (("all",), ("any",), ("at_least", "of")):
        if draft.written(*here, *way):
            here = (*here, *way)
            break
    for index, name in enumerate(mode.when.of):
        # A list with a broken entry has moved up: point at the list then.
        yield name, (*here, index) if draft.sound(*here) else here


def _cycles(draft: Draft, declared: dict[str, Mode]) -> None:
    """Report a circle of muting for each edge that closes one, at the mode where it closes.

    A walk in depth: an edge to a mode on the present path closes a circle, and every circle has such an edge.
    """
    done: set[str] = set()
    for start in declared:
        path: dict[
            str, Iterator[str]
        ] = {}  # modes from the start to the present one, with the edges left to walk
        following: str | None = None if start in done else start
        while following is not None or path:
            if following is not None:
                path[following] = iter(declared[following].mutes)
            here = next(reversed(path))
            following = None
            for muted in path[here]:
                if muted in path and muted != here:
                    circle = [*path][[*path].index(muted) :]
                    shape = " -> ".join(map(shown, [*circle[:_MOST_SHOWN], muted]))
                    draft.report(
                        "mute-cycle", ("modes", muted, "mutes"), f"these mute each other: {shape}", key=True
                    )
                elif muted in declared and muted != here and muted not in done:
                    following = muted
                    break
            else:
                done.add(here)
                del path[here]


def unused(draft: Draft, contract: Contract) -> None:
    """Every predicate and every fallback is led to from somewhere."""
    if draft.sound("modes") and draft.names("modes"):
        for name in set(contract.predicates) - {
            name for mode in contract.modes.values() for name in mode.predicates
        }:
            draft.report(
                "unused-predicate", ("predicates", name), f"no mode rests on {shown(name)}", key=True
            )
    if draft.sound("matrix") and contract.matrix:
        for name in set(contract.fallbacks) - {name for row in contract.matrix for name in row.fallbacks}:
            draft.report("unused-fallback", ("fallbacks", name), f"no row leads to {shown(name)}", key=True)
