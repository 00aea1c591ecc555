"""The head and the other nodes, joined by a network that delivers at once and can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from millpond.cluster.membership import Membership
from millpond.cluster.roles import HeadRole, MemberRole, Role
from millpond.errors import ClusterError
from millpond.scheduler.placement import Load
from millpond.wire.messages import cluster as c

PATIENCE = 10.0


def info(name: str) -> c.NodeInfo:
    return c.NodeInfo(name.encode(), f"{name}:7600", name, 1, {}, 0, False)


class Network:
    """All nodes and the links between them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.nodes: dict[bytes, Node] = {}

    def add(self, name: str) -> Node:
        node = Node(self, info(name))
        head = next(iter(self.nodes.values()), None)
        if head is None:
            membership = Membership(node.info, PATIENCE)
            node.role = HeadRole(membership, node, node, lambda: self.now, PATIENCE)
            others = []
        else:
            others = head.role.join(node.info)
            node.role = MemberRole(head.info, node, node, lambda: self.now, PATIENCE)
        self.nodes[node.info.node_id] = node
        for other in others:
            self.link(node, self.nodes[other.node_id])
        return node

    def link(self, one: Node, other: Node) -> None:
        for node, peer in ((one, other), (other, one)):
            assert node.role.expects(peer.info.node_id)
            node.links.append(peer.info.node_id)
        one.role.linked(other.info.node_id)
        other.role.linked(one.info.node_id)

    def break_link(self, one: Node, other: Node, reason: str = "reset") -> None:
        for node, peer in ((one, other), (other, one)):
            if peer.info.node_id in node.links:
                node.cut(peer.info.node_id, reason)
                node.role.broken(peer.info.node_id, reason)

    def die(self, dead: Node) -> None:
        dead.alive = False
        for node in list(self.nodes.values()):
            if node is not dead and dead.info.node_id in node.links:
                node.cut(dead.info.node_id, "reset")
                node.role.broken(dead.info.node_id, "reset")

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = round(self.now + 0.1, 3)
            for node in self.nodes.values():
                if node.alive and not node.frozen:
                    node.role.tick()


class Node:
    """What the role can have done, and who is told of it."""

    def __init__(self, network: Network, node: c.NodeInfo) -> None:
        self.info = node
        self.role: Role
        self.links: list[bytes] = []
        self.alive = True
        self.frozen = False
        self.left: dict[bytes, str] = {}
        self.loads: dict[bytes, Load] = {}
        self.alone: list[str] = []
        self.own = Load(0, 1, 0.0, 100)
        self.sent = 0
        self._network = network

    def send(self, node_id: bytes, message: msgspec.Struct) -> bool:
        if node_id not in self.links:
            return False
        other = self._network.nodes[node_id]
        self.sent += 1
        if not other.frozen:
            assert other.role.handle(self.info.node_id, message)
        return True

    def members(self) -> list[bytes]:
        return self.links.copy()

    def cut(self, node_id: bytes, reason: str) -> None:
        if node_id not in self.links:
            return
        self.links.remove(node_id)
        self.left[node_id] = reason
        other = self._network.nodes[node_id]
        if self.info.node_id in other.links and not other.frozen:
            other.cut(self.info.node_id, "closed")
            other.role.broken(self.info.node_id, "closed")

    def on_joined(self, node: c.NodeInfo) -> None: ...

    def on_left(self, node_id: bytes, reason: str) -> None: ...

    def on_load(self, node_id: bytes, load: Load) -> None:
        self.loads[node_id] = load

    def on_message(self, node_id: bytes, message: Any) -> None: ...

    def on_alone(self, reason: str) -> None:
        self.alone.append(reason)

    def load(self) -> Load:
        return self.own

    def serve_fetch(self, object_id: bytes, offset: int, size: int) -> AsyncIterator[memoryview]:
        raise NotImplementedError


@pytest.fixture
def network() -> Network:
    network = Network()
    for name in ("head", "one.", "two.", "tri."):
        network.add(name)
    return network


