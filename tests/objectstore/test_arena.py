from __future__ import annotations

import errno
import fcntl
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pytest

from millpond.objectstore import mapping as mapping_module
from millpond.objectstore import striped_file
from millpond.objectstore.arena import Arena
from millpond.objectstore.copying import address_of
from millpond.objectstore.mapping import ArenaMapping

MIB = 1 << 20


class Pin:
    pass


def settle(arena: Arena) -> None:
    """Wait until its thread has done what it was asked for."""
    if arena._adjusting is not None:
        arena._adjusting.join()


@pytest.fixture(autouse=True, params=[1, 3], ids=["one-file", "three-files"])
def stripes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arenas of one file, and of several that take turns every MiB."""
    monkeypatch.setattr(striped_file, "_FILES", request.param)
    monkeypatch.setattr(striped_file, "_STRIPE", MIB)


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena(16 * MIB)
    yield arena
    arena.close()
    arena.close()


@pytest.fixture
def mapping(arena: Arena) -> ArenaMapping:
    return ArenaMapping(arena.fds, arena.capacity)


# -- Arena --


def test_no_process_can_shrink_or_grow_it(arena: Arena) -> None:
    for fd in arena.fds:
        for size in (1, 2 * arena.capacity):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_takes_no_memory_before_it_is_needed(arena: Arena) -> None:
    assert arena.resident_bytes == 0
    assert arena.ensured == 0


def test_ensures_by_whole_segments(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millpond.objectstore.arena.SEGMENT", 5 * MIB)
    arena.ensure(0)
    assert arena.resident_bytes == 0
    arena.ensure(1)
    arena.ensure(5 * MIB)
    assert arena.ensured == arena.resident_bytes == 5 * MIB
    arena.ensure(16 * MIB)
    assert arena.ensured == arena.resident_bytes == 16 * MIB
    with pytest.raises(ValueError, match="beyond"):
        arena.ensure(16 * MIB + 1)


def test_grows_ahead_in_proportion_to_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millpond.objectstore.arena._AHEAD_MIN", 4 * MIB)
    monkeypatch.setattr("millpond.objectstore.arena._AHEAD_MAX", 6 * MIB)
    arena = Arena(24 * MIB)
    for end, expected in [(1, 8), (0, 8), (8, 12), (10, 16), (14, 20), (16, 24), (24, 24)]:
        arena.grow_ahead(end * MIB)
        settle(arena)
        assert arena.ensured == arena.resident_bytes == expected * MIB
    arena.close()


def test_prepares_no_more_than_the_arena() -> None:
    arena = Arena(8 * MIB)
    for size, expected in [(0, 0), (3, 4), (1, 4), (100, 8)]:
        arena.prepare(size * MIB)
        settle(arena)
        assert arena.ensured == arena.resident_bytes == expected * MIB
    arena.close()


def test_gives_back_what_was_prepared_and_never_used(arena: Arena) -> None:
    arena.prepare(9 * MIB)
    settle(arena)
    arena.withdraw()
    settle(arena)
    assert arena.ensured == arena.resident_bytes == 0
    arena.ensure(5 * MIB)
    assert arena.ensured == arena.resident_bytes == 8 * MIB


@pytest.mark.parametrize("use", [Arena.ensure, Arena.grow_ahead])
def test_keeps_what_was_prepared_once_a_block_is_in_use(
    arena: Arena, use: Callable[[Arena, int], None]
) -> None:
    arena.prepare(9 * MIB)
    settle(arena)
    use(arena, 1)
    arena.withdraw()
    settle(arena)
    assert arena.resident_bytes >= 12 * MIB


def test_a_block_that_comes_into_use_ends_the_giving_back(monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena(16 * MIB)
    mapping = ArenaMapping(arena.fds, arena.capacity)
    arena.prepare(16 * MIB)
    settle(arena)
    drop = striped_file.StripedFile.drop

    def use_before_the_drop(file: striped_file.StripedFile, offset: int, size: int) -> None:
        user = threading.Thread(target=write_block)
        user.start()
        user.join(0.05)
        assert user.is_alive(), "the block came into use while its pages were dropped"
        users.append(user)
        drop(file, offset, size)

    def write_block() -> None:
        arena.grow_ahead(16 * MIB)
        mapping.write(12 * MIB, [b"block"])

    users: list[threading.Thread] = []
    monkeypatch.setattr(striped_file.StripedFile, "drop", use_before_the_drop)
    arena.withdraw()
    settle(arena)
    [user] = users
    user.join()
    settle(arena)
    assert mapping.view(12 * MIB, 5) == b"block"
    assert arena.ensured == 16 * MIB
    arena.close()


def test_growing_ahead_ends_for_want_of_memory(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    def posix_fallocate(*_: int) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(os, "posix_fallocate", posix_fallocate)
    arena.grow_ahead(MIB)
    settle(arena)
    assert arena.ensured == 0


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOSPC, errno.EIO])
def test_missing_memory_is_an_answer(
    arena: Arena, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def posix_fallocate(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", posix_fallocate)
    with pytest.raises(OSError if number == errno.EIO else MemoryError):
        arena.ensure(1)
    assert arena.ensured == 0
    monkeypatch.undo()
    arena.ensure(1)
    assert arena.ensured == 4 * MIB


def test_needs_a_capacity() -> None:
    with pytest.raises(ValueError, match="0"):
        Arena(0)


# -- writing --


def test_parts_are_written_one_after_the_other(mapping: ArenaMapping) -> None:
    readonly = np.arange(10_000)
    readonly.flags.writeable = False
    parts = [b"head", bytearray(b""), np.arange(6).reshape(2, 3), memoryview(b"tail"), readonly]
    expected = b"".join(bytes(memoryview(part)) for part in parts)
    for offset in (0, 12345, mapping.capacity - len(expected)):
        assert mapping.write(offset, parts) == len(expected)
        assert mapping.view(offset, len(expected)) == expected


def test_every_way_of_writing_writes_the_same(
    mapping: ArenaMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping_module, "LARGE", 3 * MIB)
    monkeypatch.setattr(mapping_module, "_CHUNK", MIB // 2)
    rng = np.random.default_rng(5)
    shadow = np.zeros(mapping.capacity, np.uint8)
    for _ in range(150):
        size = int(rng.choice([0, 1, 100, 70_000, MIB, 5 * MIB]))
        offset = int(rng.integers(0, mapping.capacity - size))
        content = rng.integers(0, 256, size, np.uint8)
        cut = size // 3
        mapping.write(offset, [content[:cut], content[cut:]])
        shadow[offset : offset + size] = content
    assert any(mapping._resident)
    assert np.array_equal(np.asarray(mapping.view(0, mapping.capacity)), shadow)


def test_a_region_is_mapped_after_it_was_written_a_few_times(mapping: ArenaMapping) -> None:
    ways = []
    for number in range(8):
        ways.append(mapping._is_resident(0, MIB))
        mapping.write(0, [bytes([number]) * MIB])
        assert mapping.view(0, MIB) == bytes([number]) * MIB
    assert ways == [False] * 6 + [True] * 2
    assert not mapping._is_resident(0, 2 * MIB + 1)


def test_works_where_the_kernel_cannot_populate(
    mapping: ArenaMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping_module, "_madvise", lambda *_: -1)
    monkeypatch.setattr(mapping_module, "LARGE", 3 * MIB)
    monkeypatch.setattr(mapping_module, "_CHUNK", MIB)
    for number in range(5):
        mapping.write(MIB, [bytes([number]) * 4 * MIB])
        assert mapping.view(MIB, 4 * MIB) == bytes([number]) * 4 * MIB
    assert not any(mapping._resident)


@pytest.mark.parametrize("large", [MIB, 64 * MIB])
def test_a_write_without_memory_raises(
    mapping: ArenaMapping, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    def pwritev(*_: object) -> int:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(os, "pwritev", pwritev)
    monkeypatch.setattr(mapping_module, "_madvise", lambda *_: -1)
    monkeypatch.setattr(mapping_module, "LARGE", large)
    monkeypatch.setattr(mapping_module, "_CHUNK", MIB)
    with pytest.raises(OSError, match="memory"):
        mapping.write(0, [bytes(8 * MIB)])


def test_nobody_writes_after_an_interrupt(
    mapping: ArenaMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = threading.get_ident()
    write = ArenaMapping._write

    def interrupted(self: ArenaMapping, offset: int, views: list[memoryview], size: int) -> None:
        if threading.get_ident() == main:
            raise KeyboardInterrupt
        write(self, offset, views, size)

    monkeypatch.setattr(ArenaMapping, "_write", interrupted)
    monkeypatch.setattr(mapping_module, "LARGE", MIB)
    monkeypatch.setattr(mapping_module, "_CHUNK", MIB)
    with pytest.raises(KeyboardInterrupt):
        mapping.write(0, [bytes(16 * MIB)])
    assert not [thread for thread in threading.enumerate() if thread.name == "millpond-copy"]


def test_the_end_of_an_odd_arena_can_be_written() -> None:
    arena = Arena(2 * MIB + 100)
    mapping = ArenaMapping(arena.fds, arena.capacity)
    arena.close()
    content = os.urandom(arena.capacity)
    for _ in range(5):
        mapping.write(0, [content])
        assert mapping.view(0, arena.capacity) == content
    assert mapping._resident[0]


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (16 * MIB, 1), (0, 16 * MIB + 1), (0, -1)])
def test_nothing_reaches_outside(mapping: ArenaMapping, offset: int, size: int) -> None:
    with pytest.raises(ValueError, match="not inside"):
        mapping.view(offset, size)
    with pytest.raises(ValueError, match="not inside"):
        mapping.buffer(offset, size)
    if size >= 0:
        with pytest.raises(ValueError, match="not inside"):
            mapping.write(offset, [bytes(size)])


def test_parts_must_be_contiguous(mapping: ArenaMapping) -> None:
    with pytest.raises(TypeError):
        mapping.write(0, [np.arange(10)[::2]])


# -- reading --


def test_buffers_are_read_only_and_without_a_copy(mapping: ArenaMapping) -> None:
    mapping.write(64, [np.arange(1000)])
    buffer = mapping.buffer(64, 8000)
    with address_of(mapping.view(64, 1)) as address:
        assert buffer.address == address
    array = np.frombuffer(buffer, np.int64)
    assert array.sum() == 499_500
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_an_empty_buffer(mapping: ArenaMapping) -> None:
    assert mapping.buffer(mapping.capacity, 0).to_pybytes() == b""


def test_a_pin_lives_as_long_as_anything_built_over_its_buffer(mapping: ArenaMapping) -> None:
    mapping.write(0, [np.arange(1000)])
    pin = Pin()
    alive = weakref.ref(pin)
    buffer = mapping.buffer(0, 8000, pin)
    del pin
    column = pa.Array.from_buffers(pa.int64(), 1000, [None, buffer]).slice(990)
    del buffer
    view = np.asarray(column)[5:]
    del column
    gc.collect()
    assert alive() is not None
    assert view.tolist() == [995, 996, 997, 998, 999]
    del view
    gc.collect()
    assert alive() is None


def test_values_outlive_the_store() -> None:
    arena = Arena(MIB)
    mapping = ArenaMapping(arena.fds, arena.capacity)
    mapping.write(0, [b"still here"])
    buffer = mapping.buffer(0, 10)
    arena.close()
    del mapping
    gc.collect()
    assert buffer.to_pybytes() == b"still here"


def test_a_mapping_leaves_nothing_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a Path would open one more
    for _ in range(3):
        arena = Arena(MIB)
        mapping = ArenaMapping(arena.fds, arena.capacity)
        mapping.write(0, [b"x"])
        arena.close()
        del mapping
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_processes_share_it(arena: Arena, mapping: ArenaMapping) -> None:
    script = (
        "import sys\n"
        "from millpond.objectstore.mapping import ArenaMapping\n"
        "from millpond.objectstore import striped_file\n"
        f"striped_file._STRIPE = {MIB}\n"
        "capacity, *fds = map(int, sys.argv[1:])\n"
        "mapping = ArenaMapping(fds, capacity)\n"
        "assert mapping.view(0, 4) == b'ping'\n"
        "mapping.write(100, [b'pong'])\n"
        "assert 'pyarrow' not in sys.modules\n"
    )
    mapping.write(0, [b"ping"])
    command = [sys.executable, "-c", script, str(arena.capacity), *map(str, arena.fds)]
    subprocess.run(command, check=True, pass_fds=arena.fds)
    assert mapping.view(100, 4) == b"pong"


def test_the_address_of_what_is_no_buffer() -> None:
    with pytest.raises(TypeError), address_of(5):  # type: ignore[arg-type]
        pass
    with pytest.raises(BufferError), address_of(memoryview(b"abc")[::2]):
        pass
    with address_of(b"") as address:
        assert isinstance(address, int)
