"""One partition's owner: claim, takeover, renewal, answers, tombstones. Pure: messages and clock values in,
messages out.

    IDLE -assigned-> READING -end reached-> CLAIMING -own claim read back-> OWNING
                                                |                             |
                                               YIELDED <- foreign owner record of equal or greater epoch

One that has yielded stays so: once the group confirms the assignment, another one begins.
It writes control records while OWNING and at no other time; a claim while CLAIMING. Whatever is judged
meanwhile is kept, and what still holds is said afterwards. Times are Unix seconds.
"""

from collections.abc import Callable, Iterable
from enum import Enum

from msgspec.structs import replace

from detector.gateway.fold import Tombstone
from detector.modes.silence import EVERYTHING
from detector.service.control_log import ControlLog, ScopeEntry, Unreadable
from detector.service.echoes import Echoes
from detector.service.statements import (
    Judged,
    Message,
    Terms,
    content_of,
    control_message,
    counted_on,
    forced,
    nothing_wrong,
    owner_message,
    renews,
    says_the_same,
    tombstone_message,
    transition_message,
)
from topics.control import ControlRecord, Disposition, OwnerRecord
from topics.scope import split_scope

HEARTBEAT_S = 3.0
TOMBSTONE_AFTER_S = 24 * 3600.0
_SWEEP_EVERY_S = 60.0


class Phase(Enum):
    """Where an owner stands; see the module's picture."""

    IDLE = "idle"
    READING = "reading"
    CLAIMING = "claiming"
    OWNING = "owning"
    YIELDED = "yielded"


