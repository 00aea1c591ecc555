"""`get_actor` and `named_actors`: actors of the whole cluster, by their names."""

from __future__ import annotations

from ..errors import ActorNotFoundError
from ..owner.actor_names import actor_names, find_actor
from .actors import ActorHandle, handle_of
from .session import connected_runtime

__all__ = ["get_actor", "named_actors"]


def get_actor(name: str) -> ActorHandle:
    """Return a handle of the actor that was started with ``options(name=...)``, by any process.

    The handle keeps the actor alive like any other.

    Args:
        name: of the actor.

    Raises:
        ActorNotFoundError: no actor has this name: it was never started, or has ended.
        TypeError: ``name`` is not a string.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of an actor is a string, not {name!r}")
    runtime = connected_runtime()
    named, near = find_actor(runtime, name)
    handle = handle_of(named) if named is not None else None
    if handle is None:
        meant = f"; there are: {', '.join(map(repr, near))}" if near else ""
        raise ActorNotFoundError(
            f"no actor is named {name!r}{meant}. An actor has its name from its start to its end, "
            "and lives no longer than the process that started it"
        )
    return handle


def named_actors() -> list[str]:
    """Return the names of all actors of the cluster that have one, in alphabetical order."""
    return actor_names(connected_runtime())
