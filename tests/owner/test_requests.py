from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from millpond.errors import NodeDiedError, ProtocolError
from millpond.owner.requests import Requests
from millpond.wire.messages import Done, GetStatistics
from tests.wire.event_queue import EventQueue


class Peer:
    """The other end of a connection."""

    def __init__(self, answer: Callable[[GetStatistics], bool]) -> None:
        self.closed = False
        self.send = answer


def test_the_answer_of_the_same_number_is_returned() -> None:
    requests = Requests(EventQueue().leadership)

    def answer(message: GetStatistics) -> bool:
        requests.answered(Done(message.request + 1000))
        requests.answered(Done(message.request))
        requests.answered(Done(message.request))
        return True

    numbers = [requests.ask(Peer(answer), GetStatistics(0)).request for _ in range(3)]
    assert numbers == [1, 2, 3]
    assert requests._waiting == {}


def test_answers_may_come_in_another_order() -> None:
    requests = Requests(EventQueue().leadership)
    asked: SimpleQueue[int] = SimpleQueue()

    def send(message: GetStatistics) -> bool:
        asked.put(message.request)
        return True

    messages = [GetStatistics(0) for _ in range(8)]
    with ThreadPoolExecutor(len(messages)) as threads:
        answers = [threads.submit(requests.ask, Peer(send), message) for message in messages]
        for number in sorted((asked.get() for _ in messages), reverse=True):
            requests.answered(Done(number))
        for message, answer in zip(messages, answers, strict=True):
            assert answer.result().request == message.request


def test_nobody_is_asked_who_is_gone() -> None:
    requests = Requests(EventQueue().leadership)
    refusing = Peer(lambda _: False)
    with pytest.raises(NodeDiedError):
        requests.ask(refusing, GetStatistics(0))
    refusing.closed = True
    with pytest.raises(NodeDiedError):
        requests.ask(refusing, GetStatistics(0))
    assert requests._waiting == {}


def test_a_message_that_cannot_be_sent_leaves_nothing_behind() -> None:
    requests = Requests(EventQueue().leadership)

    def too_large(_: GetStatistics) -> bool:
        raise ProtocolError("too large")

    with pytest.raises(ProtocolError):
        requests.ask(Peer(too_large), GetStatistics(0))
    assert requests._waiting == {}


def test_a_connection_that_ends_fails_what_was_asked_over_it_and_nothing_else() -> None:
    requests = Requests(EventQueue().leadership)
    asked: SimpleQueue[int] = SimpleQueue()

    def send(message: GetStatistics) -> bool:
        asked.put(message.request)
        return True

    ending, staying = Peer(send), Peer(send)
    with ThreadPoolExecutor(2) as threads:
        lost = threads.submit(requests.ask, ending, GetStatistics(0))
        asked.get()
        kept = threads.submit(requests.ask, staying, GetStatistics(0))
        number = asked.get()
        requests.fail(ending, NodeDiedError("the peer is gone"))
        with pytest.raises(NodeDiedError, match="the peer is gone"):
            lost.result()
        requests.answered(Done(number))
        assert kept.result() == Done(number)


def test_everything_fails_when_the_session_ends() -> None:
    requests = Requests(EventQueue().leadership)
    asked: SimpleQueue[int] = SimpleQueue()

    def send(message: GetStatistics) -> bool:
        asked.put(message.request)
        return True

    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(requests.ask, Peer(send), GetStatistics(0)) for _ in range(3)]
        for _ in answers:
            asked.get()
        requests.fail_all(NodeDiedError("shut down"))
        for answer in answers:
            with pytest.raises(NodeDiedError, match="shut down"):
                answer.result()
