"""Actors: between processes, the homes of actors, who runs them, and the head, for their names."""

from __future__ import annotations

import msgspec

from .values import Task

__all__ = [
    "ACTOR_ALIVE",
    "ACTOR_DEAD",
    "ACTOR_RESTARTING",
    "ActorEnded",
    "ActorFound",
    "ActorMessage",
    "ActorNames",
    "ActorStarted",
    "ActorState",
    "CreateActor",
    "DropActor",
    "EndActor",
    "FindActor",
    "FreeName",
    "HandOnActor",
    "KillActor",
    "ListActorNames",
    "LocateActor",
    "NameActor",
    "NamedActor",
    "RunActor",
]

# States of an ActorState.
ACTOR_ALIVE = 0
ACTOR_RESTARTING = 1
ACTOR_DEAD = 2


class NamedActor(msgspec.Struct, array_like=True, frozen=True):
    """What it takes to call an actor that has a name."""

    name: str
    actor_id: bytes
    class_name: str
    methods: list[str]
    #: of its calls, unless a call says otherwise
    max_task_retries: int


class CreateActor(msgspec.Struct, array_like=True, tag=60):
    """Owner to its node, the actor's home: have this constructor run in a worker of its own."""

    task: Task
    shape: bytes
    order: int
    #: pickle of the class, if it is small
    function: bytes
    #: how often it is constructed again after its process was lost; -1: without limit
    max_restarts: int = 0
    #: under which others find it
    named: NamedActor | None = None


class LocateActor(msgspec.Struct, array_like=True, tag=61):
    """Asks where an actor runs; answered by ActorState, now and whenever that changes."""

    actor_id: bytes


class ActorState(msgspec.Struct, array_like=True, tag=62):
    """Home to process: where an actor is, or why it is not."""

    actor_id: bytes
    #: ACTOR_ALIVE, ACTOR_RESTARTING or ACTOR_DEAD
    state: int
    #: alive: its process
    worker_id: bytes = b""
    #: restarting or dead: why
    reason: str = ""


class KillActor(msgspec.Struct, array_like=True, tag=63):
    """Any process to the home: end this actor at once."""

    actor_id: bytes
    reason: str
    #: as if its process had crashed: it is constructed again, if it has restarts left
    restart: bool = False


class DropActor(msgspec.Struct, array_like=True, tag=50):
    """Owner to the home: the last handle of this actor died; it ends after its calls."""

    actor_id: bytes


class RunActor(msgspec.Struct, array_like=True, tag=51):
    """Home to the node that is to run an actor."""

    creation: CreateActor
    #: how often it was restarted before
    incarnation: int
    #: how often this incarnation was handed on by a node
    moves: int = 0


class HandOnActor(msgspec.Struct, array_like=True, tag=106):
    """Answers RunActor: it waits here, and I let go of it; have that node run it, sooner."""

    actor_id: bytes
    incarnation: int
    node_id: bytes


class EndActor(msgspec.Struct, array_like=True, tag=52):
    """Home to the node that runs an actor: end it; answered by ActorEnded."""

    actor_id: bytes
    incarnation: int
    reason: str
    #: finish the calls already received, then exit
    graceful: bool = False


class ActorStarted(msgspec.Struct, array_like=True, tag=53):
    """Answers RunActor: the constructor has returned, and the owner was told so."""

    actor_id: bytes
    incarnation: int
    worker_id: bytes


class ActorEnded(msgspec.Struct, array_like=True, tag=54):
    """Node to the home: the actor's process is gone, or will never be."""

    actor_id: bytes
    incarnation: int
    reason: str
    #: the constructor raised an exception, and the owner was told so
    failed: bool = False


class NameActor(msgspec.Struct, array_like=True, tag=100):
    """Owner to head: this actor, which is about to be created, is to have its name.

    Answered by `ActorFound` with the actor that has the name: this one or another.
    """

    request: int
    actor: NamedActor


class FindActor(msgspec.Struct, array_like=True, tag=101):
    """Process to head: which actor has this name? Answered by `ActorFound`."""

    request: int
    name: str


class ActorFound(msgspec.Struct, array_like=True, tag=102):
    """Answers NameActor and FindActor."""

    request: int
    actor: NamedActor | None
    #: none has the name: names that are like it
    near: list[str] = []


class ListActorNames(msgspec.Struct, array_like=True, tag=103):
    """Process to head: which names are there? Answered by `ActorNames`."""

    request: int


class ActorNames(msgspec.Struct, array_like=True, tag=104):
    """Answers ListActorNames: all names, in alphabetical order."""

    request: int
    names: list[str]


class FreeName(msgspec.Struct, array_like=True, tag=105):
    """Home to head: this actor is dead, and so has no name any more."""

    actor_id: bytes


ActorMessage = (
    CreateActor
    | LocateActor
    | ActorState
    | KillActor
    | DropActor
    | RunActor
    | HandOnActor
    | EndActor
    | ActorStarted
    | ActorEnded
    | NameActor
    | FindActor
    | ActorFound
    | ListActorNames
    | ActorNames
    | FreeName
)
