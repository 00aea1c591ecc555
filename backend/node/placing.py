"""Which node gets a task, an actor, or a wish for leases, of an owner of this node.

`Placement` chooses; here it is told what there is to know, and what it says is done. A task that
came from another node stays: its owner's node has chosen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from millpond.scheduler.placement import Copies, Load, Need, Placement, Rates
from millpond.scheduler.resources import EXPECTED_MEMORY, unpack_shape

from ..wire import messages as m
from ..wire.ids import node_of

if TYPE_CHECKING:
    from ..wire.messages.cluster import NodeInfo
    from .cluster_service import ClusterService
    from .far_peers import FarPeers

__all__ = ["Placing", "declared", "known_copies"]

#: what moving bytes is taken to cost: the ratio of the two decides, and that to run times
_RATES = Rates(network=1e9, disk=5e8)


class Placing:
    """The choices of one node.

    Args:
        cluster: the members, and how busy they are.
        far: the way to them.
        resources: of this node, in counted units.
    """

    def __init__(
        self, cluster: ClusterService, far: FarPeers, resources: Mapping[str, int]
    ) -> None:
        self._cluster = cluster
        self._far = far
        self._here = cluster.node_id
        self.placement = Placement(_RATES, random.Random())  # noqa: S311 - only spreads load
        self.placement.join(self._here, resources, Load(0, 1, 0.0, 0))
        #: owner and shape -> the nodes that were asked for leases
        self._asked: dict[tuple[bytes, bytes], list[bytes]] = {}
        #: bytes that a task is expected to store
        self.expected_output: Callable[[m.Task], int] = lambda _: 0

    def joined(self, node: NodeInfo) -> None:
        """There is another node."""
        slots = max(node.resources.get("CPU", 0) // 10_000, 1)
        self.placement.join(node.node_id, node.resources, Load(0, slots, 0.0, node.store))

    def left(self, node_id: bytes) -> None:
        """Another node is gone."""
        self.placement.leave(node_id)
        for nodes in self._asked.values():
            if node_id in nodes:
                nodes.remove(node_id)

    def loaded(self, node_id: bytes, load: Load) -> None:
        """A node said how busy it is."""
        self.placement.report(node_id, load)

    def place(self, task: m.Task, shape: bytes, coming: int = 0) -> bytes | None:
        """Return the node that is to run a task or an actor; None where none could.

        Args:
            task: the task.
            shape: what it needs.
            coming: how many more are about to be placed.
        """
        self.placement.report(self._here, self._cluster.load())
        need, copies = self.need(task, shape)
        chosen = self.placement.choose(need, copies, coming)
        if chosen is not None:
            self.placement.sent(chosen)
        return chosen

    def need(self, task: m.Task, shape: bytes) -> tuple[Need, Callable[[bytes], Copies]]:
        """Return what a task needs, and what tells where its arguments are."""
        stored = [each for each in task.arguments if each.value.kind == m.STORED]
        sizes = {each.object_id: each.value.size for each in stored}
        where = {each.object_id: dict.fromkeys(_nodes(each), True) for each in stored}
        empty: Copies = {}
        need = Need(declared(shape), sizes, self.expected_output(task))
        return need, lambda object_id: where.get(object_id, empty)

    def spread_leases(self, owner: bytes, shape: bytes, count: int, order: int) -> None:
        """Ask other nodes for leases that an owner of this one waits for, as far as they have room.

        Args:
            owner: the process.
            shape: of the leases.
            count: how many it waits for; 0: none any more.
            order: position of the first task that waits.
        """
        key = (owner, shape)
        free = self.placement.free_slots(declared(shape), self._here) if count else {}
        asked = []
        for node_id, slots in free.items():
            if count <= 0:
                break
            wanted = min(slots, count)
            if self._far.send(node_id, owner, m.RequestLeases(shape, wanted, order)):
                asked.append(node_id)
                count -= wanted
                for _ in range(wanted):
                    self.placement.sent(node_id)
        for node_id in self._asked.pop(key, []):
            if node_id not in asked:
                self._far.send(node_id, owner, m.RequestLeases(shape, 0, 0))
        if asked:
            self._asked[key] = asked

    def owner_died(self, owner: bytes) -> None:
        """A process of this node is gone."""
        for key in [key for key in self._asked if key[0] == owner]:
            del self._asked[key]


def known_copies(task: m.Task, here: bytes) -> list[m.Copies]:
    """Return where those arguments of a task are that this node need not have."""
    return [
        m.Copies(each.object_id, each.value.size, _nodes(each))
        for each in task.arguments
        if each.value.kind == m.STORED and (each.value.nodes or node_of(each.object_id) != here)
    ]


def _nodes(argument: m.Argument) -> list[bytes]:
    return argument.value.nodes or [node_of(argument.object_id)]


def declared(shape: bytes) -> dict[str, int]:
    """Return a shape without what is only expected, which no node needs to have."""
    return {name: n for name, n in unpack_shape(shape).items() if name != EXPECTED_MEMORY}
