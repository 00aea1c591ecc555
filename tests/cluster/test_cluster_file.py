from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from millpond.cluster.cluster_file import (
    KnownCluster,
    find_cluster,
    known_clusters,
    write_cluster_file,
)

OURS = KnownCluster("10.0.0.5:7600", "secret" * 6, tls=True, is_head=True)
OTHER = KnownCluster("10.0.0.5:7601", "hidden" * 6, tls=False, is_head=False)


def session(parent: Path, name: str, known: KnownCluster) -> Path:
    directory = parent / f"millpond-{name}"
    directory.mkdir(mode=0o700)
    write_cluster_file(str(directory), known)
    return directory / "cluster.json"


def test_a_cluster_is_found_by_its_address(tmp_path: Path) -> None:
    session(tmp_path, "one", OURS)
    session(tmp_path, "two", OTHER)
    assert find_cluster("10.0.0.5:7600", tmp_path) == OURS
    assert find_cluster("10.0.0.5:7601", tmp_path) == OTHER
    assert find_cluster("10.0.0.6:7600", tmp_path) is None
    assert find_cluster("127.0.0.1:7601", tmp_path) == OTHER  # it runs here
    assert find_cluster("127.0.0.1:7602", tmp_path) is None


def test_what_a_killed_node_left_behind_does_not_count(tmp_path: Path) -> None:
    directory = session(tmp_path, "killed", OURS).parent
    assert known_clusters(tmp_path) == [OURS]  # it does not listen yet
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "node.sock"))
        listener.listen()
        assert known_clusters(tmp_path) == [OURS]
    assert known_clusters(tmp_path) == []
    assert find_cluster(OURS.address, tmp_path) is None


def test_of_two_that_used_one_address_the_newer_counts(tmp_path: Path) -> None:
    newer = KnownCluster(OURS.address, "newer." * 6, tls=True, is_head=True)
    path = session(tmp_path, "dead", OURS)
    os.utime(path, (1, 1))
    session(tmp_path, "live", newer)
    assert find_cluster(OURS.address, tmp_path) == newer


def test_the_file_is_its_users_only(tmp_path: Path) -> None:
    path = session(tmp_path, "one", OURS)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_could_have_written_is_not_believed(tmp_path: Path) -> None:
    path = session(tmp_path, "one", OURS)
    path.chmod(0o644)
    assert known_clusters(tmp_path) == []
    path.chmod(0o600)
    assert known_clusters(tmp_path) == [OURS]
    link = tmp_path / "millpond-link"
    link.mkdir()
    (link / "cluster.json").symlink_to(path)
    assert known_clusters(tmp_path) == [OURS]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"address": 5}'])
def test_a_file_that_is_damaged_is_passed_over(tmp_path: Path, content: bytes) -> None:
    session(tmp_path, "one", OURS).write_bytes(content)
    assert known_clusters(tmp_path) == []


def test_the_token_is_not_shown() -> None:
    assert OURS.token not in repr(OURS)
