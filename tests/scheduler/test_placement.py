from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.scheduler.placement import Copies, Load, Need, Placement, Rates
from millpond.scheduler.resources import UNIT

GB = 1_000_000_000
RATES = Rates(network=1 * GB, disk=1 * GB)
CPU = {"CPU": UNIT}
A, B, C = b"a", b"b", b"c"
IDLE = Load(tasks=0, slots=4, run_time=1.0, free_memory=10 * GB)


def cluster(loads: Mapping[bytes, Load], seed: int = 0) -> Placement:
    placement = Placement(RATES, random.Random(seed))
    for node, load in loads.items():
        placement.join(node, {"CPU": load.slots * UNIT}, load)
    placement.validate()
    return placement


def need(*sizes: int, output: int = 0) -> Need:
    return Need(CPU, {b"x%d" % i: size for i, size in enumerate(sizes)}, output)


def at(**where: Copies) -> Mapping[bytes, Copies]:
    return {name.encode(): copies for name, copies in where.items()}


def nowhere(_: bytes) -> Copies:
    return {}


def test_prefers_the_node_with_most_bytes() -> None:
    copies = at(x0={A: True}, x1={B: True}, x2={C: True})
    for seed in range(20):
        placement = cluster({A: IDLE, B: IDLE, C: IDLE}, seed)
        assert placement.choose(need(GB, 3 * GB, GB), copies.__getitem__) == B


def test_bytes_in_memory_count_more_than_bytes_on_disk() -> None:
    copies = at(x0={A: False, B: True})
    for seed in range(20):
        assert cluster({A: IDLE, B: IDLE}, seed).choose(need(GB), copies.__getitem__) == B


def test_bytes_on_disk_count_more_than_none() -> None:
    copies = at(x0={A: False})
    for seed in range(20):
        placement = cluster({A: IDLE, B: IDLE, C: IDLE}, seed)
        assert placement.choose(need(GB), copies.__getitem__) == A


def test_a_long_queue_outweighs_small_arguments() -> None:
    busy = Load(tasks=400, slots=4, run_time=1.0, free_memory=10 * GB)
    copies = at(x0={A: True})
    for seed in range(20):
        assert cluster({A: busy, B: IDLE}, seed).choose(need(1000), copies.__getitem__) == B
        assert cluster({A: busy, B: busy}, seed).choose(need(GB), copies.__getitem__) == A


def place_at_once(where: list[bytes], seed: int) -> list[bytes | None]:
    """Place tasks that read a block of 8 MB each, of which these nodes have the blocks."""
    placement = cluster(dict.fromkeys((A, B, C), Load(0, 2, 0.0, 10 * GB)), seed)
    found = []
    for left, holder in zip(range(len(where))[::-1], where, strict=True):
        chosen = placement.choose(need(8_000_000), at(x0={holder: True}).__getitem__, left)
        assert chosen is not None
        placement.sent(chosen)
        placement.validate()
        found.append(chosen)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_what_comes_at_once_stays_where_its_arguments_are(seed: int) -> None:
    where = [A] * 8 + [B] * 8 + [C] * 8
    assert place_at_once(where, seed) == where


@pytest.mark.parametrize("seed", range(5))
def test_what_comes_at_once_is_shared_where_one_node_has_all(seed: int) -> None:
    shares = Counter(place_at_once([A] * 24, seed))
    assert min(shares[node] for node in (A, B, C)) >= 6


def test_avoids_nodes_that_would_have_to_spill() -> None:
    full = Load(tasks=0, slots=4, run_time=1.0, free_memory=0)
    chosen = Counter(
        cluster({A: full, B: IDLE}, s).choose(need(output=GB), nowhere) for s in range(40)
    )
    assert chosen[B] > chosen[A]


def test_avoids_nodes_that_are_still_receiving() -> None:
    receiving = Load(tasks=0, slots=4, run_time=1.0, free_memory=10 * GB, inbound=5 * GB)
    chosen = Counter(cluster({A: receiving, B: IDLE}, s).choose(need(), nowhere) for s in range(40))
    assert chosen[B] > chosen[A]


def test_spreads_ties() -> None:
    placement = cluster({bytes([i]): IDLE for i in range(10)})
    chosen = Counter(placement.choose(need(), nowhere) for _ in range(1000))
    assert len(chosen) == 10
    assert max(chosen.values()) < 3 * min(chosen.values())


def test_counts_what_was_sent_until_the_next_report() -> None:
    placement = cluster({A: IDLE, B: IDLE})
    for _ in range(8):
        placement.sent(A)
    task = need()
    assert placement.cost(A, task, nowhere) > placement.cost(B, task, nowhere) == 0
    placement.report(A, IDLE)
    assert placement.cost(A, task, nowhere) == 0
    placement.report(C, IDLE)  # of one that left: ignored


