"""Who is granted what next: one situation a test. All of them together: ``test_queue_stateful``."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from millpond.scheduler.queue import Kind, Request
from tests.scheduler.queue_node import NOTHING, ONE, TWO, A, B, C, Node

# -- turns and order --


def test_owners_take_turns_whatever_the_length_of_their_queues() -> None:
    node = Node(cpus=1)
    for index in range(6):
        node.task(f"a{index}", A)
    for index in range(2):
        node.task(f"b{index}", B)
    node.task("c0", C)
    order: list[Hashable] = []
    while granted := node.served():
        order += granted
        node.end(node.held[0])
    assert order == ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4", "a5"]


def test_a_limit_does_not_cost_anybody_a_turn() -> None:
    node = Node(cpus=8)
    for index in range(3):
        node.task(f"a{index}", A)
        node.task(f"b{index}", B)
    assert [g.key for _ in range(3) for g in node.grant(limit=2)] == [
        *("a0", "b0"),
        *("a1", "b1"),
        *("a2", "b2"),
    ]
    assert node.grant(limit=0) == []


def test_an_owner_is_served_in_the_order_of_its_submissions() -> None:
    node = Node(cpus=1)
    queue = node.queue
    for order in (5, 3, 9, 3):
        queue.add(Request((order, object()), A, ONE, order))
    queue.want_leases(A, ONE, 1, order=4)
    orders = []
    while granted := node.grant():
        (grant,) = granted
        orders.append(grant.request.order if grant.request else 4)
        node.end(grant)
    assert orders == [3, 3, 4, 5, 9]


def test_a_small_task_goes_before_a_large_one_that_does_not_fit() -> None:
    node = Node(cpus=2)
    node.task("first")
    node.task("large", shape=TWO)
    node.task("small")
    assert node.served() == ["first", "small"]


def test_leases_are_granted_until_none_is_wanted() -> None:
    node = Node(cpus=4)
    node.lease(A, count=3)
    assert node.served() == [A, A, A]
    assert len({g.key for g in node.held}) == 3
    node.lease(A, count=5)
    assert node.served() == [A]
    node.lease(A, count=0)
    node.end(node.held[0])
    assert node.served() == []


# -- lives of requests and grants --


def test_a_withdrawn_request_is_not_granted() -> None:
    node = Node(cpus=1)
    node.task("running")
    node.task("waits")
    node.task("other")
    assert node.served() == ["running"]
    assert node.queue.withdraw("waits")
    assert not node.queue.withdraw("waits"), "it is not waiting any more"
    assert not node.queue.withdraw("running")
    assert not node.queue.withdraw("unknown")
    node.end_of("running")
    assert node.served() == ["other"]


def test_a_retried_task_keeps_its_key_and_its_place() -> None:
    node = Node(cpus=1)
    node.queue.add(Request("retried", A, ONE, 0))
    node.queue.add(Request("later", A, ONE, 1))
    assert node.served() == ["retried"]
    node.end_of("retried")
    node.queue.add(Request("retried", A, ONE, 0))
    assert node.served() == ["retried"]


def test_a_dead_owner_waits_for_nothing_and_what_it_holds_is_named() -> None:
    node = Node(cpus=2)
    node.task("a0", A)
    node.task("b0", B)
    node.task("a1", A)
    node.task("a2", A)
    node.lease(A, count=3)
    assert node.served() == ["a0", "b0"]
    node.queue.withdraw("a2")
    assert [g.key for g in node.queue.drop_owner(A)] == ["a0"]
    assert node.queue.drop_owner(C) == []
    node.queue.validate()
    node.end_of("a0")
    assert node.served() == []
    node.end_of("b0")
    assert node.queue.grants == {}


def test_nothing_is_remembered_of_a_dead_owner_s_withdrawn_requests() -> None:
    node = Node(cpus=1)
    node.task("b0", B)
    assert node.served() == ["b0"]
    node.task("again", A)
    node.queue.withdraw("again")
    node.queue.drop_owner(A)
    node.end_of("b0")
    node.task("again", A)
    assert node.served() == ["again"]


def test_releasing_twice_gives_back_once() -> None:
    node = Node(cpus=1)
    node.task("a0")
    node.served()
    node.queue.release("a0")
    node.queue.release("a0")
    node.queue.release("never heard of")
    node.queue.validate()


def test_a_lent_slot_serves_others_and_is_taken_back_at_once() -> None:
    node = Node(cpus=1)
    node.task("parent", shape=ONE, x=80)
    node.task("child", B, x=80, y=20)
    assert node.served() == ["parent"]
    node.queue.lend("parent")
    node.queue.lend("parent")
    assert node.served() == ["child"]
    node.queue.take_back("parent")
    node.queue.take_back("parent")
    node.queue.validate()
    assert node.queue.pool.available["CPU"] == -1, "more is used for a moment"
    assert node.queue.admission.promised == 100
    node.task("next", C)
    assert node.served() == []
    node.end_of("child")
    assert node.served() == []
    node.end_of("parent")
    assert node.served() == ["next"]


def test_a_lent_slot_can_be_released() -> None:
    node = Node(cpus=1)
    node.task("parent", x=80)
    node.served()
    node.queue.lend("parent")
    node.end_of("parent")
    assert node.queue.pool.available["CPU"] == 1
    assert node.queue.admission.promised == 0


# -- memory --


def test_tasks_whose_arguments_do_not_fit_together_run_one_after_the_other() -> None:
    node = Node(cpus=2)
    node.task("one", x=60)
    node.task("two", y=60)
    node.task("plain", B)
    assert node.served() == ["one", "plain"]
    node.end_of("plain")
    assert node.served() == []
    node.end_of("one")
    assert node.served() == ["two"]


def test_tasks_that_share_their_arguments_run_together() -> None:
    node = Node(cpus=3)
    for key in ("one", "two", "three"):
        node.task(key, x=90, output=3)
    assert node.served() == ["one", "two", "three"]


def test_expected_outputs_count() -> None:
    node = Node(cpus=2)
    node.task("one", x=10, output=50)
    node.task("two", y=10, output=50)
    assert node.served() == ["one"]


def test_a_task_larger_than_the_store_runs_alone() -> None:
    node = Node(cpus=2)
    node.task("small", x=1)
    node.task("huge", y=500)
    assert node.served() == ["small"]
    node.end_of("small")
    assert node.served() == ["huge"]
    node.task("after", z=1)
    node.task("plain", B)
    assert node.served() == ["plain"]


@pytest.mark.parametrize("large_owner", [A, B])
def test_a_task_with_large_arguments_is_not_starved_by_small_ones(large_owner: bytes) -> None:
    node = Node(cpus=4)
    for index in range(4):
        node.task(f"small{index}", B, x=30)
    node.served()
    for large in ("first", "second"):
        node.task(large, large_owner, z=90)
        for index in range(100):
            node.task(f"small{large}{index}", B, x=30)
            node.served()
            if large in node.queue.grants:
                break
            node.end(node.held[0])
            assert len(node.held) <= 3, "nobody with arguments overtakes it"
        assert large in node.queue.grants
        assert index < 10
        node.end_of(large)


def test_those_without_arguments_do_not_wait_for_memory() -> None:
    node = Node(cpus=4)
    node.task("one", x=60)
    node.task("two", y=60)
    assert node.served() == ["one"]
    node.task("plain", B)
    node.task("actor", C, kind=Kind.ACTOR)
    node.lease(C)
    assert node.served() == ["plain", "actor", C]


def test_the_turn_for_memory_ends_with_who_waited() -> None:
    for end in ("withdraw", "drop"):
        node = Node(cpus=4)
        node.task("one", B, x=60)
        node.served()
        node.task("two", A, y=60)
        assert node.served() == []
        node.task("three", B, z=10)
        assert node.served() == []
        if end == "withdraw":
            node.queue.withdraw("two")
        else:
            node.queue.drop_owner(A)
        assert node.served() == ["three"]


def test_a_request_may_be_withdrawn_while_somebody_waits_for_memory() -> None:
    node = Node(cpus=4)
    node.task("one", B, x=60)
    node.served()
    node.task("two", A, y=60)
    assert node.served() == []
    node.task("three", B, z=10)
    node.task("withdrawn", B, TWO)
    node.queue.withdraw("withdrawn")
    assert node.served() == []
    node.end_of("one")
    assert node.served() == ["two", "three"]


def test_who_waits_for_memory_and_can_never_have_its_cpus_does_not_block_the_others() -> None:
    node = Node(cpus=2)
    node.task("one", B, NOTHING, x=60)
    node.served()
    node.task("wide", A, TWO, y=60)
    assert node.served() == [], "it has the turn for memory"
    node.task("actor", C, kind=Kind.ACTOR)
    node.task("small", B, z=10)
    assert node.served() == ["actor", "small"]
    node.end_of("actor")
    node.end_of("small")
    node.task("small again", B, z=10)
    assert node.served() == [], "now it can, and has the turn again"


def test_all_that_waits_is_counted() -> None:
    node = Node()
    node.lease(A, 5)
    node.task("a", B)
    node.task("b", B)
    assert node.queue.waiting == 7
    assert {shape: count for shape, (count, _) in node.queue.leases_wanted(A).items()} == {ONE: 5}
    assert node.queue.leases_wanted(C) == {}
    node.queue.withdraw("b")
    granted = node.grant()
    assert node.queue.waiting == 6 - len(granted)
