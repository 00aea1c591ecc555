"""Which node gets what, as this node decides it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from millpond.node.placing import Placing
from millpond.scheduler.placement import Load
from millpond.scheduler.resources import EXPECTED_MEMORY, UNIT, pack_shape
from millpond.wire import messages as m
from millpond.wire.messages.cluster import NodeInfo

HERE, THERE, YONDER = b"nod1", b"nod2", b"nod3"
OWNER = HERE + b"driv"
ONE = pack_shape({"CPU": UNIT})
GPU = pack_shape({"GPU": UNIT})
GIB = 1 << 30


class World:
    """This node and two others, of which one has a GPU."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes, Any]] = []
        self.load = Load(0, 2, 0.0, GIB)
        self.cluster = SimpleNamespace(node_id=HERE, nodes={HERE: None}, load=lambda: self.load)
        self.placing = Placing(
            cast("Any", self.cluster), cast("Any", self), {"CPU": 2 * UNIT, "memory": UNIT}
        )

    def send(self, target: bytes, sender: bytes, message: Any) -> bool:
        self.sent.append((target, sender, message))
        return True

    def join(self, node_id: bytes, **resources: int) -> None:
        counted = {name: n * UNIT for name, n in resources.items()}
        self.cluster.nodes[node_id] = None
        self.placing.joined(NodeInfo(node_id, "", "", 1, counted, GIB, False))


@pytest.fixture
def world() -> World:
    world = World()
    world.join(THERE, CPU=2)
    world.join(YONDER, CPU=2, GPU=1)
    return world


def task(*arguments: tuple[bytes, int, list[bytes]]) -> m.Task:
    stored = [
        m.Argument(object_id, m.Value(m.STORED, size=size, nodes=nodes))
        for object_id, size, nodes in arguments
    ]
    return m.Task(OWNER + b"00000001", 0, b"f", "f", b"", stored)


def test_alone_a_node_keeps_everything() -> None:
    assert World().placing.place(task(), ONE) == HERE


def test_a_task_goes_where_its_arguments_are(world: World) -> None:
    here, there = OWNER + b"00000002", OWNER + b"00000003"
    both = task((here, GIB // 8, []), (there, GIB // 4, [THERE]))
    assert {world.placing.place(both, ONE) for _ in range(2)} == {THERE}


def test_a_task_waits_where_its_arguments_are_if_others_come_that_fill_the_rest(
    world: World,
) -> None:
    block = task((OWNER + b"00000002", GIB // 100, [THERE]))
    world.placing.loaded(THERE, Load(4, 2, 0.0, GIB))
    assert world.placing.place(block, ONE) != THERE
    world.placing.loaded(THERE, Load(4, 2, 0.0, GIB))
    assert world.placing.place_all([(block, ONE), *[(task(), ONE)] * 20])[0] == THERE


def test_a_task_goes_where_its_resources_are(world: World) -> None:
    assert world.placing.place(task(), GPU) == YONDER


def test_memory_that_is_only_expected_does_not_count(world: World) -> None:
    shape = pack_shape({"GPU": UNIT, EXPECTED_MEMORY: 1 << 50})
    assert world.placing.place(task(), shape) == YONDER


def test_what_nobody_can_run_goes_nowhere(world: World) -> None:
    assert world.placing.place(task(), pack_shape({"TPU": UNIT})) is None


def test_leases_are_asked_of_those_that_have_room_and_no_more_than_are_wanted(
    world: World,
) -> None:
    world.placing.spread_leases(OWNER, ONE, 3, 7)
    asked = {target: message.count for target, _, message in world.sent}
    assert set(asked) == {THERE, YONDER}
    assert sum(asked.values()) == 3
    assert {(sender, message.order) for _, sender, message in world.sent} == {(OWNER, 7)}


def test_what_was_promised_to_others_is_not_asked_for_again(world: World) -> None:
    world.placing.spread_leases(OWNER, ONE, 64, 1)
    world.sent.clear()
    world.placing.spread_leases(HERE + b"work", ONE, 64, 1)
    assert world.sent == []


def test_what_only_others_can_grant_waits_there_though_they_are_busy(world: World) -> None:
    busy = Load(2, 2, 0.0, GIB)
    world.placing.loaded(THERE, busy)
    world.placing.loaded(YONDER, busy)
    world.placing.spread_leases(OWNER, GPU, 3, 1)
    assert [(target, message.count) for target, _, message in world.sent] == [(YONDER, 3)]
    world.sent.clear()
    world.placing.spread_leases(OWNER, ONE, 3, 1)
    assert world.sent == []


def test_what_waits_on_a_busy_node_stays_there_and_is_counted_once(world: World) -> None:
    also = b"nod4"
    world.join(also, CPU=2, GPU=1)
    rare = pack_shape({"CPU": UNIT, "GPU": UNIT})
    for node_id in (YONDER, also):
        world.placing.loaded(node_id, Load(2, 2, 0.0, GIB))
    for _ in range(20):
        world.placing.spread_leases(OWNER, rare, 3, 1)
    (asked,) = {target for target, _, _ in world.sent}
    world.placing.placement.validate()
    other = also if asked == YONDER else YONDER
    world.placing.loaded(asked, Load(2, 0, 0.0, GIB))  # an actor has all of its slots
    world.placing.spread_leases(OWNER, rare, 3, 1)
    assert [(target, message.count) for target, _, message in world.sent[-2:]] == [
        (other, 3),
        (asked, 0),
    ]
    world.placing.loaded(other, Load(0, 5, 0.0, GIB))
    for _ in range(3):
        world.placing.spread_leases(OWNER, rare, 4, 1)
    assert world.placing.placement.free_slots({"CPU": UNIT, "GPU": UNIT}, HERE) == {other: 4}


def test_when_nothing_is_wanted_any_more_those_who_were_asked_hear_it(world: World) -> None:
    world.placing.spread_leases(OWNER, GPU, 1, 1)
    world.placing.spread_leases(OWNER, GPU, 0, 0)
    world.placing.spread_leases(OWNER, GPU, 0, 0)
    assert [(target, message.count) for target, _, message in world.sent] == [
        (YONDER, 1),
        (YONDER, 0),
    ]


def test_a_node_that_is_gone_is_not_asked(world: World) -> None:
    world.placing.spread_leases(OWNER, GPU, 1, 1)
    world.placing.left(YONDER)
    world.sent.clear()
    world.placing.spread_leases(OWNER, GPU, 0, 0)
    assert world.sent == []
    assert world.placing.place(task(), GPU) is None
