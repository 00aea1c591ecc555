"""The lives of the actors whose home a node is. Pure: events in, commands out.

The *home* of an actor is the node of its owner. It knows where the actor runs, who wants to call
it, and how often it may be constructed again. Each process of an actor is an *incarnation*,
numbered from 0; what is said of an earlier one is ignored. Not covered: which node runs an actor
(``actor_routes`` has that chosen), and its process (``actor_service``).

The order of states is the table below. The rules behind it:

1. Who asked for an actor is told whenever it begins to take calls, is about to be constructed
   again, or is dead. It may be asked for before its owner has created it (AWAITED).
2. An actor that somebody wants to end (ENDING) never comes back, whatever ends it.
3. A constructor that raises is final. One that crashes is a process lost like any other; so that it
   does not take the machine, each further time in a row it is run later.
4. DEAD is final. It is remembered for as long as somebody may ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from ..wire import messages as m
from ..wire.ids import owner_of

__all__ = [
    "ActorLives",
    "Answer",
    "Command",
    "End",
    "FreeName",
    "Life",
    "Run",
    "State",
    "Tell",
]

#: seconds before a constructor that crashed twice in a row is run again; doubled each time
_PAUSE = 0.1
_LONGEST_PAUSE = 10.0


class State(StrEnum):
    """Where an actor is in its life."""

    AWAITED = "awaited"
    """Its owner has not created it yet: an argument is not ready."""
    STARTING = "starting"
    """It is to be constructed, waits for resources, or its constructor runs."""
    ALIVE = "alive"
    """It takes calls."""
    ENDING = "ending"
    """It is to end for good, and its process has not ended yet."""
    DEAD = "dead"
    """It takes no calls ever again."""


#: State -> the states that may follow it.
TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.AWAITED: frozenset(
            {
                State.STARTING,  # created
                State.DEAD,  # killed, or an argument failed
            }
        ),
        State.STARTING: frozenset(
            {
                State.ALIVE,  # constructed
                State.STARTING,  # handed on; or its process was lost, and it has restarts left
                State.ENDING,  # killed, or its owner died, while a node runs it
                State.DEAD,  # the same before a node does; its constructor raised; no restarts left
            }
        ),
        State.ALIVE: frozenset(
            {
                State.STARTING,  # its process was lost, and it has restarts left
                State.ENDING,  # killed, dropped, or its owner died
                State.DEAD,  # its process was lost, and it has no restarts left
            }
        ),
        State.ENDING: frozenset({State.DEAD}),  # its process is gone
        State.DEAD: frozenset(),
    }
)


@dataclass(frozen=True, slots=True)
class Run:
    """Have a node run the actor, after so many seconds; tell `ActorLives.placed` which."""

    actor_id: bytes
    incarnation: int
    delay: float = 0.0
    #: the one that is to run it; empty: any
    node_id: bytes = b""


@dataclass(frozen=True, slots=True)
class End:
    """Have the node that runs the actor end it."""

    node_id: bytes
    message: m.EndActor


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell processes what became of an actor."""

    callers: tuple[bytes, ...]
    state: m.ActorState


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the owner that the constructor will not return; nothing else will."""

    owner: bytes
    lost: m.TaskLost


@dataclass(frozen=True, slots=True)
class FreeName:
    """The actor is dead: somebody else may have its name, if it had one."""

    actor_id: bytes


Command = Run | End | Tell | Answer | FreeName


@dataclass(slots=True)
class Life:
    """One actor."""

    actor_id: bytes
    state: State = State.AWAITED
    #: once it was created
    creation: m.CreateActor | None = None
    incarnation: int = 0
    #: how often this incarnation was handed on
    moves: int = 0
    #: the node that runs it, and its process; empty while there is none
    node_id: bytes = b""
    worker_id: bytes = b""
    #: its owner was told what became of the constructor
    answered: bool = False
    #: incarnations in a row that were lost before they were constructed
    futile: int = 0
    #: why it is to end, or why it is dead
    reason: str = ""
    #: nobody can call it any more, nor ask for it
    dropped: bool = False
    #: processes that want to call it
    callers: set[bytes] = field(default_factory=set)

    def report(self) -> m.ActorState:
        """Return what callers are told."""
        if self.state is State.ALIVE:
            return m.ActorState(self.actor_id, m.ACTOR_ALIVE, self.worker_id)
        kind = m.ACTOR_DEAD if self.state is State.DEAD else m.ACTOR_RESTARTING
        return m.ActorState(self.actor_id, kind, reason=self.reason)


class ActorLives:
    """All actors of one home."""

    def __init__(self) -> None:
        self._lives: dict[bytes, Life] = {}

    def find(self, actor_id: bytes) -> Life | None:
        """Return what is known of an actor."""
        return self._lives.get(actor_id)

    def named(self) -> list[m.NamedActor]:
        """Return the actors that have names."""
        created = [life.creation for life in self._lives.values() if life.creation is not None]
        return [creation.named for creation in created if creation.named is not None]

    # --- what processes want ---

    def create(self, message: m.CreateActor) -> list[Command]:
        """Its owner wants an actor to be constructed."""
        life = self._find(message.task.task_id)
        life.creation = message
        if life.state is State.DEAD:  # killed before it began
            return self._answer(life)
        self._move(life, State.STARTING)
        return [Run(life.actor_id, 0)]

    def locate(self, actor_id: bytes, caller: bytes) -> list[Command]:
        """A process wants to call an actor."""
        life = self._find(actor_id)
        life.callers.add(caller)
        known = life.state in (State.ALIVE, State.DEAD)
        return [Tell((caller,), life.report())] if known else []

    def kill(self, actor_id: bytes, reason: str, *, restart: bool = False) -> list[Command]:
        """Somebody wants an actor to end at once, or only its process."""
        life = self._find(actor_id)
        if restart:
            running = life.state in (State.STARTING, State.ALIVE) and life.node_id
            return [self._end(life, reason)] if running else []
        if life.state is State.DEAD:
            return []
        life.reason = reason
        if not life.node_id:
            return self._die(life)
        if life.state is not State.ENDING:
            self._move(life, State.ENDING)
        return [self._end(life, reason)]

    def drop(self, actor_id: bytes) -> list[Command]:
        """The last handle of an actor died: nobody will say or ask anything of it any more."""
        life = self._lives.get(actor_id)
        if life is None:
            return []
        life.dropped = True
        if life.state in (State.STARTING, State.ALIVE):
            life.reason = "all its handles were dropped"
            if life.node_id:
                self._move(life, State.ENDING)
                return [self._end(life, life.reason, graceful=True)]
            return self._die(life)
        if life.state is not State.ENDING:
            self._forget(life)
        return []

    # --- what becomes of them ---

    def placed(self, actor_id: bytes, incarnation: int, node_id: bytes) -> None:
        """A node was told to run an actor."""
        life = self._lives[actor_id]
        assert life.state is State.STARTING, life
        assert life.incarnation == incarnation, life
        life.node_id = node_id

    def wants(self, actor_id: bytes, incarnation: int) -> m.RunActor | None:
        """Return what to have a node run, unless that is not wanted any more."""
        life = self._lives.get(actor_id)
        if life is None or life.state is not State.STARTING or life.incarnation != incarnation:
            return None
        assert life.creation is not None
        return m.RunActor(life.creation, incarnation, life.moves)

    def handed_on(self, actor_id: bytes, incarnation: int, node_id: bytes) -> list[Command]:
        """The node that an actor waits at has let go of it: another one can run it sooner."""
        life = self._lives.get(actor_id)
        if life is None or life.incarnation != incarnation or life.state is State.DEAD:
            return []
        life.node_id = b""
        if life.state is State.ENDING:  # that node will not hear of it any more
            return self._die(life)
        life.moves += 1
        self._move(life, State.STARTING)
        return [Run(actor_id, incarnation, node_id=node_id)]

    def started(self, actor_id: bytes, incarnation: int, worker_id: bytes) -> list[Command]:
        """A constructor has returned."""
        life = self._lives.get(actor_id)
        if life is None or life.incarnation != incarnation:
            return []
        life.answered = True
        if life.state is not State.STARTING:
            return []
        life.worker_id = worker_id
        life.futile = 0
        self._move(life, State.ALIVE)
        return self._tell(life)

    def ended(
        self, actor_id: bytes, incarnation: int, reason: str, *, failed: bool = False
    ) -> list[Command]:
        """The process of an actor is gone, or will never be.

        Args:
            actor_id: the actor.
            incarnation: of the process.
            reason: what became of it.
            failed: the constructor raised, and the owner was told so.
        """
        life = self._lives.get(actor_id)
        if life is None or life.incarnation != incarnation or life.state is State.DEAD:
            return []
        life.node_id = life.worker_id = b""
        life.answered = life.answered or failed
        assert life.creation is not None
        allowed = life.creation.max_restarts
        if life.state is State.ENDING:
            return self._die(life)
        life.reason = reason
        if failed:
            return self._die(life)
        if 0 <= allowed <= life.incarnation:
            if allowed:
                restarts = "1 restart" if allowed == 1 else f"{allowed} restarts"
                life.reason += f", after {restarts} (max_restarts={allowed})"
            return self._die(life)
        life.futile = life.futile + 1 if life.state is State.STARTING else 0
        life.incarnation += 1
        life.moves = 0
        self._move(life, State.STARTING)
        limit = f" of {allowed}" if allowed > 0 else ""
        life.reason += f"; it is being restarted (restart {life.incarnation}{limit})"
        pause = min(_PAUSE * 2.0 ** (life.futile - 2), _LONGEST_PAUSE) if life.futile > 1 else 0.0
        return [*self._tell(life), Run(actor_id, life.incarnation, pause)]

    def node_lost(self, node_id: bytes, reason: str) -> list[Command]:
        """A node is gone, with the actors that it ran."""
        there = [life for life in self._lives.values() if life.node_id == node_id]
        return [
            command
            for life in there
            for command in self.ended(life.actor_id, life.incarnation, reason)
        ]

    def process_died(self, process_id: bytes) -> list[Command]:
        """A process is gone, wherever it was: the actors that it owned go with it."""
        commands: list[Command] = []
        for life in list(self._lives.values()):
            life.callers.discard(process_id)
            if owner_of(life.actor_id) == process_id:
                life.dropped = True
                commands += self.kill(life.actor_id, f"its owner {process_id.hex()} died")
                if life.state is State.DEAD:
                    self._forget(life)
        return commands

    # --- small things ---

    def _find(self, actor_id: bytes) -> Life:
        life = self._lives.get(actor_id)
        if life is None:
            life = self._lives[actor_id] = Life(actor_id)
        return life

    @staticmethod
    def _move(life: Life, state: State) -> None:
        assert state in TRANSITIONS[life.state], (life, state)
        life.state = state

    @staticmethod
    def _end(life: Life, reason: str, *, graceful: bool = False) -> End:
        message = m.EndActor(life.actor_id, life.incarnation, reason, graceful)
        return End(life.node_id, message)

    @staticmethod
    def _tell(life: Life) -> list[Command]:
        return [Tell(tuple(life.callers), life.report())] if life.callers else []

    @staticmethod
    def _answer(life: Life) -> list[Command]:
        assert life.creation is not None
        life.answered = True
        task = life.creation.task
        lost = m.TaskLost(life.actor_id, task.attempt, life.reason)
        return [Answer(owner_of(life.actor_id), lost)]

    def _die(self, life: Life) -> list[Command]:
        self._move(life, State.DEAD)
        commands: list[Command] = []
        # Of one that was never created it is not known whether its owner had it named.
        if life.creation is None or life.creation.named is not None:
            commands.append(FreeName(life.actor_id))
        commands += self._tell(life)  # who hears of its death can use the name
        if not life.answered and life.creation is not None:
            commands += self._answer(life)
        life.creation = None
        if life.dropped:
            self._forget(life)
        return commands

    def _forget(self, life: Life) -> None:
        """Nobody can ask for it any more."""
        self._lives.pop(life.actor_id, None)

    def validate(self) -> None:
        """Raise AssertionError where the state contradicts itself."""
        for life in self._lives.values():
            runs = life.state in (State.ALIVE, State.ENDING)
            assert not runs or life.node_id, life
            assert life.state not in (State.AWAITED, State.DEAD) or not life.node_id, life
            assert (life.state is State.ALIVE) <= bool(life.worker_id), life
            unborn = life.state in (State.AWAITED, State.DEAD)
            assert unborn or life.creation is not None, life
