"""Two reactors of one process, connected by a Unix socket as two processes would be."""

from __future__ import annotations

import gc
import logging
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from millpond.wire.leadership import Wait
from millpond.wire.messages import Done, FunctionBlob, LogLines
from millpond.wire.reactor import Connection, Reactor

#: seconds after which something that should arrive never will
PATIENCE = 60
#: relative, because the path of a Unix socket must be short
SOCKET = "reactor.sock"


class End:
    """A reactor that keeps what it receives."""

    def __init__(self, name: str, reactor: type[Reactor] = Reactor) -> None:
        self.messages: SimpleQueue[Any] = SimpleQueue()
        self.closed: SimpleQueue[Connection] = SimpleQueue()
        self.senders: SimpleQueue[Connection] = SimpleQueue()
        self.reactor = reactor(self._on_messages, self.closed.put, name)
        self.reactor.open()

    def _on_messages(self, connection: Connection, messages: list[Any]) -> None:
        for message in messages:
            self.senders.put(connection)
            self.messages.put(message)

    def next_messages(self, count: int) -> list[Any]:
        return [self.messages.get(timeout=PATIENCE) for _ in range(count)]


Pair = tuple[End, Connection, End, Connection]


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., End]]:
    monkeypatch.chdir(tmp_path)
    made: list[End] = []

    def make(name: str, reactor: type[Reactor] = Reactor) -> End:
        made.append(End(name, reactor))
        return made[-1]

    yield make
    for end in made:
        end.reactor.stop()
        assert not end.reactor._thread.is_alive()


def joined(left: End, right: End) -> Pair:
    """Start two ends that have heard of each other."""
    right.reactor.listen(SOCKET)
    right.reactor.start()
    left.reactor.start()
    to_right = left.reactor.connect(SOCKET)
    assert to_right.send(Done(0))
    assert right.next_messages(1) == [Done(0)]
    return left, to_right, right, right.senders.get()


@pytest.fixture
def pair(ends: Callable[..., End]) -> Pair:
    return joined(ends("left"), ends("right"))


