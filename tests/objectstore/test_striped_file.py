from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.objectstore import striped_file
from millpond.objectstore.striped_file import StripedFile

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture(autouse=True)
def small_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(striped_file, "_FILES", 3)
    monkeypatch.setattr(striped_file, "_STRIPE", 2 * PAGE)
    monkeypatch.setattr(striped_file, "_MOST_STRIPES", 10)


@pytest.fixture
def file() -> Iterator[StripedFile]:
    file = StripedFile.create("striped", 15 * PAGE + 100)
    yield file
    for fd in file.fds:
        os.close(fd)


def test_a_small_one_is_one_file() -> None:
    file = StripedFile.create("small", 2 * PAGE)
    [fd] = file.fds
    assert list(file.pieces(0, 2 * PAGE)) == [(fd, 0, 2 * PAGE)]
    os.close(fd)


def test_it_has_no_more_stripes_than_it_may() -> None:
    file = StripedFile.create("large", 100 * PAGE)
    pieces = list(file.pieces(0, 100 * PAGE))
    for fd in file.fds:
        os.close(fd)
    assert [length for _, _, length in pieces] == [10 * PAGE] * 10


@given(capacity=st.integers(1, 5_000), data=st.data())
def test_each_byte_has_one_place(capacity: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(striped_file, "_STRIPE", 100)
        file = StripedFile(range(3), capacity)
        whole = [
            (fd, at)
            for fd, start, length in file.pieces(0, capacity)
            for at in range(start, start + length)
        ]
        assert len(set(whole)) == len(whole) == capacity
        offset = data.draw(st.integers(0, capacity))
        size = data.draw(st.integers(0, capacity - offset))
        part = [
            (fd, at)
            for fd, start, length in file.pieces(offset, size)
            for at in range(start, start + length)
        ]
        assert part == whole[offset : offset + size]
        assert all(file.file_of(offset + n) == fd for n, (fd, _) in enumerate(part))


def test_what_is_written_is_mapped_in_order(file: StripedFile) -> None:
    assert len(file.fds) == 3
    content = os.urandom(file.capacity)
    views = [memoryview(content[:100]), memoryview(content[100 : 3 * PAGE])]
    file.pwrite([*views, memoryview(content[3 * PAGE :])], 0)
    memory = memoryview(file.map()).cast("B")
    assert memory == content
    memory[5 * PAGE - 1 : 5 * PAGE + 1] = b"ab"
    read = [os.pread(fd, length, start) for fd, start, length in file.pieces(5 * PAGE - 1, 2)]
    assert b"".join(read) == b"ab"


def test_pages_come_and_go(file: StripedFile) -> None:
    assert file.resident_bytes == 0
    file.allocate(PAGE, 4 * PAGE)
    assert file.resident_bytes == 4 * PAGE
    file.drop(2 * PAGE, 2 * PAGE)
    assert file.resident_bytes == 2 * PAGE


def test_the_mapping_lives_as_long_as_it_is_used(file: StripedFile) -> None:
    def mapped() -> int:
        with open("/proc/self/maps") as maps:  # noqa: PTH123 - a Path reads it no better
            return sum("memfd:striped" in line for line in maps)

    view = memoryview(file.map()).cast("B")[10:20]
    assert mapped() == 8
    view[:] = b"0123456789"
    del view
    assert mapped() == 0
