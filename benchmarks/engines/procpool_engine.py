"""The standard library's process pool: tasks only, no objects, no actors."""

# ruff: noqa: D102 - the interface documents the methods

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from .interface import Engine, Settings


class ProcessPoolEngine(Engine):
    """`concurrent.futures.ProcessPoolExecutor` with its defaults."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def start(self, settings: Settings) -> None:
        self._pool = ProcessPoolExecutor(settings.cpus)

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def remote(
        self, function: Callable[..., Any], slot: int | None = None, returns: int = 1
    ) -> Callable[..., Any]:
        del slot, returns
        if self._pool is None:
            raise RuntimeError("the pool is not started")
        return partial(self._pool.submit, function)

    def get(self, ref: Any) -> Any:
        return [future.result() for future in ref] if isinstance(ref, list) else ref.result()
