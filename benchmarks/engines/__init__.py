"""One adapter per engine, behind the interface of `Engine`.

An engine's module imports the engine itself, so it is loaded only in the process that runs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .interface import Engine, Feature, Settings

__all__ = ["ENGINES", "Engine", "Feature", "Offer", "Settings", "inside_worker", "load"]


@dataclass(frozen=True, slots=True)
class Offer:
    """An engine that can be measured, described without importing it."""

    module: str
    cls: str
    #: What its users import.
    package: str
    #: The distribution whose version is reported; None for parts of Python.
    distribution: str | None
    features: frozenset[Feature]
    #: For a program: the command whose output ends its first line with the version.
    version_command: tuple[str, ...] = ()


_ALL = frozenset(Feature)
_SORT = frozenset({Feature.SORT})
_DASK = frozenset({Feature.DASK})
_FRAMES = frozenset({Feature.FRAMES})

#: By the name on the command line.
ENGINES: dict[str, Offer] = {
    "millpond": Offer("millpond_engine", "MillpondEngine", "millpond", "millpond", _ALL),
    # Its Dask scheduler is measured on single operations only.
    "ray": Offer("ray_engine", "RayEngine", "ray", "ray", _ALL - {Feature.QUERIES}),
    # scatter() does not look for futures inside objects.
    "dask": Offer(
        "dask_engine",
        "DaskEngine",
        "distributed",
        "distributed",
        _ALL - {Feature.NESTED_REFS, Feature.SORT},
    ),
    "dask_threads": Offer(
        "dask_local_engine", "DaskThreads", "dask", "dask", _DASK | {Feature.QUERIES}
    ),
    "dask_processes": Offer("dask_local_engine", "DaskProcesses", "dask", "dask", _DASK),
    "procpool": Offer(
        "procpool_engine",
        "ProcessPoolEngine",
        "concurrent.futures.process",
        None,
        frozenset({Feature.TASKS}),
    ),
    "memcpy": Offer("memcpy_engine", "MemcpyEngine", "mmap", None, frozenset({Feature.ARRAYS})),
    "coreutils": Offer(
        "coreutils_engine", "CoreutilsEngine", "subprocess", None, _SORT, ("sort", "--version")
    ),
    "duckdb": Offer("duckdb_engine", "DuckdbEngine", "duckdb", "duckdb", _SORT),
    "pandas": Offer("pandas_engine", "PandasEngine", "pandas", "pandas", _FRAMES),
}


def load(name: str) -> Engine:
    """Import the engine called `name` and return its adapter, not started.

    Raises:
        ImportError: the engine is not installed.
    """
    offer = ENGINES[name]
    cls: type[Engine] = getattr(importlib.import_module(f".{offer.module}", __name__), offer.cls)
    return cls()


@contextmanager
def inside_worker(name: str) -> Iterator[Engine]:
    """Give the adapter of the engine whose worker this process is."""
    engine = load(name)
    with engine.inside_worker():
        yield engine
