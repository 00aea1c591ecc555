"""The benchmarks' own sort, shuffle and check: they must not pass what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import records, shuffling, sorting
from benchmarks.engines import Engine, Settings


class Here(Engine):
    """Runs every task at once, in this process."""

    def start(self, settings: Settings) -> None: ...

    def stop(self) -> None: ...

    def remote(
        self, function: Callable[..., Any], slot: int | None = None, returns: int = 1
    ) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            result = function(*arguments)
            assert returns == 1 or len(result) == returns
            return result

        return call

    def get(self, ref: Any) -> Any:
        return ref


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, records.Summary]:
    path = tmp_path_factory.mktemp("sort") / "source"
    return path, records.generate(path, records.BLOCK + 2_500, processes=2)


def sort(source: tuple[Path, records.Summary], directory: Path) -> list[Path]:
    path, summary = source
    return sorting.by_tasks(Here(), sorting.Work(path, summary.records, directory, 1, 1, parts=7))


def test_records_do_not_depend_on_who_makes_them(
    source: tuple[Path, records.Summary], tmp_path: Path
) -> None:
    path, summary = source
    assert records.generate(tmp_path / "again", summary.records, processes=1) == summary
    lines = path.read_bytes().splitlines(keepends=True)
    assert (tmp_path / "again").read_bytes().splitlines(keepends=True) == lines
    assert len(lines) == summary.records
    assert {len(line) for line in lines} == {records.SIZE}


def test_sort_is_the_sort_of_keys(source: tuple[Path, records.Summary], tmp_path: Path) -> None:
    path, summary = source
    files = sort(source, tmp_path)
    assert records.check(files, summary) == summary.records // 1_000
    keys = [line[:10] for file in files for line in file.read_bytes().splitlines()]
    assert keys == sorted(line[:10] for line in path.read_bytes().splitlines())


def test_ties_of_the_first_8_bytes_are_put_in_order() -> None:
    rng = np.random.default_rng(1)
    some = np.zeros(1_000, records.RECORD)
    some["head"] = rng.integers(0, 20, 1_000)
    some["tail"] = rng.integers(0, 1 << 16, 1_000)
    order, heads = sorting.sorted_order(some, "quicksort")
    assert sorted(order) == list(range(1_000))
    assert some[order][["head", "tail"]].tolist() == sorted(some[["head", "tail"]].tolist())
    assert (heads == some["head"][order]).all()


@pytest.mark.parametrize("damage", ["swap", "lose", "repeat", "change", "mix"])
def test_check_finds_damage(
    source: tuple[Path, records.Summary], tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "damaged"
    raw = np.concatenate([np.fromfile(file, records.RECORD) for file in sort(source, tmp_path)])
    raw = raw.astype(records.RECORD)
    if damage == "swap":  # across the boundary of two blocks
        raw[[records.BLOCK - 1, records.BLOCK]] = raw[[records.BLOCK, records.BLOCK - 1]]
    elif damage == "lose":
        raw = np.delete(raw, 17)
    elif damage == "repeat":  # the same number of records, in order
        raw[18] = raw[17]
    else:
        data = raw.view(np.uint8).reshape(-1, records.SIZE)
        if damage == "change":
            data[5_000, 60] ^= 1
        else:  # two records have each other's end
            data[[1, 2], 40:44] = data[[2, 1], 40:44]
    raw.tofile(path)
    with pytest.raises(AssertionError):
        records.check([path], source[1])


def test_shuffle_as_tasks_gives_the_expected_sums() -> None:
    work = shuffling.Work.of_size(parts=5, size=100_000)
    sums = shuffling.by_tasks(Here(), work)
    expected = shuffling.expected_sums(work)
    assert sums.shape == (5, 5)
    assert (sums == expected).all()
    assert len(np.unique(expected)) == 25
    pieces = shuffling.split_partition(0, work)
    with pytest.raises(AssertionError, match="5 pieces of 500"):
        shuffling.sum_pieces(work, *pieces[:4])
