"""Spilling to local disks that fill up, or that damage what they were given."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import millpond
from integration.conftest import MIB, assert_store_empty, flip_byte
from millpond.errors import ObjectLostError

Start = Callable[..., millpond.Context]
Mount = Callable[[str, int], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Makes small disks: name, MiB -> directory."""
    mounted: list[Path] = []

    def make(name: str, size: int) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(directory)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("mounting a tmpfs is not permitted here")
        mounted.append(directory)
        return directory

    yield make
    millpond.shutdown()
    for directory in mounted:
        subprocess.run(["umount", str(directory)], check=True)


def block(value: int, size: int = 4 * MIB) -> np.ndarray:
    return np.full(size, value % 256, dtype=np.uint8)


@millpond.remote
def is_block(array: np.ndarray, value: int) -> bool:
    return bool((array == value % 256).all())


def all_there(refs: list[millpond.ObjectRef]) -> bool:
    return all(millpond.get([is_block.remote(ref, i) for i, ref in enumerate(refs)]))


def segments(parent: Path) -> list[Path]:
    return sorted(parent.glob("millpond-*/segment-*"))


def test_a_full_disk_loses_nothing_and_work_goes_on_when_space_comes_back(
    start: Start, mount: Mount
) -> None:
    disk = mount("disk", 64)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(48 * MIB))
    start(object_store_memory=32 * MIB, spill=disk)
    refs: list[millpond.ObjectRef] = []

    def produce() -> None:
        refs.extend(millpond.put(block(i)) for i in range(18))

    producer = threading.Thread(target=produce)
    producer.start()
    producer.join(2.0)
    assert producer.is_alive(), "it waits for space"
    assert millpond.statistics().store.disk_full
    ballast.unlink()
    producer.join(60.0)
    assert not producer.is_alive()
    assert all_there(refs)


def test_another_disk_takes_what_one_has_no_room_for(start: Start, mount: Mount) -> None:
    small, large = mount("small", 16), mount("large", 160)
    start(object_store_memory=32 * MIB, spill=[small, large])
    refs = [millpond.put(block(i)) for i in range(32)]
    assert segments(small)
    assert segments(large)
    assert all_there(refs)
    assert millpond.statistics().store.spill_failures_total == 0
    del refs
    assert_store_empty()


def test_the_quota_is_never_exceeded(start: Start, tmp_path: Path) -> None:
    quota = 40 * MIB
    start(object_store_memory=32 * MIB, spill=millpond.SpillOptions(tmp_path, quota=quota))
    for turn in range(4):  # what was deleted makes room
        refs = [millpond.put(block(i)) for i in range(14)]
        assert all_there(refs)
        taken = sum(path.stat().st_blocks * 512 for path in segments(tmp_path))
        assert taken <= quota, turn
        del refs


def test_an_object_larger_than_memory_and_quota_is_refused_and_work_goes_on(
    start: Start, tmp_path: Path
) -> None:
    start(object_store_memory=16 * MIB, spill=millpond.SpillOptions(tmp_path, quota=24 * MIB))
    with pytest.raises(millpond.MillpondError, match="the spill quota is used up: 0 of 25165824"):
        millpond.put(block(1, 40 * MIB))
    with pytest.warns(millpond.ObjectStoreWarning, match=r"the whole object store has 16\.0 MiB"):
        ref = millpond.put(block(2, 20 * MIB))
    assert millpond.get(is_block.remote(ref, 2))
    statistics = millpond.statistics()
    assert statistics.spill is not None
    assert 20 * MIB <= statistics.spill.direct_bytes == statistics.spill.allocated_bytes < 24 * MIB


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compression_saves_space_and_changes_no_value(
    start: Start, tmp_path: Path, compression: str
) -> None:
    start(
        object_store_memory=32 * MIB,
        spill=millpond.SpillOptions(tmp_path, compression=compression),  # type: ignore[arg-type]
    )
    refs = [millpond.put(block(i)) for i in range(32)]
    assert all_there(refs)
    arrays = millpond.get(refs)  # more than fits: read from files, decompressed
    assert [int(array[0]) for array in arrays] == list(range(32))
    taken = sum(path.stat().st_blocks * 512 for path in segments(tmp_path))
    assert taken < 8 * MIB
    del arrays, refs


def damaged_by(start: Start, parent: Path, damage: Callable[[Path], None]) -> tuple[int, int]:
    """Damage one spill file; return how many values are then whole, and how many are lost."""
    start(object_store_memory=32 * MIB, spill=parent)
    refs = [millpond.put(block(i)) for i in range(24)]
    for path in segments(parent)[:1]:
        damage(path)
    whole = lost = 0
    for i, ref in enumerate(refs):
        try:
            array = millpond.get(ref)
        except ObjectLostError as error:
            assert ref.hex() in str(error)  # noqa: PT017 - any number of them may be lost
            lost += 1
        else:
            assert (array == i).all()
            del array
            whole += 1
    return whole, lost


def test_a_flipped_byte_costs_one_object(start: Start, tmp_path: Path) -> None:
    assert damaged_by(start, tmp_path, lambda path: flip_byte(path, 6 * MIB)) == (23, 1)


def test_a_truncated_file_costs_what_is_cut_off(start: Start, tmp_path: Path) -> None:
    whole, lost = damaged_by(start, tmp_path, lambda path: os.truncate(path, 9 * MIB))
    assert whole + lost == 24
    assert 1 <= lost < 20


def test_a_missing_file_costs_what_is_in_it(start: Start, tmp_path: Path) -> None:
    whole, lost = damaged_by(start, tmp_path, Path.unlink)
    assert whole + lost == 24
    assert 1 <= lost < 24


def test_a_task_says_which_argument_was_damaged(start: Start, tmp_path: Path) -> None:
    start(object_store_memory=32 * MIB, spill=tmp_path)
    refs = [millpond.put(block(i)) for i in range(24)]
    for path in segments(tmp_path):
        path.unlink()
    with pytest.raises(ObjectLostError) as caught:
        millpond.get(is_block.remote(refs[0], 0))
    assert refs[0].hex() in str(caught.value)
    del refs
