"""Which node gets a task, an actor, or a wish for leases, of an owner of this node.

`Placement` chooses; here it is told what there is to know, and what it says is done. A task that
came from another node stays: its owner's node has chosen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from millpond.scheduler.placement import Copies, Load, Need, Placement, Rates
from millpond.scheduler.resources import EXPECTED_MEMORY, covers, slots_of, unpack_shape

from ..wire import messages as m
from ..wire.copies import places

if TYPE_CHECKING:
    from ..wire.messages.cluster import NodeInfo
    from .cluster_service import ClusterService
    from .far_peers import FarPeers

__all__ = ["Placing", "declared"]

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
        self._resources = resources
        self.placement = Placement(_RATES, random.Random())  # noqa: S311 - only spreads load
        self.placement.join(self._here, resources, Load(0, 1, 0.0, 0))
        #: owner and shape -> the nodes that were asked for leases, and for how many
        self._asked: dict[tuple[bytes, bytes], dict[bytes, int]] = {}
        #: bytes that a task is expected to store
        self.expected_output: Callable[[m.Task], int] = lambda _: 0

    def joined(self, node: NodeInfo) -> None:
        """There is another node."""
        slots = max(slots_of(node.resources), 1)
        self.placement.join(node.node_id, node.resources, Load(0, slots, 0.0, node.store))

    def left(self, node_id: bytes) -> None:
        """Another node is gone."""
        self.placement.leave(node_id)
        for asked in self._asked.values():
            asked.pop(node_id, None)

    def loaded(self, node_id: bytes, load: Load) -> None:
        """A node said how busy it is."""
        self.placement.report(node_id, load)

    def place(self, task: m.Task, shape: bytes) -> bytes | None:
        """Return the node that is to run a task or an actor; None where none could."""
        return self.place_all([(task, shape)])[0]

    def place_all(self, tasks: Sequence[tuple[m.Task, bytes]]) -> list[bytes | None]:
        """Return the node for each of several tasks that come together, with their shapes."""
        self.placement.report(self._here, self._cluster.load())
        found = []
        for coming, (task, shape) in zip(range(len(tasks))[::-1], tasks, strict=True):
            need, copies = self.need(task, shape)
            chosen = self.placement.choose(need, copies, coming)
            if chosen is not None:
                self.placement.sent(chosen)
            found.append(chosen)
        return found

    def need(self, task: m.Task, shape: bytes) -> tuple[Need, Callable[[bytes], Copies]]:
        """Return what a task needs, and what tells where its arguments are."""
        stored = [each for each in task.arguments if each.value.kind == m.STORED]
        sizes = {each.object_id: each.value.size for each in stored}
        where = {
            each.object_id: dict.fromkeys(places(each.object_id, each.value.nodes), True)
            for each in stored
        }
        empty: Copies = {}
        need = Need(declared(shape), sizes, self.expected_output(task))
        return need, lambda object_id: where.get(object_id, empty)

    def spread_leases(self, owner: bytes, shape: bytes, count: int, order: int) -> None:
        """Ask other nodes for leases that an owner of this one waits for, as far as they have room.

        What this node can never grant waits at one of those that can, even if they are busy; and
        stays there, as to go to and fro would cost it its turn.

        Args:
            owner: the process.
            shape: of the leases.
            count: how many it waits for; 0: none any more.
            order: position of the first task that waits.
        """
        key = (owner, shape)
        before, asked = self._asked.pop(key, {}), {}
        for node_id, wanted in self._shares(declared(shape), count, before).items():
            if self._far.send(node_id, owner, m.RequestLeases(shape, wanted, order)):
                asked[node_id] = wanted
                for _ in range(wanted - before.get(node_id, 0)):
                    self.placement.sent(node_id)
        for node_id in before:
            if node_id not in asked:
                self._far.send(node_id, owner, m.RequestLeases(shape, 0, 0))
        if asked:
            self._asked[key] = asked

    def _shares(
        self, shape: Mapping[str, int], count: int, before: Collection[bytes]
    ) -> dict[bytes, int]:
        """Return how many leases of a shape to ask of which nodes, given those asked before."""
        shares: dict[bytes, int] = {}
        if not count:
            return shares
        for node_id, slots in self.placement.free_slots(shape, self._here).items():
            shares[node_id] = min(slots, count)
            count -= shares[node_id]
            if not count:
                return shares
        if not covers(self._resources, shape):
            able = (node for node in before if self.placement.can_run(node, shape))
            node = next(able, None) or self.placement.choose(Need(shape, {}), lambda _: {})
            if node is not None:
                shares[node] = shares.get(node, 0) + count
        return shares

    def owner_died(self, owner: bytes) -> None:
        """A process of this node is gone."""
        for key in [key for key in self._asked if key[0] == owner]:
            del self._asked[key]


def declared(shape: bytes) -> dict[str, int]:
    """Return a shape without what is only expected, which no node needs to have."""
    return {name: n for name, n in unpack_shape(shape).items() if name != EXPECTED_MEMORY}
