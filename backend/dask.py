"""Dask on millpond: the public names of `millpond.adapters.dask`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millpond.adapters.dask import disable, enable, get, persist

if TYPE_CHECKING:
    from millpond.adapters.dask import Client, Future, as_completed, futures_of, progress, wait

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from millpond.adapters import dask  # imports Dask itself, unlike the names above

    return getattr(dask, name)
