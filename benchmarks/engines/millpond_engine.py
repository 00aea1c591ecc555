"""millpond itself, through its public API only."""

# ruff: noqa: D102 - the interface documents the methods

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import millpond

from ..frames import modin_on
from .interface import Engine, Settings, Spilled


class MillpondEngine(Engine):
    """millpond's native API."""

    def start(self, settings: Settings) -> None:
        millpond.init(num_cpus=settings.cpus, object_store_memory=settings.store_bytes)

    def stop(self) -> None:
        millpond.shutdown()

    def remote(
        self, function: Callable[..., Any], slot: int | None = None, returns: int = 1
    ) -> Callable[..., Any]:
        del slot
        submit: Callable[..., Any] = millpond.remote(num_returns=returns)(function).remote
        return submit

    def get(self, ref: Any) -> Any:
        return millpond.get(ref)

    def put(self, value: Any) -> Any:
        return millpond.put(value)

    def drain(self, refs: list[Any]) -> int:
        done, pending = 0, refs
        while pending:
            ready, pending = millpond.wait(pending)
            done += len(ready)
        return done

    def actor(self, cls: type, slot: int | None = None) -> Callable[[], Any]:
        del slot
        create: Callable[[], Any] = millpond.remote(cls).remote
        return create

    def method(self, handle: Any, name: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(handle, name).remote
        return call

    def kill(self, handle: Any) -> None:
        millpond.kill(handle)

    def dask(self) -> AbstractContextManager[object]:
        import millpond.dask

        return millpond.dask.enable()

    def frames(self) -> ModuleType:
        return modin_on("Millpond")

    def spilled(self) -> Spilled:
        store = millpond.statistics().store
        written = store.spilled_bytes_total + store.file_backed_bytes_total
        return Spilled(written, store.restored_bytes_total)
