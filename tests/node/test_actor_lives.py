"""The life of an actor, as its home decides it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from millpond.node.actor_lives import (
    ActorLives,
    Answer,
    Command,
    End,
    FreeName,
    Life,
    Run,
    State,
    Tell,
)
from millpond.wire import messages as m

NODE, OTHER = b"nod1", b"nod2"
OWNER, CALLER, WORKER = NODE + b"driv", OTHER + b"call", OTHER + b"work"
ACTOR = OWNER + b"00000001"


def creation(max_restarts: int = 0) -> m.CreateActor:
    task = m.Task(ACTOR, 0, b"f", "A.__init__", b"", kind=m.ACTOR_CREATE, caller=OWNER)
    return m.CreateActor(task, b"\x90", 1, b"", max_restarts)


def begun(max_restarts: int = 0, *, caller: bool = True) -> ActorLives:
    """An actor that was created, and placed on a node."""
    lives = ActorLives()
    if caller:
        assert lives.locate(ACTOR, CALLER) == []
    assert lives.create(creation(max_restarts)) == [Run(ACTOR, 0)]
    lives.placed(ACTOR, 0, OTHER)
    return lives


def alive(max_restarts: int = 0) -> ActorLives:
    """The same, constructed."""
    lives = begun(max_restarts)
    state = m.ActorState(ACTOR, m.ACTOR_ALIVE, WORKER)
    assert lives.started(ACTOR, 0, WORKER) == [Tell((CALLER,), state)]
    return lives


def life_of(lives: ActorLives) -> Life:
    lives.validate()
    life = lives.find(ACTOR)
    assert life is not None
    return life


def told(commands: list[Command]) -> list[tuple[int, str]]:
    return [
        (command.state.state, command.state.reason)
        for command in commands
        if isinstance(command, Tell)
    ]


def lost(reason: str) -> Answer:
    return Answer(OWNER, m.TaskLost(ACTOR, 0, reason))


def test_who_asks_hears_of_it_now_and_whenever_it_changes() -> None:
    lives = begun()
    assert lives.locate(ACTOR, OWNER) == []
    (tell,) = lives.started(ACTOR, 0, WORKER)
    assert isinstance(tell, Tell)
    assert set(tell.callers) == {OWNER, CALLER}
    assert lives.locate(ACTOR, CALLER) == [Tell((CALLER,), tell.state)]
    lives.process_died(CALLER)
    (tell,) = lives.ended(ACTOR, 0, "it crashed")
    assert tell == Tell((OWNER,), m.ActorState(ACTOR, m.ACTOR_DEAD, reason="it crashed"))


def test_a_lost_process_is_replaced_as_often_as_allowed() -> None:
    lives = alive(2)
    for count in (1, 2):
        tell, run = lives.ended(ACTOR, count - 1, "it crashed")
        assert run == Run(ACTOR, count)
        expected = f"it crashed; it is being restarted (restart {count} of 2)"
        assert told([tell]) == [(m.ACTOR_RESTARTING, expected)]
        lives.placed(ACTOR, count, NODE)
        assert told(lives.started(ACTOR, count, WORKER)) == [(m.ACTOR_ALIVE, "")]
    dead = lives.ended(ACTOR, 2, "it crashed")
    assert told(dead) == [(m.ACTOR_DEAD, "it crashed, after 2 restarts (max_restarts=2)")]
    assert life_of(lives).state is State.DEAD


def test_without_limit_it_always_comes_back() -> None:
    lives = alive(-1)
    for count in range(50):
        assert Run(ACTOR, count + 1) in lives.ended(ACTOR, count, "it crashed")
        lives.placed(ACTOR, count + 1, NODE)
        lives.started(ACTOR, count + 1, WORKER)


def test_what_is_said_of_an_earlier_process_is_ignored() -> None:
    lives = alive(1)
    lives.ended(ACTOR, 0, "it crashed")
    assert lives.ended(ACTOR, 0, "it crashed") == []
    assert lives.started(ACTOR, 0, WORKER) == []
    assert lives.wants(ACTOR, 0) is None
    assert lives.wants(ACTOR, 1) is not None


def test_a_constructor_that_crashes_again_and_again_is_run_later_and_later() -> None:
    lives = begun(-1)
    delays = []
    for count in range(12):
        run = lives.ended(ACTOR, count, "it crashed")[-1]
        assert isinstance(run, Run)
        delays.append(run.delay)
        lives.placed(ACTOR, count + 1, NODE)
    assert delays[:5] == [0.0, 0.1, 0.2, 0.4, 0.8]
    assert max(delays) == delays[-1] == 10.0
    lives.started(ACTOR, 12, WORKER)
    assert lives.ended(ACTOR, 12, "it crashed")[-1] == Run(ACTOR, 13)


def test_a_constructor_that_raises_is_final_and_answered_already() -> None:
    lives = begun(5)
    assert told(lives.ended(ACTOR, 0, "it raised", failed=True)) == [(m.ACTOR_DEAD, "it raised")]
    assert life_of(lives).state is State.DEAD


def test_a_constructor_that_never_returns_is_answered_once_there_are_no_restarts_left() -> None:
    lives = begun(1, caller=False)
    assert lives.ended(ACTOR, 0, "it crashed") == [Run(ACTOR, 1)]
    lives.placed(ACTOR, 1, NODE)
    reason = "it crashed, after 1 restart (max_restarts=1)"
    assert lives.ended(ACTOR, 1, "it crashed") == [lost(reason)]


def test_killed_it_does_not_come_back() -> None:
    lives = alive(-1)
    assert lives.kill(ACTOR, "it was killed") == [End(OTHER, m.EndActor(ACTOR, 0, "it was killed"))]
    assert told(lives.ended(ACTOR, 0, "SIGKILL")) == [(m.ACTOR_DEAD, "it was killed")]
    assert lives.kill(ACTOR, "again") == []


def test_killed_with_restart_it_does() -> None:
    lives = alive(1)
    end = End(OTHER, m.EndActor(ACTOR, 0, "it was killed"))
    assert lives.kill(ACTOR, "it was killed", restart=True) == [end]
    assert lives.ended(ACTOR, 0, "it was killed")[-1] == Run(ACTOR, 1)
    assert lives.kill(ACTOR, "it was killed", restart=True) == []  # no node runs it yet


def test_killed_before_it_was_created() -> None:
    lives = ActorLives()
    lives.locate(ACTOR, CALLER)
    assert told(lives.kill(ACTOR, "an argument failed")) == [(m.ACTOR_DEAD, "an argument failed")]
    assert lives.create(creation(3)) == [lost("an argument failed")]


def test_killed_before_a_node_runs_it() -> None:
    lives = ActorLives()
    lives.create(creation())
    assert lives.kill(ACTOR, "it was killed") == [lost("it was killed")]
    assert lives.wants(ACTOR, 0) is None


def test_handed_on_it_is_the_same_incarnation_elsewhere() -> None:
    lives = begun(1)
    assert lives.handed_on(ACTOR, 0, NODE) == [Run(ACTOR, 0, node_id=NODE)]
    lives.placed(ACTOR, 0, NODE)
    wanted = lives.wants(ACTOR, 0)
    assert wanted is not None
    assert (wanted.incarnation, wanted.moves) == (0, 1)
    assert lives.ended(ACTOR, 0, "it crashed")[-1] == Run(ACTOR, 1)
    assert lives.handed_on(ACTOR, 0, NODE) == []
    wanted = lives.wants(ACTOR, 1)
    assert wanted is not None
    assert wanted.moves == 0


def test_to_be_ended_where_it_was_handed_on_it_is_not_run_elsewhere() -> None:
    lives = begun(-1)
    assert lives.kill(ACTOR, "it was killed") == [End(OTHER, m.EndActor(ACTOR, 0, "it was killed"))]
    assert told(lives.handed_on(ACTOR, 0, NODE)) == [(m.ACTOR_DEAD, "it was killed")]
    assert lives.wants(ACTOR, 0) is None


def test_dropped_it_ends_after_its_calls_and_is_forgotten() -> None:
    lives = alive(-1)
    (end,) = lives.drop(ACTOR)
    assert isinstance(end, End)
    assert end.message.graceful
    assert lives.find(ACTOR) is not None
    lives.ended(ACTOR, 0, "it exited")
    assert lives.find(ACTOR) is None
    assert lives.drop(ACTOR) == []


@pytest.mark.parametrize("restarts", [0, 1])
def test_its_node_is_lost(restarts: int) -> None:
    lives = alive(restarts)
    assert lives.node_lost(NODE, "power") == []
    (kind, reason), *_ = told(lives.node_lost(OTHER, "power"))
    assert kind == (m.ACTOR_RESTARTING if restarts else m.ACTOR_DEAD)
    assert reason.startswith("power")
    assert life_of(lives).state is (State.STARTING if restarts else State.DEAD)


def test_it_goes_with_its_owner() -> None:
    lives = alive(-1)
    (end,) = lives.process_died(OWNER)
    assert isinstance(end, End)
    lives.ended(ACTOR, 0, "it was killed")
    assert lives.find(ACTOR) is None


class Lives(RuleBasedStateMachine):
    """Whatever happens in whatever order: no illegal move, and callers know the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.lives = ActorLives()
        self.created = False
        self.dropped = False
        #: the incarnation that a node runs, if any; it was constructed; the node has let go of it
        self.running: int | None = None
        self.constructed = self.let_go = False
        self.restarts = 0
        self.heard: list[m.ActorState] = []
        self.answers = 0

    def do(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Run):
                self.restarts += command.incarnation > 0 and not command.node_id
                assert self.running is None
                assert self.lives.wants(ACTOR, command.incarnation)
                self.lives.placed(ACTOR, command.incarnation, command.node_id or OTHER)
                self.running, self.constructed, self.let_go = command.incarnation, False, False
            elif isinstance(command, Tell):
                self.heard.append(command.state)
            elif isinstance(command, Answer):
                self.answers += 1
            elif isinstance(command, End):
                assert self.running == command.message.incarnation
            else:
                assert isinstance(command, FreeName)

    def may_be_asked_for(self) -> bool:
        return not self.dropped or self.lives.find(ACTOR) is not None

    @precondition(lambda self: not self.created)
    @rule(restarts=st.integers(-1, 3))
    def create(self, restarts: int) -> None:
        self.created = True
        self.do(self.lives.create(creation(restarts)))

    @precondition(may_be_asked_for)
    @rule()
    def locate(self) -> None:
        self.do(self.lives.locate(ACTOR, CALLER))

    @precondition(may_be_asked_for)
    @rule(restart=st.booleans())
    def kill(self, restart: bool) -> None:
        self.do(self.lives.kill(ACTOR, "it was killed", restart=restart))

    @precondition(lambda self: self.created)
    @rule()
    def drop(self) -> None:
        self.dropped = True
        self.do(self.lives.drop(ACTOR))

    @rule(failed=st.booleans())
    def process_ends(self, failed: bool) -> None:
        if self.running is not None and not self.let_go:
            number, self.running = self.running, None
            self.do(self.lives.ended(ACTOR, number, "it ended", failed=failed))

    @rule()
    def construct(self) -> None:
        if self.running is not None and not self.let_go:
            self.constructed = True
            self.do(self.lives.started(ACTOR, self.running, WORKER))

    @rule()
    def the_node_lets_go(self) -> None:
        self.let_go = self.running is not None and not self.constructed

    @precondition(lambda self: self.let_go)
    @rule()
    def the_home_hears_of_it(self) -> None:
        assert self.running is not None
        number, self.running, self.let_go = self.running, None, False
        self.do(self.lives.handed_on(ACTOR, number, NODE))

    @precondition(lambda self: self.created)
    @rule()
    def owner_dies(self) -> None:
        self.dropped = True
        self.do(self.lives.process_died(OWNER))

    @invariant()
    def consistent(self) -> None:
        self.lives.validate()
        assert self.answers <= 1
        life = self.lives.find(ACTOR)
        if life is None:
            return
        if life.creation is not None and life.creation.max_restarts >= 0:
            assert self.restarts <= life.creation.max_restarts
        if self.heard:
            last = self.heard[-1].state
            assert (last == m.ACTOR_DEAD) == (life.state is State.DEAD)
        if life.state is State.DEAD:
            assert self.running is None


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
