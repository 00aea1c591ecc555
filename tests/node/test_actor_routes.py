"""Where actors are, as their home and the nodes that run them see it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from millpond.node.actor_routes import ActorRoutes
from millpond.node.actor_service import ActorService
from millpond.scheduler.queue import LeaseQueue
from millpond.wire import messages as m

HERE, THERE, YONDER = b"nod1", b"nod2", b"nod3"
OWNER, CALLER, FAR_CALLER = HERE + b"driv", HERE + b"work", YONDER + b"work"
ACTOR = OWNER + b"00000001"
#: an actor whose home is another node
THEIRS = YONDER + b"driv00000001"


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
        self.processes = {each: Process(each) for each in (OWNER, CALLER, FAR_CALLER)}
        self.queue = LeaseQueue({"CPU": 1}, 100)
        self.actors = ActorService(
            self.queue, lambda: None, lambda each: cast("Any", self.processes.get(each))
        )
        self.sent: list[tuple[bytes, bytes, Any]] = []
        self.members = {THERE, YONDER}
        self.target = THERE
        self.routes = ActorRoutes(self.actors, cast("Any", self), cast("Any", self))

    def place(self, task: m.Task, shape: bytes) -> bytes:
        return self.target

    def send(self, target: bytes, sender: bytes, message: Any) -> bool:
        if target[:4] in self.members:
            self.sent.append((target, sender, message))
        return target[:4] in self.members

    def create(self) -> m.CreateActor:
        task = m.Task(ACTOR, 0, b"f", "A", b"", kind=m.ACTOR_CREATE, caller=OWNER)
        message = m.CreateActor(task, b"\x90", 1, b"")
        self.routes.create(cast("Any", self.processes[OWNER]), message)
        return message

    def locate(self, caller: bytes, actor_id: bytes = ACTOR, *, from_afar: bool = False) -> None:
        peer = cast("Any", self.processes[caller])
        self.routes.locate(peer, m.LocateActor(actor_id), from_afar=from_afar)

    def heard(self, process_id: bytes) -> list[Any]:
        return self.processes[process_id].heard


@pytest.fixture
def world() -> World:
    return World()


def test_an_actor_that_another_node_runs_is_known_to_its_owner(world: World) -> None:
    message = world.create()
    assert world.sent == [(THERE, OWNER, message)]
    assert world.heard(OWNER) == [m.TaskPlaced(ACTOR, 0, THERE)]
    assert world.queue.waiting == 0


def test_an_actor_stays_where_it_is_placed_here_or_the_other_node_is_gone(world: World) -> None:
    world.members.clear()
    world.create()
    assert world.queue.waiting == 1
    assert world.heard(OWNER) == []


def test_callers_are_passed_on_to_where_the_actor_is(world: World) -> None:
    world.create()
    world.sent.clear()
    world.locate(CALLER)
    world.locate(FAR_CALLER, from_afar=True)
    question = m.LocateActor(ACTOR)
    assert world.sent == [(THERE, CALLER, question), (THERE, FAR_CALLER, question)]


def test_who_asked_before_the_actor_was_placed_is_passed_on_with_it(world: World) -> None:
    world.locate(CALLER)
    message = world.create()
    assert world.sent == [(THERE, OWNER, message), (THERE, CALLER, m.LocateActor(ACTOR))]


def test_an_actor_of_another_home_is_looked_for_there(world: World) -> None:
    world.locate(CALLER, THEIRS)
    assert world.sent == [(YONDER, CALLER, m.LocateActor(THEIRS))]


def test_an_actor_whose_home_is_gone_is_dead(world: World) -> None:
    world.members.clear()
    world.locate(CALLER, THEIRS)
    (state,) = world.heard(CALLER)
    assert (state.actor_id, state.alive) == (THEIRS, False)
    assert "its owner" in state.reason


def test_when_the_node_of_an_actor_is_lost_all_who_asked_hear_of_its_death(world: World) -> None:
    world.create()
    world.locate(CALLER)
    world.routes.node_lost(THERE, "its power failed")
    assert world.heard(CALLER) == [m.ActorState(ACTOR, False, reason="its power failed")]
    world.locate(FAR_CALLER, from_afar=True)
    assert world.heard(FAR_CALLER) == [m.ActorState(ACTOR, False, reason="its power failed")]


def test_an_actor_is_ended_where_it_is_and_forgotten_with_its_last_handle(world: World) -> None:
    world.create()
    world.sent.clear()
    owner = cast("Any", world.processes[OWNER])
    world.routes.kill(owner, m.KillActor(ACTOR, graceful=True), from_afar=False)
    assert world.sent == [(THERE, OWNER, m.KillActor(ACTOR, graceful=True))]
    world.routes.node_lost(THERE, "later")
    assert world.heard(OWNER) == [m.TaskPlaced(ACTOR, 0, THERE)]


def test_actors_of_a_process_that_died_are_forgotten(world: World) -> None:
    world.create()
    world.locate(CALLER)
    world.routes.process_died(OWNER)
    world.routes.node_lost(THERE, "later")
    assert world.heard(CALLER) == []
