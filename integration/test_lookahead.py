"""What the store knows of the tasks to come, seen from outside."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import millpond
from benchmarks.eviction.record import to_trace
from integration.conftest import MIB, eventually


@millpond.remote
def block(value: int) -> np.ndarray:
    return np.full(4 * MIB, value, dtype=np.uint8)


@millpond.remote
def total(*blocks: np.ndarray) -> int:
    return int(sum(int(array[0]) for array in blocks))


def test_what_waiting_tasks_need_is_restored_ahead(start: Callable[..., millpond.Context]) -> None:
    start(object_store_memory=64 * MIB, num_cpus=1)
    refs = [block.remote(value) for value in range(24)]
    millpond.wait(refs, num_returns=len(refs))
    groups = [refs[at : at + 4] for at in range(0, 24, 4)]
    sums = [total.remote(*group) for group in groups for _ in range(3)]
    assert millpond.get(sums) == [16 * at + 6 for at in range(6) for _ in range(3)]
    store = millpond.statistics().store
    assert store.prefetches_total > 0
    assert store.prefetched_bytes_total >= 4 * MIB
    assert store.peak <= 64 * MIB


def test_inputs_that_do_not_fit_together_are_restored_once(
    start: Callable[..., millpond.Context],
) -> None:
    """Two reducers of four objects each, room for six, and two slots."""
    start(object_store_memory=6 * (4 * MIB + 4096), num_cpus=2)
    refs = [block.remote(value) for value in range(8)]
    millpond.wait(refs, num_returns=len(refs))
    filler = millpond.put(np.zeros(24 * MIB, dtype=np.uint8))  # all others must leave
    eventually(lambda: millpond.statistics().store.spilled_objects == 8, "they are in files")
    del filler
    sums = [total.remote(*refs[:4]), total.remote(*refs[4:])]
    assert millpond.get(sums) == [6, 22]
    store = millpond.statistics().store
    assert store.restores_total <= 8
    assert store.restored_bytes_total <= 8 * (4 * MIB + 4096)


def test_what_a_task_at_its_owner_will_need_stays(
    start: Callable[..., millpond.Context], tmp_path: Path
) -> None:
    """The oldest values are needed by a task that waits for another one; nobody needs the rest."""
    start(object_store_memory=64 * MIB, num_cpus=1)

    @millpond.remote
    def gate(path: str) -> int:
        while not Path(path).exists():
            threading.Event().wait(0.01)
        return 0

    @millpond.remote
    def first(opened: int, *blocks: np.ndarray) -> int:
        return opened + sum(int(array[0]) for array in blocks)

    needed = [millpond.put(np.full(4 * MIB, value, dtype=np.uint8)) for value in range(4)]
    opened = tmp_path / "open"
    answer = first.remote(gate.remote(str(opened)), *needed)
    others = [millpond.put(np.full(MIB, value, dtype=np.uint8)) for value in range(100)]
    eventually(lambda: millpond.statistics().store.spilled_bytes_total >= 30 * MIB, "it is spilled")
    opened.touch()
    assert millpond.get(answer) == 6
    assert millpond.statistics().store.restored_bytes_total == 0
    del others


def test_a_producer_waits_for_tasks_that_may_free_room(
    start: Callable[..., millpond.Context],
) -> None:
    """Spilling is off and the driver holds everything; a task that runs may change that."""
    start(object_store_memory=32 * MIB, spill=False)
    held = [millpond.put(np.zeros(4 * MIB, dtype=np.uint8)) for _ in range(7)]

    @millpond.remote
    def work(array: np.ndarray) -> int:
        threading.Event().wait(0.3)
        return int(array[0])

    answer = work.remote(held[0])

    def let_go() -> None:
        millpond.get(answer)
        held.clear()

    helper = threading.Thread(target=let_go)
    helper.start()
    for _ in range(3):
        millpond.put(np.zeros(4 * MIB, dtype=np.uint8))
    millpond.put(np.zeros(20 * MIB, dtype=np.uint8))
    helper.join()


def test_a_run_can_be_recorded(
    start: Callable[..., millpond.Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLPOND_TRACE", str(tmp_path / "trace"))
    start()
    assert millpond.get(total.remote(block.remote(1), block.remote(2))) == 3
    millpond.shutdown()
    lines = map(json.loads, (tmp_path / "trace").read_text().splitlines())
    trace = to_trace("run", lines)
    assert [(len(task.arguments), len(task.outputs)) for task in trace.tasks] == [
        *((0, 1), (0, 1), (2, 0)),
    ]
