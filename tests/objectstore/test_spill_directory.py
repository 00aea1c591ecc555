from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from millpond.objectstore.fileio import is_full
from millpond.objectstore.spill.directory import SpillDirectory


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


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
        "from millpond.objectstore.spill.directory import SpillDirectory\n"
        "(SpillDirectory(sys.argv[1]).directory / 'left').write_bytes(b'left')\n"
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


def test_two_nodes_share_a_parent(tmp_path: Path) -> None:
    first, second = SpillDirectory(tmp_path), SpillDirectory(tmp_path)
    (first.directory / "file").write_bytes(b"first")
    (second.directory / "file").write_bytes(b"second")
    second.close()
    second.close()
    assert (first.directory / "file").read_bytes() == b"first"
    assert stat.S_IMODE(first.directory.stat().st_mode) == 0o700
    first.close()
    assert names(tmp_path) == []


def test_leaves_the_floor_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk(total: int, free: int) -> None:
        answer = SimpleNamespace(f_frsize=1000, f_blocks=total // 1000, f_bavail=free // 1000)
        monkeypatch.setattr(os, "statvfs", lambda _: answer)

    disk(10**9, 10**9)
    by_default, given = SpillDirectory(tmp_path), SpillDirectory(tmp_path, floor=500_000_000)
    none = SpillDirectory(tmp_path, floor=0)
    disk(10**9, 60 * 10**6)  # one hundredth of the disk is 10 MB
    by_default.admit(50 * 10**6)
    with pytest.raises(OSError, match=r"60000000 of 1000000000 .* 10000000 are to stay") as caught:
        by_default.admit(50 * 10**6 + 1)
    assert is_full(caught.value)
    with pytest.raises(OSError, match="500000000 are to stay free, and 1 are needed"):
        given.admit(1)
    none.admit(60 * 10**6)
    disk(10**12, 10**9)  # of a large disk not more than 100 MB
    by_default.admit(900 * 10**6)
    with pytest.raises(OSError, match="100000000 are to stay free"):
        by_default.admit(900 * 10**6 + 1)
    for directory in (by_default, given, none):
        directory.close()
