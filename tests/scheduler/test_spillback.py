"""Which of the tasks that wait on a node are handed on."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from millpond.scheduler.placement import (
    Copies,
    Load,
    Need,
    Placement,
    Rates,
)
from millpond.scheduler.resources import UNIT
from millpond.scheduler.spillback import Waiting, handed_on

GB = 1_000_000_000
A, B = b"a", b"b"
IDLE = Load(tasks=0, slots=4, run_time=1.0, free_memory=10 * GB)
FULL = replace(IDLE, tasks=24)


def nowhere(_: bytes) -> Copies:
    return {}


def cluster(here: Load = FULL, there: Load = IDLE, gpu: bool = False) -> Placement:
    placement = Placement(Rates(1 * GB, 1 * GB), random.Random(0))
    for node, load in ((A, here), (B, there)):
        placement.join(node, {"CPU": 4 * UNIT, **({"GPU": UNIT} if gpu else {})}, load)
    return placement


def task(key: int = 0, moves: int = 0, *, stuck: bool = False) -> Waiting:
    return Waiting(key, Need({"CPU": UNIT}, {}), nowhere, moves, stuck)


def test_the_newest_go_first_and_no_more_than_others_have_room_for() -> None:
    placement = cluster()
    moved = dict(handed_on(placement, A, FULL, [task(key) for key in range(20)]))
    assert set(moved.values()) == {B}
    assert list(moved) == list(range(len(moved)))
    assert 4 <= len(moved) <= 10
    placement.validate()


def test_where_all_wait_as_long_nothing_is_handed_on() -> None:
    assert list(handed_on(cluster(there=FULL), A, FULL, [task()])) == []


@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize(("moves", "at_once"), [(1, True), (2, False), (9, False)])
def test_what_was_handed_on_a_few_times_goes_on_with_the_next_look_only(
    moves: int, at_once: bool, stuck: bool
) -> None:
    waiting = [task(moves=moves, stuck=stuck)]
    assert list(handed_on(cluster(), A, FULL, waiting)) == [(0, B)]
    arriving = list(handed_on(cluster(), A, FULL, waiting, arriving=True))
    assert arriving == [(0, B)] * at_once


@pytest.mark.parametrize(("there", "most"), [(13, 0), (12, 1), (8, 1), (7, 2), (5, 3), (4, 4)])
def test_a_node_must_be_better_the_more_often_a_task_was_handed_on(there: int, most: int) -> None:
    """It waits for twenty tasks to end here, and there for all but three of those."""
    busy = replace(IDLE, tasks=there)
    for moves in range(5):
        moved = list(handed_on(cluster(there=busy), A, FULL, [task(moves=moves)]))
        assert bool(moved) is (moves < most), moves


def test_those_that_stay_do_not_hide_those_before_them() -> None:
    argument, where = {b"x": GB}, {b"x": {A: True}}
    stays = [Waiting(key, Need({"CPU": UNIT}, argument), where.__getitem__, 0) for key in range(9)]
    assert list(handed_on(cluster(), A, FULL, [*stays, task(9)])) == [(9, B)]


def test_what_actors_block_goes_wherever_it_can_be_run() -> None:
    idle = replace(IDLE, tasks=1)
    assert list(handed_on(cluster(there=FULL), A, idle, [task()])) == []
    assert list(handed_on(cluster(there=FULL), A, idle, [task(stuck=True)])) == [(0, B)]
    full_of_actors = replace(IDLE, slots=0)
    assert list(handed_on(cluster(there=full_of_actors), A, idle, [task(stuck=True)])) == []


def test_what_is_stuck_leaves_room_for_others() -> None:
    here = replace(IDLE, tasks=8)  # what is stuck is not among them
    waiting = [*(task(key, stuck=True) for key in range(4)), task(4)]
    assert len(list(handed_on(cluster(), A, here, waiting))) == 5


def test_a_queue_that_stands_still_is_left_for_an_idle_node_and_not_returned_to() -> None:
    argument, where = {b"x": GB // 100}, {b"x": {A: True}}
    waiting = [Waiting(0, Need({"CPU": UNIT}, argument), where.__getitem__, 0)]
    quick = replace(IDLE, run_time=0.001)
    for held, moved in ((0.01, []), (32.0, [(0, B)])):
        here = replace(quick, tasks=5, run_time=held)
        placement = cluster(here, quick)
        assert list(handed_on(placement, A, here, waiting)) == moved
        busy = replace(quick, tasks=8)
        placement.report(B, busy)
        if moved:
            assert list(handed_on(placement, B, busy, waiting)) == []


def test_a_node_that_is_slow_gets_nothing_for_being_idle() -> None:
    here = replace(IDLE, tasks=5)
    slow = replace(IDLE, run_time=5.0)
    assert list(handed_on(cluster(here, slow), A, here, [task()])) == []
    new = replace(IDLE, run_time=0.0)
    assert list(handed_on(cluster(here, new), A, here, [task()])) == [(0, B)]