def members(network: Network) -> dict[bytes, set[bytes]]:
    return {node_id: set(n.links) for node_id, n in network.nodes.items() if n.alive}


def test_everybody_is_linked_with_everybody(network: Network) -> None:
    network.run(60.0)
    ids = set(network.nodes)
    assert members(network) == {node_id: ids - {node_id} for node_id in ids}


def test_who_is_not_the_head_sends_those_who_want_to_join_there(network: Network) -> None:
    with pytest.raises(ClusterError, match="head:7600"):
        network.nodes[b"one."].role.join(info("new."))


def test_a_dead_node_is_gone_for_all_at_once(network: Network) -> None:
    network.die(network.nodes[b"one."])
    rest = {b"head", b"two.", b"tri."}
    assert members(network) == {node_id: rest - {node_id} for node_id in rest}
    network.run(30.0)
    assert members(network) == {node_id: rest - {node_id} for node_id in rest}


def test_a_node_that_leaves_is_gone_and_nobody_else(network: Network) -> None:
    network.nodes[b"one."].role.leave()
    network.nodes[b"one."].alive = False
    assert network.nodes[b"head"].left[b"one."] == "it left"
    assert members(network)[b"two."] == {b"head", b"tri."}
    assert network.nodes[b"one."].alone == []


def test_a_node_that_hangs_is_given_up_after_the_patience(network: Network) -> None:
    network.run(5.0)
    network.nodes[b"one."].frozen = True
    network.run(PATIENCE - 1.5)
    assert b"one." in network.nodes[b"head"].links
    network.run(3.0)
    assert members(network)[b"two."] == {b"head", b"tri."}
    assert "not heard" in network.nodes[b"tri."].left[b"one."]


def test_who_is_given_up_stays_outside(network: Network) -> None:
    network.nodes[b"one."].frozen = True
    network.run(PATIENCE + 1)
    assert not network.nodes[b"two."].role.expects(b"one.")
    assert not network.nodes[b"head"].role.expects(b"one.")


def test_without_the_head_everybody_is_alone(network: Network) -> None:
    network.die(network.nodes[b"head"])
    for name in (b"one.", b"two.", b"tri."):
        node = network.nodes[name]
        assert node.links == []
        (reason,) = node.alone
        assert "head:7600" in reason
        assert not node.role.expects(b"two.")


def test_a_head_that_hangs_is_given_up_too(network: Network) -> None:
    network.run(5.0)
    network.nodes[b"head"].frozen = True
    network.run(PATIENCE + 1.5)
    assert "not been heard of" in network.nodes[b"two."].alone[0]


def test_the_head_says_that_it_stops(network: Network) -> None:
    network.nodes[b"head"].role.leave()
    assert network.nodes[b"one."].alone == ["the head of the cluster was stopped"]
    assert members(network)[b"one."] == set()


def test_a_broken_link_between_two_costs_the_younger_one_its_membership(network: Network) -> None:
    one, tri = network.nodes[b"one."], network.nodes[b"tri."]
    network.break_link(tri, one)
    assert tri.alone == []
    network.run(PATIENCE)
    assert b"one.".hex() in tri.alone[0]
    rest = {b"head", b"one.", b"two."}
    assert {n: m for n, m in members(network).items() if n in rest} == {
        node_id: rest - {node_id} for node_id in rest
    }


def test_loads_reach_everybody_else(network: Network) -> None:
    busy = Load(7, 1, 0.5, 10)
    network.nodes[b"one."].own = busy
    network.run(0.3)
    for name in (b"head", b"two.", b"tri."):
        assert network.nodes[name].loads[b"one."] == busy
    assert b"one." not in network.nodes[b"one."].loads
    late = network.add("late")
    assert late.loads[b"one."] == busy


def test_an_idle_cluster_says_little(network: Network) -> None:
    network.run(5.0)
    before = {node_id: node.sent for node_id, node in network.nodes.items()}
    network.run(10.0)
    for node_id, node in network.nodes.items():
        beats = (node.sent - before[node_id]) / (3 if node_id == b"head" else 1)
        assert beats <= 11
