"""Dask on millpond: the public names of `millpond.adapters.dask`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millpond.adapters.dask import disable, enable, get, persist
from millpond.adapters.later import imported_later

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

# Some of them import Dask.
__getattr__ = imported_later(__name__, dict.fromkeys(__all__, "millpond.adapters.dask"))
