"""The lease queue and the store's core together: nothing is restored in vain, everything ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.eviction.optimum import least_restored
from benchmarks.eviction.record import TRACES, to_trace
from benchmarks.eviction.replay import Event, Replay
from benchmarks.eviction.trace import Trace, TracedTask

UNIT = 64


def test_reducers_whose_inputs_do_not_fit_together_restore_them_once() -> None:
    """Two reducers of four objects each, room for six, and all eight in files."""
    inputs = range(8)
    filler, gate = 8, 9
    tasks = [
        *(TracedTask((), (number,)) for number in inputs),
        TracedTask((), (filler,)),
        TracedTask((filler,), (gate,)),
        TracedTask((gate, *inputs[:4]), ()),
        TracedTask((gate, *inputs[4:]), ()),
    ]
    trace = Trace("reducers", [*(UNIT for _ in inputs), 6 * UNIT, 0], tasks)
    for prefetch in (False, True):
        for by_next_use in (False, True):
            replay = Replay(
                trace, 6 * UNIT, by_next_use=by_next_use, prefetch=prefetch, validate=True
            )
            outcome = replay.run()
            reads = {number: outcome.reads.get(number, 0) for number in inputs}
            assert reads == dict.fromkeys(inputs, 1)
            prefetches = replay.core.statistics().prefetches_total
            assert (prefetches > 0) is (prefetch and by_next_use)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Tasks that need up to four of the objects made before, and make up to three."""
    sizes: list[int] = []
    tasks: list[TracedTask] = []
    for _ in range(draw(st.integers(1, 14))):
        known = st.integers(0, len(sizes) - 1) if sizes else st.nothing()
        needed = draw(st.lists(known, max_size=4, unique=True)) if sizes else []
        made = draw(st.lists(st.integers(0, 4), max_size=3))
        tasks.append(TracedTask(tuple(needed), tuple(range(len(sizes), len(sizes) + len(made)))))
        sizes += [UNIT * units for units in made]
    kept = draw(st.sets(st.integers(0, max(len(sizes) - 1, 0)), max_size=3))
    return Trace("random", sizes, tasks, frozenset(kept & set(range(len(sizes)))))


@given(
    trace=traces(),
    spare=st.integers(0, 8),
    slots=st.integers(1, 4),
    by_next_use=st.booleans(),
    prefetch=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_all_tasks_end_and_restores_are_bounded(
    trace: Trace, spare: int, slots: int, by_next_use: bool, prefetch: bool
) -> None:
    """Every task restores each of its arguments at most once, ahead or when it is admitted."""
    sizes = trace.sizes
    largest = max(
        sum(sizes[number] for number in (*task.arguments, *task.outputs)) for task in trace.tasks
    )
    capacity = max(largest, UNIT) + spare * UNIT
    replay = Replay(
        trace, capacity, slots=slots, by_next_use=by_next_use, prefetch=prefetch, validate=True
    )
    outcome = replay.run()
    assert outcome.peak <= capacity
    uses = trace.uses()
    prefetches = replay.core.statistics().prefetches_total
    assert sum(outcome.reads.values()) <= sum(uses) + prefetches
    if not prefetches:
        assert all(count <= uses[number] for number, count in outcome.reads.items())
    left = {row.oid for row in replay.core.contents()}
    assert len(left) == len(trace.kept)


@pytest.mark.parametrize("name", ["shuffle", "matmul", "groupby"])
def test_recorded_runs_are_close_to_the_optimum(name: str) -> None:
    trace = Trace.load(TRACES / f"{name}.json.gz")
    capacity = trace.working_set // 2
    ours = Replay(trace, capacity).run()
    oldest_first = Replay(trace, capacity, by_next_use=False, prefetch=False).run()
    assert ours.restored <= 1.2 * least_restored(trace, ours.events, capacity)
    assert ours.restored < oldest_first.restored


def test_steps_over_all_pieces_are_run_piece_by_piece() -> None:
    """Four pieces, three steps over each, room for two pieces and what is made of them."""
    pieces, steps = 4, 3
    tasks = [TracedTask((), (piece,)) for piece in range(pieces)]
    for step in range(1, steps + 1):
        for piece in range(pieces):
            made = step * pieces + piece
            tasks.append(TracedTask((made - pieces,), (made,)))
    last = frozenset(range(steps * pieces, (steps + 1) * pieces))
    trace = Trace("steps", [UNIT] * pieces * (steps + 1), tasks, last)
    assert Replay(trace, 4 * UNIT, slots=1, in_order=True).run().restored > 0
    assert Replay(trace, 4 * UNIT, slots=1).run().restored == 0


def test_a_recorded_run_of_a_frame_reads_back_little() -> None:
    trace = Trace.load(TRACES / "frame.json.gz")
    capacity = trace.working_set // 4
    ours = Replay(trace, capacity).run()
    assert ours.restored <= 0.1 * Replay(trace, capacity, in_order=True).run().restored


def test_the_optimum_lets_go_of_what_is_needed_last() -> None:
    tasks = [
        TracedTask((), (0, 1, 2)),
        TracedTask((0,), ()),
        TracedTask((1,), ()),
        TracedTask((2,), ()),
    ]
    trace = Trace("three", [UNIT] * 3, tasks)
    events = [Event("make", number) for number in range(3)]
    for task in (1, 2, 3):
        events += [Event("start", task), Event("end", task), Event("drop", task - 1)]
    assert least_restored(trace, events, 3 * UNIT) == 0
    assert least_restored(trace, events, 2 * UNIT) == UNIT
    assert least_restored(trace, events, UNIT) == 3 * UNIT, "what is made goes through memory"


def test_a_trace_is_read_from_what_the_node_recorded() -> None:
    def oid(order: int) -> str:
        return (b"owner-00" + order.to_bytes(8, "big")).hex()

    lines = [
        ["create", [oid(1), oid(2)], [100, 200]],
        ["submit", oid(5), 2, [oid(1)]],
        ["submit", oid(3), 1, [oid(2), oid(1)]],
        ["create", [oid(6)], [50]],
        ["finish", oid(5)],
        ["delete", [oid(1)]],
        ["finish", oid(3)],
        ["delete", [oid(6)]],
    ]
    trace = to_trace("small", lines)
    assert trace.sizes == [100, 200, 50]
    assert trace.tasks == [
        TracedTask((), (0, 1)),
        TracedTask((1, 0), ()),
        TracedTask((0,), (2,)),
    ]
    assert trace.kept == {1, 2}
    assert trace.uses() == [2, 1, 0]
    assert trace.working_set == 350
