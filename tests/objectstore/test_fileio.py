from __future__ import annotations

import errno
import gc
import os
import weakref
from pathlib import Path

import pytest

from millpond.objectstore import fileio
from millpond.objectstore.fileio import is_full, map_file, write_file


class Pin:
    pass


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def fail_after(monkeypatch: pytest.MonkeyPatch, calls: int, number: int) -> None:
    """Let the system fail a write after some that write only a part of what they are given."""
    real = os.pwritev
    left = iter(range(calls))

    def pwritev(fd: int, buffers: list[memoryview], offset: int) -> int:
        if next(left, None) is None:
            raise OSError(number, os.strerror(number))
        first = buffers[0]
        return real(fd, [first[: max(1, len(first) // 2)]], offset)

    monkeypatch.setattr(os, "pwritev", pwritev)


def test_a_short_file_is_an_error(tmp_path: Path) -> None:
    write_file(tmp_path / "file", [b"content"])
    with pytest.raises(OSError, match="has 7 bytes instead of 8") as caught:
        map_file(tmp_path / "file", 8)
    assert caught.value.errno == errno.EIO
    with pytest.raises(OSError, match="has 7 bytes instead of 8"):
        map_file(tmp_path / "file", 2, offset=6)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_after(monkeypatch, 3, number)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        write_file(tmp_path / "file", [bytes(1000)])
    assert is_full(caught.value) is (number != errno.EIO)
    assert names(tmp_path) == []


def test_a_write_that_fails_keeps_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path / "file", [b"content"])
    fail_after(monkeypatch, 0, errno.ENOSPC)
    with pytest.raises(OSError, match="space"):
        write_file(tmp_path / "file", [b"other"])
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_parts_are_written_in_order_however_little_the_system_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_after(monkeypatch, 10_000, errno.EIO)
    parts: list[bytes | bytearray | memoryview] = [
        b"ab",
        b"",
        bytearray(range(200)),
        memoryview(b"xyz")[::1],
        b"end",
    ]
    write_file(tmp_path / "file", parts)
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


def test_more_parts_than_a_system_call_takes(tmp_path: Path) -> None:
    parts = [b"%d," % number for number in range(5000)]
    write_file(tmp_path / "file", parts)
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


def test_large_calls_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fileio, "_CALL_MAX", 1000)
    parts = [os.urandom(2500), os.urandom(10), os.urandom(3000)]
    write_file(tmp_path / "file", parts)
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


def test_parts_must_be_contiguous(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_file(tmp_path / "file", [memoryview(b"abcdef")[::2]])
    assert names(tmp_path) == []


def test_a_mapped_file_outlives_its_name_and_keeps_its_pin(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, [b"0123456789"])
    pin = Pin()
    alive = weakref.ref(pin)
    buffer = map_file(path, 10, pin)
    del pin
    path.unlink()
    part = buffer.slice(5)
    assert not buffer.is_mutable
    del buffer
    gc.collect()
    assert part.to_pybytes() == b"56789"
    assert alive() is not None
    del part
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("offset", [0, 1, 64, 4095, 4096, 4097, 9999])
def test_a_part_of_a_file_is_mapped_from_any_offset(tmp_path: Path, offset: int) -> None:
    content = os.urandom(10_000)
    write_file(tmp_path / "file", [content])
    for size in (0, 1, 10_000 - offset):
        buffer = map_file(tmp_path / "file", size, offset=offset)
        assert buffer.to_pybytes() == content[offset : offset + size]
