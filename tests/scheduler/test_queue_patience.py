"""Nobody starves: one situation a test."""

from __future__ import annotations

from collections.abc import Hashable

import pytest

from millpond.scheduler.queue import Kind
from millpond.scheduler.resources import pack_shape
from millpond.scheduler.waiting import PATIENCE
from tests.scheduler.queue_node import GPU, NOTHING, ONE, TWO, A, B, C, Node

# -- patience: what is free is kept for whoever was overtaken too often --


def overtaken(cpus: int = 4) -> Node:
    """A node where B waits for two CPUs, and has been overtaken as often as may be."""
    node = Node(cpus, gpus=1)
    for index in range(cpus + PATIENCE):
        node.task(f"narrow{index}", A)
    node.served()
    node.task("wide", B, TWO)
    for _ in range(PATIENCE):
        assert "wide" not in node.served()
        node.end(node.held[0])
    assert len(node.served()) == 1
    for index in range(cpus):
        node.task(f"late{index}", A)
    return node


def test_what_is_free_is_kept_until_there_is_enough() -> None:
    node = overtaken()
    node.end(node.held[0])
    assert node.served() == []
    node.end(node.held[0])
    assert node.served() == ["wide"]
    node.end(node.held[0])
    assert node.served() == ["late0"], "now the others go on"


def test_other_resources_are_not_kept() -> None:
    node = overtaken()
    node.end(node.held[0])
    node.task("gpu", C, GPU)
    node.task("nothing", C, NOTHING)
    node.task("both", C, pack_shape({"CPU": 1, "GPU": 1}))
    assert node.served() == ["gpu", "nothing"]


@pytest.mark.parametrize("end", ["withdraw", "drop_owner"])
def test_nothing_is_kept_for_who_waits_no_more(end: str) -> None:
    node = overtaken()
    node.end(node.held[0])
    getattr(node.queue, end)("wide" if end == "withdraw" else B)
    assert node.served() == ["late0"]
    node.task("wide again", B, TWO)
    assert node.served() == []
    node.end(node.held[0])
    assert node.served() == ["late1"], "the patience with a new request is whole"


def test_nothing_is_kept_for_what_an_actor_makes_impossible() -> None:
    node = Node(cpus=2)
    node.task("actor", C, kind=Kind.ACTOR)
    node.served()
    node.queue.lend("actor")
    for index in range(4 * PATIENCE):
        node.task(f"narrow{index}", A)
    node.served()
    node.task("wide", B, TWO)
    for _ in range(PATIENCE):
        node.served()
        node.end(node.held[-1])
    assert len(node.served()) == 1
    node.end(node.held[-1])
    assert node.served() == []
    node.queue.take_back("actor")
    node.end(node.held[-1])
    assert len(node.served()) == 1, "two CPUs there will not be as long as the actor lives"


def test_nothing_is_kept_for_who_waits_for_memory_as_well() -> None:
    node = Node(cpus=2)
    for index in range(4 * PATIENCE):
        node.task(f"narrow{index}", A)
    node.served()
    node.task("wide", B, TWO, x=60)
    for _ in range(PATIENCE):
        node.served()
        node.end(node.held[0])
    assert node.served() != []
    node.task("memory", C, NOTHING, y=60)
    assert node.served() == ["memory"]
    node.end(node.held[0])
    assert len(node.served()) == 1


def test_all_leases_that_are_needed_are_recalled_at_once_and_no_more() -> None:
    node = Node(cpus=5)
    node.greedy = [(A, ONE)]
    node.round()
    node.task("wide", B, pack_shape({"CPU": 4}))
    sizes = []
    for _ in range(PATIENCE + 1):
        node.round()
        sizes.append(len(node.held))
    assert sizes == [4] * PATIENCE + [1], "one in a round, then four of five"
    assert [grant.key for grant in node.grant()] == ["wide"]


def test_a_lent_lease_is_not_counted_on() -> None:
    node = Node(cpus=3)
    node.lease(A, count=3)
    node.served()
    node.task("wide", B, TWO)
    (lent,) = node.queue.recalls()
    node.queue.lend(lent.key)
    for index in range(PATIENCE):
        node.task(f"narrow{index}", C)
        assert node.served() == [f"narrow{index}"], "in the place of the lent one"
        if index < PATIENCE - 1:
            node.end(node.held[-1])
    recalled = node.queue.recalls()
    assert [grant.owner for grant in recalled] == [A, A]
    assert lent not in recalled
    for grant in recalled:
        node.end(grant)
    assert node.served() == ["wide"]


