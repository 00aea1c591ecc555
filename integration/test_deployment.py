"""What is in deploy/ starts what it says: as far as that can be seen without its schedulers."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from millpond.cli.nodes import start

DEPLOY = Path(__file__).parent.parent / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))

PROGRAM = """
import sys
import millpond

millpond.init(num_cpus=1, object_store_memory=16 << 20)
while len(millpond.nodes()) < 3:
    pass
assert sys.argv[1] == "an argument"
millpond.shutdown()
print("found them")
"""


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A temporary directory whose path leaves room for the names of sockets."""
    with tempfile.TemporaryDirectory(prefix="mp") as name:
        yield Path(name)


def parse(arguments: list[str]) -> dict[str, object]:
    """Return the options of a `millpond start`, as the command itself reads them."""
    name, *rest = arguments
    assert name == "start"
    return start.make_context(name, rest).params


def settings(unit: Path) -> dict[str, str]:
    lines = [line for line in unit.read_text().splitlines() if "=" in line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


def test_the_units_start_a_head_and_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLPOND_ADDRESS", "head:7600")
    options = {}
    for unit in UNITS:
        command, *arguments = shlex.split(settings(unit)["ExecStart"])
        assert Path(command).name == "millpond"
        options[unit.stem] = parse(arguments)
    head, node = options["millpond-head"], options["millpond-node"]
    assert head["head"]
    assert not node["head"]
    assert node["address"] == "head:7600"
    assert all(each["block"] and each["host"] == "0.0.0.0" for each in (head, node))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    copies = []
    for unit in UNITS:
        copy = tmp_path / unit.name
        copy.write_text(unit.read_text().replace("/opt/millpond/bin/millpond", sys.executable))
        copies.append(copy)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, copies)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    complaints = [line for line in done.stderr.splitlines() if "millpond-" in line]
    assert complaints == []


def test_the_pods_start_a_head_and_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "millpond.yaml").read_text()))
    service, *workloads = documents
    for workload in workloads:
        template = workload["spec"]["template"]
        assert (
            workload["spec"]["selector"]["matchLabels"].items()
            <= template["metadata"]["labels"].items()
        )
        (container,) = template["spec"]["containers"]
        environment = {each["name"]: each for each in container["env"]}
        secret = environment["MILLPOND_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert secret == {"name": "millpond", "key": "token"}
        monkeypatch.setenv(
            "MILLPOND_ADDRESS", environment.get("MILLPOND_ADDRESS", {}).get("value", "")
        )
        options = parse(container["args"])
        assert options["port"] == container["ports"][0]["containerPort"] == 7600
        volumes = {each["name"] for each in template["spec"]["volumes"]}
        assert {each["name"] for each in container["volumeMounts"]} == volumes
        if workload["kind"] == "StatefulSet":
            assert options["head"]
            assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items(), (
                "the name of the head leads to its pod"
            )
        else:
            host, _, port = str(options["address"]).partition(":")
            assert (host, int(port)) == (service["metadata"]["name"], 7600)


def test_a_batch_job_has_a_cluster_and_leaves_nothing(
    tmp_path: Path, short_directory: Path
) -> None:
    fakes = tmp_path / "bin"
    fakes.mkdir()
    # One machine plays all: the commands of the scheduler run here what they would run elsewhere.
    write_command(fakes / "scontrol", "echo 127.0.0.1; echo 127.0.0.2")
    write_command(fakes / "srun", 'while [[ $1 == --* ]]; do shift; done; exec "$@"')
    write_command(fakes / "python3", f'exec {sys.executable} "$@"')
    run = f'exec {sys.executable} -c "from millpond.cli.main import main; main()" "$@"'
    write_command(fakes / "millpond", run)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PATH": f"{fakes}:{os.environ['PATH']}",
        "TMPDIR": str(short_directory),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "MILLPOND_PORT": str(port),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    script = DEPLOY / "slurm" / "millpond.sbatch"
    done = subprocess.run(
        ["bash", str(script), str(program), "an argument"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "found them" in done.stdout
    assert not list(short_directory.iterdir()), "the nodes have ended, with their files"


def write_command(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
