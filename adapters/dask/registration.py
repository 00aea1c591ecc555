"""Put millpond under its name in Dask's table of schedulers, and out of Dask's tracebacks.

Also, where millpond is the configured scheduler and no method of shuffling is: shuffles are
tasks. Dask's own default would be files beside the store, or dask.distributed's peer-to-peer.
"""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from types import ModuleType

from .entry import get

__all__ = ["register", "warm"]

_SHORTEN = "admin.traceback.shorten"


def register(dask_base: ModuleType) -> None:
    """Make ``scheduler="millpond"`` known to a freshly imported ``dask.base``."""
    schedulers = getattr(dask_base, "named_schedulers", None)
    if isinstance(schedulers, dict):
        schedulers["millpond"] = get
        _shorten_tracebacks()
        _shuffle_by_tasks()


def warm(_collections: ModuleType) -> None:
    """Have the workers of a running session import a kind of collections that was just imported."""
    import dask.config

    from .warming import warm_workers

    if _is_ours(dask.config.get("scheduler", None)):
        warm_workers()


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


def _shuffle_by_tasks() -> None:
    """Make tasks the default method of shuffling while millpond is the configured scheduler."""
    import dask.config
    import dask.utils

    name = "get_default_shuffle_method"
    theirs = getattr(dask.utils, name, None)
    if theirs is None or hasattr(theirs, "__wrapped__"):
        return

    @functools.wraps(theirs)
    def default_method() -> str:
        chosen = dask.config.get("dataframe.shuffle.method", None)
        if not chosen and _is_ours(dask.config.get("scheduler", None)):
            return "tasks"
        return str(theirs())

    # Modules of Dask that were imported before have names of their own for it.
    for module in [module for key, module in sys.modules.items() if key.startswith("dask.")]:
        if vars(module).get(name) is theirs:
            setattr(module, name, default_method)


def _is_ours(scheduler: object) -> bool:
    if isinstance(scheduler, str):
        return scheduler.lower() == "millpond"
    owner = getattr(scheduler, "__self__", scheduler)
    return owner is get or type(owner).__module__.startswith("millpond.")
