"""``millpond start``, ``stop``, ``status`` and ``token``, as an operator types them."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import millpond
from integration.cluster_support import needs_cluster
from integration.conftest import MIB, eventually
from integration.test_cli import fail, run, succeed

pytestmark = needs_cluster

SMALL = ("--num-cpus", "1", "--object-store-memory", str(16 * MIB))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a head that was started from a shell."""
    port = free_port()
    succeed("start", "--head", "--port", str(port), *SMALL)
    yield f"127.0.0.1:{port}"
    run("stop")
    for path in Path(tempfile.gettempdir()).glob("millpond-*/node.log"):
        pytest.fail(f"a node is left: {path.read_text()}")


def test_a_cluster_from_start_to_end(head: str) -> None:
    started = succeed("start", "--address", head, *SMALL)
    assert f"joined {head}." in started
    with millpond.init(address=head, num_cpus=1, object_store_memory=16 * MIB, preload=[]):
        assert len(millpond.nodes()) == 3
        assert millpond.cluster_resources()["CPU"] == 3.0
        pids = [node.pid for node in millpond.nodes() if not node.has_driver]
    assert succeed("stop") == "Stopped 2 nodes.\n"
    assert not any(map(psutil.pid_exists, pids))
    assert "no node to stop" in fail("stop")


def test_the_printed_command_joins(head: str) -> None:
    assignment, *command = shlex.split(succeed("token"))
    assert command == ["millpond", "start", "--address", head]
    name, value = assignment.split("=")
    with tempfile.TemporaryDirectory(prefix="mpother-", dir="/tmp") as elsewhere:
        environment = {**os.environ, "TMPDIR": elsewhere}  # as on another machine
        arguments = [sys.executable, "-m", *command, *SMALL]
        refused = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, check=False
        )
        assert refused.returncode == 1
        assert "set MILLPOND_TOKEN" in refused.stderr
        joined = subprocess.run(
            arguments,
            env={**environment, name: value},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "joined" in joined.stdout, joined.stderr
        assert value not in joined.stdout + joined.stderr
        assert run("stop", "--directory", elsewhere).stdout == "Stopped 1 node.\n"


def test_the_only_cluster_needs_no_address(head: str) -> None:
    with millpond.init(address="auto", object_store_memory=16 * MIB, preload=[]):
        assert millpond.nodes()[0].address == head


def test_the_status_names_the_nodes(head: str) -> None:
    assert [head] == [
        line.split()[2] for line in succeed("status").splitlines() if " head " in line
    ]
    nodes = json.loads(succeed("status", "--json"))["nodes"]
    assert [(node["role"], node["address"]) for node in nodes] == [("head", head)]
    assert (nodes[0]["tasks"], nodes[0]["used_memory"]) == (0, 0)


def test_a_head_on_a_network_address_uses_tls() -> None:
    port = free_port()
    started = succeed("start", "--head", "--host", "0.0.0.0", "--port", str(port), *SMALL)
    try:
        assert "with TLS" in started
        assert "0.0.0.0" not in started
        settings = {"object_store_memory": 16 * MIB, "preload": []}
        with millpond.init(address=f"127.0.0.1:{port}", **settings):  # type: ignore[arg-type]
            assert len(millpond.nodes()) == 2
    finally:
        succeed("stop")


def test_a_node_in_the_foreground_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "millpond", "start", "--head", "--port", "0", "--block"]
    node = subprocess.Popen([*command, *SMALL], stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    assert "head of a new cluster" in node.stdout.readline()
    (child,) = psutil.Process(node.pid).children()
    node.send_signal(signal.SIGTERM)
    assert node.wait(10) == 0
    node.stdout.close()
    assert not child.is_running()


def test_a_node_in_the_foreground_does_not_outlive_its_command() -> None:
    command = [sys.executable, "-m", "millpond", "start", "--head", "--port", "0", "--block"]
    node = subprocess.Popen([*command, *SMALL], stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    node.stdout.readline()
    (child,) = psutil.Process(node.pid).children()
    node.kill()
    node.communicate()

    def gone() -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return child.status() == psutil.STATUS_ZOMBIE
        return True

    eventually(gone, "the node ended")


def test_what_cannot_be_started(head: str) -> None:
    assert "either --head or --address" in fail("start", code=2)
    assert "either --head or --address" in fail("start", "--head", "--address", head, code=2)
    port = head.split(":")[1]
    assert "another process uses this port" in fail("start", "--head", "--port", port, *SMALL)
    assert "NAME=AMOUNT" in fail("start", "--head", "--resource", "disk", code=2)
    assert "num_cpus" in fail("start", "--head", "--num-cpus", "0")
    assert "host:port" in fail("start", "--address", "head")


def test_without_a_cluster() -> None:
    assert "no node of a cluster runs here" in fail("token")
    assert "found: none" in fail("start", "--address", "auto")


def test_a_session_of_a_driver_is_not_stopped(engine: millpond.Context) -> None:
    assert "no node to stop" in fail("stop")
    assert len(millpond.nodes()) == 1
