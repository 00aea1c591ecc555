"""Who polls the sockets: the I/O thread, or a thread that waits for what they will bring.

Handing an answer from one thread to another takes longer than everything else about a short task.
So a thread that has to wait *leads* if nobody does: it polls and serves the sockets itself until
what it waits for is there. The I/O thread leads when nobody waits: it rests while another thread
leads, and for a moment after that, since the next wait often comes at once. (The pattern is
Leader/Followers: Schmidt et al., Pattern-Oriented Software Architecture 2, 2000.)

Sockets and messages are not known here (``reactor``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol

from .interrupts import InterruptGuard

__all__ = ["Leadership", "Poller", "Wait"]

#: seconds that the I/O thread leaves the sockets alone after another thread led
_GRACE = 0.001
#: the same, at most, while others lead one after the other, so that it would not be needed: to
#: look whether it is takes processor time from those that wait
_LONGEST_GRACE = 0.008
#: seconds after which a thread that leads is taken to be idle: the I/O thread rests until told
_IDLE = 0.02


Events = list[tuple[int, int]]


class Poller(Protocol):
    """What is led."""

    def select(self, timeout: float | None, *, eager: bool) -> Events:
        """Wait for events, at most for ``timeout`` seconds; ``eager``: somebody needs them."""

    def serve(self, events: Events) -> None:
        """Do what events ask for."""

    def wake(self) -> None:
        """End the `select` that another thread is in, or the next one."""


class Wait:
    """One wait of one thread, for something that a message brings."""

    __slots__ = ("_leadership", "_lock", "done", "limited")

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._lock: threading.Lock | None = None
        self.done = False
        """There is nothing to wait for any more."""
        self.limited = False
        """It ends by itself some time."""

    def wake(self) -> None:
        """End the wait. From any thread, also before it begins."""
        self.done = True  # first: who waits looks at it after having said how it waits
        lock = self._lock
        if lock is None:
            self._leadership.ended(self)
        else:
            self._leadership.woke(self)
            with suppress(RuntimeError):  # two threads wake it
                lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until `wake` was called, or for ``timeout`` seconds; return whether it was."""
        self.limited = timeout is not None
        if not self.done and not self._leadership.lead(self, timeout):
            self._follow(timeout)
        return self.done

    def _follow(self, timeout: float | None) -> None:
        lock = threading.Lock()
        lock.acquire()
        self._leadership.followers.add(self)
        self._lock = lock
        try:
            if not self.done:
                limit = -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)
                lock.acquire(timeout=limit)
        finally:
            self._leadership.followers.discard(self)


