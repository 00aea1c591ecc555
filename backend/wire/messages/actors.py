"""Between a process and its node: where actors are, and their end."""

from __future__ import annotations

import msgspec

from .values import Task

__all__ = [
    "ActorMessage",
    "ActorState",
    "CreateActor",
    "KillActor",
    "LocateActor",
]


class CreateActor(msgspec.Struct, array_like=True, tag=60):
    """Owner to node: run this actor's constructor in a worker of its own."""

    task: Task
    shape: bytes
    order: int
    #: pickle of the class, if it is small
    function: bytes


class LocateActor(msgspec.Struct, array_like=True, tag=61):
    """Asks where an actor runs; answered by ActorState when it is alive or dead."""

    actor_id: bytes


class ActorState(msgspec.Struct, array_like=True, tag=62):
    """Node to process: where an actor is, or why it is not."""

    actor_id: bytes
    alive: bool
    worker_id: bytes = b""
    reason: str = ""


class KillActor(msgspec.Struct, array_like=True, tag=63):
    """Owner to node: end this actor."""

    actor_id: bytes
    #: finish the calls already received, then exit
    graceful: bool


ActorMessage = CreateActor | LocateActor | ActorState | KillActor
