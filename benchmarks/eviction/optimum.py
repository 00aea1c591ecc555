"""The offline reference: what leaves memory is always what is needed last, known from the end.

This is Belady's rule for a given order of events. With objects of one size it is the optimum; with
several sizes finding the optimum is NP-hard, and furthest next use is the usual reference.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

from .replay import Event
from .trace import Trace

__all__ = ["least_restored"]

_BLOCK = 64  # bytes: objects take whole cache lines of the store


def least_restored(trace: Trace, events: Sequence[Event], capacity: int) -> int:
    """Return the bytes that come back from files when the future is known.

    Args:
        trace: what was run.
        events: of a run, in order.
        capacity: bytes of the store.
    """
    return _Memory(trace, events, capacity).run()


class _Memory:
    def __init__(self, trace: Trace, events: Sequence[Event], capacity: int) -> None:
        self._trace = trace
        self._events = events
        self._free = capacity
        #: object -> times at which a task that needs it starts
        self._uses: dict[int, deque[int]] = {}
        for time, event in enumerate(events):
            if event.kind == "start":
                for number in set(trace.tasks[event.number].arguments):
                    self._uses.setdefault(number, deque()).append(time)
        self._inside: set[int] = set()
        self._pins: dict[int, int] = {}
        #: (minus time of the next use, object), some stale
        self._heap: list[tuple[float, int]] = []
        self._restored = 0

    def run(self) -> int:
        for event in self._events:
            if event.kind == "make":
                self._bring_in(event.number)
                self._push(event.number)
            elif event.kind == "drop":
                self._push_out(event.number)
            else:
                needed = set(self._trace.tasks[event.number].arguments)
                self._start(needed) if event.kind == "start" else self._end(needed)
        return self._restored

    def _start(self, needed: set[int]) -> None:
        for number in needed:
            self._uses[number].popleft()
            self._pins[number] = self._pins.get(number, 0) + 1
        for number in needed - self._inside:
            self._restored += self._trace.sizes[number]
            self._bring_in(number)

    def _end(self, needed: set[int]) -> None:
        for number in needed:
            self._pins[number] -= 1
            if not self._pins[number]:
                del self._pins[number]
                self._push(number)

    def _bring_in(self, number: int) -> None:
        """Put an object into memory; past the limit only if all of it is in use."""
        self._free -= self._block(number)
        while self._free < 0 and self._heap:
            time, victim = heapq.heappop(self._heap)
            if -time == self._next_use(victim) and victim not in self._pins:
                self._push_out(victim)
        self._inside.add(number)

    def _push_out(self, number: int) -> None:
        if number in self._inside:
            self._inside.discard(number)
            self._free += self._block(number)

    def _push(self, number: int) -> None:
        heapq.heappush(self._heap, (-self._next_use(number), number))

    def _next_use(self, number: int) -> float:
        uses = self._uses.get(number)
        return uses[0] if uses else float("inf")

    def _block(self, number: int) -> int:
        return -(-self._trace.sizes[number] // _BLOCK) * _BLOCK
