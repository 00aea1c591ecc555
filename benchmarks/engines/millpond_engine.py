"""millpond itself, through its public API only."""

# ruff: noqa: D102 - the interface documents the methods

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import millpond

from .interface import Engine, Settings


class MillpondEngine(Engine):
    """millpond's native API."""

    def start(self, settings: Settings) -> None:
        millpond.init(num_cpus=settings.cpus, object_store_memory=settings.store_bytes)

    def stop(self) -> None:
        millpond.shutdown()

    def remote(self, function: Callable[..., Any], slot: int | None = None) -> Callable[..., Any]:
        del slot
        submit: Callable[..., Any] = millpond.remote(function).remote
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
