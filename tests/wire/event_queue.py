"""A poller without sockets: its events are functions to call, from a queue."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue

from millpond.wire.interrupts import InterruptGuard
from millpond.wire.leadership import Events, Leadership

#: seconds that one select takes at most
_LONGEST = 3600.0


class EventQueue:
    """Calls each function put into it on the thread that leads."""

    def __init__(self) -> None:
        self._functions: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._due: list[Callable[[], object]] = []
        self.guard = InterruptGuard()
        self.leadership = Leadership(self, self.guard)

    def put(self, function: Callable[[], object]) -> None:
        self._functions.put(function)

    def select(self, timeout: float | None, *, eager: bool) -> Events:
        seconds = _LONGEST if timeout is None else min(max(timeout, 0.0), _LONGEST)
        try:
            self._due.append(self._functions.get(timeout=seconds))
        except Empty:
            return []
        return [(0, 0)]

    def serve(self, events: Events) -> None:
        for _ in events:
            self._due.pop()()

    def wake(self) -> None:
        self._functions.put(lambda: None)
