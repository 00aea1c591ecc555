"""Fetching from other nodes: order, bounds, and what happens when a source fails."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from millpond.scheduler.pulling import Fetch, GiveUp, PullQueue

A, B, C = b"nodA", b"nodB", b"nodC"


def queue(limit: int = 100) -> PullQueue:
    return PullQueue(limit, random.Random(0))


def test_an_object_is_fetched_from_a_node_that_has_it() -> None:
    assert queue().add(b"x", 10, [A]) == [Fetch(b"x", A, 0)]


def test_what_a_source_did_not_finish_is_had_from_another_from_there_on() -> None:
    pulls = queue()
    (first,) = pulls.add(b"x", 10, [A, B])
    assert isinstance(first, Fetch)
    other = B if first.node_id == A else A
    assert pulls.failed(b"x", 4, "it broke") == [Fetch(b"x", other, 4, direct=True)]
    assert pulls.inbound == 6


def test_when_all_sources_failed_the_object_is_given_up_with_the_last_reason() -> None:
    pulls = queue()
    pulls.add(b"x", 10, [A])
    assert pulls.failed(b"x", 0, "it is gone") == [GiveUp(b"x", "it is gone")]
    assert b"x" not in pulls


def test_a_source_that_becomes_known_meanwhile_is_tried() -> None:
    pulls = queue()
    pulls.add(b"x", 10, [A])
    pulls.learn(b"x", [A, C])
    assert pulls.failed(b"x", 0, "it is gone") == [Fetch(b"x", C, 0, direct=True)]


def test_a_pull_that_is_handed_on_goes_deeper() -> None:
    pulls = queue()
    pulls.add(b"x", 10, [A])
    assert pulls.handed_on(b"x", B) == [Fetch(b"x", B, 0, depth=2)]
    assert pulls.handed_on(b"x", C) == [Fetch(b"x", C, 0, depth=3)]
    pulls.validate()
    assert pulls.done(b"x") == []
    assert pulls.inbound == 0


def test_who_was_handed_on_in_vain_comes_back_to_be_served() -> None:
    pulls = queue()
    pulls.add(b"x", 10, [A])
    pulls.handed_on(b"x", B)
    assert pulls.failed(b"x", 7, "B left") == [Fetch(b"x", A, 7, direct=True)]
    pulls.validate()
    assert pulls.failed(b"x", 8, "A left") == [GiveUp(b"x", "A left")]


def test_who_is_handed_on_waits_for_nobody() -> None:
    pulls = queue(limit=100)
    pulls.add(b"x", 80, [A])
    assert pulls.add(b"y", 50, [A]) == []
    assert pulls.handed_on(b"x", B) == [Fetch(b"x", B, 0, depth=2)]


def test_no_more_than_the_limit_is_in_flight_but_one_object_may_be_larger() -> None:
    pulls = queue(limit=100)
    assert pulls.add(b"x", 500, [A]) == [Fetch(b"x", A, 0)]
    assert pulls.add(b"y", 10, [A]) == []
    assert pulls.done(b"x") == [Fetch(b"y", A, 0)]


def test_those_who_came_first_are_not_overtaken_by_smaller_ones() -> None:
    pulls = queue(limit=100)
    pulls.add(b"x", 80, [A])
    assert pulls.add(b"y", 50, [A]) == []
    assert pulls.add(b"z", 10, [A]) == []
    assert pulls.done(b"x") == [Fetch(b"y", A, 0), Fetch(b"z", A, 0)]


def test_objects_are_spread_over_the_nodes_that_have_them() -> None:
    pulls = queue()
    sources = set()
    for name in (b"x", b"y", b"z"):
        (fetch,) = pulls.add(name, 10, [A, B, C])
        assert isinstance(fetch, Fetch)
        sources.add(fetch.node_id)
    assert sources == {A, B, C}


@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=12),
    fails=st.lists(st.booleans(), max_size=40),
    seed=st.integers(0, 100),
)
def test_every_pull_ends_and_the_books_agree(
    sizes: list[int], fails: list[bool], seed: int
) -> None:
    pulls = PullQueue(100, random.Random(seed))
    outcomes = iter(fails)
    ended: list[bytes] = []
    waiting = []
    for index, size in enumerate(sizes):
        waiting += pulls.add(bytes([index]), size, [A, B, C])
        pulls.validate()
    while waiting:
        command = waiting.pop(0)
        if isinstance(command, GiveUp):
            ended.append(command.object_id)
        elif next(outcomes, False):
            waiting += pulls.failed(command.object_id, command.offset, "no")
        else:
            ended.append(command.object_id)
            waiting += pulls.done(command.object_id)
        pulls.validate()
    assert sorted(ended) == [bytes([index]) for index in range(len(sizes))]
    assert pulls.inbound == 0
