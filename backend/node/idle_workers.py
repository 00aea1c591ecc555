"""Which idle worker goes to whom, and for whom one has to be started. Pure.

A worker serves tasks of one environment: what they import and set cannot be undone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

__all__ = ["IdleWorkers"]


class _HasEnvironment(Protocol):
    environment: bytes


W = TypeVar("W", bound=_HasEnvironment)


class IdleWorkers(Generic[W]):
    """Idle workers, the one that is idle for longest first, and those who wait for one."""

    def __init__(self) -> None:
        self._idle: list[W] = []
        self._waiting: deque[tuple[bytes, Callable[[W], None]]] = deque()

    def __len__(self) -> int:
        return len(self._idle)

    def longest_idle(self) -> list[W]:
        """Return the idle workers, the one that is idle for longest first."""
        return list(self._idle)

    @property
    def are_awaited(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def add(self, worker: W) -> None:
        """A worker has nothing to do."""
        self._idle.append(worker)

    def discard(self, worker: W) -> None:
        """A worker is not to be given to anybody."""
        if worker in self._idle:
            self._idle.remove(worker)

    def wait(self, environment: bytes, take: Callable[[W], None]) -> None:
        """Somebody needs a worker of an environment."""
        self._waiting.append((environment, take))

    def next_match(self) -> tuple[W, Callable[[W], None]] | None:
        """Take out somebody who waits, and a worker for them; None while nobody can be served."""
        if not self._idle:
            return None
        for index, (environment, take) in enumerate(self._waiting):
            # The most recently used worker is the warmest.
            for worker in reversed(self._idle):
                if worker.environment == environment:
                    self._idle.remove(worker)
                    del self._waiting[index]
                    return worker, take
        return None

    def lacking(self, coming: Iterable[bytes]) -> list[bytes]:
        """Return the environments of those who wait and for whom no worker is on its way.

        Args:
            coming: the environments of the workers that are being started.
        """
        started = Counter(coming)
        started.subtract(environment for environment, _ in self._waiting)
        lacking = []
        for environment, _ in reversed(self._waiting):
            if started[environment] < 0:
                started[environment] += 1
                lacking.append(environment)
        return lacking[::-1]
