"""The owner runtime: what a driver and a worker have in common.

It joins the pure parts (``objects``, ``lease_pool``, ``tasks``) with the sockets
(``wire.reactor``). All state is guarded by one lock, held for microseconds; sending never
blocks, so it may happen under the lock, which keeps messages in order.

Covers the connections and the reference counts between processes. Values are in ``access``,
tasks in ``submission``, actor calls in ``actor_calls``, all of which work on this state.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from millpond.objectstore.mapping import ArenaMapping

from ..errors import NodeDiedError, NotInitializedError
from ..serialization.exceptions import serialize_error
from ..wire import messages as m
from ..wire.channel import Channel
from ..wire.ids import ObjectIds, ProcessId, node_of, owner_of
from ..wire.messages.cluster import ClusterState, GetCluster, PortOpened
from ..wire.reactor import Connection, Reactor
from .access import Access
from .actor_calls import ActorCalls
from .afar import Afar
from .alone import Alone
from .descriptions import describe
from .environments import Environments
from .functions import ExportedFunctions
from .heavy_imports import HeavyImports
from .inline_budget import InlineBudget
from .notices import Notices
from .objects import PENDING, Entry, Freed, ObjectTable, died_value, lost_value
from .rebuilding import Rebuilding
from .refs import ObjectRef
from .releaser import Releaser
from .requests import Requests
from .standing import standing
from .state_lock import StateLock
from .store_client import StoreClient
from .submission import Submission

__all__ = ["Runtime", "sooner"]

_log = logging.getLogger("millpond.owner")


class Runtime:
    """One process's part in the session, which begins with `start`.

    It is made without an id, so that a zygote can make it for the workers that it will fork.

    Args:
        session_dir: the directory of the session's sockets.
        mapping: the node's arena.
        role: "driver" or "worker".
        validate: check invariants after every batch of messages (for tests).
    """

    def __init__(
        self,
        session_dir: str,
        mapping: ArenaMapping,
        role: str,
        heavy_imports: HeavyImports,
        *,
        validate: bool = False,
    ) -> None:
        #: of this process, 8 bytes, and of its node, which it begins with
        self.process_id: bytes
        self.node_id: bytes
        self.session_dir = session_dir
        self.mapping = mapping
        self.role = role
        self.closed = False
        #: why nothing can be done any more, once the node is gone
        self.failure: Exception | None = None
        #: what the machine has, in counted units
        self.resources: dict[str, int] = {}
        #: bytes of heap that all tasks may use
        self.task_memory = 0
        self._validate = validate
        self._batches = 0
        #: questions of the node for the standing of this process, among the batches
        self._asked = 0
        self.lock = StateLock()
        self.ids: ObjectIds
        self.reactor = Reactor(self._on_messages, self._on_closed, name=f"millpond-{role}-io")
        self.reactor.tick = self.tick
        self.requests = Requests(self.reactor.leadership)
        #: what the node wants the user warned of; only a driver gets any
        self.notices = Notices()
        self.functions = ExportedFunctions()
        self.environments = Environments(self)
        self.heavy_imports = heavy_imports
        self.releaser = Releaser(self)
        self.objects = ObjectTable(b"", self.releaser.dropped, InlineBudget(mapping.capacity))
        self.submission = Submission(self)
        self.actor_calls = ActorCalls(self)
        self.rebuilding = Rebuilding(self)
        self.access = Access(self)
        self.afar = Afar(self)
        self.alone = Alone(self)
        self._peers: dict[bytes, Connection] = {}
        self._dead_peers: set[bytes] = set()
        self._resolving: dict[bytes, Entry] = {}
        self.node: Connection
        self.store: StoreClient
        #: called when this process let go of objects, or others let go of its own
        self.on_freed: Callable[[], None] = lambda: None
        #: the session is being shut down: the node's end is no accident
        self.closing = False
        #: called when the node process died
        self.on_node_gone: Callable[[], None] = lambda: None
        #: called around waits, so that a worker can lend its slot
        self.before_wait: Callable[[], bool] = lambda: False
        self.after_wait: Callable[[], None] = lambda: None
        #: messages that only a driver or only a worker understands
        self.handlers: dict[type, Callable[[Channel, Any], None]] = {
            m.Resolve: self._on_resolve,
            m.Resolved: self._on_resolved,
            m.ReportLost: self._on_report_lost,
            m.Borrow: self._on_borrow,
            m.Release: self._on_release,
            m.FetchFunction: self._on_fetch_function,
            m.ProcessDied: self._on_process_died,
            m.Hello: self._on_hello,
            m.DescribeObjects: self._on_describe_objects,
            m.AskStanding: self._on_ask_standing,
            m.StoreNotice: lambda _, message: self.notices.add(message.text),
            **self.submission.handlers,
            **self.actor_calls.handlers,
            **self.afar.handlers,
            **self.alone.handlers,
        }
        answers = (m.Done, m.Locations, m.FunctionBlob, m.NodeStatistics, m.MemoryState)
        further = (ClusterState, PortOpened, m.ActorFound, m.ActorNames, m.PackageState)
        for answer in (*answers, *further):
            self.handlers[answer] = lambda _, message: self.requests.answered(message)

    # --- functions ---

    def export(self, function: Any) -> bytes:
        """Return the id of a function or class by which workers can ask for it.

        Raises:
            SerializationError: it cannot be pickled.
        """
        self.tell_heavy_imports()
        return self.functions.export(function)

    def tell_heavy_imports(self) -> None:
        """Have new workers import what this process has imported since the last call."""
        modules = self.heavy_imports.met()
        if modules:
            self.node.send(m.Preload(modules))

    # --- connections ---

    def start(self, process_id: bytes, node: socket.socket) -> None:
        """Be process ``process_id`` of the session from now on: serve peers, and use the node.

        Args:
            process_id: 8 bytes.
            node: connected to the node; nothing has been sent through it by this process.
        """
        self.process_id = process_id
        self.node_id = node_of(process_id)
        self.ids = ObjectIds(ProcessId(process_id))
        self.objects.process_id = process_id
        self.reactor.open()
        self.node = self.reactor.adopt(node)
        self.store = StoreClient(self.mapping, self.node, self.requests, self.releaser.dropped)
        self.reactor.listen(self.socket_path(process_id))
        self.reactor.start()
        self.node.send(self.hello())

    def socket_path(self, process_id: bytes) -> str:
        """Return where a process of this session listens."""
        return f"{self.session_dir}/{process_id.hex()}.sock"

    def hello(self) -> m.Hello:
        """Return the message that opens a connection."""
        return m.Hello(m.PROTOCOL, self.process_id, self.role, os.getpid())

    def peer(self, process_id: bytes) -> Channel | None:
        """Return a way to a process, or None when it is gone."""
        connection = self._peers.get(process_id)
        if connection is not None and not connection.closed:
            return connection
        if process_id in self._dead_peers:
            return None
        if node_of(process_id) != self.node_id:
            return self.afar.channel(process_id)
        try:
            connection = self.reactor.connect(self.socket_path(process_id))
        except OSError:
            return None
        connection.peer_id = process_id
        connection.send(self.hello())
        self._peers[process_id] = connection
        return connection

    def node_near(self, any_id: bytes) -> Channel | None:
        """Return a way to the node of a process or of an object's owner, or None when it is gone.

        Args:
            any_id: of the process, the object, or the node itself.
        """
        node_id = node_of(any_id)
        return self.node if node_id == self.node_id else self.afar.channel(node_id)

    def tell_node(self, any_id: bytes, message: msgspec.Struct) -> None:
        """Send a message to the node of a process or of an object's owner, if it is still there."""
        node = self.node_near(any_id)
        if node is not None:
            node.send(message)

    def other_resources(self) -> list[dict[str, int]]:
        """Return what each other node of the cluster has, in counted units."""
        state: ClusterState = self.requests.ask(self.node, GetCluster(0))
        return [info.resources for info in state.nodes if info.node_id != self.node_id]

    def close(self) -> None:
        """Stop all threads and fail everything that waits."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
        self.access.stop()
        self.reactor.stop()
        self.releaser.close()
        self._fail_everything(
            NotInitializedError("millpond was shut down while this was waited for")
        )

    # --- objects ---

    def ref(self, object_id: bytes) -> ObjectRef[Any]:
        """Return this process's ref of an object."""
        with self.lock:
            return self.objects.ref(object_id)

    def tick(self) -> float | None:
        """Do what is due by time; answers when to be called again. On the thread that polls."""
        return sooner(self.releaser.tick(), self.submission.tick())

    # --- finding out about objects of others ---

    def start_resolving(self, entry: Entry) -> None:
        """Ask the owner of a borrowed object to tell when it is finished. Under the lock."""
        if entry.owned or entry.state != PENDING or self._resolving.get(entry.id) is entry:
            return
        self._resolving[entry.id] = entry
        owner = self.peer(owner_of(entry.id))
        if owner is None or not owner.send(m.Resolve(entry.id)):
            self._fail_resolve(entry)

    def report_lost(self, entry: Entry, reason: str, tried: list[bytes]) -> bool:
        """Ask the owner of a borrowed object to rebuild it; False when it is gone. Under the lock.

        Args:
            entry: the object, which is stored.
            reason: what became of its bytes.
            tried: the nodes that do not have it.
        """
        if self._resolving.get(entry.id) is not entry:
            self._resolving[entry.id] = entry
            owner = self.peer(owner_of(entry.id))
            report = m.ReportLost(entry.id, entry.rebuilds, reason, tried)
            if owner is None or not owner.send(report):
                self._fail_resolve(entry)
        return entry.state == m.STORED

    def _fail_resolve(self, entry: Entry) -> None:
        self._resolving.pop(entry.id, None)
        owner = owner_of(entry.id).hex()
        self.objects.replace(entry, died_value(entry.id, f"its owner {owner} is gone"))

    def register_borrowed(self, refs: Iterable[ObjectRef[Any]]) -> list[bytes]:
        """Make this process known to the owners of the refs it goes on to hold.

        Waits for the owners' answers: until then whoever brought the refs keeps them alive. Where
        nobody did, some objects may be gone, which are returned.
        """
        new: dict[bytes, list[bytes]] = {}
        with self.lock:
            for ref in refs:
                entry = ref._entry
                if not entry.owned and not entry.registered:
                    entry.registered = 1
                    new.setdefault(owner_of(entry.id), []).append(entry.id)
        return self.borrow_for(new, self.process_id)

    def borrow_for(self, by_owner: dict[bytes, list[bytes]], borrower: bytes) -> list[bytes]:
        """Register ``borrower`` with the owners of objects and wait until they know.

        Returns:
            Those that their owners do not have any more, or whose owners are gone: using them will
            say so.
        """
        missing: list[bytes] = []
        for owner_id, object_ids in by_owner.items():
            owner = self.peer(owner_id)
            if owner is None:
                missing += object_ids
                continue
            try:
                missing += self.requests.ask(owner, m.Borrow(0, object_ids, borrower)).missing
            except NodeDiedError:
                missing += object_ids
        return missing

    def forget(self, freed: Freed) -> None:
        """Tell the node and the owners what is not held here any more. Under the lock."""
        for recipe in freed.recipes:
            self.rebuilding.lineage.release(recipe)
        if freed.stored:
            self.node.send(m.DeleteObjects(freed.stored))
            self.delete_elsewhere(freed.elsewhere)
        for actor_id in freed.actors:
            self.node.send(m.DropActor(actor_id))
            self.actor_calls.forget(actor_id)
        if freed.released:
            self._release(freed.released)
        self.on_freed()

    def delete_elsewhere(self, copies: Mapping[bytes, list[bytes]]) -> None:
        """Delete copies of objects on other nodes: node -> objects."""
        for node_id, object_ids in copies.items():
            if node_id != self.node_id:
                self.tell_node(node_id, m.DeleteObjects(object_ids))

    def _release(self, borrowed: list[tuple[bytes, int]]) -> None:
        by_owner: dict[bytes, list[tuple[bytes, int]]] = {}
        for object_id, count in borrowed:
            self.actor_calls.forget(object_id)  # it may be the life of somebody else's actor
            if count:
                by_owner.setdefault(owner_of(object_id), []).append((object_id, count))
        for owner_id, released in by_owner.items():
            owner = self.peer(owner_id)
            if owner is not None:
                ids = [object_id for object_id, _ in released]
                owner.send(m.Release(ids, [count for _, count in released], self.process_id))

    # --- messages ---

    def _on_messages(self, connection: Channel, messages: list[Any]) -> None:
        for message in messages:
            self.handle(connection, message)
        self.releaser.drain()
        self._batches += 1
        # The check looks at everything: the more there is, the rarer it is made.
        if self._validate and self._batches % (1 + len(self.objects.entries) // 32) == 0:
            with self.lock:
                self.objects.validate()
                self.submission.validate()
                if self.failure is None:
                    self.rebuilding.validate()

    def handle(self, channel: Channel, message: Any) -> None:
        """Serve a message. On the thread that polls."""
        handler = self.handlers.get(type(message))
        if handler is None:
            _log.warning("ignoring an unexpected %s message", type(message).__name__)
        else:
            handler(channel, message)

    def _on_closed(self, connection: Connection) -> None:
        if connection is self.node:
            self._on_node_gone()
            return
        peer_id = connection.peer_id
        if self._peers.get(peer_id) is connection:
            del self._peers[peer_id]
        self.requests.fail(connection, NodeDiedError(f"process {peer_id.hex()} is gone"))

    def _on_node_gone(self) -> None:
        if self.closed:
            return
        if not self.closing:
            error = NodeDiedError("the node process of this session died; every object is gone")
            self._fail_everything(error)
        self.on_node_gone()

    def _fail_everything(self, error: Exception) -> None:
        with self.lock:
            self.failure = error
        self.requests.fail_all(error)
        with self.lock:
            value = m.Value(m.FAILED, serialize_error(error))
            for entry in list(self.objects.entries.values()):
                if entry.state == PENDING or entry.waiters:
                    self.objects.replace(entry, value)

    def _on_hello(self, connection: Channel, message: m.Hello) -> None:
        if not isinstance(connection, Connection):
            return
        connection.peer_id = message.process_id
        self._peers.setdefault(message.process_id, connection)

    def _on_resolve(self, connection: Channel, message: m.Resolve) -> None:
        object_id = message.object_id
        with self.lock:
            entry = self.objects.entries.get(object_id)
            if entry is None or not entry.owned:
                connection.send(m.Resolved(object_id, None))
            elif entry.state == PENDING:
                self.objects.when_finished(
                    entry, lambda done: self._send_resolved(connection, done)
                )
            else:
                self._send_resolved(connection, entry)

    def _send_resolved(self, connection: Channel, entry: Entry) -> None:
        connection.send(m.Resolved(entry.id, self.objects.value_of(entry)))

    def _on_resolved(self, connection: Channel, message: m.Resolved) -> None:
        with self.lock:
            entry = self._resolving.pop(message.object_id, None)
            if entry is None or entry.state not in (PENDING, m.STORED):
                return
            value = message.value or lost_value(entry.id, "its owner had freed it")
            self.objects.replace(entry, value)
            self.submission.dispatch()

    def _on_report_lost(self, connection: Channel, message: m.ReportLost) -> None:
        with self.lock:
            entry = self.objects.entries.get(message.object_id)
            if entry is None or not entry.owned:
                connection.send(m.Resolved(message.object_id, None))
            elif self.rebuilding.lost(entry, message.rebuilds, message.reason, message.nodes):
                self.objects.when_finished(
                    entry, lambda done: self._send_resolved(connection, done)
                )
            else:
                self._send_resolved(connection, entry)
            self.submission.dispatch()

    def _on_borrow(self, connection: Channel, message: m.Borrow) -> None:
        with self.lock:
            missing = self.objects.add_borrows(message.object_ids, message.borrower)
        connection.send(m.Done(message.request, missing))

    def _on_release(self, connection: Channel, message: m.Release) -> None:
        freed = Freed()
        with self.lock:
            self.objects.remove_borrows(message.object_ids, message.counts, message.borrower, freed)
            self.forget(freed)

    def _on_describe_objects(self, connection: Channel, message: m.DescribeObjects) -> None:
        owner = describe(self.objects, message.object_ids)
        connection.send(m.ObjectsDescribed(message.request, owner))

    def _on_ask_standing(self, connection: Channel, message: m.AskStanding) -> None:
        self.releaser.drain()  # what this process has let go of is to be known first
        served = self._batches - self._asked
        self._asked += 1
        connection.send(standing(message.request, self.reactor.leadership, served))

    def _on_fetch_function(self, connection: Channel, message: m.FetchFunction) -> None:
        connection.send(m.FunctionBlob(message.request, self.functions.blob(message.function_id)))

    def _on_process_died(self, connection: Channel, message: m.ProcessDied) -> None:
        freed = Freed()
        reason = f"process {message.process_id.hex()} died"
        peer = self._peers.pop(message.process_id, None)
        self._dead_peers.add(message.process_id)
        if peer is not None:
            self.requests.fail(peer, NodeDiedError(reason))
        if node_of(message.process_id) != self.node_id:
            self.afar.close(message.process_id, reason)
        with self.lock:
            self.objects.drop_process(message.process_id, freed)
            self.forget(freed)
            self.submission.dispatch()


def sooner(first: float | None, second: float | None) -> float | None:
    """Return the shorter of two waits, where None is for ever."""
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)
