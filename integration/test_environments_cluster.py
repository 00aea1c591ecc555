"""Runtime environments across the nodes of a cluster."""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import millpond
from millpond.errors import RuntimeEnvError
from millpond.testing import Cluster

from .conftest import eventually

MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    not (importlib.util.find_spec("grpc") and importlib.util.find_spec("cryptography")),
    reason="needs millpond[cluster]",
)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head, and two nodes with a resource of their own; the driver's node has none of it."""
    with Cluster(num_nodes=1, num_cpus=1, object_store_memory=64 * MIB) as nodes:
        for _ in range(2):
            nodes.add_node(resources={"far": 1})
        yield nodes


def connect(cluster: Cluster, **settings: Any) -> None:
    """Connect, and wait until the driver's node knows all the others."""
    cluster.connect(**settings)
    ids = {node.node_id for node in cluster.nodes}
    eventually(lambda: ids <= {each.node_id for each in millpond.nodes()}, "all nodes are known")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A directory with a module, and a file that travels through the object store."""
    directory = tmp_path / "code"
    directory.mkdir()
    (directory / "answers.py").write_text("VALUE = 1")
    (directory / "table").write_bytes(b"x" * 3 * MIB)
    return directory


class Look:
    """What a process on some node finds."""

    def look(self) -> tuple[int, int, str, str | None]:
        answers = importlib.import_module("answers")
        size = len(Path("table").read_bytes())
        return answers.VALUE, size, str(Path.cwd()), os.environ.get("NAME")

    def process(self) -> int:
        return os.getpid()

    def node(self) -> int:
        """Return the process id of the node."""
        stat = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="ascii")
        return int(stat.split()[3])


def look() -> tuple[int, int, str, str | None]:
    return Look().look()


def unpacked_by(pid: int) -> list[str]:
    """Return the packages that are unpacked by a node."""
    sockets = [each for each in _listening(pid) if each.endswith("/node.sock")]
    root = Path(sockets[0]).parent / "environments"
    return [path.name for path in root.iterdir()] if root.exists() else []


def _listening(pid: int) -> list[str]:
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        target = str(fd.readlink())
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return [row[7] for row in rows if len(row) > 7 and row[6] in inodes]


def test_files_and_variables_reach_every_node(cluster: Cluster, code: Path) -> None:
    connect(cluster, runtime_env={"working_dir": code, "env_vars": {"NAME": "session"}})
    actors = [
        millpond.remote(resources={"far": 1})(Look).remote(),
        millpond.remote(resources={"far": 1})(Look).remote(),
    ]
    nodes = set(millpond.get([actor.node.remote() for actor in actors]))
    assert nodes == {node.pid for node in cluster.nodes[1:]}
    seen = millpond.get([actor.look.remote() for actor in actors])
    assert [each[:2] + each[3:] for each in seen] == [(1, 3 * MIB, "session")] * 2
    assert len({each[2] for each in seen}) == 2  # each node has a copy of its own
    del actors
    far = millpond.remote(look).options(resources={"far": 1}, num_cpus=0)
    assert millpond.get(far.remote())[:2] == (1, 3 * MIB)


def test_the_tasks_of_a_far_task_inherit(cluster: Cluster, code: Path) -> None:
    connect(cluster)
    inner = millpond.remote(look)

    @millpond.remote(resources={"far": 1}, num_cpus=0)
    def outer() -> list[Any]:
        far = inner.options(resources={"far": 1}, num_cpus=0)
        here = inner.options(runtime_env={"env_vars": {"NAME": "inner"}})
        return millpond.get([far.remote(), here.remote()])

    env = {"working_dir": str(code), "env_vars": {"NAME": "outer"}}
    seen = millpond.get(outer.options(runtime_env=env).remote(), timeout=60)
    assert [each[:2] + each[3:] for each in seen] == [
        (1, 3 * MIB, "outer"),
        (1, 3 * MIB, "inner"),
    ]


def test_an_actor_that_comes_back_elsewhere_has_it_again(cluster: Cluster, code: Path) -> None:
    connect(cluster)
    env = {"working_dir": code, "env_vars": {"NAME": "actor"}}
    actor_class = millpond.remote(resources={"far": 1}, max_restarts=-1, max_task_retries=-1)(Look)
    actor = actor_class.options(runtime_env=env).remote()
    assert millpond.get(actor.look.remote())[0] == 1
    first = millpond.get(actor.node.remote())
    cluster.kill(next(node for node in cluster.nodes if node.pid == first))
    value, size, _, name = millpond.get(actor.look.remote(), timeout=60)
    assert (value, size, name) == (1, 3 * MIB, "actor")
    assert millpond.get(actor.node.remote()) != first


def test_the_files_of_a_driver_are_removed_when_it_has_left(cluster: Cluster, code: Path) -> None:
    connect(cluster, runtime_env={"working_dir": code})
    far = millpond.remote(look).options(resources={"far": 1}, num_cpus=0)
    millpond.get([far.remote() for _ in range(8)])
    nodes = [node.pid for node in cluster.nodes]
    assert any(unpacked_by(pid) for pid in nodes)
    millpond.shutdown()
    for pid in nodes:
        eventually(lambda pid=pid: not unpacked_by(pid), "the files are removed")  # type: ignore[misc]
    # The next one finds nodes that work.
    connect(cluster, runtime_env={"working_dir": code})
    assert millpond.get(far.remote())[0] == 1


def test_a_directory_that_only_another_machine_has_is_refused_with_its_name(
    cluster: Cluster,
) -> None:
    connect(cluster)
    inner = millpond.remote(look)

    @millpond.remote(resources={"far": 1}, num_cpus=0)
    def outer() -> Any:
        return inner.options(runtime_env={"working_dir": "/not/here"}).remote()

    text = f"there is no directory /not/here on {socket.gethostname()}"
    with pytest.raises(RuntimeEnvError, match=text):
        millpond.get(outer.remote(), timeout=60)
