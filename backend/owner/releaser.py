"""Carries out what destructors cannot: dropping refs and pins that died.

A destructor may run in the middle of anything, so it only appends to a queue. The thread
that polls takes what is there after each batch of messages, and otherwise a few milliseconds later.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from ..wire.messages import UnpinObjects
from .objects import Freed

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["Releaser"]

#: seconds that a dead ref waits for others: memory is free "at once", and wake-ups are few
_DELAY = 0.005


class Releaser:
    """The queue of the dead. An item is the `Entry` of a ref or the id of a pin."""

    def __init__(self, runtime: Runtime) -> None:
        #: None once the runtime is closed: refs that outlive it must not keep it alive
        self._runtime: Runtime | None = runtime
        self._dead: deque[Any] = deque()
        #: the thread that polls knows that something is in the queue
        self._noticed = False
        self._deadline = 0.0
        self._draining = threading.Lock()

    def dropped(self, item: Any) -> None:
        """Take a dead ref's entry or a dead pin's object id. Safe inside a destructor."""
        self._dead.append(item)
        runtime = self._runtime
        if not self._noticed and runtime is not None:
            self._noticed = True
            runtime.reactor.wake()

    def tick(self) -> float | None:
        """Release what is due; answers when to be called again. On the thread that polls."""
        if not self._noticed:
            return None
        now = time.monotonic()
        if not self._deadline:
            self._deadline = now + _DELAY
        elif now >= self._deadline:
            if not self._dead:
                self._noticed, self._deadline = False, 0.0
                # Something may have been dropped before the flag was cleared.
                return 0.0 if self._dead else None
            self.drain()
            self._deadline = now + _DELAY
        return self._deadline - now

    def drain(self) -> None:
        """Release now what died up to now."""
        if not self._dead:
            return
        with self._draining:
            items = [self._dead.popleft() for _ in range(len(self._dead))]
            runtime = self._runtime
            if runtime is None:
                return
            unpinned = [item for item in items if type(item) is bytes]
            if unpinned:
                runtime.node.send(UnpinObjects(unpinned))
            if len(unpinned) == len(items):
                return
            freed = Freed()
            with runtime.lock:
                for item in items:
                    if type(item) is not bytes:
                        runtime.objects.free_if_unused(item, freed)
                runtime.forget(freed)

    def close(self) -> None:
        """From now on nobody is left to be told."""
        self._runtime = None
        self._dead.clear()
