"""Writing and reading past the page cache: every byte in its place, however it lies in memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.objectstore.spill import direct
from millpond.objectstore.spill.direct import (
    PAGE,
    SECTOR,
    DirectWriter,
    can_bypass_cache,
    is_aligned,
    read_direct,
)

#: sizes around those where something changes
SIZES = st.one_of(
    st.integers(0, 3 * PAGE),
    st.integers(-2, 2).map(lambda more: (128 << 10) + more * SECTOR),
    st.integers((128 << 10) - 2, (128 << 10) + 3 * PAGE),
    st.sampled_from([(1 << 20) + 1, 4 << 20, (4 << 20) - PAGE, (9 << 20) + 17]),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("direct")
    if not can_bypass_cache(directory):
        pytest.skip("the file system of the temporary directory has a page cache only")
    assert not list(directory.iterdir())
    return directory / "file"


@pytest.fixture(scope="module")
def memory() -> memoryview:
    size = 24 << 20
    content = mmap.mmap(-1, size)
    content.write(os.urandom(size))
    return memoryview(content)


def aligned(size: int) -> memoryview:
    return memoryview(mmap.mmap(-1, max(size, 1)))[:size]


def open_direct(file: Path, flags: int) -> int:
    return os.open(file, flags | os.O_DIRECT, 0o600)


@settings(deadline=None, max_examples=50)  # it waits for the disk
@given(
    st.lists(
        st.tuples(
            st.lists(SIZES, min_size=1, max_size=4),  # the pieces of an object, one after the other
            st.sampled_from([0, 1, 2]),  # pages between it and the one before
            st.sampled_from([0, 64, SECTOR]),  # how it lies in memory
        ),
        max_size=5,
    )
)
def test_what_is_written_in_pieces_is_in_the_file(
    file: Path, memory: memoryview, objects: list[tuple[list[int], int, int]]
) -> None:
    expected: list[tuple[int, memoryview]] = []
    fd = open_direct(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        writer = DirectWriter(fd)
        end = 0
        for sizes, gap, shift in objects:
            offset = (-(-end // PAGE) + gap) * PAGE
            at = shift
            for size in sizes:
                piece = memory[at : at + size]
                writer.write(offset, piece)
                if size:
                    expected.append((offset, piece))
                offset, at = offset + len(piece), at + len(piece)
            if sum(sizes):
                end = offset
        writer.flush()
        writer.flush()
    finally:
        os.close(fd)
    found = memoryview(file.read_bytes())
    for offset, piece in expected:
        assert found[offset : offset + len(piece)] == piece
    assert end <= len(found) < end + PAGE
    fd = open_direct(file, os.O_RDONLY)
    try:
        for offset, piece in expected:
            if offset % PAGE == 0:
                back = aligned(len(piece))
                assert read_direct(fd, offset, back) == len(piece)
                assert back == piece
    finally:
        os.close(fd)


def test_reading_tells_where_the_file_ends(file: Path) -> None:
    file.write_bytes(b"x" * (3 * PAGE + 100))
    fd = open_direct(file, os.O_RDONLY)
    try:
        for offset, asked, there in [
            (0, 3 * PAGE + 100, 3 * PAGE + 100),
            (PAGE, 2 * PAGE + 101, 2 * PAGE + 100),
            (PAGE, 5 * PAGE, 2 * PAGE + 100),
            (4 * PAGE, 10, 0),
        ]:
            view = aligned(asked)
            assert read_direct(fd, offset, view) == there
            assert view == b"x" * there + bytes(asked - there)
    finally:
        os.close(fd)


def test_large_objects_are_written_without_a_copy(
    file: Path, memory: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[list[int]] = []

    def pwrite_all(_fd: int, views: list[memoryview], _offset: int) -> None:
        assert all(is_aligned(view) for view in views)
        written.append([len(view) for view in views])

    monkeypatch.setattr(direct, "pwrite_all", pwrite_all)
    writer = DirectWriter(-1)
    for number in range(3):
        writer.write(number << 20, memory[: (1 << 20) - 100])
    writer.flush()
    whole = (1 << 20) - PAGE
    assert written == [[whole, PAGE] * 3], "all in one call, and only the ends copied"
    assert not is_aligned(memory[64:])
