"""The lock of a runtime's state, which wakes waiting threads only after it is released."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .waiter import Waiter

__all__ = ["StateLock"]


class StateLock:
    """A mutex. Threads that wait for objects are woken at the end, when they can go on at once."""

    __slots__ = ("_lock", "_woken")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._woken: list[Waiter] = []

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        woken = self._woken
        if woken:
            self._woken = []
        self._lock.release()
        for waiter in woken:
            waiter.wake()

    def wake_later(self, waiter: Waiter) -> None:
        """Wake a waiter when the lock is released. Under the lock."""
        self._woken.append(waiter)