class Leadership:
    """Lets one thread at a time poll.

    Args:
        poller: what is polled.
        guard: keeps signal handlers from raising while the main thread serves messages.
        clock: seconds, monotonic.
    """

    def __init__(
        self, poller: Poller, guard: InterruptGuard, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._poller = poller
        self._guard = guard
        self._clock = clock
        #: held by the thread that polls
        self._baton = threading.Lock()
        self._thread = 0
        #: the wait of the thread that leads, unless that is the I/O thread
        self._leader: Wait | None = None
        self._since = 0.0
        self._left = -_LONGEST_GRACE
        #: how long the I/O thread leaves the sockets alone now
        self._grace = _GRACE
        #: at some time since the I/O thread looked, nobody led for longer than `_GRACE`
        self._gap = False
        #: `_since`, when the I/O thread looked
        self._seen = 0.0
        #: waits of threads that sleep until a leader wakes them
        self.followers: set[Wait] = set()
        self._woke_follower = False
        #: the I/O thread rests until it is told to go on
        self._resting = False
        self._nudges: SimpleQueue[None] = SimpleQueue()
        self.stopping = False

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread leads: then it must not wait for a message."""
        return self._baton.locked() and self._thread == threading.get_ident()

    def wait(self) -> Wait:
        """Return a wait for something that a message will bring."""
        return Wait(self)

    def waiting(self) -> int:
        """Return how many threads wait for a message, for however long that takes."""
        waits = list(self.followers)
        if self._leader is not None:
            waits.append(self._leader)
        return sum(not (wait.done or wait.limited) for wait in waits)

    # --- threads that wait -----------------------------------------------------------------

    def lead(self, wait: Wait, timeout: float | None) -> bool:
        """Poll until a wait is over, or for ``timeout`` seconds; False if that is not possible."""
        if self.stopping or self.is_mine:
            return False
        if threading.get_ident() != threading.main_thread().ident:
            return self._lead(wait, timeout, None)
        if not self._guard.enter():
            return False
        try:
            return self._lead(wait, timeout, self._guard)
        finally:
            self._guard.leave()

    def _lead(self, wait: Wait, timeout: float | None, guard: InterruptGuard | None) -> bool:
        if not self._baton.acquire(blocking=False):
            return False
        try:
            self._thread = threading.get_ident()
            now = self._since = self._clock()
            if now - self._left > _GRACE:
                self._gap = True
            deadline = None if timeout is None else now + timeout
            self._leader = wait
            while not (wait.done or self.stopping):
                rest = None if deadline is None else deadline - self._clock()
                if rest is not None and rest <= 0:
                    return True
                if guard is None:
                    events = self._poller.select(rest, eager=True)
                else:
                    guard.allow()
                    events = self._poller.select(rest, eager=True)
                    guard.hold()
                self._poller.serve(events)
            return wait.done
        finally:
            self._leave()

    def _leave(self) -> None:
        self._leader = None
        self._left = self._clock()
        self._thread = 0
        self._baton.release()
        if self._resting or self.followers or self.stopping:
            self._nudges.put(None)

    # --- ends of waits ---------------------------------------------------------------------

    def ended(self, wait: Wait) -> None:
        """A wait is over; if its thread is inside a poll, end that."""
        if self._leader is wait and self._thread != threading.get_ident():
            self._poller.wake()

    def woke(self, wait: Wait) -> None:
        """A thread that sleeps is about to be woken."""
        self.followers.discard(wait)
        self._woke_follower = True

    # --- the I/O thread --------------------------------------------------------------------

    def run(self) -> None:
        """Poll whenever nobody else does, until told to stop."""
        while not self.stopping:
            rest = self._rest()
            if rest is None or rest > 0:
                with suppress(Empty):
                    self._nudges.get(timeout=rest)
            elif self._baton.acquire(blocking=False):
                self._poll_once()
        with self._baton:  # whoever led has left
            pass

    def _rest(self) -> float | None:
        """Return for how long the I/O thread should not poll; None: until it is told to."""
        self._resting = False
        self._adapt_grace()
        if not self._is_led():
            return 0.0 if self.followers else self._left + self._grace - self._clock()
        if self._clock() - self._since < _IDLE:
            return self._grace
        self._resting = True
        # Who leaves looks at `_resting` after it has left.
        return None if self._is_led() else _GRACE

    def _adapt_grace(self) -> None:
        since = self._since
        if self._gap:
            self._gap = False
            self._grace = _GRACE
        elif since != self._seen:
            self._grace = min(2 * self._grace, _LONGEST_GRACE)
        self._seen = since

    def _is_led(self) -> bool:
        """Whether another thread than the I/O thread polls."""
        return self._leader is not None

    def _poll_once(self) -> None:
        self._thread = threading.get_ident()
        self._woke_follower = False
        try:
            self._poller.serve(self._poller.select(None, eager=False))
        finally:
            self._thread = 0
            if self._woke_follower and not self.followers:
                # Whoever was woken will wait again, most likely: let it lead then.
                self._left = self._clock()
            self._baton.release()

    def stop(self) -> None:
        """End `run`, and send away who leads."""
        self.stopping = True
        self._poller.wake()
        self._nudges.put(None)
