"""Carries out what destructors cannot: dropping refs and pins that died.

A destructor may run in the middle of anything, so it only puts its entry or object id in a
reentrant queue. A thread takes them in batches.
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ..wire.messages import UnpinObjects
from .objects import Freed

if TYPE_CHECKING:
    from .runtime import Runtime

__all__ = ["Releaser"]

#: seconds between batches: short enough that memory is free "at once", long enough to batch
_PAUSE = 0.001


class Releaser:
    """The thread and its queue. An item is the `Entry` of a dead ref or the id of a dead pin."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queue: SimpleQueue[Any] = SimpleQueue()
        #: give to refs and pins; safe inside a destructor
        self.dropped = self._queue.put
        self._draining = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="millpond-releaser", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what dies later has nobody left to tell."""
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def drain(self) -> None:
        """Handle now what died up to now, on the calling thread."""
        items: list[Any] = []
        with self._draining:
            while True:
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
                if item is None:
                    self._queue.put(None)
                    break
                items.append(item)
            self._release(items)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            with self._draining:
                self._release([item])
            del item
            self.drain()
            time.sleep(_PAUSE)

    def _release(self, items: list[Any]) -> None:
        if not items:
            return
        runtime = self._runtime
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
