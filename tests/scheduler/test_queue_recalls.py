"""Which leases are recalled for whom: one situation a test."""

from __future__ import annotations

from millpond.scheduler.queue import Kind
from tests.scheduler.queue_node import GPU, ONE, TWO, A, B, C, Node


def test_no_lease_is_recalled_while_nobody_waits() -> None:
    node = Node(cpus=3)
    node.lease(A, count=2)
    node.served()
    assert node.queue.recalls() == []
    node.lease(B)
    node.served()
    assert node.queue.recalls() == []


def test_an_owner_with_many_leases_gives_one_to_an_owner_with_none() -> None:
    node = Node(cpus=2)
    node.lease(A, count=5)
    node.served()
    assert node.queue.recalls() == [], "it waits only for itself"
    node.lease(B)
    (recalled,) = node.queue.recalls()
    assert (recalled.owner, recalled.kind) == (A, Kind.LEASE)
    assert node.queue.recalls() == [], "one at a time for each who waits"
    node.greedy = [(A, ONE)]
    node.end(recalled)
    node.round()
    node.round()
    assert node.holders() == [A, B]


def test_a_lease_is_recalled_for_a_task_even_of_the_same_owner() -> None:
    for owner in (A, B):
        node = Node(cpus=1)
        node.lease(A)
        node.served()
        node.task("task", owner)
        node.greedy = [(A, ONE)]
        assert node.rounds_until(lambda grant: grant.key == "task") <= 2


def test_only_a_lease_with_what_is_lacking_is_recalled() -> None:
    node = Node(cpus=2, gpus=1)
    node.lease(A, count=2)
    node.task("actor", C, GPU, kind=Kind.ACTOR)
    node.served()
    node.task("gpu task", B, GPU)
    assert node.queue.recalls() == []
    node.end_of("actor")
    assert node.served() == ["gpu task"]
    node.lease(A, shape=GPU)
    node.end_of("gpu task")
    assert node.served() == [A]
    node.task("another", B, GPU)
    (recalled,) = node.queue.recalls()
    assert recalled.shape == GPU


def test_no_lease_is_recalled_for_a_task_that_waits_for_memory() -> None:
    node = Node(cpus=2)
    node.task("running", A, x=60)
    node.lease(B)
    node.served()
    node.task("next", A, y=60)
    node.lease(B)
    assert node.served() == []
    assert node.queue.recalls() == []


def test_no_lease_is_recalled_for_what_an_actor_keeps_for_ever() -> None:
    node = Node(cpus=2)
    node.task("actor", C, kind=Kind.ACTOR)
    node.lease(A)
    node.served()
    node.task("wide", B, TWO)
    node.lease(A)
    assert node.served() == []
    assert node.queue.recalls() == []


def test_no_lease_is_recalled_for_a_lease_that_an_actor_makes_impossible() -> None:
    node = Node(cpus=2)
    node.task("actor", C, kind=Kind.ACTOR)
    node.lease(A)
    node.served()
    node.lease(B, shape=TWO)
    assert node.served() == []
    assert node.queue.recalls() == []
    node.queue.lend("actor")  # it waits for somebody, and could be long about it
    assert len(node.queue.recalls()) == 1


def test_a_lent_lease_is_not_recalled() -> None:
    node = Node(cpus=2)
    node.lease(A, count=2)
    lent, other = node.grant()
    node.queue.lend(lent.key)
    node.task("task", C)
    node.served()
    node.lease(B)
    node.served()
    assert node.queue.recalls() == [other]


def test_a_recalled_lease_that_was_lent_is_not_waited_for() -> None:
    node = Node(cpus=2)
    node.lease(A, count=2)
    node.served()
    node.lease(B)
    (lent,) = node.queue.recalls()
    node.queue.lend(lent.key)
    assert node.served() == [B]
    node.lease(C)
    assert node.served() == []
    (recalled,) = node.queue.recalls()
    assert recalled is not lent