def test_large_messages_of_several_threads_arrive_whole_and_in_order(pair: Pair) -> None:
    left, to_right, right, to_left = pair
    count = 12

    def size_of(number: int) -> int:
        return 700_000 if number % 3 == 0 else number  # the socket's buffer takes 200 KB or so

    def send(connection: Connection, thread: int) -> None:
        for number in range(count):
            fill = bytes([thread]) * size_of(number)
            assert connection.send(FunctionBlob(thread * 1000 + number, fill))

    with ThreadPoolExecutor(6) as threads:
        sending = [
            threads.submit(send, connection, thread)
            for thread in range(3)
            for connection in (to_right, to_left)
        ]
        for future in sending:
            future.result()
    for end in (left, right):
        arrived = end.next_messages(3 * count)
        for thread in range(3):
            own = [message for message in arrived if message.request // 1000 == thread]
            assert [message.request % 1000 for message in own] == list(range(count))
            for number, message in enumerate(own):
                assert message.blob == bytes([thread]) * size_of(number)
        assert end.messages.empty()


def test_a_send_never_waits_for_the_reader(ends: Callable[..., End]) -> None:
    end = ends("writer")
    ours, theirs = socket.socketpair()
    connection = end.reactor.adopt(ours)
    end.reactor.start()
    for number in range(20):
        assert connection.send(FunctionBlob(number, bytes(300_000)))
    theirs.settimeout(PATIENCE)
    received = 0
    with theirs, memoryview(bytearray(1 << 20)) as buffer:
        while received < 20 * 300_000:
            received += theirs.recv_into(buffer)


def test_a_send_while_the_queue_runs_empty_is_not_forgotten(ends: Callable[..., End]) -> None:
    """Write interest is given back only if nobody can have wanted it again meanwhile."""
    sent: list[threading.Thread] = []

    class SlowToLose(Reactor):
        def want_write(self, connection: Connection, *, wanted: bool) -> None:
            if not wanted and not sent:
                blob = FunctionBlob(2, bytes(2_000_000))
                sent.append(threading.Thread(target=connection.send, args=(blob,)))
                sent[0].start()
                sent[0].join(0.2)  # an unguarded send would be through by now
            super().want_write(connection, wanted=wanted)

    _, to_right, right, _ = joined(ends("left", SlowToLose), ends("right"))
    to_right.send(FunctionBlob(1, bytes(2_000_000)))
    assert [message.request for message in right.next_messages(2)] == [1, 2]
    sent[0].join()


def test_messages_on_the_way_are_written_before_the_end(pair: Pair) -> None:
    left, to_right, right, to_left = pair
    for number in range(10):
        to_right.send(FunctionBlob(number, bytes(500_000)))
    left.reactor.stop()
    assert [message.request for message in right.next_messages(10)] == list(range(10))
    assert right.closed.get(timeout=PATIENCE) is to_left
    assert to_right.closed
    assert not to_right.send(Done(1))


def test_the_other_end_goes_while_threads_send(pair: Pair) -> None:
    left, to_right, right, to_left = pair

    def send_until_closed(connection: Connection) -> None:
        size = 50_000
        while connection.send(FunctionBlob(1, bytes(size))):
            size = 50_000 if len(connection._unsent) < 100 else 0

    with ThreadPoolExecutor(3) as threads:
        sending = [threads.submit(send_until_closed, to_right) for _ in range(3)]
        right.next_messages(5)
        right.reactor.stop()
        assert left.closed.get(timeout=PATIENCE) is to_right
        for future in sending:
            future.result()
    assert to_right.closed
    assert to_left.closed
    assert left.closed.empty()


def test_closing_twice_and_sending_afterwards(pair: Pair) -> None:
    _, to_right, right, to_left = pair
    to_right.close()
    to_right.close()
    assert not to_right.send(Done(1))
    assert right.closed.get(timeout=PATIENCE) is to_left


def test_garbage_ends_its_connection_and_no_other(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    _, to_right, right, _ = pair
    with caplog.at_level(logging.CRITICAL, "millpond.wire"):
        for garbage in (b"\xff" * 8, struct.pack("<I", 1) + b"\xc1"):
            with socket.socket(socket.AF_UNIX) as rude:
                rude.settimeout(PATIENCE)
                rude.connect(SOCKET)
                rude.sendall(garbage)
                assert rude.recv(1) == b""
            assert right.closed.get(timeout=PATIENCE) is not to_right
    to_right.send(Done(5))
    assert right.next_messages(1) == [Done(5)]


def test_an_incomplete_message_is_dropped_with_its_connection(pair: Pair) -> None:
    _, to_right, right, _ = pair
    with socket.socket(socket.AF_UNIX) as hasty:
        hasty.connect(SOCKET)
        hasty.sendall(struct.pack("<I", 100) + b"\x93")
    right.closed.get(timeout=PATIENCE)
    to_right.send(LogLines(1, 2, "f", "text"))
    assert right.next_messages(1) == [LogLines(1, 2, "f", "text")]


def test_only_the_user_may_connect(pair: Pair) -> None:
    assert stat.S_IMODE(Path(SOCKET).stat().st_mode) == 0o600


def test_nobody_listens(ends: Callable[..., End]) -> None:
    with pytest.raises(OSError):
        ends("left").reactor.connect("nobody.sock")


def test_ticks_run_on_the_io_thread_when_nobody_waits(ends: Callable[..., End]) -> None:
    reactor = ends("thread").reactor
    told: SimpleQueue[tuple[int, bool]] = SimpleQueue()

    def tick() -> float | None:
        told.put((threading.get_ident(), reactor.leadership.is_mine))
        return None

    reactor.tick = tick
    reactor.start()
    for _ in range(2):
        ident, leads = told.get(timeout=PATIENCE)
        assert ident != threading.get_ident()
        assert leads
        reactor.wake()
    assert not reactor.leadership.is_mine


def test_ticks_come_while_every_answer_comes_at_once(pair: Pair) -> None:
    left, to_right, right, _to_left = pair
    ticks = 0
    answered = left.reactor.leadership.wait()

    def tick() -> float | None:
        nonlocal ticks
        ticks += left.reactor._brisk
        return None

    left.reactor.tick = tick
    left.reactor._on_messages = lambda *_: answered.wake()
    right.reactor._on_messages = lambda connection, messages: connection.send(messages[0])
    deadline = time.monotonic() + PATIENCE
    while ticks < 3 and time.monotonic() < deadline:
        answered = left.reactor.leadership.wait()
        to_right.send(Done(1))
        assert answered.wait(PATIENCE)
    assert ticks >= 3


def test_a_thread_that_waits_serves_the_messages(pair: Pair) -> None:
    left, _to_right, _right, to_left = pair
    answered = left.reactor.leadership.wait()
    served_by: list[int] = []

    def on_answer(connection: Connection, messages: list[Any]) -> None:
        served_by.append(threading.get_ident())
        answered.wake()

    left.reactor._on_messages = on_answer
    with ThreadPoolExecutor(1) as threads:
        thread = threads.submit(threading.get_ident).result()
        waiting = threads.submit(answered.wait)
        while left.reactor.leadership._leader is not answered:
            left.reactor.wake()  # the I/O thread may be polling still: it lets the next one lead
            if answered in left.reactor.leadership.followers:
                break
        to_left.send(Done(1))
        assert waiting.result(PATIENCE)
    assert served_by in ([thread], [left.reactor._thread.ident])


def test_a_wait_ends_in_time_whether_or_not_it_leads(ends: Callable[..., End]) -> None:
    reactor = ends("timed").reactor
    assert not reactor.leadership.wait().wait(0.001)
    reactor.start()
    for timeout in (0.0, -1.0, 0.001):
        assert not reactor.leadership.wait().wait(timeout)


def test_waits_of_many_threads_end(pair: Pair) -> None:
    """Lost wake-ups would show here: every wait is ended by a message, whoever leads."""
    left, to_right, right, _to_left = pair
    waits: dict[int, Wait] = {}

    def on_answer(connection: Connection, messages: list[Any]) -> None:
        for message in messages:
            waits.pop(message.request).wake()

    def echo(connection: Connection, messages: list[Any]) -> None:
        for message in messages:
            connection.send(message)

    left.reactor._on_messages = on_answer
    right.reactor._on_messages = echo

    def ask_often(first: int) -> int:
        done = 0
        for number in range(first, first + 1500):
            wait = waits[number] = left.reactor.leadership.wait()
            to_right.send(Done(number))
            done += wait.wait(PATIENCE)
        return done

    with ThreadPoolExecutor(4) as threads:
        asking = [threads.submit(ask_often, 10_000 * thread) for thread in range(4)]
        assert [future.result() for future in asking] == [1500] * 4


def test_stopping_closes_everything_and_can_be_repeated() -> None:
    gc.collect()  # what others left open must not be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    end = End("stopping")
    ours, theirs = socket.socketpair()
    end.reactor.adopt(ours)
    end.reactor.start()
    end.reactor.stop()
    end.reactor.stop()
    end.reactor.wake()
    theirs.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