class PartitionOwner:
    """Speaks for one partition while it owns it.

    Args:
        partition: of the telemetry topic.
        owner_id: unique to this start of the process.
        log: what the worker reads of the control topic; fed before this object sees an entry.
        partition_of: the partitioner over the partition count as it is known now.
        event_id: the hash of (scope, transition) that the pipeline uses too.
        terms: of the contract: what an order uses where nothing is judged wrong, and the digest.
        lease_s, heartbeat_s: seconds.

    Attributes:
        phase: see `Phase`.
        epoch: of the present or last claim; 0 before the first.
        published: what this owner last wrote, per scope.
        judged: the pipeline's present state, per scope.
        beat_at: when the lease was renewed last, Unix seconds.
        suspects: by scope, the greatest record met that another partition wrote; not empty: the partition
            count is wanted. An own record may cover it before the count is known, so it is kept here.
    """

    def __init__(
        self,
        partition: int,
        owner_id: str,
        log: ControlLog,
        *,
        partition_of: Callable[[str], int],
        event_id: Callable[[str, int], str],
        terms: Terms,
        lease_s: float = 15.0,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.partition = partition
        self.owner_id = owner_id
        self.phase = Phase.IDLE
        self.epoch = self._audited = 0
        self.caught_up = False
        self.published: dict[str, ControlRecord] = {}
        self.judged: dict[str, Judged] = {}
        self.suspects: dict[str, ControlRecord] = {}
        self._before: dict[str, Judged] = {}  # judged before the present catching up began
        self._under: dict[str, ControlRecord] = {}  # what an order hides, per scope
        self._echoes = Echoes()
        self._log = log
        self._partition_of = partition_of
        self._event_id = event_id
        self._lease_s = lease_s
        self._heartbeat_s = heartbeat_s
        self._terms = terms
        self._pending: list[Judged] = []
        self._inactive_since: dict[str, float] = {}
        self.beat_at = self._swept_at = 0.0

    # What the group and the reader of the topic report.

    def assigned(self) -> None:
        """The group has given this partition: the topic is to be read to its end, then claimed."""
        self._forget()
        self.judged, self._before, self._pending = {}, {}, []
        self.caught_up = False
        self.phase = Phase.READING

    def revoked(self) -> None:
        """The group has taken the partition away: not a word more."""
        self._forget()
        self.phase = Phase.IDLE

    def reread(self, *, anew: bool) -> None:
        """The topic is being read again: it was made anew, or the worker was cut off.

        The epoch stands: whoever has claimed above it meanwhile is met on the way. What was published
        is remembered only for a topic made anew; otherwise the topic knows better.
        """
        if self.phase in (Phase.CLAIMING, Phase.OWNING, Phase.READING):
            if not anew:
                self.published = {}
            self.phase = Phase.READING

    def reached_end(self, now: float) -> list[Message]:
        """Both topics were read to the ends asked for after `assigned` or `reread`: claim."""
        return self._claim(now) if self.phase is Phase.READING else []

    def read_owner(self, entry: OwnerRecord, now: float) -> list[Message]:
        """An owner record of this partition, own ones included, in topic order."""
        if entry.owner == self.owner_id:
            if self.phase is Phase.CLAIMING and entry.epoch == self.epoch:
                return self._take_over(now)
            return []
        if entry.epoch >= self.epoch > 0:
            if self.phase not in (Phase.IDLE, Phase.YIELDED):
                self._yield()
            return []
        # A zombie's heartbeat would be what compaction keeps under the key.
        return [self._beat(now)] if self.phase is Phase.OWNING else []

    def read_scope(self, entry: ScopeEntry, now: float) -> list[Message]:
        """A message under the key of a scope whose route is this partition's, in topic order."""
        if self.phase is not Phase.OWNING:
            return []  # what lies under the keys is looked at when the claim is read back
        if isinstance(entry, ControlRecord) and entry.partition != self.partition:
            self._suspect(entry)
            return []
        published = self.published.get(entry.scope)
        own = self._echoes.is_own(entry, partition=self.partition, epoch=self.epoch, published=published)
        return [] if own else self._answer(entry, now)

    def recounted(self, now: float) -> list[Message]:
        """The partition count was asked for again: let go what went elsewhere, answer for what is here."""
        met, self.suspects = self.suspects, {}
        self.published = {s: record for s, record in self.published.items() if self._is_mine(s)}
        if self.phase is not Phase.OWNING:
            return []
        # What else lies under the own keys was answered when it was met.
        unanswered: list[ScopeEntry] = [entry for scope, entry in met.items() if self._is_mine(scope)]
        for scope, entry in self._log.last.items():
            known = scope in met or scope in self.published or isinstance(entry, Tombstone)
            if not known and self._is_mine(scope):
                unanswered.append(entry)
        if any(self._outranks(entry) for entry in unanswered):
            return self._claim(now)
        out = [said for entry in unanswered for said in self._answer(entry, now)]
        return out + self._say_what_is_missing(now)

    # What the pipeline reports.

    def restored(self, judged: Iterable[Judged], now: float) -> list[Message]:
        """The state that the snapshots carry; what the topic does not tell of it is said at once."""
        for decision in judged:
            if decision.disposition == "act":
                self.judged[decision.scope] = self._before[decision.scope] = decision
        return self._say_what_is_missing(now) if self.phase is Phase.OWNING else []

    def decided(self, decisions: Iterable[Judged], now: float) -> list[Message]:
        """Decisions in order. While catching up: for the audit alone; before the claim is read back: kept."""
        out: list[Message] = []
        for decision in decisions:
            acts = decision.disposition == "act"
            if acts:
                self.judged[decision.scope] = decision
            if not (self._is_mine(decision.scope) or decision.scope == EVERYTHING):
                continue  # unless the count that is known is an old one: then `recounted` says it
            if self.phase is not Phase.OWNING:
                self._pending.append(decision)
            elif not self.caught_up:
                out += self._audit(decision, "stale", now)
            elif not acts:
                out += self._audit(decision, decision.disposition, now)
            elif self._log.override(decision.scope, now) is not None:
                # The order stands, but an active scope lends it its mode and fallbacks.
                out += self._audit(decision, "shadow", now) + self._reconcile(decision.scope, now)
            else:
                out += self._write(content_of(decision), now, audit=decision.kind != "extended")
        return out

    def reached_now(self, now: float) -> list[Message]:
        """The telemetry is read to the end asked for: what is judged and not published is published."""
        self.caught_up = True
        self._before = {}
        return self._reconcile_all(now) if self.phase is Phase.OWNING else []

    def fell_behind(self) -> None:
        """Connected again: decisions wait until `reached_now`."""
        if self.caught_up:
            self.caught_up = False
            self._before = dict(self.judged)

    # What time and the operator do.

    def overridden(self, scope: str, now: float) -> list[Message]:
        """An operator's order for a scope came, changed, or was taken back."""
        answers = self.phase is Phase.OWNING and self._is_mine(scope)
        return self._reconcile(scope, now) if answers else []

    def tick(self, now: float) -> list[Message]:
        """Heartbeats, ends of orders, tombstones. Call it from the loop that judges, every second or so."""
        if self.phase is Phase.OWNING and self._log.fence_of(self.partition) > self.epoch:
            return self._claim(now)  # named under another's key: readers refuse what is said here
        out: list[Message] = []
        # A wall clock that was set back must not silence the heartbeat.
        if self.phase in (Phase.CLAIMING, Phase.OWNING) and not 0 <= now - self.beat_at < self._heartbeat_s:
            out.append(self._beat(now))
        if self.phase is not Phase.OWNING:
            return out
        for scope, record in list(self.published.items()):
            if record.override_until is not None and record.override_until <= now:
                out += self._reconcile(scope, now)
        if not 0 <= now - self._swept_at < _SWEEP_EVERY_S:
            self._swept_at = now
            out += self._bury(now)
        return out

    # How it is done.

    def _is_mine(self, scope: str) -> bool:
        return self._partition_of(split_scope(scope)[0]) == self.partition

    def _suspect(self, record: ControlRecord) -> None:
        met = self.suspects.get(record.scope)
        if met is None or (record.epoch, record.revision) > (met.epoch, met.revision):
            self.suspects[record.scope] = record

    def _outranks(self, entry: ScopeEntry) -> bool:
        return not isinstance(entry, Unreadable) and entry.epoch > self.epoch

    def _forget(self) -> None:
        self.epoch, self.published = 0, {}
        self._echoes.forget()
        self.suspects.clear()
        self._inactive_since.clear()

    def _yield(self) -> None:
        self._forget()
        self.phase = Phase.YIELDED

    def _claim(self, now: float) -> list[Message]:
        self.epoch = max(1 + self._log.greatest, int(now * 1000))
        self._log.greatest = self.epoch  # a topic made anew would not tell it any more
        self.phase = Phase.CLAIMING
        return [self._beat(now)]

    def _beat(self, now: float) -> Message:
        self.beat_at = now
        return owner_message(self.partition, self.owner_id, self.epoch, now, self._lease_s)

    def _take_over(self, now: float) -> list[Message]:
        """The claim is read back: say every scope under the own keys again, under the own epoch."""
        self.phase = Phase.OWNING
        out = [said for decision in self._pending for said in self._audit(decision, "stale", now)]
        self._pending = []
        found = dict.fromkeys(self.published)
        found |= dict.fromkeys(self._log.fold.held)
        # One that is refused by all who hold the fence is still what a late reader would find.
        found |= dict.fromkeys(s for s, entry in self._log.last.items() if isinstance(entry, ControlRecord))
        for scope in filter(self._is_mine, found):
            held = self._log.fold.held.get(scope)
            if held is not None and held.epoch > self.epoch:
                self._suspect(held)  # met while the claim was on its way
            out += self._write(self._right(scope, now, held), now, audit=False)
        return out + self._say_what_is_missing(now)

    def _right(self, scope: str, now: float, found: ControlRecord | None = None) -> ControlRecord:
        """What is to be said of a scope now.

        An order, else once caught up what is judged, else what was said before: by this owner, or
        `found` on the topic. A scope that none of them knows is inactive.
        """
        decision = (self.judged if self.caught_up else self._before).get(scope)
        said = None if self.caught_up else self.published.get(scope) or found
        if said is not None and said.source == "operator":
            said = self._under.get(scope, said)  # of an order before our time nobody knows what it hid
        base = said or (content_of(decision) if decision else nothing_wrong(scope, now, self._terms.digest))
        order = self._log.override(scope, now)
        if order is None:
            return base
        self._under[scope] = base
        return forced(order, base, self._terms.fallbacks_at_will(base.route))

    def _say_what_is_missing(self, now: float) -> list[Message]:
        """What is judged, or ordered, and the topic does not tell; with what differs, once caught up."""
        if self.caught_up:
            return self._reconcile_all(now)
        lacking = dict.fromkeys([*self._before, *self._log.overrides]).keys() - self.published.keys()
        return [said for s in sorted(lacking) if self._is_mine(s) for said in self._reconcile(s, now)]

    def _reconcile_all(self, now: float) -> list[Message]:
        known = dict.fromkeys([*self.published, *self.judged, *self._log.overrides])
        return [said for scope in known if self._is_mine(scope) for said in self._reconcile(scope, now)]

    def _reconcile(self, scope: str, now: float) -> list[Message]:
        wanted = self._right(scope, now)
        published = self.published.get(scope)
        if published is None:
            # Inactive for a day and not on the topic: buried, and to stay so.
            decision = self.judged.get(scope)
            old = decision is None or decision.at <= now - TOMBSTONE_AFTER_S
            if old and wanted.state == "inactive" and wanted.source == "detector":
                return []
        elif says_the_same(published, wanted):
            return []
        return self._write(wanted, now, audit=published is None or not renews(published, wanted))

    def _answer(self, entry: ScopeEntry, now: float) -> list[Message]:
        """Put the right record over another's, so that the last one under the key is the owner's own."""
        if self._outranks(entry):
            return self._claim(now)  # and once it is read back, every scope is said again
        if isinstance(entry, Unreadable) and entry.scope not in self.published:
            return []
        return self._write(self._right(entry.scope, now), now, audit=False)

    def _write(self, content: ControlRecord, now: float, *, audit: bool) -> list[Message]:
        """Issue `content` under the own epoch. Transitions go on counting from the greatest that is known."""
        scope = content.scope
        published, held = self.published.get(scope), self._log.fold.held.get(scope)
        before = published or held
        if published and held and (held.epoch, held.revision) > (published.epoch, published.revision):
            before = held  # another's record that readers have taken
        content = counted_on(content, before, self._event_id)
        news = content.transition > (before.transition if before else 0)
        turned = news and (before is None or before.state != content.state)
        record = replace(
            content,
            partition=self.partition,
            epoch=self.epoch,
            revision=self._next_revision(scope, published),
            issued_at=now,
            lease_s=self._lease_s,
            disposition="act",
        )
        self.published[scope] = record
        self._echoes.wrote(scope)
        self._note_inactivity(record, content.issued_at)
        out = [control_message(record, turned=turned)]
        if audit or news:
            out.append(transition_message(record, "act", turned=turned))
        return out

    def _next_revision(self, scope: str, published: ControlRecord | None) -> int:
        return max(published.revision + 1 if published else 1, self._log.next_revision(scope))

    def _audit(self, decision: Judged, disposition: Disposition, now: float) -> list[Message]:
        if decision.kind == "extended":
            return []
        record = replace(content_of(decision), partition=self.partition, epoch=self.epoch, issued_at=now)
        number = self._audited = self._audited + 1
        return [transition_message(record, disposition, turned=decision.kind != "revised", number=number)]

    def _note_inactivity(self, record: ControlRecord, since: float) -> None:
        if record.state == "active":
            self._inactive_since.pop(record.scope, None)
            return
        decision = self.judged.get(record.scope)
        judged_so = decision is not None and decision.state == "inactive"
        self._inactive_since.setdefault(record.scope, decision.at if decision and judged_so else since)

    def _bury(self, now: float) -> list[Message]:
        out: list[Message] = []
        for scope, since in list(self._inactive_since.items()):
            record = self.published.get(scope)
            if record is None or record.override_until is not None or now - since < TOMBSTONE_AFTER_S:
                continue
            del self._inactive_since[scope], self.published[scope]
            self._under.pop(scope, None)
            out.append(tombstone_message(scope, self.epoch, self._next_revision(scope, record)))
        return out
