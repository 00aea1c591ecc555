"""The Dask scheduler: every Dask collection runs on millpond's workers and object store.

Public names, also found as ``millpond.dask``: `get`, `persist`, `enable`, `disable`. Importing
this package imports neither Dask nor the engine; the first call does.

Where to look: ``scheduler`` holds one computation from graph to values. ``graph`` turns what
Dask hands over into tasks, ``units`` groups them, ``payload`` pickles them, ``submission`` hands
them to the engine, ``node`` runs them in the workers, ``results`` brings values back.
"""

from .entry import get, persist
from .settings import disable, enable

__all__ = ["disable", "enable", "get", "persist"]
