"""One object for many nodes, down a tree, though nodes fail; and nobody waits for himself."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.scheduler.fanout import Fanout
from millpond.scheduler.pulling import Command, Fetch, GiveUp, PullQueue

X, Y = b"object x", b"object y"
A, B, C, D = b"nodA", b"nodB", b"nodC", b"nodD"


def begin(fanout: Fanout, reader: bytes, object_id: bytes = X, *, direct: bool = False) -> bytes:
    return fanout.begin(object_id, reader, direct=direct) or b""


def test_the_first_are_served_and_the_others_go_to_them_in_turn() -> None:
    fanout = Fanout(2)
    assert [begin(fanout, each) for each in (A, B, C, D, b"nodE")] == [b"", b"", A, B, A]


def test_when_one_ends_another_is_served() -> None:
    fanout = Fanout(2)
    for each in (A, B):
        begin(fanout, each)
    fanout.end(X, A)
    fanout.validate()
    assert begin(fanout, C) == b""
    assert begin(fanout, D) in {B, C}


def test_who_must_not_be_handed_on_is_served() -> None:
    fanout = Fanout(2)
    for each in (A, B):
        begin(fanout, each)
    assert begin(fanout, C, direct=True) == b""
    assert begin(fanout, B) == b""  # its call broke, and nobody has noticed yet


def test_who_cannot_be_served_by_others_is_served_by_who_handed_it_on() -> None:
    root, reader = Fanout(2), PullQueue(1 << 20, random.Random(0))
    for other in (A, B):  # they receive it, and have nothing for others yet
        assert begin(root, other) == b""
    (fetch,) = reader.add(X, 100, [_ROOT])
    asked = []
    while isinstance(fetch, Fetch) and len(asked) < 10:
        asked.append(fetch.node_id)
        if fetch.node_id != _ROOT:
            (fetch,) = reader.failed(X, 0, "it is only coming in there")
            continue
        instead = begin(root, C, direct=fetch.direct)
        if not instead:
            break
        (fetch,) = reader.handed_on(X, instead)
    assert asked == [_ROOT, A, _ROOT]


def test_objects_have_nothing_to_do_with_each_other() -> None:
    fanout = Fanout(1)
    assert begin(fanout, A) == begin(fanout, A, Y) == b""
    fanout.end(X, A)
    fanout.end(Y, A)
    fanout.validate()
    with pytest.raises(KeyError):
        fanout.end(X, A)


_ROOT, _SIZE = b"root", 8


class _Node:
    def __init__(self, seed: int) -> None:
        self.fanout = Fanout(2)
        self.pulls = PullQueue(1 << 20, random.Random(seed))
        self.alive = True
        self.filled = 0
        self.depth = 1
        #: the call by which it is being served: (source, from there on)
        self.call: Fetch | None = None
        #: the call is admitted
        self.served = False


class _Broadcast:
    """All nodes but the root want one object; a step moves one unit, or admits, over one call.

    Args:
        count: nodes that want it.
        seed: of everything random.
        rumours: nodes are also said to have it that want it themselves.
    """

    def __init__(self, count: int, seed: int, *, rumours: bool = False) -> None:
        self.rng = random.Random(seed)
        self.nodes = {b"n%03d" % number: _Node(seed + number) for number in range(count)}
        self.nodes[_ROOT] = _Node(seed)
        self.nodes[_ROOT].filled = _SIZE
        self.sent: Counter[bytes] = Counter()
        #: calls that ended, which their sources have not noticed yet: (source, reader)
        self.unnoticed: list[tuple[bytes, bytes]] = []
        for node_id, node in self.nodes.items():
            others = [other for other in self.nodes if other not in (node_id, _ROOT)]
            said = self.rng.sample(others, min(3, len(others))) if rumours else []
            if node_id != _ROOT:
                self.execute(node, node.pulls.add(X, _SIZE, [_ROOT, *said]))

    def execute(self, node: _Node, commands: list[Command]) -> None:
        for command in commands:
            assert not isinstance(command, GiveUp), "the root has it"
            node.call, node.served, node.depth = command, False, command.depth

    def kill(self, node_id: bytes) -> None:
        self.nodes[node_id].alive = False
        self.end_call(node_id)

    def break_call(self, node_id: bytes) -> None:
        node = self.nodes[node_id]
        if node.alive and node.call is not None and node.call.node_id != _ROOT:
            self.end_call(node_id)
            self.execute(node, node.pulls.failed(X, node.filled, "the connection broke"))

    def end_call(self, node_id: bytes) -> None:
        node = self.nodes[node_id]
        if node.call is not None and node.served:
            self.unnoticed.append((node.call.node_id, node_id))
        node.call = None

    def notice(self) -> None:
        self.rng.shuffle(self.unnoticed)
        for _ in range(self.rng.randint(0, len(self.unnoticed))):
            source, reader = self.unnoticed.pop()
            self.nodes[source].fanout.end(X, reader)

    def step(self, node_id: bytes) -> bool:
        """Do what can be done for a reader now; whether there was anything."""
        node = self.nodes[node_id]
        if not node.alive or node.call is None:
            return False
        call, source = node.call, self.nodes[node.call.node_id]
        if not source.alive:
            self.end_call(node_id)
            self.execute(node, node.pulls.failed(X, node.filled, "it is gone"))
        elif not node.served:
            self.admit(node_id, node, call, source)
        elif node.filled == _SIZE:
            self.end_call(node_id)
            node.pulls.done(X)
        elif source.filled > node.filled:
            node.filled += 1
            self.sent[call.node_id] += 1
        else:
            return False
        node.pulls.validate()
        source.fanout.validate()
        return True

    def admit(self, node_id: bytes, node: _Node, call: Fetch, source: _Node) -> None:
        if source.filled < _SIZE and source.depth >= call.depth:
            self.execute(node, node.pulls.failed(X, node.filled, "it is only coming in there"))
            return
        instead = source.fanout.begin(X, node_id, direct=call.direct)
        if instead is None:
            node.served = True
        else:
            self.execute(node, node.pulls.handed_on(X, instead))

    def run(self, deaths: list[int], breaks: list[int]) -> None:
        readers = [node_id for node_id in self.nodes if node_id != _ROOT]
        for round_ in itertools.count():
            assert round_ < 100 * len(readers), "it does not come to an end"
            self.rng.shuffle(readers)
            moved = [self.step(node_id) for node_id in readers]
            if not any(moved):
                return
            self.notice()
            if round_ in deaths:
                self.kill(self.rng.choice(readers))
            if round_ in breaks:
                self.break_call(self.rng.choice(readers))


@given(count=st.integers(1, 40), seed=st.integers(0, 1000))
def test_no_node_sends_an_object_more_often_than_the_tree_is_wide(count: int, seed: int) -> None:
    broadcast = _Broadcast(count, seed)
    broadcast.run([], [])
    assert all(node.filled == _SIZE for node in broadcast.nodes.values())
    # Who is done makes room for another.
    assert broadcast.sent[_ROOT] <= 3 * _SIZE


@given(
    count=st.integers(1, 40),
    seed=st.integers(0, 1000),
    deaths=st.lists(st.integers(0, 25), max_size=12),
    breaks=st.lists(st.integers(0, 25), max_size=12),
    rumours=st.booleans(),
)
def test_all_who_live_get_everything_whatever_fails(
    count: int, seed: int, deaths: list[int], breaks: list[int], rumours: bool
) -> None:
    broadcast = _Broadcast(count, seed, rumours=rumours)
    broadcast.run(deaths, breaks)
    for node in broadcast.nodes.values():
        assert node.filled == _SIZE or not node.alive
        assert node.call is None
