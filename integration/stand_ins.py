"""Links between nodes over real connections, all in this process; the nodes are stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from integration.conftest import MIB
from millpond.cluster.links import FetchError, FetchRequest, HandedOnError
from millpond.scheduler.placement import Load
from millpond.wire.messages import cluster as c

if TYPE_CHECKING:
    from millpond.cluster.grpc_links import GrpcLinks

TOKEN = "t" * 32
OBJECT = np.random.default_rng(1).bytes(5 * MIB + 17)


class Node:
    """A node that only keeps what it is told."""

    def __init__(self, name: str) -> None:
        self.info = c.NodeInfo(name.encode(), "", name, 1, {}, 0, False)
        self.joined: list[bytes] = []
        self.left: dict[bytes, str] = {}
        self.messages: list[tuple[bytes, Any]] = []
        self.loads: dict[bytes, Load] = {}
        self.alone: list[str] = []
        #: pieces served so far
        self.served = 0
        self.stall = False
        self.links: GrpcLinks

    def on_joined(self, node: c.NodeInfo) -> None:
        self.joined.append(node.node_id)

    def on_left(self, node_id: bytes, reason: str) -> None:
        self.left[node_id] = reason

    def on_load(self, node_id: bytes, load: Load) -> None:
        self.loads[node_id] = load

    def on_message(self, node_id: bytes, message: Any) -> None:
        self.messages.append((node_id, message))

    def on_alone(self, reason: str) -> None:
        self.alone.append(reason)

    def load(self) -> Load:
        return Load(1, 2, 0.5, 100)

    async def serve_fetch(self, request: FetchRequest) -> AsyncIterator[memoryview]:
        if request.object_id == b"elsewhere":
            raise HandedOnError(request.reader)
        if request.object_id != b"object":
            raise FetchError("it is not here", gone=True)
        whole = memoryview(OBJECT)[request.offset : request.offset + request.size]
        for start in range(0, len(whole), MIB):
            yield whole[start : start + MIB]
            self.served += 1
            if self.stall:
                await asyncio.Event().wait()


async def fetch(
    reader: Node, source: bytes, object_id: bytes, target: bytearray, offset: int = 0
) -> list[int]:
    """Fill a target; return how many bytes were there, each time that was told."""
    told: list[int] = []
    request = FetchRequest(object_id, offset, len(target), reader.info.node_id)
    await reader.links.fetch(source, request, memoryview(target), told.append)
    return told


class Net:
    """Nodes that are started and closed together; more of them may be of a cluster of their own."""

    def __init__(
        self, stack: AsyncExitStack, *, token: str = TOKEN, tls: bool = False, patience: float = 5.0
    ) -> None:
        self.stack = stack
        self.token = token
        self.tls = tls
        self._patience = patience
        self.head = ""

    async def add(self, name: str, files: c.TlsFiles | None = None) -> Node:
        from millpond.cluster.grpc_links import GrpcLinks

        node = Node(name)
        settings = c.ClusterSettings(
            self.head, "127.0.0.1", 0, self.token, self.tls, files, patience=self._patience
        )
        node.links = GrpcLinks(node.info, settings, node)
        self.stack.push_async_callback(node.links.close)
        await node.links.start()
        node.info = node.links.info
        self.head = self.head or node.info.address
        return node


def run(scenario: Callable[[Net], Awaitable[None]], **settings: Any) -> None:
    async def body() -> None:
        async with asyncio.timeout(30), AsyncExitStack() as stack:
            await scenario(Net(stack, **settings))

    asyncio.run(body())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what it waits for says nothing of itself
        await asyncio.sleep(0.005)
