"""The settings of a session: defaults from the machine, and checks with clear errors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import psutil

from millpond.scheduler.resources import EXPECTED_MEMORY, amount

from ..environments.description import RuntimeEnv
from ..errors import ConfigurationError
from ..node.cgroup import limited_groups
from .spill_options import SpillOptions, checked_spill

__all__ = ["Settings", "machine_memory"]

#: part of the memory that the object store takes unless told otherwise
_STORE_SHARE = 0.3
_SMALLEST_STORE = 1 << 20
#: part of the machine's memory left to the driver, the node, and the system, with its bounds
_RESERVE_SHARE, _LEAST_RESERVE, _LARGEST_RESERVE = 0.05, 128 << 20, 2 << 30
#: tasks may use this part of the memory however large the store is made
_LEAST_TASK_SHARE = 0.1
_SMALLEST_TASK_MEMORY = 64 << 20
#: part of the machine's memory at which tasks are stopped before the kernel kills something
_MEMORY_THRESHOLD = 0.95
#: worker processes at most, blocked ones and actors included
_MAX_WORKERS = 1024


def machine_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's or its cgroup's."""
    return min([psutil.virtual_memory().total, *(group.limit for group in limited_groups())])


@dataclass(frozen=True, slots=True)
class Settings:
    """What `millpond.init` was asked for, checked and completed."""

    num_cpus: float
    resources: Mapping[str, float]
    object_store_memory: int
    #: where values are spilled; False for never
    spill: SpillOptions | Literal[False]
    #: imported before workers are forked; None: what the session's code turns out to import
    preload: tuple[str, ...] | None
    log_to_driver: bool
    #: bytes of heap that tasks may use together; None: what the machine and the store leave
    memory: int | None = None
    memory_threshold: float = _MEMORY_THRESHOLD
    #: host:port of the head of the cluster to join; None: of this machine alone
    address: str | None = None
    #: what all tasks and actors find in their processes
    runtime_env: RuntimeEnv | None = None

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
        memory: int | None = None,
        memory_threshold: float | None = None,
        address: str | None = None,
        runtime_env: object = None,
    ) -> Settings:
        """Check and complete the arguments of `millpond.init`.

        Raises:
            ConfigurationError: one of them is wrong.
            RuntimeEnvError: ``runtime_env`` is.
        """
        machine = machine_memory()
        if object_store_memory is None:
            object_store_memory = int(machine * _STORE_SHARE)
        if resources is not None and not isinstance(resources, Mapping):
            raise ConfigurationError(f"resources must be a mapping, it is {resources!r}")
        settings = cls(
            len(os.sched_getaffinity(0)) if num_cpus is None else num_cpus,
            dict(resources or {}),
            object_store_memory,
            checked_spill(spill),
            _checked_preload(preload),
            log_to_driver,
            memory,
            _MEMORY_THRESHOLD if memory_threshold is None else memory_threshold,
            address or os.environ.get("MILLPOND_ADDRESS") or None,
            RuntimeEnv.checked(runtime_env),
        )
        settings._check(machine)
        return settings

    def _check(self, machine: int) -> None:
        size = self.object_store_memory
        if isinstance(size, bool) or not isinstance(size, int):
            raise ConfigurationError(f"object_store_memory must be bytes as an int, it is {size!r}")
        if size > machine:
            raise ConfigurationError(
                f"object_store_memory is {size} bytes, but this machine has {machine}"
            )
        if size < _SMALLEST_STORE:
            raise ConfigurationError(
                f"object_store_memory is {size} bytes; the least is {_SMALLEST_STORE}"
            )
        self._check_task_memory(machine)
        if self.counted_resources()["CPU"] == 0 and self.address is None:
            raise ConfigurationError(f"num_cpus must be more than 0, it is {self.num_cpus!r}")

    def _check_task_memory(self, machine: int) -> None:
        size, threshold = self.memory, self.memory_threshold
        if size is not None:
            if isinstance(size, bool) or not isinstance(size, int):
                raise ConfigurationError(f"memory must be bytes as an int, it is {size!r}")
            if not _SMALLEST_TASK_MEMORY <= size <= machine:
                raise ConfigurationError(
                    f"memory is {size} bytes; it must be at least {_SMALLEST_TASK_MEMORY} and at "
                    f"most what this machine has, {machine}"
                )
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            raise ConfigurationError(f"memory_threshold must be a number, it is {threshold!r}")
        if not 0 < threshold <= 1:
            raise ConfigurationError(
                "memory_threshold must be a part of the machine's memory, more than 0 and at most "
                f"1, it is {threshold!r}"
            )

    def task_memory(self) -> int:
        """Return the bytes of heap that tasks may use together."""
        if self.memory is not None:
            return self.memory
        machine = machine_memory()
        reserve = int(min(max(machine * _RESERVE_SHARE, _LEAST_RESERVE), _LARGEST_RESERVE))
        left = machine - self.object_store_memory - reserve
        return max(left, int(machine * _LEAST_TASK_SHARE))

    def counted_resources(self) -> dict[str, int]:
        """Return everything a task can ask for, in counted units."""
        if not all(isinstance(name, str) for name in self.resources):
            raise ConfigurationError(
                f"names of resources are strings, not {list(self.resources)!r}"
            )
        if not self.resources.keys().isdisjoint(("CPU", "memory", EXPECTED_MEMORY)):
            raise ConfigurationError(
                "CPU and memory are no custom resources: use num_cpus and memory"
            )
        wanted = {"CPU": self.num_cpus, "memory": self.task_memory(), **self.resources}
        try:
            return {name: amount(name, value) for name, value in wanted.items()}
        except ValueError as error:
            raise ConfigurationError(str(error)) from None

    @property
    def max_workers(self) -> int:
        """The most worker processes that may exist at once."""
        return _MAX_WORKERS


def _checked_preload(preload: object) -> tuple[str, ...] | None:
    if preload is None:
        return None
    if not isinstance(preload, Iterable) or isinstance(preload, (str, bytes)):
        raise ConfigurationError(f"preload must be a list of module names, it is {preload!r}")
    names = tuple(preload)
    if not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"preload must be a list of module names, it is {preload!r}")
    return names
