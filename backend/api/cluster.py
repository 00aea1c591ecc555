"""`nodes` and `cluster_resources`: what a cluster consists of; `open_port`: making one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from millpond.scheduler.resources import quantity

from ..wire.messages import cluster as c
from .node_process import check_joined
from .session import connected_runtime

__all__ = ["Node", "cluster_resources", "nodes", "open_port"]


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


def open_port(*, host: str | None = None, port: int = 0, tls: bool = False) -> str:
    """Let nodes of other machines join this running session, whose node becomes their head.

    They join with ``millpond start --address``, or ``millpond.init(address=...)``; the command
    ``millpond token`` prints the token that they need.

    Args:
        host: where to listen; None for the loopback address. Other hosts mean TLS.
        port: where to listen; 0 for any that is free.
        tls: use TLS on the loopback address too.

    Returns:
        host:port, for the others.

    Raises:
        ClusterError: the port cannot be opened, or the node has one already.
        ConfigurationError: a setting is wrong.
    """
    from .joining import head_settings

    settings = head_settings(host=host, port=port, tls=tls)
    runtime = connected_runtime()
    return check_joined(runtime.requests.ask(runtime.node, c.OpenPort(0, settings)).outcome)
