"""Put millpond under its name in Dask's table of schedulers."""

from __future__ import annotations

from types import ModuleType

from .entry import get

__all__ = ["register"]


def register(dask_base: ModuleType) -> None:
    """Make ``scheduler="millpond"`` known to a freshly imported ``dask.base``."""
    schedulers = getattr(dask_base, "named_schedulers", None)
    if isinstance(schedulers, dict):
        schedulers["millpond"] = get
