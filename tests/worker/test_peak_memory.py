from __future__ import annotations

import os
from pathlib import Path

import pytest

from millpond.wire.messages import Task
from millpond.worker import peak_memory
from millpond.worker.peak_memory import (
    LONG,
    TaskMemory,
    own_memory,
    read_record,
    record_path,
)

MIB = 1 << 20


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return record_path(str(tmp_path), b"worker-1")


def task(name: str = "f", memory: int = 0, *, retriable: bool = True) -> Task:
    return Task(b"task-id", 0, b"function", name, b"", memory=memory, retriable=retriable)


def test_the_peak_is_seen_though_nothing_of_it_is_left(record: Path) -> None:
    memory = TaskMemory()
    memory.start(record)
    for size in (200, 100):  # the second is less: the mark was reset
        memory.begin(task())
        block = bytearray(size * MIB)
        del block
        assert size - 8 <= memory.end(task(), LONG) / MIB <= size + 8


def test_what_was_there_before_and_what_is_shared_do_not_count(record: Path) -> None:
    memory = TaskMemory()
    memory.start(record)
    before = bytearray(50 * MIB)
    fd = os.memfd_create("shared")
    os.truncate(fd, 100 * MIB)
    memory.begin(task())
    import mmap

    with mmap.mmap(fd, 100 * MIB) as shared:
        shared[:] = bytes(100 * MIB)
        memory.begin(task())  # what the copy took is not to count
        for at in range(0, len(shared), 4096):
            assert shared[at] == 0
        assert memory.end(task(), LONG) < 8 * MIB
    os.close(fd)
    assert len(before) == 50 * MIB


def test_short_tasks_are_not_looked_at_twice(record: Path) -> None:
    memory = TaskMemory()
    memory.start(record)
    for _ in range(2):
        memory.begin(task())
        assert memory.end(task(), LONG / 2) == 0
        record.write_bytes(b"untouched")
    assert record.read_bytes() == b"untouched"
    # One that turns out long is measured from the next time on.
    memory.begin(task())
    assert memory.end(task(), LONG) == 0
    memory.begin(task())
    assert read_record(record).task_id == b"task-id"
    block = bytearray(50 * MIB)
    del block
    assert memory.end(task(), LONG) > 40 * MIB


@pytest.mark.parametrize("special", [task(memory=5), task(retriable=False)])
def test_the_node_always_hears_of_tasks_with_terms_of_their_own(
    record: Path, special: Task
) -> None:
    memory = TaskMemory()
    memory.start(record)
    for _ in range(2):
        memory.begin(special)
        running = read_record(record)
        assert (running.name, running.declared, running.retriable) == (
            *("f", special.memory),
            special.retriable,
        )
        memory.end(special, 0.0)
        assert read_record(record).task_id == b""


def test_a_short_record_after_a_long_one_is_read_whole(record: Path) -> None:
    memory = TaskMemory()
    memory.start(record)
    long = task("n" * 1000, memory=1 << 40)
    memory.begin(long)
    running = read_record(record)
    assert (running.name, running.declared) == (long.name, 1 << 40)
    assert abs(running.before - own_memory()) < 8 * MIB
    memory.end(long, 0.0)
    assert read_record(record).name == ""
    assert read_record(record).baseline == running.baseline


def test_who_never_said_anything(record: Path) -> None:
    with pytest.raises(OSError, match="running"):
        read_record(record)
    record.write_bytes(b"")
    with pytest.raises(ValueError, match="truncated"):
        read_record(record)
    with pytest.raises(OSError, match="No such"):
        own_memory(1 << 30)


def test_the_heap_is_asked_for_what_it_keeps_once_several_tasks_have_left_enough(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    asked: list[int] = []
    monkeypatch.setattr(peak_memory, "return_freed_memory", lambda: asked.append(len(left)))
    monkeypatch.setattr(TaskMemory, "_own", lambda _: 100 * MIB + sum(left))
    memory = TaskMemory()
    memory.start(record)
    for size in (40, 40, 1, 40, 40):
        memory.begin(task())
        left.append(size * MIB)
        memory.end(task(), LONG)
    assert asked == [2, 5]
    memory.begin(task(memory=MIB))  # its limit is to count from nothing kept, but there is nothing
    left.append(20 * MIB)
    memory.begin(task(memory=MIB))
    assert asked == [2, 5, 6]
