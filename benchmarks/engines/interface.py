"""The interface every benchmarked engine is seen through.

Refs, actor handles and values are `Any`: each engine has its own types, and the cases only hand
them back. `remote`, `actor` and `method` return the engine's own bound methods where they can, so
that the adapter costs nothing where it counts.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import shuffling, sorting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Feature(enum.Enum):
    """What an engine offers; a case names what it needs and is left out where that is missing."""

    TASKS = "tasks"
    NESTED = "tasks submitted by tasks"
    ACTORS = "actors"
    ARRAYS = "put and get of numpy arrays"
    OBJECTS = "put and get of any object"
    REF_ARGUMENTS = "refs as task arguments, and waiting for refs"
    NESTED_REFS = "refs inside objects"
    SHUFFLE = "tasks with several results, or a shuffle of its own"
    SORT = "a file of records, sorted into files"
    DASK = "Dask collections"
    QUERIES = "queries of many joins on Dask's dataframe"
    FRAMES = "pandas' frames"
    LARGE_FRAMES = "pandas' frames larger than the memory that was given"


@dataclass(frozen=True, slots=True)
class Settings:
    """How an engine is started."""

    cpus: int
    #: Bytes of object store; None leaves the engine's default.
    store_bytes: int | None = None
    #: Leave out side services that only take CPU here (Ray: log, autoscaler and dashboard).
    lean: bool = True
    #: Bytes that each worker process may take, for engines without a store; None for the default.
    worker_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Spilled:
    """What an engine says about its spilling since it was started, in bytes."""

    written: int
    restored: int


class Engine(ABC):
    """An engine under test."""

    @abstractmethod
    def start(self, settings: Settings) -> None:
        """Start the engine on this machine."""

    @abstractmethod
    def stop(self) -> None:
        """Stop everything that `start` started."""

    def inside_worker(self) -> AbstractContextManager[None]:
        """Make this adapter usable inside a task; some engines need a client there."""
        return nullcontext()

    def remote(
        self, function: Callable[..., Any], slot: int | None = None, returns: int = 1
    ) -> Callable[..., Any]:
        """Return a callable that submits `function` and returns a ref.

        `slot` asks for the worker with that number; most engines place by themselves. With several
        `returns`, the function returns a list of that length, and the callable a list of refs.
        """
        raise NotImplementedError

    def submit_many(self, task: Callable[..., Any], count: int) -> list[Any]:
        """Submit a task made by `remote` `count` times, in the way the engine's users would."""
        return [task() for _ in range(count)]

    def get(self, ref: Any) -> Any:
        """Wait for a ref, or a list of refs, and return the value or the list of values."""
        raise NotImplementedError

    def put(self, value: Any) -> Any:
        """Store a value and return a ref to it."""
        raise NotImplementedError

    def put_many(self, values: Sequence[Any]) -> list[Any]:
        """Store several values, in the way the engine's users would."""
        return [self.put(value) for value in values]

    def drain(self, refs: list[Any]) -> int:
        """Handle refs one by one as they become ready; return how many there were."""
        raise NotImplementedError

    def actor(self, cls: type, slot: int | None = None) -> Callable[[], Any]:
        """Return a callable that creates an actor of class `cls` and returns its handle."""
        raise NotImplementedError

    def method(self, handle: Any, name: str) -> Callable[..., Any]:
        """Return a callable that calls the actor's method `name` and returns a ref."""
        raise NotImplementedError

    def kill(self, handle: Any) -> None:
        """End an actor."""
        raise NotImplementedError

    def shuffle(self, work: shuffling.Work) -> NDArray[np.uint64]:
        """Run a shuffle, in the way the engine's users would; return the sum of every piece."""
        return shuffling.by_tasks(self, work)

    def sort(self, work: sorting.Work) -> list[Path]:
        """Sort a file of records; return the files that hold them in order."""
        return sorting.by_tasks(self, work)

    def dask(self) -> AbstractContextManager[object]:
        """Compute Dask collections on this engine inside the block."""
        raise NotImplementedError

    def frames(self) -> ModuleType:
        """Return a module with the names of pandas, whose frames are on this engine."""
        raise NotImplementedError

    def spilled(self) -> Spilled | None:
        """Return how much was spilled and restored; None if the engine does not tell."""
        return None
