"""What is wrong with a contract file: one finding per problem, and the table of all rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]  # a note is worth knowing and nothing is wrong


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One problem. `line` and `column` count from 1; they name the value at fault, or its key."""

    file: str
    line: int
    column: int
    rule: str
    message: str
    advice: str
    severity: Level = "error"


class ContractError(ValueError):
    """A contract file that cannot be used. `findings` holds every problem found, warnings included."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        errors = [found for found in self.findings if found.severity == "error"]
        first = errors[0] if errors else self.findings[0]
        more = len(self.findings) - 1
        super().__init__(
            f"{first.file}:{first.line}:{first.column} {first.rule} {first.message}"
            + (f" (and {more} more)" if more else "")
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of problem: what it means and, where the finding itself has nothing better, what to do."""

    id: str
    means: str
    advice: str
    severity: Level = "error"


_TABLE = (
    # Reading the file.
    Rule("file-too-large", "the file is larger than any contract", "move recorded data out of the contract"),
    Rule("not-utf8", "the file is not UTF-8 text", "save it as UTF-8"),
    Rule("yaml-syntax", "the file is not YAML", "correct the syntax at this place"),
    Rule("tab-indent", "a line is indented by a tab", "indent with spaces"),
    Rule("several-documents", "the file holds more than one document", "keep one contract per file"),
    Rule("not-a-mapping", "the document is not a mapping of keys", "begin with `version: 1`"),
    Rule("yaml-alias", "an alias stands for another part of the file", "write the value out here"),
    Rule("yaml-tag", "a value carries a YAML tag", "remove the tag"),
    Rule("too-deep", "values are nested deeper than in any contract", "flatten this part"),
    Rule("key-not-text", "a key is a list or a mapping", "write the key as plain text"),
    Rule("duplicate-key", "a key stands twice in one mapping", "keep one of the two"),
    # The shape of each value.
    Rule("wrong-version", "the version is not one that this program reads", "write `version: 1`"),
    Rule("unknown-key", "a key that the contract does not have", "remove it"),
    Rule("missing-key", "a key that must be there is not", "add it"),
    Rule(
        "wrong-type",
        "a value of another type than the key takes",
        "write a value of the type that is asked for",
    ),
    Rule("unknown-choice", "a word that the key does not take", "use one of the words that it takes"),
    Rule("out-of-range", "a number that cannot be", "write a number within the range"),
    Rule("bad-name", "a name that is empty, too long, or reserved", "use 1 to 200 characters, and not `*`"),
    Rule("empty-list", "a list with nothing in it", "name at least one"),
    Rule("no-modes", "no failure mode is declared", "declare at least one under `modes`"),
    # Numbers with a rule of their own.
    Rule(
        "window-length",
        "a window that is not whole seconds up to an hour",
        "windows are kept in panes of one second: use whole seconds, 1 to 3600",
    ),
    Rule("revert-too-slow", "longer than 10 s without an attempt to revert", "use at most 10 seconds"),
    Rule(
        "lease-too-short",
        "a lease that one worker's death lets lapse",
        "use more than heartbeat 3 s + session time-out 6 s + rebalance and claim 3 s; the default is 15",
    ),
    Rule(
        "run-too-short",
        "a literal run rule that healthy traffic sets off",
        "ask for a longer run",
        "warning",  # it is the rule that people write down: it runs as they ask
    ),
    Rule("slo-contradiction", "a service level that leaves no time for a fallback", "correct the times"),
    Rule(
        "fallback-too-slow",
        "a fallback outside the latency envelope",
        "use a faster fallback or a longer p99_ms",
    ),
    Rule(
        "fallback-mean-too-slow",
        "fallbacks too slow on the mean, weighted by share",
        "give the faster ones more",
    ),
    Rule("shares-not-one", "the shares of the fallbacks do not sum to 1", "correct the shares"),
    # Names that have to exist, and fit.
    Rule(
        "unknown-predicate",
        "a mode rests on a predicate that is not declared",
        "declare it under `predicates`",
    ),
    Rule("unknown-mode", "a failure mode that is not declared", "declare it under `modes`"),
    Rule("unknown-fallback", "a fallback that is not declared", "declare it under `fallbacks`"),
    Rule(
        "unknown-input-class", "an input class that no route has", "add it to the `input_classes` of a route"
    ),
    Rule(
        "unknown-field",
        "a field that telemetry does not have",
        "use a field of telemetry or `features.<name>`",
    ),
    Rule("field-type", "a field of another type than the predicate judges", "choose a field of that type"),
    Rule(
        "judge-tells-nothing",
        "a judge whose verdicts cannot tell a rate above the ceiling",
        "measure the judge on calls with known answers; leave `judge` out to take verdicts at their word",
    ),
    Rule("no-source", "a predicate without anything to judge", "name a `field`"),
    Rule("two-ways", "both `by` and `given`", "keep one, or make two predicates"),
    Rule("two-sources", "a predicate with both a field and an evaluation", "keep one of the two"),
    Rule("no-limit", "an exceedance that does not say what it is that is exceeded", "give a limit"),
    Rule(
        "filter-field",
        "a filter by a field that has no values to pick from",
        "filter by `route`, a text field, `probe` or `features.<name>`",
    ),
    Rule("filter-value", "a filter by a value that the field never has", "write a value of the field's type"),
    Rule(
        "filter-unread",
        "a filter on a predicate that sees no single calls",
        "remove it, or judge a telemetry field",
    ),
    Rule(
        "filter-blind",
        "a filter that hides what the predicate has to see",
        "remove it, or add the values that it leaves out",
    ),
    Rule(
        "filter-route",
        "a filter by a route that telemetry will hardly bring",
        "correct the name, or add a pattern that matches it to `routes`",
        "warning",  # which routes there are comes with the telemetry
    ),
    # Modes and the matrix.
    Rule("condition-shape", "a condition that is not one of all, any, at_least", "keep one of them"),
    Rule("never-holds", "a condition that asks for more predicates than it names", "lower `n` or name more"),
    Rule("mode-without-row", "a mode that acts has no row in the matrix", "add a row for it"),
    Rule(
        "early-acts",
        "a mode acts on a sign that is not harm",
        "give the mode `severity: notice`, or rest it on an exceedance of the limit",
    ),
    Rule("mutes-itself", "a mode mutes itself", "remove it from its own `mutes`"),
    Rule("mute-cycle", "modes mute each other in a circle", "leave only the cause muting the symptom"),
    Rule(
        "unreachable-route", "an earlier rule takes all that this one matches", "move it before the wider one"
    ),
    Rule("unreachable-row", "other rows decide in every case of this one", "remove it or merge it"),
    Rule("repeated-name", "a name stands twice in one list", "keep the first"),
    # What was learnt.
    Rule(
        "calibration-bins",
        "bins that do not fit their counts",
        "run `detector calibrate` again; it writes this part",
    ),
    Rule(
        "stale-calibration",
        "something was learnt about a predicate that is not declared, or that judges something else now",
        "run `detector calibrate` again, or remove this part",
        "warning",
    ),
    Rule(
        "ceiling-under-traffic",
        "the ceiling is lower than healthy traffic comes",
        "the contract's own value stands; raise it, or leave it out to use what was learnt",
        "note",
    ),
    Rule(
        "threshold-under-wander",
        "the threshold is lower than healthy windows stray",
        "raise threshold_nats to what is meant, or compare like with like, such as `given: tenant`",
        "note",
    ),
    Rule(
        "limit-over-promise",
        "calls may be slower than the route's service level promises, and nothing acts",
        "lower above_ms, give the route a limit of its own (where: {route: ..}), or raise its p99_ms",
        "note",
    ),
    # Not wrong, but not meant either.
    Rule("unused-predicate", "no mode rests on this predicate", "add a mode for it or remove it", "warning"),
    Rule(
        "unused-fallback",
        "no row of the matrix leads to this fallback",
        "add it to a row or remove it",
        "warning",
    ),
    Rule(
        "unit-mismatch",
        "a limit in milliseconds on a field that is no duration",
        "choose a field in seconds: above_ms / 1000 is what its values are compared with",
        "warning",
    ),
    Rule("unused-key", "a key that this type or method does not read", "remove it", "warning"),
    Rule(
        "class-without-row",
        "a mode has rows, but none for this input class",
        "add a row for the rest",
        "warning",
    ),
)

RULES: dict[str, Rule] = {rule.id: rule for rule in _TABLE}
