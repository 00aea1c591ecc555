"""Dask on millpond: the public names of `millpond.adapters.dask`."""

from millpond.adapters.dask import disable, enable, get, persist

__all__ = ["disable", "enable", "get", "persist"]
