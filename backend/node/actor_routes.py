"""The home of actors: carries out what `ActorLives` decides, here and on other nodes.

An actor is looked for at its home, the node of its owner, which the actor's id begins with. What is
said about it at other nodes is passed on to there; the home answers whoever asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ..wire import messages as m
from ..wire.ids import node_of, owner_of
from .actor_lives import ActorLives, Answer, Command, End, Run, Tell

if TYPE_CHECKING:
    from .actor_service import ActorService
    from .far_peers import AnyPeer, FarPeers
    from .placing import Placing

__all__ = ["ActorRoutes"]

_log = logging.getLogger("millpond.node")


class ActorRoutes:
    """What this node does about actors of all nodes.

    Args:
        actors: those that this node runs.
        placing: chooses nodes.
        far: the way to them.
        peer: finds the connection of a process.
        loop: the node's event loop.
    """

    def __init__(
        self,
        actors: ActorService,
        placing: Placing,
        far: FarPeers,
        peer: Callable[[bytes], AnyPeer | None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._actors = actors
        self._placing = placing
        self._far = far
        self._peer = peer
        self._loop = loop
        self._here = far.node_id
        self.lives = ActorLives()
        #: once this node has lost its cluster
        self._alone: m.Alone | None = None
        actors.report = self._report
        #: called when an actor may have to wait here
        self.look_later: Callable[[], None] = lambda: None
        #: called with an actor that is dead, and may have had a name
        self.free_name: Callable[[bytes], None] = lambda _: None
        self.handlers: dict[type, Callable[[AnyPeer, Any], None]] = {
            m.CreateActor: self._create,
            m.LocateActor: self._locate,
            m.KillActor: self._kill,
            m.DropActor: lambda _, msg: self._carry_out(self.lives.drop(msg.actor_id)),
            m.RunActor: lambda _, msg: self._run_here(msg),
            m.EndActor: lambda _, msg: self._actors.end(msg),
            m.ActorStarted: lambda _, msg: self._told(msg),
            m.ActorEnded: lambda _, msg: self._told(msg),
            m.HandOnActor: lambda _, msg: self._told(msg),
        }

    # --- what processes want ---

    def _create(self, peer: AnyPeer, message: m.CreateActor) -> None:
        self._carry_out(self.lives.create(message))

    def _locate(self, peer: AnyPeer, message: m.LocateActor) -> None:
        actor_id = message.actor_id
        if self._is_mine(actor_id, peer):
            self._carry_out(self.lives.locate(actor_id, peer.process_id))
        elif node_of(actor_id) == self._here or not self._pass_on(peer, message):
            owner = owner_of(actor_id).hex()
            peer.send(m.ActorState(actor_id, m.ACTOR_DEAD, reason=f"its owner {owner} is gone"))

    def _kill(self, peer: AnyPeer, message: m.KillActor) -> None:
        actor_id = message.actor_id
        if self._is_mine(actor_id, peer):
            self._carry_out(self.lives.kill(actor_id, message.reason, restart=message.restart))
        elif node_of(actor_id) != self._here:
            self._pass_on(peer, message)

    def _is_mine(self, actor_id: bytes, peer: AnyPeer) -> bool:
        """Whether this is the home of an actor whose owner is alive."""
        owner = owner_of(actor_id)
        at_home = node_of(actor_id) == self._here
        return at_home and (owner == peer.process_id or self._peer(owner) is not None)

    def _pass_on(self, peer: AnyPeer, message: m.LocateActor | m.KillActor) -> bool:
        return self._far.send(node_of(message.actor_id), peer.process_id, message)

    # --- what becomes of actors ---

    def process_died(self, process_id: bytes) -> None:
        """A process is gone, wherever it was."""
        self._carry_out(self.lives.process_died(process_id))

    def node_lost(self, node_id: bytes, reason: str) -> None:
        """A node is gone, with the actors that it ran, and the owners of those that we run."""
        self._carry_out(
            self.lives.node_lost(node_id, f"its node {node_id.hex()} is gone: {reason}")
        )
        self._actors.home_lost(node_id)

    def be_alone(self, alone: m.Alone) -> None:
        """No other node will ever join: what waits for one is given up."""
        self._alone = alone
        for message in list(self._actors.waiting()):
            self._give_up(message.creation)

    def _give_up(self, creation: m.CreateActor) -> bool:
        """Let an actor die that can never run."""
        why = "" if self._alone is None else self._alone.forbids(creation.shape)
        if why:
            self._carry_out(
                self.lives.kill(creation.task.task_id, f"it cannot run any more: {why}")
            )
        return bool(why)

    def _told(self, message: m.ActorStarted | m.ActorEnded | m.HandOnActor) -> None:
        """The node that runs an actor of ours tells what became of it."""
        actor_id, number = message.actor_id, message.incarnation
        if isinstance(message, m.ActorStarted):
            self._carry_out(self.lives.started(actor_id, number, message.worker_id))
        elif isinstance(message, m.HandOnActor):
            self._carry_out(self.lives.handed_on(actor_id, number, message.node_id))
        else:
            ended = self.lives.ended(actor_id, number, message.reason, failed=message.failed)
            self._carry_out(ended)

    def _report(self, home: bytes, message: msgspec.Struct) -> None:
        """Tell the home of an actor that we run what became of it."""
        if home == self._here:
            self._told(message)  # type: ignore[arg-type]
        else:
            self._far.send(home, self._here, message)

    # --- commands ---

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Run):
                self._run_soon(command)
            elif isinstance(command, End):
                if command.node_id == self._here:
                    self._actors.end(command.message)
                else:
                    self._far.send(command.node_id, self._here, command.message)
            elif isinstance(command, Tell):
                for caller in command.callers:
                    self._send(caller, command.state)
            elif isinstance(command, Answer):
                self._send(command.owner, command.lost)
            else:
                self.free_name(command.actor_id)

    def _run_soon(self, command: Run) -> None:
        if command.incarnation and not command.node_id:
            self._log_restart(command)
        if command.delay:
            self._loop.call_later(command.delay, self._run, command)
        else:
            self._run(command)

    def _run(self, command: Run) -> None:
        message = self.lives.wants(command.actor_id, command.incarnation)
        if message is None or self._give_up(message.creation):
            return
        creation, node_id = message.creation, command.node_id
        if not node_id:  # if none can run it, it waits here
            node_id = self._placing.place(creation.task, creation.shape) or self._here
        self.lives.placed(command.actor_id, command.incarnation, node_id)
        if node_id == self._here or not self._far.send(node_id, self._here, message):
            self.lives.placed(command.actor_id, command.incarnation, self._here)
            self._run_here(message)

    def _run_here(self, message: m.RunActor) -> None:
        self._actors.run(message)
        self.look_later()

    def _log_restart(self, command: Run) -> None:
        life = self.lives.find(command.actor_id)
        assert life is not None
        assert life.creation is not None
        name = life.creation.task.name.removesuffix(".__init__")
        _log.warning("actor %s (%s) was lost: %s", name, life.actor_id.hex(), life.reason)

    def _send(self, process_id: bytes, message: msgspec.Struct) -> None:
        peer = self._peer(process_id)
        if peer is not None:
            peer.send(message)
