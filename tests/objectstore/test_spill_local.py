"""Spilled objects in files: what comes back, what is damaged, and what is left on the disk."""

from __future__ import annotations

import errno
import os
import pickle
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from millpond.objectstore import fileio
from millpond.objectstore.fileio import is_full, map_file
from millpond.objectstore.spill import direct, local, segment_files
from millpond.objectstore.spill.checked_file import file_size, write_checked
from millpond.objectstore.spill.encoding import CHUNK
from millpond.objectstore.spill.local import SEGMENT_SIZE, LocalStorage
from millpond.objectstore.spill.segment_files import Way
from millpond.objectstore.spill.storage import COMPRESSIONS, CorruptSpill, Storage

MIB = 1 << 20

Make = Callable[..., LocalStorage]


@pytest.fixture(params=["past the page cache", "through it"])
def make(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    if request.param == "through it":
        monkeypatch.setattr(local, "can_bypass_cache", lambda _: False)
    made: list[LocalStorage] = []

    def storage(*parents: Path, **options: Any) -> LocalStorage:
        made.append(LocalStorage(parents or [tmp_path], **options))
        return made[-1]

    yield storage
    for each in made:
        each._table.validate()
        each.close()
        each.close()
        assert not any(directory.exists() for directory in each.directories)


def oid(number: int) -> bytes:
    return b"owner-00%08d" % number


def contents(*sizes: int) -> dict[bytes, bytes]:
    """Objects of these sizes, half of whose bytes can be compressed."""
    return {oid(i): os.urandom(size // 2) + bytes(size - size // 2) for i, size in enumerate(sizes)}


def write(storage: Storage, objects: dict[bytes, bytes]) -> None:
    storage.write([(name, memoryview(content)) for name, content in objects.items()])


def read(storage: Storage, name: bytes, size: int) -> bytes:
    back = bytearray(size)
    storage.read_into(name, memoryview(back))
    return bytes(back)


def mapped(storage: Storage, name: bytes) -> bytes:
    path, offset, size = storage.locate(name)
    return bytes(map_file(path, size, offset=offset).to_pybytes())


def files(storage: LocalStorage) -> list[Path]:
    return sorted(path for directory in storage.directories for path in directory.iterdir())


class BusyDisk:
    """Keeps a storage's disk busy, so that others who write find it taken."""

    def __init__(self, storage: LocalStorage) -> None:
        self._disk = storage._disk[0]

    def __enter__(self) -> None:
        self._disk.acquire()

    def __exit__(self, *_: object) -> None:
        self._disk.release()


def flush(storage: LocalStorage) -> None:
    """Do what the collecting thread would do soon."""
    storage._collect()


def blocks(storage: LocalStorage) -> int:
    return sum(path.stat().st_blocks * 512 for path in files(storage))


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_what_was_written_is_read_back(make: Make, compression: str | None) -> None:
    storage = make(compression=compression)
    objects = contents(0, 1, 64 * 1024, 100_001, CHUNK, 2 * CHUNK + 5)
    write(storage, objects)
    for name, content in objects.items():
        assert read(storage, name, len(content)) == content
        assert mapped(storage, name) == content
    statistics = storage.statistics()
    total = sum(map(len, objects.values()))
    assert (statistics.objects, statistics.object_bytes) == (6, total)
    if compression:
        assert statistics.stored_bytes < total * 0.6
    else:
        assert statistics.stored_bytes == total


def test_what_cannot_be_compressed_is_kept_as_it_is_and_mapped_in_place(make: Make) -> None:
    storage = make(compression="zstd")
    content = os.urandom(CHUNK + 1000)
    write(storage, {oid(1): content})
    assert storage.statistics().stored_bytes == len(content)
    assert "segment" in storage.locate(oid(1)).path
    assert mapped(storage, oid(1)) == content


def test_objects_are_fused_and_large_ones_are_alone(make: Make) -> None:
    storage = make()
    write(storage, contents(*[100_000] * 50))
    assert len(files(storage)) == 1
    write(storage, {oid(100): b"x" * 100_000})
    assert len(files(storage)) == 1, "the segment stays open for the next call"
    write(storage, {oid(200): bytes(SEGMENT_SIZE + 1)})
    assert len(files(storage)) == 2
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files(storage))


def test_deleted_objects_leave_nothing(make: Make) -> None:
    storage = make()
    objects = contents(*[MIB] * 8)
    write(storage, objects)
    storage.delete([*objects, oid(77)])
    flush(storage)
    assert files(storage) == []
    assert storage.statistics().allocated_bytes == 0
    with pytest.raises(CorruptSpill, match="not known"):
        read(storage, oid(0), MIB)
    with pytest.raises(CorruptSpill, match="not known"):
        storage.locate(oid(0))


def test_dead_space_becomes_holes_and_the_others_stay_readable(make: Make) -> None:
    storage = make()
    objects = contents(*[MIB] * 16)
    write(storage, objects)
    before = blocks(storage)
    gone = list(objects)[::2]
    storage.delete(gone)
    flush(storage)
    assert blocks(storage) <= before - 7 * MIB
    assert storage.statistics().allocated_bytes == 8 * MIB
    for name in list(objects)[1::2]:
        assert read(storage, name, MIB) == objects[name]
        assert mapped(storage, name) == objects[name]


def test_without_holes_every_object_has_a_file(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "can_punch", lambda _: False)
    storage = make()
    objects = contents(*[100_000] * 5)
    write(storage, objects)
    assert len(files(storage)) == 5
    storage.delete([oid(2)])
    flush(storage)
    assert len(files(storage)) == 4
    assert read(storage, oid(3), 100_000) == objects[oid(3)]


def test_a_rewritten_object_is_the_new_one(make: Make) -> None:
    storage = make()
    write(storage, {oid(1): b"old" * 1000})
    storage.delete([oid(1)])
    write(storage, {oid(1): b"new" * 2000})
    flush(storage)
    assert read(storage, oid(1), 6000) == b"new" * 2000


def damage(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_a_flipped_bit_is_found_and_harms_one_object_only(
    make: Make, compression: str | None
) -> None:
    storage = make(compression=compression)
    objects = contents(100_000, 100_000, 100_000)
    write(storage, objects)
    (path,) = files(storage)
    damage(path, storage._table.objects[oid(1)].offset + 1234)
    with pytest.raises(CorruptSpill, match="checksum") as caught:
        read(storage, oid(1), 100_000)
    assert caught.value.oid == oid(1)
    assert oid(1).hex() in str(caught.value)
    assert str(path) in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(CorruptSpill):
        storage.locate(oid(1))
    for name in (oid(0), oid(2)):
        assert read(storage, name, 100_000) == objects[name]
        assert mapped(storage, name) == objects[name]
    assert storage.statistics().damaged == 2


def test_a_truncated_and_a_missing_file_are_found(make: Make) -> None:
    storage = make()
    write(storage, contents(100_000, 100_000))
    (path,) = files(storage)
    os.truncate(path, 150_000)
    with pytest.raises(CorruptSpill, match="ends after 150000 bytes"):
        read(storage, oid(1), 100_000)
    assert len(read(storage, oid(0), 100_000)) == 100_000
    path.unlink()
    for access in (lambda: read(storage, oid(0), 100_000), lambda: storage.locate(oid(0))):
        with pytest.raises(CorruptSpill, match="its file is gone"):
            access()


def test_an_object_written_by_another_process(make: Make) -> None:
    storage = make(quota=10 * MIB)
    first = storage.direct_path(oid(1), 5 * MIB)
    assert storage.statistics().direct_bytes == file_size(5 * MIB)
    with pytest.raises(OSError, match="quota") as caught:
        storage.direct_path(oid(2), 6 * MIB)
    assert is_full(caught.value)
    storage.delete([oid(1)])  # its writer gave up; another attempt follows at once
    second = storage.direct_path(oid(1), 5 * MIB)
    assert second.path != first.path
    write_checked(second.path, [b"y" * (5 * MIB)])
    flush(storage)
    assert mapped(storage, oid(1)) == read(storage, oid(1), 5 * MIB) == b"y" * (5 * MIB)
    storage.delete([oid(1)])
    flush(storage)
    assert files(storage) == []


def test_the_quota_is_kept_and_dead_space_is_used_first(make: Make) -> None:
    storage = make(quota=8 * MIB)
    write(storage, contents(*[MIB] * 8))
    with pytest.raises(OSError, match="8388608 of 8388608 bytes are taken") as caught:
        write(storage, {oid(50): b"x"})
    assert is_full(caught.value)
    storage.delete([oid(3)])
    write(storage, {oid(50): b"x" * MIB})
    assert storage.statistics().allocated_bytes == 8 * MIB
    assert blocks(storage) <= 8 * MIB


def failing(number: int, only: Path | None = None) -> Callable[..., None]:
    """Let writes fail, those below one directory or all."""

    def pwrite_all(fd: int, views: list[memoryview], offset: int) -> None:
        name = Path(f"/proc/self/fd/{fd}").readlink()
        if only is None or name.is_relative_to(only):
            raise OSError(number, os.strerror(number))
        fileio.pwrite_all(fd, views, offset)

    return pwrite_all


def write_by(patch: pytest.MonkeyPatch, pwrite_all: Callable[..., None]) -> None:
    """Let both ways of writing use this instead of the system call."""
    for module in (direct, segment_files):
        patch.setattr(module, "pwrite_all", pwrite_all)


def test_a_failed_write_keeps_nothing_of_the_batch(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make()
    calls = iter(range(1))

    def fail_late(fd: int, views: list[memoryview], offset: int) -> None:
        if next(calls, None) is None:
            raise OSError(errno.ENOSPC, "no space")
        fileio.pwrite_all(fd, views, offset)

    with monkeypatch.context() as patch:
        write_by(patch, fail_late)
        with pytest.raises(OSError, match="no space"):
            write(storage, contents(*[4_000_000] * 5))
    flush(storage)
    assert files(storage) == []
    assert storage.statistics().objects == 0
    objects = contents(*[100_000] * 5)
    write(storage, objects)
    assert read(storage, oid(4), 100_000) == objects[oid(4)]


def test_directories_take_turns_and_one_that_fails_is_left_out(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = [tmp_path / name for name in "abc"]
    for parent in parents:
        parent.mkdir()
    now = [0.0]
    storage = make(*parents, clock=lambda: now[0])
    for number in range(6):
        write(storage, {oid(number): os.urandom(MIB)})
    assert [len(list(directory.iterdir())) for directory in storage.directories] == [1, 1, 1]
    broken = storage.directories[1]
    with monkeypatch.context() as patch:
        write_by(patch, failing(errno.EIO, broken))
        for number in range(6, 12):
            write(storage, {oid(number): os.urandom(MIB)})
    assert storage.statistics().directories_failing == 1
    for number in range(12, 18):
        write(storage, {oid(number): os.urandom(MIB)})
    flush(storage)

    def taken(directory: Path) -> int:
        return sum(path.stat().st_blocks * 512 for path in directory.iterdir()) // MIB

    assert taken(broken) == 2, "left out although it would work again"
    now[0] += 60.0
    for number in range(18, 21):
        write(storage, {oid(number): os.urandom(MIB)})
    assert taken(broken) == 3
    assert storage.statistics().directories_failing == 0
    for number in range(21):
        assert len(read(storage, oid(number), MIB)) == MIB


def test_a_full_directory_is_passed_over(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = [tmp_path / name for name in "ab"]
    for parent in parents:
        parent.mkdir()
    storage = make(*parents)
    with monkeypatch.context() as patch:
        write_by(patch, failing(errno.ENOSPC, storage.directories[0]))
        for number in range(4):
            write(storage, {oid(number): os.urandom(MIB)})
    assert storage.statistics().directories_failing == 0
    flush(storage)
    assert [len(list(directory.iterdir())) for directory in storage.directories] == [0, 1]


def test_when_all_fail_the_error_tells_whether_space_may_come(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = [tmp_path / name for name in "ab"]
    for parent in parents:
        parent.mkdir()
    storage = make(*parents)
    full, broken = failing(errno.ENOSPC), failing(errno.EIO)
    first = storage.directories[0]

    def pwrite_all(fd: int, views: list[memoryview], offset: int) -> None:
        name = Path(f"/proc/self/fd/{fd}").readlink()
        (broken if name.is_relative_to(first) else full)(fd, views, offset)

    with monkeypatch.context() as patch:
        write_by(patch, pwrite_all)
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                write(storage, {oid(1): b"content"})
            assert is_full(caught.value)
    write(storage, {oid(1): b"content"})
    assert read(storage, oid(1), 7) == b"content"


def test_copies_of_compressed_objects_are_bounded(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make(compression="lz4")
    monkeypatch.setattr(storage._copies, "_most", 3 * MIB)
    objects = contents(*[MIB] * 6)
    write(storage, objects)
    first = storage.locate(oid(0))
    assert storage.locate(oid(0)) == first
    kept = map_file(first.path, first.size)
    for name in objects:
        storage.locate(name)
    assert not Path(first.path).exists()
    assert kept.to_pybytes() == objects[oid(0)]
    assert mapped(storage, oid(0)) == objects[oid(0)], "made again"
    assert len([path for path in files(storage) if "copy" in path.name]) == 3
    storage.delete(objects)
    flush(storage)
    assert files(storage) == []


def test_many_threads_write_read_and_delete(make: Make) -> None:
    storage = make(quota=64 * MIB)
    failures: list[BaseException] = []

    def work(start: int) -> None:
        try:
            for turn in range(10):
                objects = {
                    oid(start + turn * 10 + i): os.urandom(50_000 + 999 * i) for i in range(10)
                }
                write(storage, objects)
                for name, content in objects.items():
                    assert read(storage, name, len(content)) == content
                    assert mapped(storage, name) == content
                storage.delete(list(objects)[: 7 + turn % 4])
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    storage._table.validate()


def test_an_unusable_directory_leaves_no_other_behind(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.mkdir()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        LocalStorage([good, tmp_path / "none"])
    assert list(good.iterdir()) == []


def test_a_file_that_another_process_wrote_is_checked_when_it_looks_new(make: Make) -> None:
    storage = make()
    path = Path(storage.direct_path(oid(1), 5 * MIB).path)
    with pytest.raises(CorruptSpill, match="its file is gone"):
        storage.locate(oid(1))
    write_checked(path, [b"y" * (5 * MIB)])
    storage.locate(oid(1))
    with path.open("r+b") as file:
        file.seek(2 * MIB)
        file.write(b"z")
    for access in (lambda: read(storage, oid(1), 5 * MIB), lambda: storage.locate(oid(1))):
        with pytest.raises(CorruptSpill, match="checksum"):
            access()
    os.truncate(path, 3 * MIB)
    for access in (lambda: read(storage, oid(1), 5 * MIB), lambda: storage.locate(oid(1))):
        with pytest.raises(CorruptSpill, match="3145728 bytes instead of"):
            access()
    assert storage.statistics().damaged == 5


def test_a_copy_that_was_removed_or_cut_short_is_made_again(make: Make) -> None:
    storage = make(compression="lz4")
    write(storage, {oid(1): b"a" * MIB})
    for damage in (lambda path: os.truncate(path, 10), os.unlink):
        damage(storage.locate(oid(1)).path)
        assert mapped(storage, oid(1)) == b"a" * MIB


# -- the page cache --


def ways(storage: LocalStorage) -> dict[bytes, Way]:
    """How each object was written."""
    table = storage._table
    return {
        name: storage._place(extent.segment).way  # type: ignore[attr-defined]
        for name, extent in table.objects.items()
    }


def test_what_a_busy_disk_would_be_waited_for_goes_to_the_page_cache(make: Make) -> None:
    storage = make(page_cache=2 * MIB)
    objects = contents(MIB, MIB, MIB, MIB)
    first, second, third, last = objects
    write(storage, {first: objects[first]})
    with BusyDisk(storage):
        for name in (second, third, last):
            write(storage, {name: objects[name]})
    found = ways(storage)
    assert found[first] is not Way.CACHED  # the disk was idle
    assert found[second] is found[third] is Way.CACHED
    assert found[last] is found[first]  # the share of the page cache was used up
    for name, content in objects.items():
        assert read(storage, name, MIB) == content
        assert mapped(storage, name) == content


def test_deleted_objects_give_their_part_of_the_page_cache_back(make: Make) -> None:
    storage = make(page_cache=MIB)
    objects = contents(MIB, MIB, MIB)
    first, second, third = objects
    with BusyDisk(storage):
        write(storage, {first: objects[first]})
        write(storage, {second: objects[second]})
        storage.delete([first])
        flush(storage)
        write(storage, {third: objects[third]})
    assert ways(storage)[second] is not Way.CACHED
    assert ways(storage)[third] is Way.CACHED
    assert read(storage, third, MIB) == objects[third]


def test_without_a_share_of_the_page_cache_everything_goes_to_the_disk(make: Make) -> None:
    storage = make()
    objects = contents(MIB)
    with BusyDisk(storage):
        write(storage, objects)
    assert Way.CACHED not in ways(storage).values()


def test_one_writer_at_a_time_counts_as_the_disk_s(make: Make) -> None:
    storage = make(page_cache=64 * MIB)
    names = [oid(number) for number in range(32)]
    content = os.urandom(MIB)
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(write, storage, {name: content}) for name in names]:
            done.result()
    assert not any(disk.locked() for disk in storage._disk)
    for name in names:
        assert read(storage, name, MIB) == content
