"""The Dask scheduler: every Dask collection runs on millpond's workers and object store.

Public names, also found as ``millpond.dask``: `get`, `persist`, `enable`, `disable`, `Client`,
`Future`, `futures_of`, `wait`, `as_completed`, `progress`. Importing this package imports neither
Dask nor the engine; the first use does.

Where to look: ``scheduler`` holds one computation from graph to values. ``graph`` turns what
Dask hands over into tasks, ``annotations`` and ``hints`` say how they are to run, ``units`` groups
them, ``payload`` pickles them, ``submission`` hands them to the engine, ``node`` runs them in the
workers, ``driver`` those that no worker can, ``results`` brings values back, ``tracebacks`` keeps
errors from holding them. ``observation`` and ``following`` tell Dask's callbacks. ``client``,
``futures`` and ``waiting`` are the interface of futures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..later import imported_later
from .entry import get, persist
from .settings import disable, enable

if TYPE_CHECKING:
    from .client import Client
    from .futures import Future
    from .waiting import as_completed, futures_of, progress, wait

__all__ = [
    "Client",
    "Future",
    "as_completed",
    "disable",
    "enable",
    "futures_of",
    "get",
    "persist",
    "progress",
    "wait",
]

#: Those that import Dask.
__getattr__ = imported_later(
    __name__,
    {
        "Client": ".client",
        "Future": ".futures",
        "as_completed": ".waiting",
        "futures_of": ".waiting",
        "progress": ".waiting",
        "wait": ".waiting",
    },
)
