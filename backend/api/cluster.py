"""`nodes` and `cluster_resources`: what a cluster consists of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from millpond.scheduler.resources import quantity

from ..wire import cluster_messages as c
from .session import connected_runtime

__all__ = ["Node", "cluster_resources", "nodes"]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster.

    Attributes:
        node_id: its id, in hexadecimal digits.
        address: host:port where other nodes reach it; empty if nobody can join.
        host: name of its machine.
        pid: process id of the node there.
        is_head: it keeps the membership.
        is_here: it is the node of this process.
        has_driver: a driver runs beside it.
        resources: everything tasks can ask for there, name -> amount.
        object_store_memory: bytes of its object store.
    """

    node_id: str
    address: str
    host: str
    pid: int
    is_head: bool
    is_here: bool
    has_driver: bool
    resources: Mapping[str, float]
    object_store_memory: int


def nodes() -> list[Node]:
    """Return the nodes of the cluster, the head first: one, unless others joined."""
    runtime = connected_runtime()
    state = runtime.requests.ask(runtime.node, c.GetCluster(0))
    found = [
        Node(
            info.node_id.hex(),
            info.address,
            info.host,
            info.pid,
            info.node_id == state.head_id,
            info.node_id == state.here,
            info.has_driver,
            {name: quantity(counted) for name, counted in info.resources.items()},
            info.store,
        )
        for info in state.nodes
    ]
    return sorted(found, key=lambda node: (not node.is_head, node.node_id))


def cluster_resources() -> dict[str, float]:
    """Return everything tasks can ask for in the whole cluster, name -> amount."""
    total: defaultdict[str, float] = defaultdict(float)
    for node in nodes():
        for name, amount in node.resources.items():
            total[name] += amount
    return dict(total)