def test_looks_for_rare_resources_beyond_those_drawn() -> None:
    placement = cluster({b"n%d" % i: IDLE for i in range(200)})
    placement.join(A, {"CPU": 4 * UNIT, "GPU": UNIT}, IDLE)
    placement.join(B, {"CPU": 4 * UNIT, "GPU": 8 * UNIT}, IDLE)
    assert {placement.choose(Need({"GPU": UNIT}, {}), nowhere) for _ in range(50)} == {A, B}
    assert {placement.choose(Need({"GPU": 2 * UNIT}, {}), nowhere) for _ in range(50)} == {B}
    assert placement.choose(Need({"CPU": 5 * UNIT}, {}), nowhere) is None
    assert placement.choose(Need({"TPU": UNIT}, {}), nowhere) is None
    placement.leave(B)
    placement.validate()
    assert placement.choose(Need({"GPU": 2 * UNIT}, {}), nowhere) is None


def test_more_shapes_are_asked_for_than_are_remembered() -> None:
    placement = cluster({b"n%d" % i: Load(0, i, 1.0, GB) for i in range(1, 100)})
    for cpus in (*range(1, 100), *range(1, 100)):
        node = placement.choose(Need({"CPU": cpus * UNIT}, {}), nowhere)
        assert node is not None
        assert int(node[1:]) >= cpus
    placement.leave(b"n99")
    placement.report(b"n98", Load(0, 0, 1.0, GB))
    placement.join(b"n100", {"CPU": 100 * UNIT}, Load(0, 100, 1.0, GB))
    placement.validate()
    assert placement.choose(Need({"CPU": 98 * UNIT}, {}), nowhere) == b"n100"


def test_without_nodes_there_is_no_choice() -> None:
    placement = cluster({A: IDLE})
    placement.leave(A)
    assert placement.choose(need(), nowhere) is None
    assert placement.choose(need(1), at(x0={A: True}).__getitem__) is None


def test_an_object_that_is_everywhere_is_found_on_whom_it_draws() -> None:
    nodes = [bytes([i]) for i in range(100)]
    placement = cluster(dict.fromkeys(nodes, IDLE))
    everywhere = dict.fromkeys(nodes, True)
    chosen = {placement.choose(need(GB), lambda _: everywhere) for _ in range(300)}
    assert len(chosen) > 20
    assert placement.cost(nodes[99], need(GB), lambda _: everywhere) == 0


class Counting(Mapping[bytes, bool]):
    """Copies on very many nodes; counts how many of them anybody looks at."""

    def __init__(self, nodes: list[bytes]) -> None:
        self.nodes = nodes
        self.looked = 0

    def __getitem__(self, node: bytes) -> bool:
        self.looked += 1
        return True

    def __iter__(self) -> Iterator[bytes]:
        for node in self.nodes:
            self.looked += 1
            yield node

    def __len__(self) -> int:
        return len(self.nodes)


def test_a_decision_looks_at_a_bounded_number_of_nodes() -> None:
    nodes = [i.to_bytes(2) for i in range(5000)]
    placement = cluster(dict.fromkeys(nodes, IDLE))
    copies = Counting(nodes)
    assert placement.choose(need(GB), lambda _: copies) is not None
    assert copies.looked <= 30


@pytest.mark.parametrize(("there", "sent_on"), [(IDLE, True), (Load(7, 4, 1.0, GB), False)])
def test_a_full_node_sends_on_only_where_it_is_much_better(there: Load, sent_on: bool) -> None:
    here = Load(tasks=9, slots=4, run_time=1.0, free_memory=GB)
    placement = cluster({A: here, B: there})
    found = {placement.better_than(A, here, need(), nowhere) for _ in range(50)}
    assert (B in found) is sent_on
    assert A not in found


def test_a_node_with_a_free_slot_sends_nothing_on() -> None:
    placement = cluster({A: IDLE, B: IDLE})
    copies = at(x0={B: True})
    assert placement.better_than(A, IDLE, need(GB), copies.__getitem__) is None


class Thorough(Placement):
    """Compares costs even where no node could be much better."""

    def _least_elsewhere(self, held: object, node: bytes) -> float:
        return 0.0


