"""The settings of a session: defaults from the machine, and checks with clear errors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from millpond.scheduler.resources import amount

from ..errors import ConfigurationError
from .spill_options import SpillOptions, checked_spill

__all__ = ["DEFAULT_PRELOAD", "Settings", "machine_memory"]

#: imported before workers are forked, if installed
DEFAULT_PRELOAD = ("numpy", "pandas", "pyarrow")
#: part of the memory that the object store takes unless told otherwise
_STORE_SHARE = 0.3
_SMALLEST_STORE = 1 << 20
#: worker processes at most, blocked ones and actors included
_MAX_WORKERS = 1024


def machine_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's or its cgroup's."""
    limits = [psutil.virtual_memory().total]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return min(limits)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `millpond.init` was asked for, checked and completed."""

    num_cpus: float
    resources: Mapping[str, float]
    object_store_memory: int
    #: where values are spilled; False for never
    spill: SpillOptions | Literal[False]
    preload: tuple[str, ...]
    log_to_driver: bool

    @classmethod
    def checked(
        cls,
        num_cpus: float | None,
        resources: Mapping[str, float] | None,
        object_store_memory: int | None,
        spill: object,
        preload: Iterable[str] | None,
        *,
        log_to_driver: bool,
    ) -> Settings:
        """Check and complete the arguments of `millpond.init`.

        Raises:
            ConfigurationError: one of them is wrong.
        """
        memory = machine_memory()
        if object_store_memory is None:
            object_store_memory = int(memory * _STORE_SHARE)
        if resources is not None and not isinstance(resources, Mapping):
            raise ConfigurationError(f"resources must be a mapping, it is {resources!r}")
        settings = cls(
            len(os.sched_getaffinity(0)) if num_cpus is None else num_cpus,
            dict(resources or {}),
            object_store_memory,
            checked_spill(spill),
            _checked_preload(preload),
            log_to_driver,
        )
        settings._check(memory)
        return settings

    def _check(self, memory: int) -> None:
        size = self.object_store_memory
        if isinstance(size, bool) or not isinstance(size, int):
            raise ConfigurationError(f"object_store_memory must be bytes as an int, it is {size!r}")
        if size > memory:
            raise ConfigurationError(
                f"object_store_memory is {size} bytes, but this machine has {memory}"
            )
        if size < _SMALLEST_STORE:
            raise ConfigurationError(
                f"object_store_memory is {size} bytes; the least is {_SMALLEST_STORE}"
            )
        if self.counted_resources()["CPU"] == 0:
            raise ConfigurationError(f"num_cpus must be more than 0, it is {self.num_cpus!r}")

    def counted_resources(self) -> dict[str, int]:
        """Return everything a task can ask for, in counted units."""
        if not all(isinstance(name, str) for name in self.resources):
            raise ConfigurationError(
                f"names of resources are strings, not {list(self.resources)!r}"
            )
        if "CPU" in self.resources or "memory" in self.resources:
            raise ConfigurationError("CPU and memory are no custom resources: use num_cpus")
        wanted = {"CPU": self.num_cpus, "memory": machine_memory(), **self.resources}
        try:
            return {name: amount(name, value) for name, value in wanted.items()}
        except ValueError as error:
            raise ConfigurationError(str(error)) from None

    @property
    def max_workers(self) -> int:
        """The most worker processes that may exist at once."""
        return _MAX_WORKERS


def _checked_preload(preload: object) -> tuple[str, ...]:
    if preload is None:
        return DEFAULT_PRELOAD
    if not isinstance(preload, Iterable) or isinstance(preload, (str, bytes)):
        raise ConfigurationError(f"preload must be a list of module names, it is {preload!r}")
    names = tuple(preload)
    if not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"preload must be a list of module names, it is {preload!r}")
    return names
