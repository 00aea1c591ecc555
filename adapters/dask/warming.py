"""Having workers import what Dask's tasks need, while the driver still builds its graph.

New workers are forked from a process that has these modules; without it each worker imports them
for itself when its first task comes, which takes a second or two for dataframes.
"""

from __future__ import annotations

import sys

import millpond

__all__ = ["warm_workers"]

#: what runs the tasks, and brings Dask's core with it
_RUNNER = "millpond.adapters.dask.batch_node"
_COLLECTIONS = ("dask.array", "dask.bag", "dask.dataframe")


def warm_workers() -> None:
    """Have new workers import the collections that this process has imported.

    Does nothing when the engine does not run, or inside a task.
    """
    if millpond.is_initialized() and not millpond.is_worker():
        millpond.preload(_RUNNER, *[name for name in _COLLECTIONS if name in sys.modules])
