"""Several nodes on this machine: joining, leaving, dying, and who is not let in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import millpond
from integration.cluster_support import needs_cluster
from integration.conftest import MIB, eventually
from millpond.api.joining import head_settings, join_settings, new_token
from millpond.api.node_process import NodeProcess
from millpond.api.session import connected_runtime
from millpond.api.settings import Settings
from millpond.errors import (
    AuthenticationError,
    CertificateError,
    ClusterError,
    ConfigurationError,
    HeadUnreachableError,
    PortError,
)
from millpond.testing import Cluster
from millpond.wire.messages.cluster import ClusterSettings

pytestmark = needs_cluster

STORE = 32 * MIB


@pytest.fixture
def cluster() -> Iterator[Callable[..., Cluster]]:
    """Start clusters, which are ended when the test is."""
    started: list[Cluster] = []

    def start(num_nodes: int = 2, **settings: object) -> Cluster:
        started.append(Cluster(num_nodes, object_store_memory=STORE, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for each in started:
        each.shutdown()


@millpond.remote
def double(value: int) -> int:
    return 2 * value


@millpond.remote
def seen_by_a_task() -> list[str]:
    return [node.node_id for node in millpond.nodes()]


def ids() -> set[str]:
    return {node.node_id for node in millpond.nodes()}


def join(settings: ClusterSettings) -> NodeProcess:
    node = NodeProcess(
        Settings.checked(1, None, STORE, None, [], log_to_driver=True),
        [],
        has_driver=False,
        cluster=settings,
    )
    node.close_arena()
    return node


@pytest.mark.parametrize("tls", [False, True])
def test_all_nodes_are_members(cluster: Callable[..., Cluster], tls: bool) -> None:
    running = cluster(3, num_cpus=2, resources={"disk": 1}, tls=tls)
    running.connect(num_cpus=1)
    nodes = millpond.nodes()
    assert len(nodes) == 4
    assert [node.is_head for node in nodes] == [True, False, False, False]
    assert nodes[0].address == running.address
    (here,) = (node for node in nodes if node.is_here)
    assert here.has_driver
    assert {node.node_id for node in nodes if not node.is_here} == {
        node.node_id for node in running.nodes
    }
    assert {node.pid for node in nodes} >= {node.pid for node in running.nodes}
    resources = millpond.cluster_resources()
    assert (resources["CPU"], resources["disk"]) == (7.0, 3.0)


def test_one_machine_is_a_cluster_of_one(engine: millpond.Context) -> None:
    (node,) = millpond.nodes()
    assert node.is_head
    assert node.is_here
    assert node.has_driver
    assert node.address == ""
    assert node.object_store_memory == engine.object_store_memory
    assert millpond.cluster_resources() == engine.resources


def test_one_machine_opens_no_port_and_needs_no_grpc(engine: millpond.Context) -> None:
    assert millpond.get(double.remote(2)) == 4
    for process in psutil.Process().children(recursive=True):
        assert process.net_connections("inet") == []
        assert "grpc" not in Path(f"/proc/{process.pid}/maps").read_text()


def test_grpc_stays_out_of_workers_and_drivers(cluster: Callable[..., Cluster]) -> None:
    running = cluster(2)
    running.connect()
    assert millpond.get(double.remote(2)) == 4
    loaded = {
        process.pid
        for process in psutil.Process().children(recursive=True)
        if "grpc" in Path(f"/proc/{process.pid}/maps").read_text()
    }
    assert loaded == {node.pid for node in millpond.nodes()}
    # This process has it from other tests.
    driver = (
        "import sys, millpond\n"
        "with millpond.init(address=sys.argv[1], num_cpus=0, object_store_memory=16 << 20):\n"
        "    assert millpond.get(millpond.remote(lambda: 2).remote()) == 2\n"
        "assert 'grpc' not in sys.modules\n"
    )
    command = [sys.executable, "-c", driver, running.address]
    subprocess.run(command, check=True, timeout=60)


def test_tasks_see_the_cluster_too(cluster: Callable[..., Cluster]) -> None:
    cluster(2).connect()
    assert set(millpond.get(seen_by_a_task.remote())) == ids()


def test_nodes_come_and_go(cluster: Callable[..., Cluster]) -> None:
    running = cluster(2)
    running.connect()
    added = running.add_node()
    eventually(lambda: added.node_id in ids(), "the new node is seen")
    running.stop(added)
    eventually(lambda: added.node_id not in ids(), "it is seen to be gone", 2)
    assert not psutil.pid_exists(added.pid)


def test_a_killed_node_is_noticed_at_once(cluster: Callable[..., Cluster]) -> None:
    running = cluster(3)
    running.connect()
    victim = running.nodes[1]
    running.kill(victim)
    eventually(lambda: victim.node_id not in ids(), "the node is seen to be gone", 2)
    assert len(millpond.nodes()) == 3
    assert millpond.get(double.remote(4)) == 8


def test_a_node_that_hangs_is_given_up(cluster: Callable[..., Cluster]) -> None:
    running = cluster(2, patience=1.0)
    running.connect()
    victim = running.nodes[1]
    os.kill(victim.pid, signal.SIGSTOP)
    try:
        eventually(lambda: victim.node_id not in ids(), "the node is given up", 5)
    finally:
        os.kill(victim.pid, signal.SIGCONT)
    # It was alive, and learns that it is not wanted any more.
    eventually(lambda: not psutil.pid_exists(victim.pid) or _is_zombie(victim.pid), "it ends")
    running.stop(victim)


def test_what_a_slow_node_does_not_take_stays_with_who_sends_it(
    cluster: Callable[..., Cluster],
) -> None:
    running = cluster(1, patience=60.0)
    slow = running.add_node(resources={"slow": 1})
    running.connect(num_cpus=0, object_store_memory=4096 * MIB)  # a part may be sent inline
    unsent = connected_runtime().node._unsent
    (here,) = (node for node in millpond.nodes() if node.is_here)

    @millpond.remote(resources={"slow": 0.25}, num_cpus=0)
    class Sizes:
        def size(self, value: bytes) -> int:
            return len(value)

    def node_reads_no_more() -> bool:
        left = len(unsent)
        time.sleep(0.3)
        return 0 < left == len(unsent)

    actors = [Sizes.remote() for _ in range(4)]
    assert millpond.get([each.size.remote(b"1") for each in actors]) == [1] * 4
    before = psutil.Process(here.pid).memory_full_info().uss
    os.kill(slow.pid, signal.SIGSTOP)
    try:
        refs = [each.size.remote(bytes(60_000)) for each in actors for _ in range(900)]
        eventually(node_reads_no_more, "the node reads no more")
        grown = psutil.Process(here.pid).memory_full_info().uss - before
    finally:
        os.kill(slow.pid, signal.SIGCONT)
    assert millpond.get(refs) == [60_000] * len(refs)
    assert grown < 128 * MIB


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def test_without_the_head_nodes_end_and_the_driver_goes_on_alone(
    cluster: Callable[..., Cluster],
) -> None:
    running = cluster(3)
    running.connect()
    others = running.nodes[1:]
    running.kill(running.nodes[0])
    eventually(lambda: len(millpond.nodes()) == 1, "the driver's node is alone", 2)
    assert millpond.nodes()[0].is_head
    assert millpond.get(double.remote(5)) == 10
    eventually(lambda: all(_is_zombie(node.pid) for node in others), "the others ended")


STARTER = """
import sys
from millpond.testing import Cluster
cluster = Cluster(2, object_store_memory=16 << 20)
cluster.connect()
print(*(node.pid for node in cluster.nodes), flush=True)
sys.stdin.read()
"""


def test_nodes_end_with_their_starter_however_that_ends() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pids = [int(pid) for pid in starter.stdout.readline().split()]
    assert len(pids) == 2
    starter.kill()
    starter.communicate()
    eventually(lambda: not any(map(psutil.pid_exists, pids)), "all nodes are gone")


def test_a_running_session_can_be_joined(start: Callable[..., millpond.Context]) -> None:
    start(num_cpus=1)
    address = millpond.open_port()
    with pytest.raises(ClusterError, match=f"has a port already: {address}"):
        millpond.open_port()
    node = join(join_settings(address))
    try:
        assert [found.address for found in millpond.nodes()] == [address, node.address]
        assert millpond.nodes()[0].is_here
        assert millpond.cluster_resources()["CPU"] == 2.0
    finally:
        node.terminate()
        node.wait(5)
        node.connection.close()


def test_a_port_that_cannot_be_opened_harms_nothing(
    start: Callable[..., millpond.Context],
) -> None:
    start(num_cpus=1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortError):
            millpond.open_port(port=taken.getsockname()[1])
    assert millpond.get(double.remote(2)) == 4
    assert millpond.open_port().startswith("127.0.0.1:")


def test_what_far_tasks_print_is_shown_with_their_node(
    cluster: Callable[..., Cluster], capfd: pytest.CaptureFixture[str]
) -> None:
    running = cluster(2, resources={"far": 1})
    running.connect()

    @millpond.remote(resources={"far": 1}, num_cpus=0)
    def talk() -> None:
        print("hello from afar")

    millpond.get(talk.remote())
    millpond.shutdown()
    (line,) = (line for line in capfd.readouterr().out.splitlines() if "hello" in line)
    assert any(f" node={node.node_id}) " in line for node in running.nodes)
    assert "talk pid=" in line


def test_a_driver_may_have_no_cpus_of_its_own(cluster: Callable[..., Cluster]) -> None:
    running = cluster(1, num_cpus=2)
    running.connect(num_cpus=0)
    assert millpond.cluster_resources()["CPU"] == 2.0
    assert millpond.get([double.remote(value) for value in range(20)]) == list(range(0, 40, 2))


def test_a_worker_elsewhere_that_was_given_back_at_once_is_given_again(
    cluster: Callable[..., Cluster],
) -> None:
    cluster(1).connect(num_cpus=0)
    for value in range(30):
        # The lease comes and goes between two reports of the node's load, or in the middle of one.
        assert millpond.get(double.remote(value), timeout=30) == 2 * value
        time.sleep(0.08)


@millpond.remote
class Idler:
    def ping(self) -> int:
        return 1


@millpond.remote
def meet(here: Path, there: Path) -> bool:
    here.touch()
    deadline = time.monotonic() + 10
    while not there.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return there.exists()


def test_actors_that_need_no_cpu_leave_the_slots_of_their_node_to_tasks(
    cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster(1, resources={"far": 3}).connect(num_cpus=1)
    idlers = [Idler.options(resources={"far": 1}).remote() for _ in range(3)]
    assert millpond.get([idler.ping.remote() for idler in idlers]) == [1, 1, 1]
    time.sleep(0.3)  # until the node has reported its load
    one, other = tmp_path / "one", tmp_path / "other"
    assert millpond.get([meet.remote(one, other), meet.remote(other, one)]) == [True, True]


# --- who is not let in -------------------------------------------------------------------------


def test_a_wrong_token(cluster: Callable[..., Cluster]) -> None:
    running = cluster(1)
    with pytest.raises(AuthenticationError, match=r"refused: a wrong token .*MILLPOND_TOKEN"):
        join(join_settings(running.address, token=new_token()))


def test_a_wrong_token_with_tls(cluster: Callable[..., Cluster]) -> None:
    running = cluster(1, tls=True)
    started = time.monotonic()
    with pytest.raises(CertificateError, match="is the token the same"):
        join(join_settings(running.address, token=new_token()))
    assert time.monotonic() - started < 5


def test_no_tls_where_it_is_used_and_the_reverse(cluster: Callable[..., Cluster]) -> None:
    for tls, error in ((True, HeadUnreachableError), (False, CertificateError)):
        running = cluster(1, tls=tls)
        settings = join_settings(running.address)
        settings.tls = not tls
        with pytest.raises(error, match="TLS"):
            join(settings)


def test_no_token_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MILLPOND_TOKEN", raising=False)
    with pytest.raises(ConfigurationError, match="set MILLPOND_TOKEN"):
        millpond.init(address="127.0.0.1:1", object_store_memory=STORE)
    assert not millpond.is_initialized()


def test_an_address_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match=r"host:port.*'head'"):
        millpond.init(address="head", object_store_memory=STORE)


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLPOND_TOKEN", new_token())
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(HeadUnreachableError, match=f":{port}"):
            millpond.init(address=f"127.0.0.1:{port}", object_store_memory=STORE)
    assert not millpond.is_initialized()


def test_something_else_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLPOND_TOKEN", new_token())
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with pytest.raises(HeadUnreachableError, match=f":{port}"):
            millpond.init(address=f"127.0.0.1:{port}", object_store_memory=STORE)


def test_a_member_that_is_not_the_head(cluster: Callable[..., Cluster]) -> None:
    running = cluster(2)
    with pytest.raises(ClusterError, match=f"join it at {running.address}"):
        join(join_settings(running.nodes[1].address, token=running._token))


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=rf":{port}: another process uses this port"):
            join(head_settings(port=port))
    with pytest.raises(PortError, match=r"192\.0\.2\.1"):
        join(head_settings(host="192.0.2.1", port=port))


def test_garbage_at_the_port_hurts_nobody(cluster: Callable[..., Cluster]) -> None:
    running = cluster(2)
    running.connect()
    host, port = running.address.split(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 65536, preface + b"\xff" * 65536):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(garbage)
    assert len(millpond.nodes()) == 3
    running.add_node()
    eventually(lambda: len(millpond.nodes()) == 4, "nodes can still join")


# --- the token ---------------------------------------------------------------------------------


def test_the_token_is_found_by_its_user_and_shown_nowhere(
    cluster: Callable[..., Cluster], capfd: pytest.CaptureFixture[str]
) -> None:
    running = cluster(2)
    running.connect()
    assert millpond.get(double.remote(1)) == 2
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        assert running._token not in " ".join(process.cmdline())
    with pytest.raises(AuthenticationError) as caught:
        join(join_settings(running.address, token=new_token()))
    assert running._token not in str(caught.value)
    captured = capfd.readouterr()
    assert "refused a call" in captured.err
    assert running._token not in captured.out + captured.err
