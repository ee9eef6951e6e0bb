"""Child processes that end with their parent, however it ends."""

import ctypes
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


#: For `subprocess.Popen(preexec_fn=...)`: the child gets a SIGTERM when its parent dies. The service would
#: otherwise wait for its broker for ever. Only Linux can do that.
end_with_parent: Callable[[], None] | None = _end_with_parent if sys.platform == "linux" else None
