from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from millpond.wire.leadership import _GRACE, _LONGEST_GRACE, Leadership
from tests.wire.event_queue import EventQueue

#: seconds after which something that should happen never will
PATIENCE = 60


@pytest.fixture
def queue() -> Iterator[EventQueue]:
    """An event queue whose I/O thread runs."""
    made = EventQueue()
    thread = threading.Thread(target=made.leadership.run)
    thread.start()
    yield made
    made.leadership.stop()
    thread.join()


def until(condition: Callable[[], bool]) -> None:
    """Let other threads run until something holds."""
    while not condition():
        threading.Event().wait(0.0005)


def test_a_wait_that_is_over_does_not_poll() -> None:
    queue = EventQueue()
    wait = queue.leadership.wait()
    wait.wake()
    assert wait.wait()
    assert queue.leadership.followers == set()


def test_who_waits_serves_events_until_its_own() -> None:
    queue = EventQueue()
    wait = queue.leadership.wait()
    served: list[int] = []
    for number in range(3):
        queue.put(lambda number=number: served.append(number))
    queue.put(wait.wake)
    queue.put(lambda: served.append(99))
    assert wait.wait()
    assert served == [0, 1, 2]


def test_the_io_thread_serves_when_nobody_waits(queue: EventQueue) -> None:
    served: SimpleQueue[int] = SimpleQueue()
    for _ in range(3):
        queue.put(lambda: served.put(threading.get_ident()))
        assert served.get(timeout=PATIENCE) != threading.get_ident()


def test_the_io_thread_goes_on_when_a_leader_has_left(queue: EventQueue) -> None:
    served: SimpleQueue[int] = SimpleQueue()
    for idle in (0.0, 0.05):  # also when it had been told to rest for good
        wait = queue.leadership.wait()
        threading.Timer(idle, queue.put, [wait.wake]).start()
        assert wait.wait(PATIENCE)
        queue.put(lambda: served.put(threading.get_ident()))
        assert served.get(timeout=PATIENCE) != threading.get_ident()


def test_the_io_thread_looks_seldom_while_others_lead_without_a_gap() -> None:
    queue, now = EventQueue(), 0.0
    leadership = queue.leadership = Leadership(queue, queue.guard, lambda: now)

    def rest_after_a_wait(pause: float) -> float | None:
        nonlocal now
        now += pause
        wait = leadership.wait()
        queue.put(wait.wake)
        assert wait.wait()
        return leadership._rest()

    rests = [rest_after_a_wait(0.0001) for _ in range(6)]
    assert rests[0] < rests[1] < rests[2]
    assert rests[-2] == rests[-1] == pytest.approx(_LONGEST_GRACE)
    # Nobody leads any more: it serves after that time, and not later each time that it looks.
    now += _LONGEST_GRACE / 2
    assert leadership._rest() == pytest.approx(_LONGEST_GRACE / 2)
    now += _LONGEST_GRACE / 2
    assert leadership._rest() <= 0
    # There was a gap, in which it was needed.
    assert rest_after_a_wait(0.002) == pytest.approx(_GRACE)


def test_one_leads_and_the_others_follow(queue: EventQueue) -> None:
    waits = [queue.leadership.wait() for _ in range(4)]
    threads = [threading.Thread(target=wait.wait) for wait in waits]
    for thread in threads:
        thread.start()
    until(lambda: len(queue.leadership.followers) >= 3)
    for wait in waits:
        queue.put(wait.wake)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert queue.leadership.followers == set()


def test_another_thread_can_end_the_wait_of_a_leader() -> None:
    queue = EventQueue()
    wait = queue.leadership.wait()
    waker = threading.Thread(
        target=lambda: (until(lambda: queue.leadership._leader is wait), wait.wake())
    )
    waker.start()
    assert wait.wait(PATIENCE)
    waker.join()


def test_stopping_sends_a_leader_away(queue: EventQueue) -> None:
    wait = queue.leadership.wait()
    thread = threading.Thread(target=wait.wait, args=(0.2,))
    thread.start()
    until(lambda: queue.leadership._leader is wait or bool(queue.leadership.followers))
    queue.leadership.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not wait.done


def test_a_handler_may_not_wait() -> None:
    queue = EventQueue()
    outer, inner = queue.leadership.wait(), queue.leadership.wait()
    seen: list[bool] = []

    def handle() -> None:
        seen.append(queue.leadership.is_mine)
        seen.append(queue.leadership.lead(inner, None))
        outer.wake()

    queue.put(handle)
    assert outer.wait(PATIENCE)
    assert seen == [True, False]


def test_an_interrupt_comes_through_while_nothing_is_served() -> None:
    queue = EventQueue()
    before = signal.getsignal(signal.SIGINT)
    wait = queue.leadership.wait()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        until(lambda: queue.leadership._leader is wait)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        wait.wait(PATIENCE)
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    again = queue.leadership.wait()
    queue.put(again.wake)
    assert again.wait(PATIENCE)


def test_an_interrupt_waits_until_a_message_is_served() -> None:
    queue = EventQueue()
    wait = queue.leadership.wait()
    served: list[str] = []

    def serve() -> None:
        signal.raise_signal(signal.SIGINT)
        served.append("whole")

    queue.put(serve)
    with pytest.raises(KeyboardInterrupt):
        wait.wait(PATIENCE)
    assert served == ["whole"]
    assert not queue.leadership.is_mine


def test_an_interrupt_during_the_last_message_is_not_lost() -> None:
    queue = EventQueue()
    wait = queue.leadership.wait()
    queue.put(lambda: (wait.wake(), signal.raise_signal(signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        wait.wait(PATIENCE)
    assert wait.done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM, signal.SIGUSR1])
def test_the_main_thread_does_not_lead_under_handlers_of_the_user(
    queue: EventQueue, number: signal.Signals
) -> None:
    before = signal.signal(number, lambda *_: None)
    try:
        wait = queue.leadership.wait()
        assert not queue.leadership.lead(wait, 0)
        queue.put(wait.wake)
        assert wait.wait(PATIENCE)
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_the_main_thread_leads_where_an_interrupt_raises_nothing(handler: signal.Handlers) -> None:
    queue = EventQueue()
    before = signal.signal(signal.SIGINT, handler)
    try:
        wait = queue.leadership.wait()
        queue.put(wait.wake)
        assert queue.leadership.lead(wait, PATIENCE)
        assert signal.getsignal(signal.SIGINT) == handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_installed_handler_is_guarded_too() -> None:
    queue = EventQueue()
    wait = queue.leadership.wait()
    told: list[bool] = []
    before = signal.getsignal(signal.SIGINT)
    try:
        queue.guard.install(lambda *_: told.append(wait.done))
        queue.put(lambda: (signal.raise_signal(signal.SIGINT), wait.wake()))
        assert wait.wait(PATIENCE)
        assert told == [True]
        signal.raise_signal(signal.SIGINT)
        assert told == [True, True]
    finally:
        signal.signal(signal.SIGINT, before)
