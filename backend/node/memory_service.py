"""Watches the heap memory of the workers, and ends one before memory runs out.

Samples every worker, the cgroups and the machine; `MemoryMonitor` decides; the queue is told what
running tasks use, so that it starts no more than fit. Who used the killed worker learns why from
``Worker.oom``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from millpond.scheduler.learned import coarse
from millpond.scheduler.memory_monitor import (
    NOTABLE,
    Cause,
    Kill,
    Limit,
    MemoryMonitor,
    Role,
    Usage,
)
from millpond.scheduler.queue import Grant, Kind, LeaseQueue
from millpond.scheduler.resources import UNIT

from ..wire import messages as m
from ..worker.peak_memory import Running, own_memory, read_record, record_path
from .cgroup import limited_groups, oom_kills

if TYPE_CHECKING:
    from .worker_pool import Worker, WorkerPool

__all__ = ["MemoryService"]

_log = logging.getLogger("millpond.memory")

#: workers that an error names
_CONSUMERS = 5

#: what a worker runs when it does not say so, because that never takes long
_UNNAMED = {Role.TASK: "short tasks", Role.ACTOR: "an actor", Role.IDLE: "nothing"}


@dataclass(frozen=True, slots=True)
class _Seen:
    """One worker in a sample."""

    worker: Worker
    grant: Grant | None
    usage: Usage
    running: Running
    #: of the task that it runs
    name: str


class MemoryService:
    """The memory monitor of one node.

    Args:
        queue: what workers are used for.
        pump: grants what can be granted.
        pool: the workers.
        loop: the node's event loop.
        settings: of the session.
    """

    def __init__(
        self,
        queue: LeaseQueue,
        pump: Callable[[], None],
        pool: WorkerPool,
        loop: asyncio.AbstractEventLoop,
        settings: m.Start,
    ) -> None:
        self._queue = queue
        self._pump = pump
        self._pool = pool
        self._loop = loop
        self._session_dir = settings.session_dir
        self._budget = settings.task_memory
        self._threshold = settings.memory_threshold
        self._groups = limited_groups()
        self._monitor = MemoryMonitor()
        #: workers killed so far
        self.kills = 0
        self._kernel_kills = oom_kills(self._groups)
        #: worker -> what the last sample saw of it
        self._last: dict[bytes, tuple[Usage, Running]] = {}
        loop.call_soon(self._watch)

    def _watch(self) -> None:
        if self._pool.closing:
            return
        pause = self._monitor.interval(())
        if self._queue.grants:
            try:
                pause = self._sample()
            except Exception:  # noqa: BLE001 - the next sample may succeed, and must be taken
                _log.exception("looking at the memory of the workers failed")
        self._loop.call_later(pause, self._watch)

    def worker_died(self, worker: Worker) -> None:
        """A worker is gone; find out whether the kernel took it for its memory."""
        record_path(self._session_dir, worker.worker_id).unlink(missing_ok=True)
        usage, running = self._last.pop(worker.worker_id, (None, None))
        killed = worker.status == signal.SIGKILL and not worker.doom
        if not killed or oom_kills(self._groups) <= self._kernel_kills:
            return
        self._kernel_kills += 1
        self.kills += 1
        used = usage.used if usage is not None else 0
        worker.oom = m.OutOfMemory(
            running.task_id if running is not None else b"",
            used,
            text=f"the kernel killed its process {worker.pid}, which used about {_mib(used)}, when "
            "there was no memory left",
        )

    def _sample(self) -> float:
        """Look at everything once; return the seconds until the next time."""
        order = {key: index for index, key in enumerate(self._queue.grants)}
        seen = []
        for worker in self._pool.workers.values():
            with contextlib.suppress(OSError, ValueError):  # it is starting, or gone
                seen.append(self._look_at(worker, order))
        self._last = {entry.usage.key: (entry.usage, entry.running) for entry in seen}
        self._book(seen)
        usages = [entry.usage for entry in seen]
        limits = self._limits(sum(usage.used for usage in usages))
        kill = self._monitor.decide(usages, limits)
        if kill is not None:
            self._kill(kill, seen)
        return self._monitor.interval(limits)

    def _look_at(self, worker: Worker, order: dict[Hashable, int]) -> _Seen:
        if not worker.pid:
            raise ValueError("its process id is not known yet")
        running = read_record(record_path(self._session_dir, worker.worker_id))
        own = own_memory(worker.pid)
        if not own:
            raise ValueError("it has ended")
        used = max(own - running.baseline, 0)
        grant = self._queue.grants.get(worker.grant_key)
        if grant is None:
            usage = Usage(worker.worker_id, used, Role.IDLE)
            return _Seen(worker, None, usage, running, "nothing")
        reserved = grant.reserved // UNIT
        is_actor = grant.kind is Kind.ACTOR
        usage = Usage(
            worker.worker_id,
            used,
            Role.ACTOR if is_actor else Role.TASK,
            order[grant.key],
            reserved,
            0 if running.importing else reserved if is_actor else running.declared,
            max(own - running.before, 0) if running.before else 0,
            running.retriable,
        )
        return _Seen(worker, grant, usage, running, running.name or _UNNAMED[usage.role])

    def _book(self, seen: list[_Seen]) -> None:
        """Take what running tasks use from what others can have."""
        freed = False
        for entry in seen:
            if entry.grant is not None and entry.grant.kind is not Kind.ACTOR:
                before = entry.grant.held.get("memory", 0)
                self._queue.see_memory(entry.grant.key, coarse(entry.usage.used) * UNIT)
                freed = freed or entry.grant.held.get("memory", 0) < before
        if freed:
            self._pump()

    def _limits(self, used_by_workers: int) -> list[Limit]:
        limits = []
        if self._budget is not None:
            limits.append(
                Limit("the memory= that millpond.init got", used_by_workers, self._budget)
            )
        for group in self._groups:
            with contextlib.suppress(OSError, ValueError):
                limit = int(group.limit * self._threshold)
                limits.append(Limit("the memory of this container", group.used(), limit))
        machine = psutil.virtual_memory()
        used = machine.total - machine.available
        limits.append(Limit("the machine's memory", used, int(machine.total * self._threshold)))
        return limits

    def _kill(self, kill: Kill, seen: list[_Seen]) -> None:
        victim = next(entry for entry in seen if entry.usage is kill.victim)
        declared = kill.cause is Cause.DECLARED
        used = victim.usage.added if declared else victim.usage.used
        of_task = victim.usage.added or used  # not what earlier ones left in the worker
        text = "it kept memory that running tasks need"
        if kill.cause is not Cause.KEPT:
            self.kills += 1
            text = _text(kill, victim, used, seen)
            victim.worker.oom = m.OutOfMemory(
                victim.running.task_id, of_task, text, declared=declared, alone=kill.alone
            )
            _log.warning("stopping %s: %s", victim.name, text)
        self._pool.kill(victim.worker, text)


def _text(kill: Kill, victim: _Seen, used: int, seen: list[_Seen]) -> str:
    process = f"its process {victim.worker.pid} used {_mib(used)} of heap"
    if kill.cause is Cause.DECLARED:
        return f"{process}, more than the {_mib(kill.limit.limit)} that it declared as memory="
    notable = (entry for entry in seen if entry.usage.used >= NOTABLE)
    largest = sorted(notable, key=lambda entry: -entry.usage.used)[:_CONSUMERS]
    consumers = "; ".join(
        f"process {entry.worker.pid}, {entry.name}: {_mib(entry.usage.used)}" for entry in largest
    )
    return (
        f"{process} when {kill.limit.name} was used up ({_mib(kill.limit.used)} of "
        f"{_mib(kill.limit.limit)}). Most was used by: {consumers}"
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
