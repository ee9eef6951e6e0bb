"""The pipeline over files and frames: `from detector.lab import replay, sweep, calibrate`.

Loads nothing until one of them is called. They have the names of the modules that do the work; the
functions are what the package shows, whether or not those modules have been imported before.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.lab.api import Calibrated, Replayed, Swept, calibrate, replay, sweep

__all__ = ["Calibrated", "Replayed", "Swept", "calibrate", "replay", "sweep"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from detector.lab import api

    return getattr(api, name)


class _Lab(ModuleType):
    """The import system sets a submodule as an attribute of its package, in place of the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Lab
