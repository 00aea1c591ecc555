"""Messages to and from other nodes, with simulated links."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from millpond.node.far_peers import FarPeers
from millpond.wire import messages as m
from millpond.wire.framing import decode_message, encode_message

HERE, THERE, YONDER = b"nod1", b"nod2", b"nod3"
MINE, THEIRS = HERE + b"work", THERE + b"work"


class Process:
    """A process of this node."""

    observes = False
    worker = None

    def __init__(self, process_id: bytes) -> None:
        self.process_id = process_id
        self.heard: list[Any] = []
        self.paused = False

    def pause(self) -> Callable[[], None]:
        self.paused = True
        return self.resume

    def resume(self) -> None:
        self.paused = False

    def send(self, message: Any) -> None:
        self.heard.append(message)


class World:
    """This node with one process, and one other node."""

    def __init__(self) -> None:
        self.process = Process(MINE)
        self.sent: list[tuple[bytes, Any]] = []
        self.served: list[tuple[bytes, Any]] = []
        self.gone: list[bytes] = []
        self.handlers: dict[type, Any] = {}
        self.crowded: list[bytes] = []
        self.when_free: list[Callable[[], None]] = []
        self.nodes = {HERE: None, THERE: None}
        cluster = SimpleNamespace(
            node_id=HERE, nodes=self.nodes, handlers=self.handlers, links=self
        )
        self.peers = FarPeers(cast("Any", cluster), cast("Any", self))

    # what the links do
    def send(self, node_id: bytes, message: Any) -> bool:
        if node_id in self.nodes and node_id != HERE:
            self.sent.append((node_id, message))
            return True
        return False

    def wait_for_room(self, node_id: bytes, pause: Callable[[], Callable[[], None]]) -> None:
        if node_id in self.crowded:
            self.when_free.append(pause())

    # what this node does
    def local(self, process_id: bytes) -> Process | None:
        return self.process if process_id == MINE else None

    def handle(self, peer: Any, message: Any) -> None:
        self.served.append((peer.process_id, message))
        if isinstance(message, m.GetStatistics):
            peer.send(m.Done(message.request))

    def process_gone(self, process_id: bytes) -> None:
        self.gone.append(process_id)

    def arrive(self, target: bytes, message: Any, sender: bytes = THEIRS) -> None:
        routed = m.Routed(target, sender, encode_message(message))
        self.handlers[m.Routed](THERE, routed)


@pytest.fixture
def world() -> World:
    return World()


def test_a_message_of_a_process_goes_to_the_node_of_its_target_as_it_is(world: World) -> None:
    routed = m.Routed(THEIRS, MINE, b"body")
    world.peers.from_local(world.process, routed)
    assert world.sent == [(THERE, routed)]
    assert not world.process.paused


def test_a_process_that_sends_to_a_slow_node_waits(world: World) -> None:
    world.crowded.append(THERE)
    world.peers.from_local(cast("Any", world.process), m.Routed(THEIRS, MINE, b"body"))
    assert world.process.paused
    assert len(world.sent) == 1
    (resume,) = world.when_free
    resume()
    assert not world.process.paused


def test_who_writes_to_a_node_that_is_gone_hears_so(world: World) -> None:
    world.peers.from_local(world.process, m.Routed(YONDER + b"work", MINE, b""))
    world.peers.from_local(world.process, m.Routed(YONDER, MINE, b""))
    first, second = world.process.heard
    assert first == m.ProcessDied(YONDER + b"work")
    assert isinstance(second, m.NodeLost)
    assert second.node_id == YONDER


def test_a_message_for_a_process_is_handed_to_it(world: World) -> None:
    world.arrive(MINE, m.Resolve(b"object"))
    (message,) = world.process.heard
    assert (message.sender, decode_message(message.body)) == (THEIRS, m.Resolve(b"object"))


def test_a_message_for_this_node_is_served_and_the_answer_goes_back(world: World) -> None:
    world.arrive(HERE, m.GetStatistics(5))
    assert world.served == [(THEIRS, m.GetStatistics(5))]
    ((node_id, answer),) = world.sent
    assert (node_id, answer.target, answer.sender) == (THERE, THEIRS, HERE)
    assert decode_message(answer.body) == m.Done(5)


@pytest.mark.parametrize("message", [m.Shutdown(), m.Hello(m.PROTOCOL, THEIRS, "worker", 1)])
def test_what_only_processes_of_this_node_may_say_is_ignored(world: World, message: Any) -> None:
    world.arrive(HERE, message)
    assert world.served == []


def test_garbage_is_ignored(world: World) -> None:
    world.handlers[m.Routed](THERE, m.Routed(HERE, THEIRS, b"garbage"))
    assert world.served == []


def test_who_writes_to_a_process_that_is_gone_hears_so(world: World) -> None:
    world.arrive(HERE + b"dead", m.Resolve(b"object"))
    ((node_id, answer),) = world.sent
    assert (node_id, answer.target) == (THERE, THEIRS)
    assert decode_message(answer.body) == m.ProcessDied(HERE + b"dead")
    world.sent.clear()
    world.arrive(HERE + b"dead", m.Resolve(b"object"), sender=THERE)
    assert world.sent == [(THERE, m.ProcessDied(HERE + b"dead"))]


def test_deaths_are_told_and_heard(world: World) -> None:
    world.peers.local_process_died(MINE)
    assert world.sent == [(THERE, m.ProcessDied(MINE))]
    world.handlers[m.ProcessDied](THERE, m.ProcessDied(THEIRS))
    assert world.gone == [THEIRS]


def test_only_processes_of_other_members_are_far(world: World) -> None:
    assert world.peers.peer(MINE) is None
    assert world.peers.peer(YONDER + b"work") is None
    peer = world.peers.peer(THEIRS)
    assert peer is not None
    assert world.peers.peer(THEIRS) is peer


def test_a_lost_nodes_processes_are_forgotten(world: World) -> None:
    world.peers.peer(THEIRS)
    del world.nodes[THERE]
    assert world.peers.drop_node(THERE) == [THEIRS]
    assert world.peers.peer(THEIRS) is None
