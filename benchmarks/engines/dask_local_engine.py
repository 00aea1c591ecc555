"""Dask's own schedulers of one machine: a pool of threads, or of processes."""

from __future__ import annotations

from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing import get_context
from typing import Any

import dask

from .interface import Engine, Settings


class _DaskLocal(Engine):
    """A scheduler of Dask's with a pool that is kept, as it is for Dask's users."""

    name: str

    def __init__(self) -> None:
        self._pool: Executor | None = None

    def start(self, settings: Settings) -> None:
        self._pool = self._make_pool(settings.cpus)

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def dask(self) -> AbstractContextManager[object]:
        settings: dict[str, Any] = {"scheduler": self.name, "pool": self._pool}
        context: AbstractContextManager[object] = dask.config.set(settings)
        return context

    def _make_pool(self, cpus: int) -> Executor:
        raise NotImplementedError


class DaskThreads(_DaskLocal):
    """``scheduler="threads"``: no copies, but one interpreter lock."""

    name = "threads"

    def _make_pool(self, cpus: int) -> Executor:
        return ThreadPoolExecutor(cpus)


class DaskProcesses(_DaskLocal):
    """``scheduler="processes"``: every result passes through the driver."""

    name = "processes"

    def _make_pool(self, cpus: int) -> Executor:
        # The context that Dask itself uses.
        return ProcessPoolExecutor(cpus, mp_context=get_context("spawn"))
