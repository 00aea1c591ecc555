"""Ray, started on this machine only."""

# ruff: noqa: D102 - the interface documents the methods

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partialmethod
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
from ray._private.parameter import RayParams

from ..frames import modin_on
from .interface import Engine, Settings, Spilled


class RayEngine(Engine):
    """Ray Core."""

    def start(self, settings: Settings) -> None:
        if settings.lean:
            # ray.init has no option for these services. Without them Ray is faster.
            RayParams.__init__ = partialmethod(
                RayParams.__init__, include_log_monitor=False, no_monitor=True
            )
        ray.init(
            num_cpus=settings.cpus,
            object_store_memory=settings.store_bytes,
            include_dashboard=False if settings.lean else None,
            # Ray reads no TMPDIR.
            _temp_dir=str(Path(os.environ["TMPDIR"]) / "ray"),
        )

    def stop(self) -> None:
        ray.shutdown()

    def remote(
        self, function: Callable[..., Any], slot: int | None = None, returns: int = 1
    ) -> Callable[..., Any]:
        del slot
        submit: Callable[..., Any] = ray.remote(num_returns=returns)(function).remote
        return submit

    def get(self, ref: Any) -> Any:
        return ray.get(ref)

    def put(self, value: Any) -> Any:
        return ray.put(value)

    def drain(self, refs: list[Any]) -> int:
        done, pending = 0, refs
        while pending:
            ready, pending = ray.wait(pending)
            done += len(ready)
        return done

    def actor(self, cls: type, slot: int | None = None) -> Callable[[], Any]:
        del slot
        create: Callable[[], Any] = ray.remote(cls).remote
        return create

    def method(self, handle: Any, name: str) -> Callable[..., Any]:
        call: Callable[..., Any] = getattr(handle, name).remote
        return call

    def kill(self, handle: Any) -> None:
        ray.kill(handle)

    def dask(self) -> AbstractContextManager[object]:
        import dask
        from ray.util.dask import ray_dask_get

        # What enable_dask_on_ray() means to set, by the names that Dask has today.
        settings = {"scheduler": ray_dask_get, "dataframe.shuffle.method": "tasks"}
        context: AbstractContextManager[object] = dask.config.set(settings)
        return context

    def frames(self) -> ModuleType:
        return modin_on("Ray")

    def spilled(self) -> Spilled | None:
        # grpc is no dependency of plain Ray, but its statistics need it.
        if importlib.util.find_spec("grpc") is None:
            return None
        from ray._private.internal_api import memory_summary

        summary = memory_summary(stats_only=True)
        return Spilled(_mebibytes("Spilled", summary), _mebibytes("Restored", summary))


def _mebibytes(word: str, summary: str) -> int:
    """Return the bytes that a line such as ``Spilled 137 MiB, 9 objects`` tells; 0 without one."""
    found = re.search(rf"^{word} (\d+) MiB", summary, re.MULTILINE)
    return int(found[1]) << 20 if found else 0