def test_resources_are_not_kept_for_ever_for_want_of_a_recall() -> None:
    """B's share is not smaller than A's, so no lease would be recalled for it otherwise."""
    node = Node(cpus=4)
    node.lease(B, shape=TWO)
    node.served()
    node.greedy = [(A, ONE)]
    node.round()
    node.lease(B, shape=TWO)
    for _ in range(PATIENCE):
        assert node.queue.recalls() == []
        node.end(next(grant for grant in node.held if grant.owner == A))
        node.round()
    assert node.holders() == [B], "A's leases were recalled"
    assert [grant.shape for grant in node.round()] == [TWO]


# -- nobody starves beside owners whose work never ends --


@pytest.mark.parametrize("cpus", [1, 2, 3, 7])
def test_greedy_owners_share(cpus: int) -> None:
    node = Node(cpus)
    node.greedy = [(A, ONE)]
    node.round()
    assert node.holders() == [A] * cpus
    node.shares.clear()
    node.greedy += [(B, ONE), (C, ONE)]
    for _ in range(60):
        node.round()
    shares = [node.shares[owner] for owner in (A, B, C)]
    assert min(shares) > 0.6 * max(shares), shares


def test_fair_shares_are_left_alone() -> None:
    node = Node(cpus=3)
    node.greedy = [(A, ONE), (B, ONE)]
    for _ in range(10):
        node.round()
    node.recalls = 0
    for _ in range(10):
        node.round()
    assert node.recalls == 0, "two leases against one: as fair as three can be"


@pytest.mark.parametrize("owner", [A, B])
@pytest.mark.parametrize(
    ("kind", "width"),
    # a lease more of what A has is no wait of its own
    [(kind, width) for kind in Kind for width in (1, 2, 4) if (kind, width) != (Kind.LEASE, 1)],
)
def test_every_request_gets_its_turn(owner: bytes, kind: Kind, width: int) -> None:
    node = Node(cpus=4)
    node.greedy = [(A, ONE)]
    node.round()
    shape = pack_shape({"CPU": width})
    if kind is Kind.LEASE:
        node.lease(owner, 1, shape)
    else:
        node.task("wanted", owner, shape, kind)
    node.rounds_until(lambda g: (g.owner, g.shape, g.kind) == (owner, shape, kind), limit=20)


@pytest.mark.parametrize("owner", [A, B])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_whoever_waited_for_memory_gets_resources_too(owner: bytes, width: int) -> None:
    node = Node(cpus=4)
    node.greedy = [(A, ONE)]
    node.task("admitted", C, NOTHING, some=20)
    node.task("wanted", owner, pack_shape({"CPU": width}), others=90)
    for _ in range(20):
        assert "wanted" not in [grant.key for grant in node.round()]
    node.end_of("admitted")
    node.rounds_until(lambda grant: grant.key == "wanted", limit=20)


@pytest.mark.parametrize("stored", [False, True])
def test_a_wide_task_gets_its_turn_among_ever_more_narrow_tasks(stored: bool) -> None:
    node = Node(cpus=4)

    def narrow(key: str) -> None:
        if stored:
            node.task(key, B, shared=5)
        else:
            node.task(key, B)

    for index in range(8):
        narrow(f"b{index}")
    node.served()
    node.task("wide", A, pack_shape({"CPU": 4}), other=90)
    for index in range(8, 60):
        narrow(f"b{index}")
        node.task(f"c{index}", C)
        if "wide" in node.served():
            return
        node.end(node.held[0])
    raise AssertionError("the wide task was starved")


def test_waiting_for_cpus_and_waiting_for_memory_do_not_block_each_other() -> None:
    """One waits for memory, one for all CPUs and for memory: each is in the other one's way."""
    node = Node(cpus=2)
    node.task("running", C, big=60)
    node.task("plain", C)
    node.served()
    node.task("memory", A, ONE, other=60)
    node.task("cpus", B, TWO, more=60)
    missing: set[Hashable] = {"memory", "cpus"}
    for index in range(60):
        node.task(f"c{index}", C)
        node.task(f"d{index}", C, NOTHING, small=1)
        missing -= set(node.served())
        if not missing:
            return
        node.end(node.held[0])
    raise AssertionError(f"{missing} starved")
