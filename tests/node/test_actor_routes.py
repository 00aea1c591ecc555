"""Where actors run, as their home and the nodes that run them see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from millpond.node.actor_routes import ActorRoutes
from millpond.node.actor_service import ActorService
from millpond.scheduler.queue import LeaseQueue
from millpond.scheduler.resources import UNIT, pack_shape
from millpond.wire import messages as m

HERE, THERE, YONDER = b"nod1", b"nod2", b"nod3"
OWNER, CALLER, FAR_CALLER = HERE + b"driv", HERE + b"work", YONDER + b"work"
ACTOR, OTHER_ACTOR = OWNER + b"00000001", OWNER + b"00000002"
GPU = pack_shape({"GPU": UNIT})
#: an actor whose home is another node, and its owner
THEIR_OWNER = YONDER + b"driv"
THEIRS = THEIR_OWNER + b"00000001"


class Process:
    def __init__(self, process_id: bytes) -> None:
        self.process_id = process_id
        self.heard: list[Any] = []

    def send(self, message: Any) -> None:
        self.heard.append(message)


class World:
    """A node whose actors are placed on another one, unless the test says otherwise."""

    node_id = HERE

    def __init__(self) -> None:
        self.processes = {each: Process(each) for each in (OWNER, CALLER, FAR_CALLER, THERE)}
        self.queue = LeaseQueue({"CPU": 1}, 100)
        self.actors = ActorService(self.queue, lambda: None)
        self.sent: list[tuple[bytes, bytes, Any]] = []
        self.members = {THERE, YONDER}
        self.target: bytes | None = THERE
        self.later: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        here = cast("Any", self)
        self.routes = ActorRoutes(self.actors, here, here, self.peer, here)
        self.looks = 0
        self.routes.look_later = self.look

    def peer(self, process_id: bytes) -> Any:
        return self.processes.get(process_id)

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        self.later.append((delay, call, args))

    def look(self) -> None:
        self.looks += 1

    def place(self, task: m.Task, shape: bytes) -> bytes | None:
        return self.target

    def send(self, target: bytes, sender: bytes, message: Any) -> bool:
        if target[:4] in self.members:
            self.sent.append((target, sender, message))
        return target[:4] in self.members

    def say(self, process_id: bytes, message: Any) -> None:
        self.routes.handlers[type(message)](self.processes[process_id], message)

    def create(self, max_restarts: int = 0, actor_id: bytes = ACTOR) -> m.CreateActor:
        task = m.Task(actor_id, 0, b"f", "A.__init__", b"", kind=m.ACTOR_CREATE, caller=OWNER)
        message = m.CreateActor(task, GPU, 1, b"", max_restarts)
        self.say(OWNER, message)
        return message

    def heard(self, process_id: bytes) -> list[Any]:
        return self.processes[process_id].heard


@pytest.fixture
def world() -> World:
    return World()


def test_an_actor_runs_where_it_is_placed(world: World) -> None:
    creation = world.create()
    assert world.sent == [(THERE, HERE, m.RunActor(creation, 0))]
    assert world.queue.waiting == 0


def test_an_actor_stays_where_the_other_node_is_gone(world: World) -> None:
    world.members.clear()
    world.create()
    assert world.queue.waiting == 1


def test_who_asks_for_an_actor_is_answered_by_its_home(world: World) -> None:
    world.say(CALLER, m.LocateActor(ACTOR))
    world.create()
    world.say(FAR_CALLER, m.LocateActor(ACTOR))
    world.say(THERE, m.ActorStarted(ACTOR, 0, THERE + b"work"))
    state = m.ActorState(ACTOR, m.ACTOR_ALIVE, THERE + b"work")
    assert world.heard(CALLER) == world.heard(FAR_CALLER) == [state]


def test_an_actor_of_another_home_is_looked_for_there(world: World) -> None:
    world.say(CALLER, m.LocateActor(THEIRS))
    world.say(CALLER, m.KillActor(THEIRS, "it was killed"))
    assert world.sent == [
        (YONDER, CALLER, m.LocateActor(THEIRS)),
        (YONDER, CALLER, m.KillActor(THEIRS, "it was killed")),
    ]


def test_an_actor_whose_home_or_owner_is_gone_is_dead(world: World) -> None:
    world.members.clear()
    world.say(CALLER, m.LocateActor(THEIRS))
    del world.processes[OWNER]
    world.say(CALLER, m.LocateActor(ACTOR))
    for state, actor_id in zip(world.heard(CALLER), (THEIRS, ACTOR), strict=True):
        assert (state.actor_id, state.state) == (actor_id, m.ACTOR_DEAD)
        assert "its owner" in state.reason


def test_when_the_node_of_an_actor_is_lost_all_who_asked_hear_of_its_death(world: World) -> None:
    world.create()
    world.say(CALLER, m.LocateActor(ACTOR))
    world.routes.node_lost(THERE, "its power failed")
    (state,) = world.heard(CALLER)
    assert state.state == m.ACTOR_DEAD
    assert "its power failed" in state.reason
    world.say(FAR_CALLER, m.LocateActor(ACTOR))
    assert world.heard(FAR_CALLER) == [state]
    (lost,) = world.heard(OWNER)
    assert (type(lost), lost.task_id) == (m.TaskLost, ACTOR)


def test_an_actor_that_may_be_restarted_runs_elsewhere_when_its_node_is_lost(world: World) -> None:
    creation = world.create(1)
    world.sent.clear()
    world.target = YONDER
    world.routes.node_lost(THERE, "its power failed")
    assert world.sent == [(YONDER, HERE, m.RunActor(creation, 1))]
    assert world.heard(OWNER) == []


def test_an_actor_that_no_node_can_run_waits_at_its_home_for_one_that_can(world: World) -> None:
    world.target = None
    creation = world.create()
    assert (world.sent, world.queue.waiting, world.looks) == ([], 1, 1)
    world.actors.hand_on(ACTOR, YONDER)
    assert (world.sent, world.queue.waiting) == ([(YONDER, HERE, m.RunActor(creation, 0, 1))], 0)


def test_an_actor_that_is_ended_while_no_node_can_run_it_is_not_run_later(world: World) -> None:
    world.target = None
    world.create()
    world.say(CALLER, m.KillActor(ACTOR, "it was killed"))
    assert world.queue.waiting == 0
    world.actors.hand_on(ACTOR, YONDER)
    assert world.sent == []


def test_what_only_other_nodes_could_run_dies_when_there_can_be_no_others(world: World) -> None:
    alone = m.Alone({"CPU": UNIT}, "the head is gone")
    world.target = None
    world.create(-1)
    world.routes.be_alone(m.Alone({"GPU": UNIT}, "this has all"))
    assert (world.heard(OWNER), world.queue.waiting) == ([], 1)
    world.routes.be_alone(alone)
    (lost,) = world.heard(OWNER)
    assert "1 of resource 'GPU', this node has 0, and it is on its own: the head" in lost.reason
    assert world.queue.waiting == 0
    world.create(-1, OTHER_ACTOR)
    assert [type(each) for each in world.heard(OWNER)] == [m.TaskLost] * 2
    assert world.queue.waiting == 0


def test_an_actor_that_waits_elsewhere_is_handed_on_by_its_home(world: World) -> None:
    creation = world.create()
    world.sent.clear()
    world.say(THERE, m.HandOnActor(ACTOR, 0, YONDER))
    assert world.sent == [(YONDER, HERE, m.RunActor(creation, 0, 1))]
    world.say(CALLER, m.KillActor(ACTOR, "it was killed"))
    assert world.sent[1:] == [(YONDER, HERE, m.EndActor(ACTOR, 0, "it was killed"))]


def test_an_actor_that_is_handed_on_to_a_lost_node_waits_at_its_home(world: World) -> None:
    world.create()
    world.members.discard(YONDER)
    world.say(THERE, m.HandOnActor(ACTOR, 0, YONDER))
    assert world.queue.waiting == 1


def test_all_actors_that_wait_here_are_looked_at_in_turn(world: World) -> None:
    actors = [THEIR_OWNER + bytes([number]) * 8 for number in range(3)]
    for actor_id in actors:
        task = m.Task(actor_id, 0, b"f", "A.__init__", b"", kind=m.ACTOR_CREATE, caller=THEIR_OWNER)
        world.say(THERE, m.RunActor(m.CreateActor(task, b"\x90", 1, b""), 0))
    seen = [next(world.actors.waiting()).creation.task.task_id for _ in range(4)]
    assert seen == [*actors, actors[0]]


def test_a_constructor_that_crashes_twice_in_a_row_is_run_later(world: World) -> None:
    world.target = HERE
    world.create(-1)
    world.say(THERE, m.ActorEnded(ACTOR, 0, "it crashed"))
    world.say(THERE, m.ActorEnded(ACTOR, 1, "it crashed"))
    ((delay, call, args),) = world.later
    assert delay > 0
    world.say(CALLER, m.KillActor(ACTOR, "it was killed"))
    waiting = world.queue.waiting
    call(*args)
    assert world.queue.waiting == waiting


def test_an_actor_is_ended_where_it_is(world: World) -> None:
    world.create()
    world.sent.clear()
    world.say(OWNER, m.DropActor(ACTOR))
    reason = "all its handles were dropped"
    assert world.sent == [(THERE, HERE, m.EndActor(ACTOR, 0, reason, graceful=True))]


def test_the_home_of_an_actor_that_ends_here_hears_of_it(world: World) -> None:
    task = m.Task(THEIRS, 0, b"f", "A.__init__", b"", kind=m.ACTOR_CREATE, caller=THEIR_OWNER)
    world.say(THERE, m.RunActor(m.CreateActor(task, b"\x90", 1, b""), 3))
    world.say(THERE, m.EndActor(THEIRS, 2, "an earlier one"))
    assert (world.sent, world.queue.waiting) == ([], 1)
    world.say(THERE, m.EndActor(THEIRS, 3, "it was killed"))
    assert world.sent == [(YONDER, HERE, m.ActorEnded(THEIRS, 3, "it was killed"))]
    assert world.queue.waiting == 0


def test_actors_whose_home_is_lost_are_not_run_any_more(world: World) -> None:
    task = m.Task(THEIRS, 0, b"f", "A.__init__", b"", kind=m.ACTOR_CREATE, caller=THEIR_OWNER)
    world.say(THERE, m.RunActor(m.CreateActor(task, b"\x90", 1, b""), 0))
    world.members.discard(YONDER)
    world.routes.node_lost(YONDER, "its power failed")
    assert world.queue.waiting == 0
