from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from millpond.cli.sessions import FoundSession, choose, find_sessions
from millpond.errors import SessionNotFoundError

ONE = FoundSession(Path("/tmp/millpond-one"), 11, 10, "python one.py", 1e9)
TWO = FoundSession(Path("/tmp/millpond-two"), 21, 20, "python two.py", 1e9)
DEAD = FoundSession(Path("/tmp/millpond-dead"))


def test_the_only_running_session_needs_no_choice() -> None:
    assert choose([DEAD, ONE]) is ONE
    assert ONE.name == "one"


@pytest.mark.parametrize("name", ["two", "millpond-two", "/tmp/millpond-two"])
def test_a_session_is_chosen_by_its_name(name: str) -> None:
    assert choose([ONE, TWO], name) is TWO


@pytest.mark.parametrize("pid", [20, 21])
def test_a_session_is_chosen_by_its_driver_or_node(pid: int) -> None:
    assert choose([ONE, TWO], pid=pid) is TWO


def test_several_sessions_are_listed() -> None:
    with pytest.raises(SessionNotFoundError, match="--session or --pid") as caught:
        choose([ONE, TWO, DEAD])
    assert "python one.py" in str(caught.value)
    assert "dead" not in str(caught.value)


def test_a_wrong_choice_says_what_there_is() -> None:
    with pytest.raises(SessionNotFoundError, match="has the name x and the pid 5") as caught:
        choose([ONE], "x", 5)
    assert "python one.py" in str(caught.value)
    with pytest.raises(SessionNotFoundError, match="has the pid 5;"):
        choose([ONE], pid=5)


def test_without_a_session_the_dead_ones_are_named() -> None:
    with pytest.raises(SessionNotFoundError, match=r"no session is running\."):
        choose([])
    with pytest.raises(SessionNotFoundError, match="safe to remove: /tmp/millpond-dead"):
        choose([DEAD])
    with pytest.raises(SessionNotFoundError, match="safe to remove"):
        choose([DEAD], "dead")


@pytest.fixture
def parent() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mptest-", dir="/tmp") as directory:
        yield Path(directory)


def listen(directory: Path, mode: int = 0o700) -> socket.socket:
    directory.mkdir(mode=mode)
    directory.chmod(mode)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "node.sock"))
    listener.listen()
    return listener


def test_a_directory_with_a_listening_node_is_a_session(parent: Path) -> None:
    import os

    with listen(parent / "millpond-abc"):
        (found,) = find_sessions(parent)
    assert found.name == "abc"
    assert found.node_pid == os.getpid()
    assert found.driver_pid == os.getppid()
    assert found.started > 0


def test_what_a_killed_node_left_is_dead(parent: Path) -> None:
    listen(parent / "millpond-abc").close()
    assert find_sessions(parent) == [FoundSession(parent / "millpond-abc")]


def test_other_directories_are_no_sessions(parent: Path) -> None:
    (parent / "millpond-spill").mkdir(mode=0o700)
    (parent / "millpond-file").write_text("")
    (parent / "other").mkdir()
    with listen(parent / "millpond-open", 0o755):  # anybody could have put a socket there
        assert find_sessions(parent) == []
    (parent / "real").mkdir(mode=0o700)
    with listen(parent / "real" / "millpond-x"):
        (parent / "millpond-link").symlink_to(parent / "real" / "millpond-x")
        assert find_sessions(parent) == []
