"""Put millpond under its name in Dask's table of schedulers, and out of Dask's tracebacks."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

from .entry import get

__all__ = ["register"]

_SHORTEN = "admin.traceback.shorten"


def register(dask_base: ModuleType) -> None:
    """Make ``scheduler="millpond"`` known to a freshly imported ``dask.base``."""
    schedulers = getattr(dask_base, "named_schedulers", None)
    if isinstance(schedulers, dict):
        schedulers["millpond"] = get
        _shorten_tracebacks()


def _shorten_tracebacks() -> None:
    """Have Dask leave our frames out of the tracebacks it shows, as it leaves out its own."""
    import dask.config

    shortened = dask.config.get(_SHORTEN, None)
    if not shortened:
        return
    engine = sys.modules["millpond"].__file__
    directories = [Path(__file__).parents[1]] + ([Path(engine).parent] if engine else [])
    patterns = [re.escape(str(directory)) for directory in directories]
    dask.config.set({_SHORTEN: [*shortened, *patterns]})
