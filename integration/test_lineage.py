"""Lost objects are made again by running their tasks again: with damaged spill files."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import millpond
from integration.conftest import MIB, assert_store_empty, eventually, flip_byte

LIMIT = 16 * MIB
SIZE = 2 * MIB


class Runs:
    """Counts how often each task ran, whatever became of its worker."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, name: str) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, f"{name}\n".encode())
        os.close(fd)

    def counts(self) -> dict[str, int]:
        text = self.path.read_text() if self.path.exists() else ""
        return dict(Counter(text.split()))


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def flip_bits(path: Path) -> None:
    """Change a byte in each 4 KiB of a file that has been written."""
    for offset in range(0, path.stat().st_size, 4096):
        flip_byte(path, offset)


@pytest.fixture
def lose(
    request: pytest.FixtureRequest, tmp_path: Path, start: Callable[..., millpond.Context]
) -> Callable[[], None]:
    """An engine, and a function that damages the file of everything which is not in use."""
    how = getattr(request, "param", "flip")
    directory = tmp_path / "spill"
    directory.mkdir()
    start(object_store_memory=LIMIT, spill=directory)

    def lose_everything() -> None:
        fillers = [millpond.put(np.zeros(SIZE, dtype=np.uint8)) for _ in range(LIMIT // SIZE + 2)]
        eventually(lambda: millpond.statistics().store.spilling_bytes == 0, "all is spilled")
        pinned = millpond.get(fillers[-(LIMIT // SIZE) :])  # even what is needed soon must leave
        files = [path for path in directory.rglob("*") if path.is_file()]
        assert files
        for path in files:
            if how == "unlink":
                path.unlink()
            elif how == "truncate":
                os.truncate(path, 0)
            else:
                flip_bits(path)
        del fillers, pinned

    return lose_everything


@millpond.remote
def make(runs: Runs, name: str, value: int) -> np.ndarray:
    runs.note(name)
    return np.full(SIZE, value, dtype=np.uint8)


@millpond.remote
def add(runs: Runs, name: str, *arrays: np.ndarray) -> np.ndarray:
    runs.note(name)
    return np.sum(arrays, axis=0, dtype=np.uint8)


@millpond.remote
def first(array: np.ndarray) -> int:
    return int(array[0])


@pytest.mark.parametrize("lose", ["flip", "truncate", "unlink"], indirect=True)
def test_get_rebuilds(lose: Callable[[], None], runs: Runs) -> None:
    refs = [make.remote(runs, f"make{i}", i) for i in range(3)]
    millpond.wait(refs, num_returns=3)
    lose()
    arrays = millpond.get(refs)
    assert [(int(a[0]), int(a[-1])) for a in arrays] == [(i, i) for i in range(3)]
    assert runs.counts() == {f"make{i}": 2 for i in range(3)}


def test_a_task_gets_its_lost_argument(lose: Callable[[], None], runs: Runs) -> None:
    ref = make.remote(runs, "make", 7)
    millpond.wait([ref])
    lose()
    assert millpond.get(first.options(max_retries=0).remote(ref)) == 7
    assert runs.counts() == {"make": 2}


def test_a_chain_of_freed_and_lost_intermediates(lose: Callable[[], None], runs: Runs) -> None:
    ref = make.remote(runs, "step0", 1)
    for step in range(1, 10):
        ref = add.remote(runs, f"step{step}", ref, ref)
    millpond.wait([ref])
    lose()
    assert int(millpond.get(ref)[5]) == 512 % 256
    assert runs.counts() == {f"step{step}": 2 for step in range(10)}
    eventually(lambda: millpond.statistics().store.num_objects <= 1, "intermediates are freed")


def test_a_chain_of_held_and_lost_intermediates(lose: Callable[[], None], runs: Runs) -> None:
    refs = [make.remote(runs, "step0", 1)]
    for step in range(1, 10):
        refs.append(add.remote(runs, f"step{step}", refs[-1], refs[0]))
    millpond.wait([refs[-1]])
    lose()
    assert millpond.get(first.remote(refs[-1])) == 10
    assert runs.counts() == {f"step{step}": 2 for step in range(10)}


def test_shuffle_with_lost_pieces(lose: Callable[[], None], runs: Runs) -> None:
    parts = 6

    @millpond.remote(num_returns=parts)
    def split(seed: int) -> list[np.ndarray]:
        runs.note(f"split{seed}")
        return [np.full(300_000, seed * parts + i, dtype=np.uint8) for i in range(parts)]

    @millpond.remote
    def merge(*pieces: np.ndarray) -> int:
        return sum(int(piece.sum()) for piece in pieces)

    rows = [split.remote(seed) for seed in range(parts)]
    millpond.wait([piece for row in rows for piece in row], num_returns=parts * parts)
    lose()
    sums = [merge.remote(*[row[column] for row in rows]) for column in range(parts)]
    expected = [
        sum((seed * parts + column) * 300_000 for seed in range(parts)) for column in range(parts)
    ]
    assert millpond.get(sums) == expected
    # A rerun replaces everything of its task that is lost: one for each split is enough.
    assert runs.counts() == {f"split{seed}": 2 for seed in range(parts)}


def test_inline_arguments_of_a_lost_result_may_be_freed(
    lose: Callable[[], None], runs: Runs
) -> None:
    @millpond.remote
    def small(value: int) -> int:
        runs.note("small")
        return value

    @millpond.remote
    def large(value: int) -> np.ndarray:
        runs.note("large")
        return np.full(SIZE, value, dtype=np.uint8)

    ref = large.remote(small.remote(9))
    millpond.wait([ref])
    lose()
    assert int(millpond.get(ref)[0]) == 9
    assert runs.counts() == {"small": 1, "large": 2}


def test_refs_inside_lost_results(lose: Callable[[], None], runs: Runs) -> None:
    @millpond.remote
    def boxed() -> tuple[np.ndarray, object]:
        runs.note("boxed")
        return np.ones(SIZE, dtype=np.uint8), make.remote(runs, "inner", 3)

    result = boxed.remote()
    assert millpond.get(first.remote(millpond.get(result)[1])) == 3
    lose()
    ones, inner = millpond.get(result)
    assert int(ones[0]) == 1
    assert int(millpond.get(inner)[0]) == 3
    assert runs.counts() == {"boxed": 2, "inner": 2}


def test_refs_inside_freed_arguments(lose: Callable[[], None], runs: Runs) -> None:
    @millpond.remote
    def box_of(ref: list[millpond.ObjectRef[np.ndarray]]) -> dict[str, object]:
        runs.note("box_of")
        return {"ref": ref[0]}

    @millpond.remote
    def unboxed(box: dict[str, millpond.ObjectRef[np.ndarray]]) -> np.ndarray:
        runs.note("unboxed")
        return millpond.get(box["ref"]) + np.uint8(1)

    ref = make.remote(runs, "make", 3)
    box = box_of.remote([ref])
    result = unboxed.remote(box)
    millpond.wait([result])
    del ref, box
    lose()
    assert int(millpond.get(result)[0]) == 4
    assert runs.counts() == {"make": 2, "box_of": 1, "unboxed": 2}


def test_one_run_replaces_all_that_was_lost_with_a_piece(
    lose: Callable[[], None], runs: Runs
) -> None:
    @millpond.remote(num_returns=4)
    def split() -> list[object]:
        runs.note("split")
        return [np.full(SIZE, index, dtype=np.uint8) for index in range(3)] + ["small"]

    refs = split.remote()
    millpond.wait(refs, num_returns=4)
    in_use = millpond.get(refs[1])
    lose()
    assert [int(millpond.get(ref)[0]) for ref in refs[:3]] == [0, 1, 2]
    assert int(in_use[0]) == 1
    assert [ref._entry.rebuilds for ref in refs] == [1, 0, 1, 0]
    assert runs.counts() == {"split": 2}


def test_many_readers_one_rebuild(lose: Callable[[], None], runs: Runs) -> None:
    ref = make.remote(runs, "make", 5)
    millpond.wait([ref])
    lose()
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(int(millpond.get(ref)[0]))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    tasks = [first.remote(ref) for _ in range(4)]
    assert millpond.get(tasks) == [5] * 4
    for thread in threads:
        thread.join()

    async def read() -> int:
        return int((await ref)[0])

    assert asyncio.run(read()) == 5
    assert found == [5] * 4
    assert runs.counts() == {"make": 2}


def test_a_borrower_has_it_rebuilt_by_the_owner(lose: Callable[[], None], runs: Runs) -> None:
    @millpond.remote
    def read(box: list[millpond.ObjectRef[np.ndarray]]) -> tuple[int, int]:
        return int(millpond.get(box[0])[0]), millpond.get(first.remote(box[0]))

    ref = make.remote(runs, "make", 3)
    millpond.wait([ref])
    lose()
    assert millpond.get([read.remote([ref]), read.remote([ref])]) == [(3, 3), (3, 3)]
    assert runs.counts() == {"make": 2}


def test_an_actor_call_gets_its_lost_argument(lose: Callable[[], None], runs: Runs) -> None:
    @millpond.remote(num_cpus=2)  # all there are: the rebuild needs what the call lends
    class Reader:
        def read(self, array: np.ndarray) -> int:
            return int(array[0])

    ref = make.remote(runs, "make", 4)
    millpond.wait([ref])
    lose()
    reader = Reader.remote()
    assert millpond.get(reader.read.remote(ref)) == 4
    assert runs.counts() == {"make": 2}


def test_an_object_that_a_worker_owns(lose: Callable[[], None], runs: Runs) -> None:
    @millpond.remote
    class Maker:
        def make(self) -> list[millpond.ObjectRef[np.ndarray]]:
            ref = make.remote(runs, "make", 6)
            millpond.wait([ref])
            return [ref]

    maker = Maker.remote()
    (ref,) = millpond.get(maker.make.remote())
    lose()
    assert millpond.get(first.remote(ref)) == 6
    lose()
    assert int(millpond.get(ref)[0]) == 6
    assert runs.counts() == {"make": 3}
    del ref
    assert_store_empty()


def test_what_cannot_be_rebuilt_says_why(lose: Callable[[], None], runs: Runs) -> None:
    put = millpond.put(np.zeros(SIZE, dtype=np.uint8))
    once = make.options(max_retries=0).remote(runs, "once", 1)
    by_value = first_of.remote(np.ones(SIZE, dtype=np.uint8))
    dependent = add.remote(runs, "dependent", millpond.put(np.ones(SIZE, dtype=np.uint8)))

    @millpond.remote
    class Maker:
        def make(self) -> np.ndarray:
            return np.zeros(SIZE, dtype=np.uint8)

    maker = Maker.remote()
    called = maker.make.remote()
    refs = [put, once, by_value, dependent, called]
    millpond.wait(refs, num_returns=len(refs))
    lose()
    whys = [
        "stored by millpond.put",
        "max_retries=0",
        "too large to be kept",
        "which was freed; it was stored by millpond.put",
        "an actor's methods are not run again",
    ]
    for ref, why in zip(refs, whys, strict=True):
        with pytest.raises(millpond.ObjectLostError, match=rf"{ref.hex()} is lost: .*{why}"):
            millpond.get(ref)
        with pytest.raises(millpond.ObjectLostError, match=ref.hex()):
            millpond.get(first.remote(ref))
    assert runs.counts() == {"once": 1, "dependent": 1}


def test_lost_arguments_by_value(lose: Callable[[], None], runs: Runs, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"

    @millpond.remote
    def signal() -> None:
        while not go_on.exists():
            threading.Event().wait(0.01)

    @millpond.remote
    def size(array: np.ndarray, after: None) -> int:
        runs.note("size")
        return array.size

    ref = size.remote(np.ones(SIZE, dtype=np.uint8), signal.remote())
    lose()
    go_on.touch()
    with pytest.raises(millpond.ObjectLostError, match=r"holds the arguments of .*size given by"):
        millpond.get(ref)
    assert runs.counts() == {}


@millpond.remote
def first_of(array: np.ndarray) -> np.ndarray:
    return array + np.uint8(1)


def test_an_object_lost_again_and_again(lose: Callable[[], None], runs: Runs) -> None:
    ref = make.remote(runs, "make", 8)
    millpond.wait([ref])
    for _ in range(3):
        lose()
        assert millpond.get(first.remote(ref)) == 8
    lose()
    with pytest.raises(millpond.ObjectLostError, match="rebuilt 3 times already"):
        millpond.get(ref)
    assert runs.counts() == {"make": 4}


def test_get_with_a_timeout_waits_no_longer_for_a_rebuild(
    lose: Callable[[], None], runs: Runs, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"

    @millpond.remote
    def slow() -> np.ndarray:
        runs.note("slow")
        while runs.counts()["slow"] == 2 and not go_on.exists():
            threading.Event().wait(0.01)
        return np.ones(SIZE, dtype=np.uint8)

    ref = slow.remote()
    millpond.wait([ref])
    lose()
    with pytest.raises(millpond.errors.GetTimeoutError, match=f"not rebuilt in time.*{ref.hex()}"):
        millpond.get(ref, timeout=0.1)
    go_on.touch()
    assert int(millpond.get(ref)[0]) == 1
    assert runs.counts() == {"slow": 2}


def test_a_rebuild_survives_the_death_of_its_worker(lose: Callable[[], None], runs: Runs) -> None:
    @millpond.remote(max_retries=1)
    def dies_once_when_run_again() -> np.ndarray:
        runs.note("run")
        if runs.counts()["run"] == 2:
            os._exit(1)
        return np.full(SIZE, 2, dtype=np.uint8)

    ref = dies_once_when_run_again.remote()
    millpond.wait([ref])
    lose()
    assert millpond.get(first.options(max_retries=0).remote(ref)) == 2
    assert runs.counts() == {"run": 3}


def test_a_freed_argument_whose_bytes_are_still_read(lose: Callable[[], None], runs: Runs) -> None:
    source = make.remote(runs, "source", 1)
    view = millpond.get(source)  # keeps the bytes of an object that nobody has a ref of
    ref = add.remote(runs, "sum", source, source)
    millpond.wait([ref])
    del source
    lose()
    assert int(millpond.get(ref)[0]) == 2
    assert int(view[0]) == 1
    assert runs.counts() == {"source": 2, "sum": 2}
