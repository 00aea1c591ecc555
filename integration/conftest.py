"""Fixtures of the integration tests: a running engine, and a check that nothing is left of it."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import millpond

MIB = 1 << 20

#: every state machine checks itself after every event
os.environ["MILLPOND_VALIDATE"] = "1"


def _threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("millpond")}


def _fds() -> set[str]:
    """Return what the open descriptors of this process that could be ours point to."""
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(fd.readlink())
            if "memfd:millpond" in target or "millpond-" in target:
                found.add(target)
    return found


def _session_dirs() -> set[str]:
    return {str(path) for path in Path(tempfile.gettempdir()).glob("millpond-*")}


@pytest.fixture(autouse=True, scope="session")
def own_temporary_directory() -> Iterator[None]:
    """Keep other sessions on this machine out of the checks. (Socket paths must be short.)"""
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="mptest-", dir="/tmp") as directory:
        tempfile.tempdir = os.environ["TMPDIR"] = directory
        yield
        tempfile.tempdir = before[0]
        os.environ.pop("TMPDIR")
        if before[1] is not None:
            os.environ["TMPDIR"] = before[1]


def flip_byte(path: Path, offset: int) -> None:
    """Change one byte of a file that has been written."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))


def eventually(condition: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
    """Wait until something that happens in other processes has happened."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout} s: {what}")
        time.sleep(0.005)


def assert_store_empty() -> None:
    """All objects are freed once nobody holds them."""
    gc.collect()

    def empty() -> bool:
        return millpond.statistics().store.num_objects == 0

    eventually(empty, f"the store is empty; it holds {millpond.statistics().store}")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After every test: no process, thread, descriptor, or file of the engine."""
    dirs = _session_dirs()
    yield
    millpond.shutdown()
    gc.collect()
    assert _session_dirs() <= dirs
    assert not _threads()
    children = psutil.Process().children(recursive=True)
    ours = [child for child in children if "millpond" in " ".join(_cmdline(child))]
    assert not ours
    eventually(lambda: not _fds(), f"no descriptor is left, but {_fds()}")


def _cmdline(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


@pytest.fixture
def start() -> Iterator[Callable[..., millpond.Context]]:
    """Start the engine with settings of the test's own; the store must be empty at the end."""

    def init(**settings: Any) -> millpond.Context:
        return millpond.init(
            **{"num_cpus": 2, "object_store_memory": 256 * MIB, "preload": [], **settings}
        )

    yield init
    if millpond.is_initialized():
        assert_store_empty()


@pytest.fixture
def engine(start: Callable[..., millpond.Context]) -> millpond.Context:
    """A running engine with 2 CPUs and a store of 256 MiB."""
    return start()