@given(
    here=st.integers(4, 40),
    there=st.integers(0, 20),
    sizes=st.lists(st.sampled_from([GB // 100, GB // 4, GB]), max_size=3),
    where=st.data(),
)
def test_whoever_is_much_better_is_found_though_few_are_compared(
    here: int, there: int, sizes: list[int], where: st.DataObject
) -> None:
    loads = {A: Load(here, 4, 1.0, GB), B: Load(there, 4, 1.0, GB)}
    others = [bytes([i]) for i in range(10)]
    task, copies = need(*sizes), {}
    for name in task.arguments:
        holders = where.draw(st.sampled_from([[], [A], [B], [A, B], [A, *others], [B, *others]]))
        copies[name] = dict.fromkeys(holders, where.draw(st.booleans()))
    found = set()
    for policy in (Placement, Thorough):
        placement = policy(RATES, random.Random(0))
        for node, load in loads.items():
            placement.join(node, CPU, load)
        found.add(placement.better_than(A, loads[A], task, copies.__getitem__))
    assert len(found) == 1


def test_a_task_whose_bytes_would_take_longer_than_its_wait_draws_nobody() -> None:
    here = Load(tasks=8, slots=4, run_time=1.0, free_memory=GB)
    rng = random.Random(0)
    placement = Placement(RATES, rng)
    for node, load in ((A, here), (B, IDLE), (C, IDLE)):
        placement.join(node, CPU, load)
    before = rng.getstate()
    assert placement.better_than(A, here, need(GB), at(x0={A: True}).__getitem__) is None
    assert rng.getstate() == before
    assert placement.better_than(A, here, need(1000), at(x0={A: True}).__getitem__) in (B, C)


def test_how_busy_cpus_are_is_no_matter_to_what_needs_none() -> None:
    placement = Placement(RATES, random.Random(0))
    for node, load in ((A, IDLE), (B, Load(4, 4, 1.0, GB)), (C, Load(1, 0, 1.0, GB))):
        placement.join(node, {"CPU": 4 * UNIT, "GPU": 3 * UNIT}, load)
    assert placement.free_slots({"CPU": UNIT}, A) == {}
    assert placement.free_slots({"GPU": UNIT}, A) == {B: 3, C: 3}


def test_what_actors_have_taken_all_cpus_of_gets_no_task_that_needs_one() -> None:
    placement = cluster({A: Load(9, 4, 1.0, GB), B: IDLE})
    placement.report(B, Load(0, 1, 0.0, GB))
    assert placement.choose(Need({"CPU": 2 * UNIT}, {}), nowhere) == A
    placement.report(B, Load(0, 0, 0.0, GB))
    assert placement.choose(need(), nowhere) == A
    placement.report(A, Load(0, 0, 0.0, GB))
    assert placement.choose(need(), nowhere) is None
    assert placement.choose(Need({}, {}), nowhere) in (A, B)


@given(st.data())
def test_the_choice_costs_no_more_than_any_node_that_holds_something(data: st.DataObject) -> None:
    loads = st.builds(
        Load,
        tasks=st.integers(0, 50),
        slots=st.integers(1, 8),
        run_time=st.floats(0, 10),
        free_memory=st.integers(0, 10 * GB),
        inbound=st.integers(0, GB),
    )
    nodes = [bytes([i]) for i in range(4)]
    placement = cluster({node: data.draw(loads) for node in nodes}, data.draw(st.integers(0, 9)))
    task = need(*data.draw(st.lists(st.integers(1, GB), max_size=5)), output=data.draw(st.just(7)))
    where = {
        name: data.draw(st.dictionaries(st.sampled_from(nodes), st.booleans()))
        for name in task.arguments
    }
    chosen = placement.choose(task, where.__getitem__)
    assert chosen is not None
    least = placement.cost(chosen, task, where.__getitem__)
    for node in {node for copies in where.values() for node in copies}:
        assert least <= placement.cost(node, task, where.__getitem__)


def test_nodes_where_nothing_has_run_do_not_get_everything_at_once() -> None:
    new = Load(tasks=0, slots=4, run_time=0.0, free_memory=10 * GB)
    placement = cluster({A: new, B: new})
    copies = at(x0={A: True})
    chosen = Counter[bytes | None]()
    for _ in range(400):
        node = placement.choose(need(GB // 10), copies.__getitem__)
        assert node is not None
        placement.sent(node)
        chosen[node] += 1
    assert chosen[B] > 100


def test_free_slots_are_those_that_are_neither_taken_nor_promised() -> None:
    busy = Load(tasks=4, slots=4, run_time=1.0, free_memory=GB)
    placement = cluster({A: IDLE, B: IDLE, C: busy})
    placement.sent(B)
    assert placement.free_slots(CPU, A) == {B: 3}
    assert placement.free_slots({"GPU": UNIT}, A) == {}


def test_few_nodes_are_looked_at_for_free_slots_however_many_there_are() -> None:
    placement = cluster({b"node%03d" % i: IDLE for i in range(500)})
    assert 0 < len(placement.free_slots(CPU, b"none")) <= 8
