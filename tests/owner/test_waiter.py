from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from millpond.owner.objects import Entry
from millpond.owner.state_lock import StateLock
from millpond.owner.waiter import Waiter
from millpond.wire.messages import FAILED, INLINE
from tests.wire.event_queue import EventQueue


def finished(state: int = INLINE) -> Entry:
    entry = Entry(b"driver-1" + bytes(8), owned=True)
    entry.state = state
    return entry


def make_waiter(lock: StateLock, needed: int, *, stop_on_failure: bool) -> Waiter:
    return Waiter(lock, EventQueue().leadership.wait(), needed, stop_on_failure=stop_on_failure)


class Watched(Waiter):
    """A waiter that notes whether the lock is free when it is woken."""

    def __init__(self, lock: StateLock, needed: int, *, stop_on_failure: bool) -> None:
        wait = EventQueue().leadership.wait()
        super().__init__(lock, wait, needed, stop_on_failure=stop_on_failure)
        self.found_free: list[bool] = []

    def wake(self) -> None:
        self.found_free.append(not self._lock._lock.locked())
        super().wake()


def test_is_done_when_all_are_finished() -> None:
    lock = StateLock()
    waiter = make_waiter(lock, 2, stop_on_failure=True)
    with lock:
        waiter.finished(finished())
    assert not waiter.done()
    assert not waiter.wait(0)
    with lock:
        waiter.finished(finished())
    assert waiter.done()
    assert waiter.wait(0)
    assert waiter.wait(None)


@pytest.mark.parametrize("needed", [0, -1])
def test_nothing_to_wait_for(needed: int) -> None:
    waiter = make_waiter(StateLock(), needed, stop_on_failure=True)
    assert waiter.done()
    assert waiter.wait(None)


def test_stops_at_a_failure_only_if_asked_to() -> None:
    lock = StateLock()
    strict = make_waiter(lock, 3, stop_on_failure=True)
    patient = make_waiter(lock, 2, stop_on_failure=False)
    with lock:
        strict.finished(finished(FAILED))
        patient.finished(finished(FAILED))
    assert strict.wait(None)
    assert not patient.wait(0)
    with lock:
        patient.finished(finished(FAILED))
    assert patient.wait(None)


def test_is_woken_once_after_the_lock_is_released() -> None:
    lock = StateLock()
    waiter = Watched(lock, 1, stop_on_failure=True)
    with lock:
        waiter.finished(finished(FAILED))
        waiter.finished(finished(FAILED))
        assert waiter.found_free == []
    with lock:
        waiter.finished(finished())
    assert waiter.found_free == [True]


def test_waiters_are_woken_when_the_block_raises() -> None:
    lock = StateLock()
    waiter = make_waiter(lock, 1, stop_on_failure=True)

    def finish_and_fail() -> None:
        with lock:
            waiter.finished(finished())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        finish_and_fail()
    assert waiter.wait(None)
    with lock:
        pass


@pytest.mark.parametrize("timeout", [-1.0, 0, 1e-9])
def test_a_short_wait_ends(timeout: float) -> None:
    assert not make_waiter(StateLock(), 1, stop_on_failure=True).wait(timeout)


@pytest.mark.parametrize("timeout", [None, 1e10, math.inf, threading.TIMEOUT_MAX])
def test_a_thread_waits_until_others_are_done(timeout: float | None) -> None:
    lock = StateLock()
    waiters = [make_waiter(lock, 2, stop_on_failure=True) for _ in range(4)]

    def finish_one_of_each() -> None:
        with lock:
            for waiter in waiters:
                waiter.finished(finished())

    with ThreadPoolExecutor(len(waiters) + 2) as threads:
        waiting = [threads.submit(waiter.wait, timeout) for waiter in waiters]
        finishing: list[Callable[[], None]] = [finish_one_of_each, finish_one_of_each]
        for function in finishing:
            threads.submit(function).result()
        assert all(future.result() for future in waiting)
