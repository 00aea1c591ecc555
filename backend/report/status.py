"""What a session has and uses, for ``millpond status``. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from millpond.objectstore.statistics import StoreStatistics
from millpond.scheduler.resources import quantity

from ..wire import messages as m
from .memory import store_statistics
from .memory_text import format_bytes, table

__all__ = ["ResourceUse", "SessionStatus", "build_status"]


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
class SessionStatus:
    """What a session has and uses.

    Attributes:
        resources: what tasks can ask for.
        workers: worker processes.
        busy_workers: those that a task, an owner or an actor holds.
        actors: of those, actors.
        store: the object store; sizes in bytes.
    """

    resources: tuple[ResourceUse, ...]
    workers: int
    busy_workers: int
    actors: int
    store: StoreStatistics

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
            f"{format_bytes(store.restored_bytes_total)}."
        )


def _amount(resource: ResourceUse, amount: float) -> str:
    return format_bytes(int(amount)) if resource.name == "memory" else f"{amount:g}"


def build_status(state: m.SessionState) -> SessionStatus:
    """Make a status of the node's answer."""
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
    )
