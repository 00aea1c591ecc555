"""Nodes on hosts of their own, over TLS: network stacks, slow links, intruders, a pulled plug."""

from __future__ import annotations

import os
import pickle
import secrets
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.compare import difference
from demo.data import prepare
from demo.duck import Duck
from integration.cluster_support import needs_cluster
from integration.conftest import MIB, eventually
from integration.hosts import Host, network, why_not

pytestmark = [
    needs_cluster,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

COMMAND = (sys.executable, "-c", "from millpond.cli.main import main; main()")
PORT = 7600


class Machines:
    """Hosts with a node each, the first one with the head.

    Attributes:
        hosts: all of them.
    """

    def __init__(self, hosts: list[Host]) -> None:
        self.hosts = hosts
        self.environment = {
            "MILLPOND_TOKEN": secrets.token_hex(32),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self._nodes: list[subprocess.Popen[str]] = []

    @property
    def head(self) -> str:
        """The address by which nodes join."""
        return f"{self.hosts[0].address}:{PORT}"

    def start(self) -> None:
        """Start a node on each."""
        for host in self.hosts:
            node = self._start_node(host, self.environment)
            self._nodes.append(node)
            assert node.stdout is not None
            first = node.stdout.readline()
            assert "joined" in first or "listens" in first, first

    def refused(self, host: Host, **environment: str) -> str:
        """Start a node that cannot join; return what it said."""
        node = self._start_node(host, {**self.environment, **environment})
        said, _ = node.communicate(timeout=60)
        assert node.returncode == 1, said
        return said

    def _start_node(self, host: Host, environment: dict[str, str]) -> subprocess.Popen[str]:
        role = ["--address", self.head] if self._nodes else ["--head"]
        where = ["--host", host.address, "--port", str(PORT if host is self.hosts[0] else 0)]
        size = ["--num-cpus", "1", "--object-store-memory", str(64 * MIB)]
        return host.popen([*COMMAND, "start", *role, *where, *size, "--block"], **environment)

    def run(self, program: Path, *arguments: str) -> str:
        """Run a program on the first host, with the cluster to use; return what it printed."""
        done = self.hosts[0].popen(
            [sys.executable, str(program), *arguments],
            **self.environment,
            MILLPOND_ADDRESS=self.head,
        )
        output, _ = done.communicate(timeout=180)
        assert done.returncode == 0, output
        return output

    def stop(self) -> str:
        """End all nodes, the head last; return what that one said."""
        said = ""
        for node in reversed(self._nodes):
            node.terminate()
            said, _ = node.communicate(timeout=30)
        return said


@pytest.fixture
def machines() -> Iterator[Machines]:
    with network(3) as hosts:
        machines = Machines(hosts)
        try:
            machines.start()
            yield machines
        finally:
            machines.stop()


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(text))
        return path

    return write


SHUFFLE = """
    import sys, time
    import millpond
    from integration.shuffling import expected_sum, shuffle

    if __name__ == "__main__":
        with millpond.init(num_cpus=1, object_store_memory=64 << 20):
            assert len(millpond.nodes()) == 4, millpond.nodes()
            started = time.monotonic()
            maps, sums = shuffle()
            if len(sys.argv) > 1:
                millpond.wait([row[0] for row in maps], num_returns=6)
                open(sys.argv[1], "w").close()
            assert sum(millpond.get(sums, timeout=150)) == expected_sum()
            print("right")
"""


def test_a_shuffle_over_slow_links(machines: Machines, program: Callable[[str], Path]) -> None:
    for host in machines.hosts:
        slow = host.limit("netem", "delay", "2ms", "loss", "0.1%", "rate", "500mbit")
        assert slow or host.limit("tbf", "rate", "500mbit", "burst", "64kb", "latency", "50ms")
    assert "right" in machines.run(program(SHUFFLE))


def test_a_plug_is_pulled_in_the_middle_of_a_shuffle(
    machines: Machines, program: Callable[[str], Path], tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    running = machines.hosts[0].popen(
        [sys.executable, str(program(SHUFFLE)), str(begun)],
        **machines.environment,
        MILLPOND_ADDRESS=machines.head,
    )
    eventually(begun.exists, "the shuffle is under way", timeout=60)
    machines.hosts[2].unplug()
    output, _ = running.communicate(timeout=180)
    assert running.returncode == 0, output
    assert "right" in output


QUERY = """
    import pickle, sys
    from pathlib import Path
    import dask
    import millpond
    import millpond.dask
    from demo import tpch
    from demo.dask_queries import reader
    from demo.data import prepare

    if __name__ == "__main__":
        data, answer = map(Path, sys.argv[1:])
        with millpond.init(num_cpus=1, object_store_memory=64 << 20):
            settings = {"dataframe.parquet.minimum-partition-size": 1 << 20}
            with millpond.dask.enable(), dask.config.set(settings):
                found = tpch.QUERIES["q5"](reader(prepare(data, 0.02)))
        answer.write_bytes(pickle.dumps(found))
"""


@pytest.mark.slow
def test_a_query_of_tpch(
    machines: Machines, program: Callable[[str], Path], tmp_path: Path
) -> None:
    dataset = prepare(tmp_path / "data", 0.02)
    machines.run(program(QUERY), str(tmp_path / "data"), str(tmp_path / "answer"))
    found = pickle.loads((tmp_path / "answer").read_bytes())
    assert difference(found, Duck(dataset, tmp_path / "duck").answer("q5")) is None


@pytest.mark.parametrize("token", ["", secrets.token_hex(32)], ids=["none", "another"])
def test_an_intruder_gets_nowhere(
    machines: Machines, program: Callable[[str], Path], token: str
) -> None:
    # Not below the directory of that host, where its node has left the token for its own user.
    with tempfile.TemporaryDirectory(prefix="mp") as directory:
        said = machines.refused(machines.hosts[1], MILLPOND_TOKEN=token, TMPDIR=directory)
    assert ("its token is needed" if not token else "no trust between") in said
    assert "right" in machines.run(program(SHUFFLE))
