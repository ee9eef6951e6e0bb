"""The panic threshold: at most a share of a partition's routes may be in fallback at once.

When nearly everything looks faulty it is more often the telemetry, or something that fallbacks share,
that is at fault; and fallbacks sized for some routes would be given all of them. Beyond the threshold a
route's state is `withheld`: calls stay with the primary, a notice says so, and it activates as soon as
another route returns. One route may always be in fallback. Which ones are depends on who asked first.
"""

import math

PANIC = "panic_threshold"  # what the notice is about, in the place of a mode


class Panic:
    """Who of a partition's routes is in fallback.

    Args:
        share: the most of them at once, (0, 1]; 1: no limit.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._known: set[str] = set()
        self._engaged: set[str] = set()

    def meet(self, route: str) -> None:
        """Count a route."""
        self._known.add(route)

    def forget(self, route: str) -> None:
        """A route is not held any more."""
        self._known.discard(route)
        self._engaged.discard(route)

    def admits(self, route: str) -> bool:
        """Whether the route may go to its fallbacks now."""
        return self.share >= 1 or route in self._engaged or len(self._engaged) < self.most

    def enter(self, route: str) -> None:
        """The route's calls go to fallbacks now."""
        self._engaged.add(route)

    def leave(self, route: str) -> None:
        """They do not any more."""
        self._engaged.discard(route)

    @property
    def most(self) -> int:
        """How many routes may be in fallback at once."""
        return max(1, math.floor(self.share * len(self._known)))

    def said(self) -> str:
        """Why a route is withheld, in words."""
        return (
            f"panic threshold: {len(self._engaged)} of {len(self._known)} routes are in fallback, "
            f"and max_active_share allows {self.most}"
        )
