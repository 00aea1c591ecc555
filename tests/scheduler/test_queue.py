"""Who is granted what next: one situation a test. All of them together: ``test_queue_stateful``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator

import pytest

from millpond.scheduler.queue import Grant, Kind, LeaseQueue, Request
from millpond.scheduler.resources import pack_shape
from millpond.scheduler.waiting import PATIENCE

A, B, C = b"owner-A", b"owner-B", b"owner-C"
CAPACITY = 100
ONE, TWO = pack_shape({"CPU": 1}), pack_shape({"CPU": 2})
NOTHING = pack_shape({})
GPU = pack_shape({"GPU": 1})
MANY = 1000


class Node:
    """A queue, and owners who give leases back when they are asked to, and want new ones."""

    def __init__(self, cpus: int = 2, gpus: int = 0) -> None:
        self.queue = LeaseQueue({"CPU": cpus, "GPU": gpus}, CAPACITY)
        self.orders: Iterator[int] = iter(range(MANY * MANY))
        self.held: list[Grant] = []
        #: owners (and shapes) with more tasks than will ever be done
        self.greedy: list[tuple[bytes, bytes]] = []
        self.recalls = 0
        #: leases that each owner held, summed over the rounds
        self.shares: Counter[bytes] = Counter()

    def task(
        self,
        key: Hashable,
        owner: bytes = A,
        shape: bytes = ONE,
        kind: Kind = Kind.TASK,
        output: int = 0,
        **arguments: int,
    ) -> None:
        sizes = {name.encode(): size for name, size in arguments.items()}
        request = Request(key, owner, shape, next(self.orders), kind, sizes, output)
        self.queue.add(request)

    def lease(self, owner: bytes, count: int = 1, shape: bytes = ONE) -> None:
        self.queue.want_leases(owner, shape, count, next(self.orders))

    def grant(self, limit: int = MANY) -> list[Grant]:
        granted = self.queue.next_grants(limit)
        self.held += granted
        self.queue.validate()
        return granted

    def served(self) -> list[Hashable]:
        """Grant; return the names of tasks and the owners of leases."""
        return [g.owner if g.kind is Kind.LEASE else g.key for g in self.grant()]

    def end(self, grant: Grant) -> None:
        self.held.remove(grant)
        self.queue.release(grant.key)
        self.queue.validate()

    def end_of(self, key: Hashable) -> None:
        self.end(next(g for g in self.held if g.key == key))

    def holders(self) -> list[bytes]:
        return sorted(g.owner for g in self.held if g.kind is Kind.LEASE)

    def round(self) -> list[Grant]:
        """One round of the node's life: everybody wants more, grants, and recalls."""
        for owner, shape in self.greedy:
            self.lease(owner, MANY, shape)
        granted = self.grant()
        self.shares += Counter(self.holders())
        for grant in self.queue.recalls():
            self.recalls += 1
            assert grant.recalled
            self.end(grant)
        return granted

    def rounds_until(self, wanted: Callable[[Grant], bool], limit: int = 100) -> int:
        for count in range(limit):
            if any(wanted(grant) for grant in self.round()):
                return count
        raise AssertionError(f"not granted in {limit} rounds")


# --- turns and order --------------------------------------------------------------------


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


# --- lives of requests and grants ---------------------------------------------------------


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


# --- memory -----------------------------------------------------------------------------


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


# --- leases are recalled, but only where that helps -----------------------------------------


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


# --- patience: what is free is kept for whoever was overtaken too often ------------------


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


# --- nobody starves beside owners whose work never ends --------------------------------------


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
