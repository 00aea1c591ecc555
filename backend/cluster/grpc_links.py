"""The links of a node: one gRPC server, and one stream with every other member.

The node that joins connects to all that are members already. Everything happens on the node's event
loop. Not covered: what is said about membership (``roles``), the frames (``link``).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

# What goes wrong is told by our errors; the library would print it as well.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc.aio
import msgspec

from ..errors import ClusterError, HeadUnreachableError, ProtocolError
from ..wire.messages import cluster as c
from .addresses import join_address, reachable_host, why_not_bound
from .calls import (
    ACCEPTED,
    FETCH,
    JOIN,
    LINK,
    NODE_KEY,
    OPTIONS,
    SERVICE,
    TARGET_KEY,
    channel_credentials,
    channel_options,
    explain,
    explain_fetch,
    make_certificates,
    refuse,
    server_credentials,
)
from .handshakes import Handshakes, connected_to, parse_peer
from .link import Link, SlowPeerError
from .links import FetchError, FetchRequest, LinkEvents
from .membership import Membership
from .roles import TICK, HeadRole, MemberRole, Role
from .security import check_caller, credentials

if TYPE_CHECKING:
    from .certificates import Certificates

__all__ = ["GrpcLinks"]

_log = logging.getLogger("millpond.cluster")

#: seconds that a node gets to answer when it is joined or linked
_ANSWER: Final = 10.0
#: seconds that links get to send their last words
_CLOSE: Final = 1.0

_encode = msgspec.msgpack.encode


class GrpcLinks:
    """All links of one node.

    Args:
        info: of this node, without an address.
        settings: where to listen, and whom to join.
        events: told what happens.
    """

    def __init__(self, info: c.NodeInfo, settings: c.ClusterSettings, events: LinkEvents) -> None:
        self.info = info
        self.node_id = info.node_id
        self._settings = settings
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._metadata = credentials(settings.token)
        self._certificates: Certificates | None = None
        self._server: Any = None
        self._role: Role
        #: the role is known
        self._ready = asyncio.Event()
        self._links: dict[bytes, Link] = {}
        self._nodes: dict[bytes, c.NodeInfo] = {}
        #: for fetches, so that they do not get in the way of messages
        self._channels: dict[bytes, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._handshakes = Handshakes(lambda: connected_to(self._port), self._loop.time)
        self._port = 0
        #: of the head that was joined
        self._head_address = ""

    async def start(self) -> c.NodeInfo:
        """Open the port and, unless this node is the head, join the cluster.

        Returns:
            The head.

        Raises:
            ClusterError: it cannot be done; the text says why.
        """
        settings = self._settings
        await self._listen()
        if settings.head:
            head, *others = await self._ask_to_join()
            self._head_address = head.address
            self._role = MemberRole(head, self, self._events, self._loop.time, settings.patience)
            self._ready.set()
            await self._connect(head)
            for outcome in await asyncio.gather(
                *(self._connect(node) for node in others), return_exceptions=True
            ):
                if outcome is not None and not isinstance(outcome, ClusterError):
                    raise outcome
        else:
            head = self.info
            membership = Membership(head, settings.patience)
            self._role = HeadRole(
                membership, self, self._events, self._loop.time, settings.patience
            )
            self._ready.set()
        self._spawn(self._tick())
        return head

    async def close(self) -> None:
        """Say goodbye and end everything."""
        if self._server is None:
            return
        self._closing = True
        if self._ready.is_set():
            self._role.leave()
            await asyncio.sleep(0)
            ends = [task for task in self._tasks if task.get_name() == LINK]
            if ends:
                await asyncio.wait(ends, timeout=_CLOSE)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels.values():
            await channel.close()
        await self._server.stop(grace=_CLOSE if self._ready.is_set() else None)

    # --- what others use ---

    def send(self, node_id: bytes, message: msgspec.Struct) -> bool:
        """Send a message to a member; False when it is none (any more)."""
        link = self._links.get(node_id)
        if link is None:
            return False
        link.send(message)
        return True

    def wait_for_room(self, node_id: bytes, pause: Callable[[], Callable[[], None]]) -> None:
        """Have somebody who sends to a member wait, if that takes less than is sent to it.

        Args:
            node_id: the member.
            pause: called if so; what it returns is called when that is over.
        """
        link = self._links.get(node_id)
        if link is not None and link.crowded:
            link.when_free(pause())

    def members(self) -> list[bytes]:
        """Return the nodes there are links with."""
        return list(self._links)

    def cut(self, node_id: bytes, reason: str) -> None:
        """End the link with a node, if there is one, once all was sent."""
        link = self._links.pop(node_id, None)
        if link is None:
            return
        link.close()
        del self._nodes[node_id]
        channel = self._channels.pop(node_id, None)
        if channel is not None:
            self._spawn(channel.close())
        self._events.on_left(node_id, reason)

    async def fetch(
        self,
        node_id: bytes,
        request: FetchRequest,
        target: memoryview,
        filled: Callable[[int], None],
    ) -> None:
        """Fill ``target``, which is as long as what is asked for, from another node.

        Args:
            node_id: the node.
            request: what is asked for.
            target: where the bytes go.
            filled: told how many bytes are there, each time that some came.

        Raises:
            HandedOnError: another node is to be asked.
            FetchError: the node does not have it, or the transfer was interrupted.
        """
        node = self._nodes.get(node_id)
        if node is None:
            raise FetchError(f"node {node_id.hex()} is no member of the cluster")
        channel = self._channels.get(node_id)
        if channel is None:
            channel = self._channels[node_id] = self._open(node.address)
        call = channel.unary_stream(f"/{SERVICE}/{FETCH}")(
            _encode(request), metadata=(*self._metadata, (TARGET_KEY, node_id.hex()))
        )
        came = 0
        try:
            while (piece := await call.read()) is not grpc.aio.EOF:
                if came + len(piece) > target.nbytes:
                    raise FetchError("more bytes came than were asked for", came)
                target[came : came + len(piece)] = piece
                came += len(piece)
                filled(came)
        except grpc.aio.AioRpcError as error:
            raise explain_fetch(error, came) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The channel was closed, because its node left.
            raise FetchError(f"node {node_id.hex()} left meanwhile", came) from None
        finally:
            call.cancel()
        if came != target.nbytes:
            raise FetchError(f"{came} bytes came instead of {target.nbytes}", came)

    # --- as a client ---

    def _open(self, address: str) -> Any:  # its stubs know no calls without serializers
        certificates = self._certificates
        if certificates is None:
            return grpc.aio.insecure_channel(address, options=OPTIONS)
        return grpc.aio.secure_channel(
            address, channel_credentials(certificates), options=channel_options(certificates)
        )

    async def _ask_to_join(self) -> list[c.NodeInfo]:
        address = self._settings.head
        channel = self._open(address)
        try:
            answer = await channel.unary_unary(f"/{SERVICE}/{JOIN}")(
                _encode(self.info), metadata=self._metadata, timeout=_ANSWER
            )
            return msgspec.msgpack.decode(answer, type=c.Welcome).members
        except grpc.aio.AioRpcError as error:
            raise explain(error, address) from None
        except msgspec.DecodeError as error:
            raise HeadUnreachableError(
                f"what answers at {address} is no millpond node of this version: {error}"
            ) from None
        finally:
            await channel.close()

    async def _connect(self, node: c.NodeInfo) -> None:
        """Make the link with a member."""
        channel = self._open(node.address)
        call = channel.stream_stream(f"/{SERVICE}/{LINK}")(
            metadata=(
                *self._metadata,
                (NODE_KEY, _encode(self.info)),
                (TARGET_KEY, node.node_id.hex()),
            )
        )
        try:
            await _accepted(call, node.address)
        except ClusterError as error:
            await channel.close()
            if node.address != self._head_address:
                self._role.broken(node.node_id, str(error))
            raise

        async def read() -> bytes:
            data: Any = await call.read()
            return b"" if data is grpc.aio.EOF else data

        link = Link(read, call.write, call.done_writing)
        self._linked(node, link)

        async def run() -> None:
            try:
                await self._serve(node, link)
            finally:
                await channel.close()

        self._spawn(run(), LINK)

    # --- as a server ---

    async def _listen(self) -> None:
        settings = self._settings
        if settings.tls:
            self._certificates = make_certificates(settings)
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        JOIN: grpc.unary_unary_rpc_method_handler(self._serve_join),
                        LINK: grpc.stream_stream_rpc_method_handler(self._serve_link),
                        FETCH: grpc.unary_stream_rpc_method_handler(self._serve_fetch),
                    },
                ),
            )
        )
        try:
            address = join_address(settings.host, settings.port)
            if self._certificates is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(
                    address, server_credentials(self._certificates, self._handshake_begins)
                )
        except RuntimeError as error:
            raise why_not_bound(settings.host, settings.port, str(error)) from None
        self._port = port
        self.info = msgspec.structs.replace(
            self.info, address=join_address(reachable_host(settings.host), port)
        )
        await server.start()
        self._server = server

    def _handshake_begins(self) -> None:
        """Called by the library, in a thread of its own."""
        connected = self._handshakes.begun()
        self._loop.call_soon_threadsafe(self._handshakes.watch, connected)

    async def _admit(self, context: Any) -> None:
        """Check who calls, before anything that it sent is looked at."""
        peer = parse_peer(context.peer())
        if peer is not None:
            self._handshakes.called(peer)
        metadata = context.invocation_metadata() or ()
        try:
            check_caller(metadata, self._settings.token)
            target = dict(metadata).get(TARGET_KEY, self.node_id.hex())
            if target != self.node_id.hex():  # its address has been given to another
                raise ClusterError(f"this is node {self.node_id.hex()}, not {target}")  # noqa: TRY301
        except ClusterError as error:
            _log.warning("refused a call from %s: %s", context.peer(), error)
            await refuse(context, error)
        await self._ready.wait()

    async def _serve_join(self, request: bytes, context: Any) -> bytes:
        await self._admit(context)
        try:
            node = msgspec.msgpack.decode(request, type=c.NodeInfo)
            return _encode(c.Welcome(self._role.join(node)))
        except (msgspec.DecodeError, ClusterError) as error:
            _log.warning("refused a node at %s: %s", context.peer(), error)
            failure = error if isinstance(error, ClusterError) else ClusterError(str(error))
            await refuse(context, failure)
            raise

    async def _serve_link(self, _: Any, context: Any) -> None:
        await self._admit(context)
        try:
            node = self._expected(dict(context.invocation_metadata()).get(NODE_KEY, b""))
        except (msgspec.DecodeError, ClusterError) as error:
            _log.warning("refused a link from %s: %s", context.peer(), error)
            await refuse(context, ClusterError(str(error)))
            raise

        async def read() -> bytes:
            data: Any = await context.read()
            return b"" if data is grpc.aio.EOF else data

        link = Link(read, context.write)
        self._linked(node, link)
        await self._serve(node, link, context.send_initial_metadata((ACCEPTED,)))

    def _expected(self, info: Any) -> c.NodeInfo:
        node = msgspec.msgpack.decode(info, type=c.NodeInfo)
        if not self._role.expects(node.node_id) or node.node_id in self._links:
            raise ClusterError(f"node {node.node_id.hex()} is no member, or linked already")
        return node

    async def _serve_fetch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        await self._admit(context)
        try:
            wanted = msgspec.msgpack.decode(request, type=FetchRequest)
            async for piece in self._events.serve_fetch(wanted):
                yield bytes(piece)
        except FetchError as error:
            await refuse(context, error)
        except msgspec.DecodeError as error:
            _log.warning("refused a fetch from %s: %s", context.peer(), error)
            await refuse(context, FetchError(str(error)))

    # --- links ---

    def _linked(self, node: c.NodeInfo, link: Link) -> None:
        self._links[node.node_id] = link
        self._nodes[node.node_id] = node
        self._events.on_joined(node)
        self._role.linked(node.node_id)

    async def _serve(
        self, node: c.NodeInfo, link: Link, accept: Awaitable[None] | None = None
    ) -> None:
        """Serve a link until it ends, and say so."""
        reason = "its connection was closed"
        try:
            if accept is not None:
                await accept
            await link.run(lambda message: self._on_message(node.node_id, link, message))
        except ProtocolError as error:
            reason = f"it sent what is no message: {error}"
            _log.warning("node %s: %s", node.node_id.hex(), reason)
        except SlowPeerError as error:
            reason = f"it is too slow: {error}"
            _log.warning("node %s: %s", node.node_id.hex(), reason)
        except grpc.aio.AioRpcError as error:
            reason = f"its connection broke: {error.details()}"
        finally:
            if self._links.get(node.node_id) is link:
                self.cut(node.node_id, reason)
                if not self._closing:
                    self._role.broken(node.node_id, reason)

    def _on_message(self, node_id: bytes, link: Link, message: Any) -> None:
        if self._links.get(node_id) is not link:
            return  # it was given up
        if not self._role.handle(node_id, message):
            self._events.on_message(node_id, message)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._role.tick()
            self._handshakes.check()

    def _spawn(self, work: Any, name: str = "") -> None:
        task = self._loop.create_task(work, name=name or None)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _accepted(call: Any, address: str) -> None:
    """Wait until the other side takes a link.

    Raises:
        ClusterError: it does not.
    """
    try:
        async with asyncio.timeout(_ANSWER):
            if ACCEPTED in tuple(await call.initial_metadata() or ()):
                return
            await call.read()  # raises what the refusal said
        text = "ended the link at once"
    except grpc.aio.AioRpcError as error:
        raise explain(error, address) from None
    except TimeoutError:
        text = f"did not answer within {_ANSWER:g} s"
    raise HeadUnreachableError(f"the node at {address} {text}")
