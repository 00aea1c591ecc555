from __future__ import annotations

import errno
import gc
import os
import stat
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from millpond.objectstore import fileio
from millpond.objectstore.fileio import is_full, map_file, read_file, write_file
from millpond.objectstore.files import SpillDirectory, Storage

OID = b"owner-00object-0"


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SpillDirectory]:
    directory = SpillDirectory(tmp_path)
    yield directory
    directory.close()
    assert names(tmp_path) == []


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


def test_what_was_written_is_read_back(storage: SpillDirectory) -> None:
    a_storage: Storage = storage
    content = os.urandom(100_000)
    a_storage.write(OID, memoryview(content))
    back = bytearray(len(content))
    a_storage.read_into(OID, memoryview(back))
    assert back == content
    assert a_storage.path(OID).read_bytes() == content


def test_an_empty_object_has_a_file(storage: SpillDirectory) -> None:
    storage.write(OID, memoryview(b""))
    storage.read_into(OID, memoryview(bytearray()))
    assert storage.path(OID).stat().st_size == 0
    assert map_file(storage.path(OID), 0).to_pybytes() == b""


def test_only_the_user_may_read(storage: SpillDirectory) -> None:
    storage.write(OID, memoryview(b"secret"))
    assert stat.S_IMODE(storage.path(OID).stat().st_mode) == 0o600
    assert stat.S_IMODE(storage.directory.stat().st_mode) == 0o700


def test_two_nodes_share_a_parent(tmp_path: Path) -> None:
    first, second = SpillDirectory(tmp_path), SpillDirectory(tmp_path)
    first.write(OID, memoryview(b"first"))
    second.write(OID, memoryview(b"second"))
    second.close()
    second.close()
    assert first.path(OID).read_bytes() == b"first"
    first.close()
    assert names(tmp_path) == []


def test_deletes_the_file_and_what_a_killed_writer_left(storage: SpillDirectory) -> None:
    storage.delete(OID)
    storage.write(OID, memoryview(b"content"))
    fileio.draft_path(storage.path(OID)).write_bytes(b"cont")
    storage.delete(OID)
    assert names(storage.directory) == []
    with pytest.raises(FileNotFoundError):
        storage.read_into(OID, memoryview(bytearray(7)))


def test_a_short_file_is_an_error(storage: SpillDirectory) -> None:
    storage.write(OID, memoryview(b"content"))
    with pytest.raises(OSError, match="ends after 7 of 8 bytes") as caught:
        storage.read_into(OID, memoryview(bytearray(8)))
    assert caught.value.errno == errno.EIO
    with pytest.raises(OSError, match="has 7 bytes instead of 8"):
        map_file(storage.path(OID), 8)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_write_that_fails_leaves_nothing(
    storage: SpillDirectory, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_after(monkeypatch, 3, number)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        storage.write(OID, memoryview(bytes(1000)))
    assert is_full(caught.value) is (number != errno.EIO)
    assert names(storage.directory) == []


def test_a_write_that_fails_keeps_the_file_that_was_there(
    storage: SpillDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write(OID, memoryview(b"content"))
    fail_after(monkeypatch, 0, errno.ENOSPC)
    with pytest.raises(OSError, match="space"):
        storage.write(OID, memoryview(b"other"))
    assert names(storage.directory) == [OID.hex()]
    assert storage.path(OID).read_bytes() == b"content"


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
    back = bytearray(5510)
    read_file(tmp_path / "file", memoryview(back))
    assert back == b"".join(parts)


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


def test_tells_why_a_directory_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist") as caught:
        SpillDirectory(tmp_path / "none")
    assert caught.value.filename == str(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="not a directory"):
        SpillDirectory(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_tells_that_a_directory_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="cannot be used"):
        SpillDirectory(tmp_path)


def test_tells_that_a_directory_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def posix_fallocate(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", posix_fallocate)
    with pytest.raises(OSError, match=r"is full: \d+ bytes are free") as caught:
        SpillDirectory(tmp_path)
    assert is_full(caught.value)
    assert caught.value.filename == str(tmp_path)
    assert names(tmp_path) == []


def test_removes_what_killed_nodes_left(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from millpond.objectstore.files import SpillDirectory\n"
        "SpillDirectory(sys.argv[1]).write(bytes(16), memoryview(b'left'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    living = SpillDirectory(tmp_path)
    other = tmp_path / "millpond-other"
    other.mkdir()
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    (left,) = set(tmp_path.iterdir()) - {living.directory, other}
    SpillDirectory(tmp_path).close()
    assert left.exists(), "one that is so young may not be locked yet"
    long_ago = time.time() - 3600
    for directory in (left, living.directory, other):
        os.utime(directory, (long_ago, long_ago))
    SpillDirectory(tmp_path).close()
    assert set(tmp_path.iterdir()) == {living.directory, other}
    living.close()
