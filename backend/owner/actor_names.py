"""Asks the head for actors by their names, and holds what it finds. None of it takes the lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import NodeDiedError
from ..wire import messages as m
from ..wire.messages.cluster import ClusterState, GetCluster

if TYPE_CHECKING:
    import msgspec

    from .refs import ObjectRef
    from .runtime import Runtime

__all__ = ["actor_names", "find_actor", "hold_actor", "name_actor"]


def name_actor(runtime: Runtime, actor: m.NamedActor) -> m.NamedActor:
    """Have an actor that is about to be created get its name; return the actor that has it then."""
    holder: m.NamedActor = _ask_head(runtime, m.NameActor(0, actor)).actor
    return holder


def find_actor(runtime: Runtime, name: str) -> tuple[m.NamedActor | None, list[str]]:
    """Return the actor of a name, or None and names that are like it."""
    found: m.ActorFound = _ask_head(runtime, m.FindActor(0, name))
    return found.actor, found.near


def actor_names(runtime: Runtime) -> list[str]:
    """Return the names of all actors that have one, in alphabetical order."""
    answer: m.ActorNames = _ask_head(runtime, m.ListActorNames(0))
    return answer.names


def hold_actor(runtime: Runtime, actor_id: bytes) -> ObjectRef[Any] | None:
    """Return the ref that is the life of an actor, which nobody holds for us; None if it ended."""
    with runtime.lock:
        entry = runtime.objects.entries.get(actor_id)
        if entry is None and actor_id.startswith(runtime.process_id):
            return None
        ref = runtime.objects.ref(actor_id)
    if not runtime.register_borrowed([ref]):
        return ref
    with runtime.lock:
        ref._entry.registered = 0  # its owner, if there is one, does not know us
    return None


def _ask_head(runtime: Runtime, question: msgspec.Struct) -> Any:
    state: ClusterState = runtime.requests.ask(runtime.node, GetCluster(0))
    head = runtime.node_near(state.head_id)
    if head is None:
        raise NodeDiedError(f"the head of the cluster, node {state.head_id.hex()}, is gone")
    return runtime.requests.ask(head, question)
