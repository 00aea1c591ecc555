"""The names of actors, as the head of a cluster keeps them: each belongs to one living actor."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire import messages as m

if TYPE_CHECKING:
    from .far_peers import AnyPeer

__all__ = ["NameService"]


class NameService:
    """All names of a cluster.

    A name is given before its actor is created. It is free again when the actor is dead, of which
    its home tells, or when the process that owns the actor is gone.
    """

    def __init__(self) -> None:
        self._actors: dict[str, m.NamedActor] = {}
        self._names: dict[bytes, str] = {}
        self.handlers: dict[type, Callable[[AnyPeer, Any], None]] = {
            m.NameActor: self._on_name,
            m.FindActor: self._on_find,
            m.ListActorNames: lambda p, msg: p.send(m.ActorNames(msg.request, self.all())),
            m.FreeName: lambda _, msg: self.free(msg.actor_id),
        }

    def name(self, actor: m.NamedActor) -> m.NamedActor:
        """Give an actor its name, unless another one has it; return the one that has it."""
        holder = self._actors.setdefault(actor.name, actor)
        if holder is actor:
            self._names[actor.actor_id] = actor.name
        return holder

    def find(self, name: str) -> m.NamedActor | None:
        """Return the actor of a name."""
        return self._actors.get(name)

    def near(self, name: str) -> list[str]:
        """Return names that are like one, the nearest first."""
        return difflib.get_close_matches(name, self._actors, n=5)

    def all(self) -> list[str]:
        """Return all names, in alphabetical order."""
        return sorted(self._actors)

    def free(self, actor_id: bytes) -> None:
        """An actor is dead."""
        name = self._names.pop(actor_id, None)
        if name is not None:
            del self._actors[name]

    def gone(self, any_id: bytes) -> None:
        """A process or a node is gone, and with it the actors that it owned."""
        for actor_id in [each for each in self._names if each.startswith(any_id)]:
            self.free(actor_id)

    def _on_name(self, peer: AnyPeer, message: m.NameActor) -> None:
        peer.send(m.ActorFound(message.request, self.name(message.actor)))

    def _on_find(self, peer: AnyPeer, message: m.FindActor) -> None:
        actor = self.find(message.name)
        near = self.near(message.name) if actor is None else []
        peer.send(m.ActorFound(message.request, actor, near))

    def validate(self) -> None:
        """Raise AssertionError where the books do not agree."""
        held = {actor.actor_id: name for name, actor in self._actors.items()}
        assert held == self._names
