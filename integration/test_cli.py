"""The command ``millpond``, run as another process beside a session."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

import millpond
from integration.conftest import MIB
from millpond.wire import messages as m
from millpond.wire.framing import FrameDecoder, encode_frame

Start = Callable[..., millpond.Context]

OTHER_DRIVER = """
import sys, millpond
millpond.init(num_cpus=1, object_store_memory=16 << 20, preload=[])
ref = millpond.put(bytes(1 << 20))
print("ready", flush=True)
sys.stdin.read()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "millpond", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def succeed(*arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def fail(*arguments: str, code: int = 1) -> str:
    done = run(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_help_and_version() -> None:
    assert "memory" in succeed("--help")
    assert "--group-by" in succeed("memory", "--help")
    assert succeed("--version").strip().endswith(millpond.__version__)


def test_without_a_session() -> None:
    assert "no session is running" in fail("memory")


def test_wrong_usage_has_its_own_exit_code() -> None:
    assert "No such command" in fail("nonsense", code=2)
    assert "--sort" in fail("memory", "--sort", "nonsense", code=2)


def test_the_report_is_that_of_the_driver(start: Start) -> None:
    start()
    refs = [millpond.put(np.ones(size * MIB, np.uint8)) for size in (1, 2)]
    shown = succeed("memory").splitlines()
    ours = str(millpond.memory()).splitlines()
    assert shown[:3] == ours[:3]
    assert refs[1].hex() in shown[1]
    assert f"driver {os.getpid()}" in shown[1]
    assert "2 objects" in shown[4]
    (only,) = succeed("memory", "--limit", "1", "--sort", "age").split("\n\n")[0].splitlines()[1:]
    assert refs[0].hex() in only
    grouped = succeed("memory", "--group-by", "call_site").splitlines()
    assert "test_cli.py:" in grouped[1]
    assert len(grouped) == len(
        succeed("memory", "--group-by", "owner", "--limit", "0").splitlines()
    )


def test_json_is_for_programs(start: Start) -> None:
    start()
    ref = millpond.put(np.ones(MIB, np.uint8))
    array = millpond.get(ref)
    told = json.loads(succeed("memory", "--json"))
    (row,) = told["objects"]
    assert row["id"] == ref.hex()
    assert row["size"] > MIB
    driver = {"role": "driver", "pid": os.getpid(), "node": ""}
    assert row["pins"] == [{"process": driver, "count": 1}]
    (node,) = told["nodes"]
    assert node["store"]["num_objects"] == 1
    del array


def test_one_of_several_sessions_is_chosen(start: Start) -> None:
    start()
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "ready\n"
    told = fail("memory")
    assert "--session or --pid" in told
    assert str(os.getpid()) in told
    assert "1 objects" in succeed("memory", "--pid", str(other.pid))
    assert "0 objects" in succeed("memory", "--pid", str(os.getpid()))
    (name,) = [row.split()[1] for row in told.splitlines() if row.split()[:1] == [str(other.pid)]]
    assert "1 objects" in succeed("memory", "--session", name)
    assert "has the pid 1;" in fail("memory", "--pid", "1")
    other.communicate("")
    assert "0 objects" in succeed("memory")


def test_what_a_killed_node_left_is_no_session() -> None:
    with tempfile.TemporaryDirectory(prefix="mptest-", dir="/tmp") as directory:
        environment = {**os.environ, "TMPDIR": directory}
        driver = subprocess.Popen(
            [sys.executable, "-c", OTHER_DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"ready\n"
        assert "1 objects" in succeed("memory", "--directory", directory)
        (node,) = psutil.Process(driver.pid).children()
        node.suspend()  # or it would tidy up
        driver.kill()
        driver.communicate()
        node.kill()
        node.wait()
        told = fail("memory", "--directory", directory)
        assert "no session is running" in told
        (left,) = Path(directory).glob("millpond-*")
        assert f"safe to remove: {left}" in told


def test_the_status_shows_what_is_used(start: Start) -> None:
    start(num_cpus=3, resources={"disk": 2})

    @millpond.remote(num_cpus=1, resources={"disk": 0.5})
    class Holder:
        def ready(self) -> None:
            pass

    holder = Holder.remote()
    millpond.get(holder.ready.remote())
    ref = millpond.put(np.ones(MIB, np.uint8))
    told = json.loads(succeed("status", "--json"))
    used = {row["name"]: (row["used"], row["total"]) for row in told["resources"]}
    assert used["disk"] == (0.5, 2)
    assert used["CPU"] == (1, 3)
    assert told["actors"] == 1
    assert told["store"]["num_objects"] == 1
    text = succeed("status")
    assert [line.split() for line in text.splitlines() if line.startswith("disk")] == [
        ["disk", "0.5", "2"]
    ]
    assert str(os.getpid()) in text
    assert "no session is running" in fail("status", "--directory", "/proc")
    del ref
    millpond.kill(holder)


def observe() -> socket.socket:
    millpond.statistics()  # the node listens
    (directory,) = Path(tempfile.gettempdir()).glob("millpond-*")
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(str(directory / "node.sock"))
    connection.sendall(encode_frame(m.Hello(m.PROTOCOL, b"observer", "observer", os.getpid())))
    return connection


def test_an_observer_changes_nothing(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    start()
    ref = millpond.put(np.ones(MIB, np.uint8))
    with observe() as observer:
        observer.sendall(encode_frame(m.DeleteObjects([ref.id])))
        observer.sendall(encode_frame(m.Shutdown()))
        observer.sendall(encode_frame(m.GetMemory(1)))
        (state,) = FrameDecoder().feed(observer.recv(1 << 16))
    assert [stored.object_id for stored in state.objects] == [ref.id]
    assert {process.role for process in state.processes} <= {"driver", "worker"}
    assert int(millpond.get(ref)[-1]) == 1
    assert millpond.get(millpond.remote(lambda: 5).remote()) == 5
    millpond.shutdown()
    told = capfd.readouterr().err
    assert "unexpected DeleteObjects" in told
    assert "unexpected Shutdown" in told


def test_a_session_outlives_its_observers(start: Start) -> None:
    start()
    with observe() as observer:
        observer.sendall(encode_frame(m.GetMemory(1)))  # closed without waiting for the answer
    for _ in range(3):
        succeed("memory")
    assert millpond.get(millpond.remote(lambda: 5).remote()) == 5
