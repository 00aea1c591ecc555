"""A thread that waits for objects to be finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire.messages import FAILED

if TYPE_CHECKING:
    from ..wire.leadership import Wait
    from .objects import Entry
    from .state_lock import StateLock

__all__ = ["Waiter"]


class Waiter:
    """Waits for ``needed`` objects, or, if asked to, for the first that failed."""

    def __init__(self, lock: StateLock, wait: Wait, needed: int, *, stop_on_failure: bool) -> None:
        self._lock = lock
        self._wait = wait
        self._needed = needed
        self._stop_on_failure = stop_on_failure
        self._done = needed <= 0

    def finished(self, entry: Entry) -> None:
        """An object was finished. Called under the runtime's lock."""
        self._needed -= 1
        failed = self._stop_on_failure and entry.state == FAILED
        if not self._done and (self._needed <= 0 or failed):
            self._done = True
            self._lock.wake_later(self)

    def wake(self) -> None:
        """Let the waiting thread go on."""
        self._wait.wake()

    def done(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self._done

    def wait(self, timeout: float | None) -> bool:
        """Wait at most ``timeout`` seconds; return whether it is done."""
        if not self._done:
            self._wait.wait(timeout)
        return self._done
