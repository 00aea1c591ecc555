"""What a session has and uses, for ``millpond status``. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from millpond.objectstore.statistics import StoreStatistics
from millpond.scheduler.resources import quantity

from ..wire import messages as m
from ..wire.messages import cluster as c
from .memory import store_statistics
from .memory_text import format_bytes, table

__all__ = ["NodeStatus", "ResourceUse", "SessionStatus", "build_status"]


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """One resource; memory in bytes.

    Attributes:
        name: "CPU", "memory", or a custom one.
        used: by tasks and actors now; more than there is while tasks that waited go on at once.
        total: of the node.
    """

    name: str
    used: float
    total: float


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node of the cluster.

    Attributes:
        node_id: its id, in hexadecimal digits.
        address: host:port where others reach it.
        host: name of its machine.
        pid: process id of the node there.
        role: "head", "driver" for the node of one, or "node".
        num_cpus: tasks that run side by side there.
        object_store_memory: bytes of its object store.
        tasks: how many tasks, leases and actors run or wait there; None until it has said so.
        used_memory: bytes of its object store that are in use; None until it has said so.
    """

    node_id: str
    address: str
    host: str
    pid: int
    role: str
    num_cpus: float
    object_store_memory: int
    tasks: int | None = None
    used_memory: int | None = None


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """What a session has and uses.

    Attributes:
        resources: what tasks can ask for.
        workers: worker processes.
        busy_workers: those that a task, an owner or an actor holds.
        actors: of those, actors.
        store: the object store; sizes in bytes.
        nodes: the members of the cluster; one where nobody joined.
    """

    resources: tuple[ResourceUse, ...]
    workers: int
    busy_workers: int
    actors: int
    store: StoreStatistics
    nodes: tuple[NodeStatus, ...] = ()

    def __str__(self) -> str:
        rows = [
            (resource.name, _amount(resource, resource.used), _amount(resource, resource.total))
            for resource in self.resources
        ]
        store = self.store
        rows.append(("object store", format_bytes(store.used), format_bytes(store.capacity)))
        rows.append(("workers", str(self.busy_workers), str(self.workers)))
        return (
            f"{table(('', 'used', 'total'), rows, right=0)}\n\n"
            f"{self.actors} actors. {store.num_objects} objects, {store.num_pinned} pinned, "
            f"{format_bytes(store.spilled_bytes)} in files.\n"
            f"Spilled so far {format_bytes(store.spilled_bytes_total)}, restored "
            f"{format_bytes(store.restored_bytes_total)}.{self._cluster()}"
        )

    def _cluster(self) -> str:
        if not any(node.address for node in self.nodes):
            return ""
        rows: list[tuple[str, ...]] = [
            (
                node.node_id,
                node.role,
                node.address,
                node.host,
                str(node.pid),
                f"{node.num_cpus:g}",
                "?" if node.tasks is None else str(node.tasks),
                "?" if node.used_memory is None else format_bytes(node.used_memory),
                format_bytes(node.object_store_memory),
            )
            for node in self.nodes
        ]
        if len(rows) > 1:
            rows.append(self._sums())
        columns = ("node", "role", "address", "host", "pid", "CPUs", "tasks", "used", "of")
        return f"\n\n{table(columns, rows)}"

    def _sums(self) -> tuple[str, ...]:
        return (
            *("all", "", "", "", ""),
            f"{sum(node.num_cpus for node in self.nodes):g}",
            str(sum(node.tasks or 0 for node in self.nodes)),
            format_bytes(sum(node.used_memory or 0 for node in self.nodes)),
            format_bytes(sum(node.object_store_memory for node in self.nodes)),
        )


def _amount(resource: ResourceUse, amount: float) -> str:
    return format_bytes(int(amount)) if resource.name == "memory" else f"{amount:g}"


def build_status(state: m.SessionState, cluster: c.ClusterState) -> SessionStatus:
    """Make a status of the node's answers."""
    resources = [
        ResourceUse(name, quantity(total - state.available.get(name, 0)), quantity(total))
        for name, total in state.total.items()
    ]
    return SessionStatus(
        tuple(resources),
        state.workers,
        state.busy_workers,
        state.actors,
        store_statistics(state.store),
        tuple(sorted(_nodes(cluster), key=lambda node: (node.role != "head", node.node_id))),
    )


def _nodes(cluster: c.ClusterState) -> Iterator[NodeStatus]:
    loads = dict(cluster.loads)
    for info in cluster.nodes:
        role = "driver" if info.has_driver else "node"
        load = loads.get(info.node_id)
        yield NodeStatus(
            info.node_id.hex(),
            info.address,
            info.host,
            info.pid,
            "head" if info.node_id == cluster.head_id else role,
            quantity(info.resources.get("CPU", 0)),
            info.store,
            None if load is None else load.tasks,
            None if load is None else max(info.store - load.free_memory, 0),
        )
