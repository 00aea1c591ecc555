"""The cluster as this node knows it: who else there is, and how to reach them.

A node by itself is a cluster of one, and imports nothing that only several need.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from millpond.scheduler.placement import Load

from ..errors import ClusterError
from ..wire.messages import cluster as c
from .dispatch import dispatch

if TYPE_CHECKING:
    from ..cluster.grpc_links import GrpcLinks
    from ..cluster.links import FetchRequest

__all__ = ["ClusterService"]

_log = logging.getLogger("millpond.node")


class ClusterService:
    """This node's part in the cluster.

    Args:
        info: of this node.
        load: how busy it is.
        directory: of its session.
    """

    def __init__(self, info: c.NodeInfo, load: Callable[[], Load], directory: str) -> None:
        self.node_id = info.node_id
        self.head_id = info.node_id
        #: the members, this node included
        self.nodes: dict[bytes, c.NodeInfo] = {info.node_id: info}
        #: how busy the others are, as far as they have said so
        self.loads: dict[bytes, Load] = {}
        #: once the cluster is lost: what the processes of this node are told
        self.lost: c.Alone | None = None
        #: None as long as this node has no port
        self.links: GrpcLinks | None = None
        self.load = load
        self._directory = directory
        self._opening = False
        self._tasks: set[asyncio.Task[None]] = set()
        #: what to do with a message of another node
        self.handlers: dict[type, Callable[[bytes, Any], None]] = {}
        #: called when another node joined
        self.joined: Callable[[c.NodeInfo], None] = lambda _: None
        #: called when another node is gone, with the reason
        self.left: Callable[[bytes, str], None] = lambda *_: None
        #: called when another node said how busy it is
        self.loaded: Callable[[bytes, Load], None] = lambda *_: None
        #: called when the cluster is lost: its head is gone, or gave this node up
        self.alone: Callable[[str], None] = lambda _: None
        #: yields the bytes of an object
        self.serve_fetch: Callable[[FetchRequest], AsyncIterator[memoryview]]

    async def open(self, settings: c.ClusterSettings) -> c.Joined:
        """Open this node's port, and join a cluster if the settings name one.

        Returns:
            The outcome, to be told to whoever wanted it.
        """
        try:
            return c.Joined(await self._open(settings))
        except ClusterError as error:
            return c.Joined("", type(error).__name__, str(error))
        except ImportError as error:
            text = f"{error.msg}: a cluster needs `pip install 'millpond[cluster]'`"
            return c.Joined("", ClusterError.__name__, text)

    async def _open(self, settings: c.ClusterSettings) -> str:
        from ..cluster.cluster_file import KnownCluster, write_cluster_file
        from ..cluster.grpc_links import GrpcLinks

        here = self.nodes[self.node_id]
        if here.address or self._opening:
            raise ClusterError(f"this node has a port already: {here.address or 'just now'}")
        self._opening = True
        links = GrpcLinks(here, settings, self)
        try:
            head = await links.start()
        except BaseException:
            await links.close()
            raise
        finally:
            self._opening = False
        self.links = links
        self.head_id = head.node_id
        self.nodes[self.node_id] = links.info
        known = KnownCluster(
            settings.head or head.address, settings.token, settings.tls, head is links.info
        )
        write_cluster_file(self._directory, known)
        return links.info.address

    def open_later(self, message: c.OpenPort, answer: Callable[[c.PortOpened], None]) -> None:
        """Open the port of a node that runs, and answer."""

        async def open_and_answer() -> None:
            answer(c.PortOpened(message.request, await self.open(message.settings)))

        task = asyncio.get_running_loop().create_task(open_and_answer())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Leave the cluster."""
        if self.links is not None:
            await self.links.close()

    def state(self, request: int) -> c.ClusterState:
        """Return the members, for who asked."""
        nodes, loads = list(self.nodes.values()), [(self.node_id, self.load()), *self.loads.items()]
        return c.ClusterState(request, nodes, self.head_id, self.node_id, loads)

    # --- what the links tell ---

    def on_joined(self, node: c.NodeInfo) -> None:
        """A node is a member and can be sent messages."""
        self.nodes[node.node_id] = node
        self.joined(node)

    def on_left(self, node_id: bytes, reason: str) -> None:
        """A node is no member any more."""
        node = self.nodes.pop(node_id)
        self.loads.pop(node_id, None)
        _log.info("node %s at %s is gone: %s", node_id.hex(), node.address, reason)
        self.left(node_id, reason)

    def on_load(self, node_id: bytes, load: Load) -> None:
        """A node says how busy it is."""
        if node_id in self.nodes:
            self.loads[node_id] = load
            self.loaded(node_id, load)

    def on_message(self, node_id: bytes, message: Any) -> None:
        """Serve a message."""
        dispatch(self.handlers, node_id, message)

    def on_alone(self, reason: str) -> None:
        """The cluster is lost: this node is one of its own now."""
        from ..cluster.cluster_file import remove_cluster_file

        _log.warning("this node is on its own: %s", reason)
        remove_cluster_file(self._directory)
        self.head_id = self.node_id
        self.lost = c.Alone(self.nodes[self.node_id].resources, reason)
        self.alone(reason)
