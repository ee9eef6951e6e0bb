"""What became of a stream of decisions: the activations in it, and a hash of all."""

import hashlib
from collections.abc import Iterable

import msgspec

from detector.modes.decision import Decision
from topics.control import Evidence


class Activation(msgspec.Struct, kw_only=True):
    """From the decision to leave the primary to the decision to return; times in Unix seconds of the data.

    Attributes:
        mode: the cause as it was named last; `predicate` and `evidence` are of that naming.
        named_at: when that was, where another cause had been named first; None: as it was activated.
        opened_by: the evidence that it was activated on, where that is another; None: `evidence` is it.
    """

    scope: str
    mode: str
    predicate: str
    disposition: str
    activated_at: float
    deactivated_at: float | None
    evidence: Evidence
    named_at: float | None = None
    opened_by: Evidence | None = None

    def rename(self, decision: Decision) -> None:
        """Take the cause that a decision names."""
        self.opened_by = self.opened_by or self.evidence
        self.mode, self.named_at = decision.mode, decision.at
        self.predicate, self.evidence = decision.evidence.predicate, decision.evidence


class Notice(msgspec.Struct, kw_only=True):
    """Something said beside activations, such as that a predicate is unusable; `at` in Unix seconds."""

    scope: str
    mode: str
    predicate: str
    at: float
    reason: str


def notices_of(decisions: Iterable[Decision]) -> tuple[Notice, ...]:
    """What was said that neither begins nor ends anything, each sentence of a scope once, oldest first."""
    told: dict[tuple[str, str], Notice] = {}
    for each in decisions:
        if each.disposition == "notice" and each.kind == "revised":
            told.setdefault(
                (each.scope, each.reason),
                Notice(
                    scope=each.scope,
                    mode=each.mode,
                    predicate=each.evidence.predicate,
                    at=each.at,
                    reason=each.reason,
                ),
            )
    return tuple(sorted(told.values(), key=lambda each: (each.at, each.scope)))


def digest_of(decisions: Iterable[Decision]) -> str:
    """Hash decisions scope by scope, in order; the partition says where a decision was made, not what it is.

    Returns:
        64 hexadecimal digits.
    """
    documents = [msgspec.to_builtins(decision) for decision in sorted(decisions, key=lambda each: each.scope)]
    for document in documents:
        del document["partition"]
        document["evidence"].pop("partition", None)
    return hashlib.sha256(msgspec.json.encode(documents, order="deterministic")).hexdigest()


def activations_of(decisions: Iterable[Decision]) -> tuple[Activation, ...]:
    """Pair each activation with the decision that ended it, oldest first.

    What is felt first is often a symptom, and its cause is known some seconds later: it has the cause's name.
    """
    found: list[Activation] = []
    open_at: dict[tuple[str, str], int] = {}
    for decision in decisions:
        # What acts is one state of the scope, whatever its mode; each mode that is only noticed has its own.
        whose = (decision.scope, "" if decision.disposition == "act" else decision.mode)
        if decision.kind == "activated":
            open_at[whose] = len(found)
            found.append(
                Activation(
                    scope=decision.scope,
                    mode=decision.mode,
                    predicate=decision.evidence.predicate,
                    disposition=decision.disposition,
                    activated_at=decision.at,
                    deactivated_at=None,
                    evidence=decision.evidence,
                )
            )
        elif decision.kind == "deactivated" and whose in open_at:
            found[open_at.pop(whose)].deactivated_at = decision.at
        elif decision.kind == "revised" and decision.disposition == "act" and whose in open_at:
            activation = found[open_at[whose]]
            if decision.mode not in ("", activation.mode):
                activation.rename(decision)
    return tuple(sorted(found, key=lambda each: (each.activated_at, each.scope)))
