"""What workers print, to the drivers that want to see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..wire import messages as m
from ..wire.ids import node_of

if TYPE_CHECKING:
    import msgspec

    from .cluster_service import ClusterService
    from .worker_pool import Worker

__all__ = ["LogRoutes"]


class LogRoutes:
    """Sends lines to the driver of the task that printed them, on whichever node that is.

    Where the owner of the task runs beside no driver, as of a task that a far task submitted, every
    driver of the cluster gets them.

    Args:
        cluster: the nodes.
        tell_driver: sends a message to the driver of this node, if it has one.
    """

    def __init__(
        self, cluster: ClusterService, tell_driver: Callable[[msgspec.Struct], None]
    ) -> None:
        self._cluster = cluster
        self._tell_driver = tell_driver
        cluster.handlers[m.LogLines] = lambda _, message: tell_driver(message)

    def emit(self, worker: Worker, stream: int, name: str, text: str) -> None:
        """Send lines that a worker printed."""
        cluster = self._cluster
        if cluster.links is None:
            self._tell_driver(m.LogLines(worker.pid, stream, name, text))
            return
        node = cluster.node_id.hex()
        for node_id in self._drivers(node_of(worker.owner)):
            if node_id == cluster.node_id:
                self._tell_driver(m.LogLines(worker.pid, stream, name, text))
            else:
                lines = m.LogLines(worker.pid, stream, name, text, node)
                cluster.links.send(node_id, lines)

    def _drivers(self, owner: bytes) -> Iterator[bytes]:
        """Yield the nodes whose drivers are to see what the task of an owner on a node printed."""
        node = self._cluster.nodes.get(owner)
        if node is not None and node.has_driver:
            yield owner
            return
        for node_id, info in self._cluster.nodes.items():
            if info.has_driver:
                yield node_id
