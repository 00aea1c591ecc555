from __future__ import annotations

import dataclasses
import random

import pytest

from millpond.scheduler.simulate.__main__ import main
from millpond.scheduler.simulate.directory import Directory
from millpond.scheduler.simulate.node import Node, NodeSettings, Traffic
from millpond.scheduler.simulate.policies import POLICIES
from millpond.scheduler.simulate.simulation import ClusterSettings, Outcome, simulate
from millpond.scheduler.simulate.workloads import WORKLOADS, Object, Task

SMALL = ClusterSettings(nodes=20, node=NodeSettings(slots=4))


def run(
    workload: str, policy: str = "millpond", settings: ClusterSettings = SMALL, tasks: int = 320
) -> Outcome:
    work = WORKLOADS[workload](tasks, random.Random(1))
    return simulate(settings, work, POLICIES[policy], clock=lambda: 0.0)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("workload", "count"), [("map", 320), ("shuffle", 320), ("tree", 319)])
def test_all_tasks_end(workload: str, count: int, policy: str) -> None:
    outcome = run(workload, policy)
    assert outcome.tasks == count
    assert outcome.makespan >= outcome.least > 0


def test_the_same_seed_gives_the_same() -> None:
    assert run("skewed") == run("skewed")
    assert run("skewed") != run("skewed", settings=dataclasses.replace(SMALL, seed=1))


def test_blocks_are_read_where_they_are() -> None:
    ours, randomly = run("map"), run("map", "random")
    assert randomly.traffic.moved >= 5 * ours.traffic.moved
    assert ours.makespan <= randomly.makespan


def test_hot_objects_do_not_draw_all_tasks_to_one_node() -> None:
    ours = run("skewed")
    assert ours.makespan <= 1.05 * min(run("skewed", other).makespan for other in POLICIES)
    assert ours.traffic.moved < run("skewed", "load").traffic.moved


def test_an_object_is_had_from_who_can_send_it_first() -> None:
    directory, traffic = Directory(keep_lineage=False), Traffic()
    settings = NodeSettings(network=1e9, latency=0.0)
    nodes = {
        name: Node(name, settings, 1.0, directory, traffic) for name in (b"a", b"b", b"c", b"d")
    }
    gigabyte = Object(b"object", 10**9, readers=3)
    directory.make(gigabyte)
    nodes[b"a"].store(gigabyte.id, gigabyte.size)
    nodes[b"a"].sent_until = 9.0
    assert nodes[b"b"].bring(gigabyte.id, gigabyte.size, 0.0, nodes) == 10.0
    nodes[b"c"].store(gigabyte.id, gigabyte.size)
    nodes[b"c"].sent_until = 2.0
    # b is asked for nothing yet, but waits for the object itself.
    assert nodes[b"d"].bring(gigabyte.id, gigabyte.size, 0.0, nodes) == 3.0


def test_what_does_not_fit_is_spilled_and_restored() -> None:
    tight = dataclasses.replace(SMALL, node=NodeSettings(slots=4, memory=500_000_000))
    outcome = run("map", settings=tight)
    assert outcome.tasks == 320
    assert outcome.traffic.restored > 0
    assert run("map").traffic.restored == 0


@pytest.mark.parametrize("workload", WORKLOADS)
def test_lost_nodes_cost_no_task(workload: str) -> None:
    losing = dataclasses.replace(SMALL, losses=5, first_loss=0.4, loss_interval=0.3)
    calm, lossy = run(workload), run(workload, settings=losing)
    assert lossy.tasks >= calm.tasks
    assert lossy.makespan > 0


def test_results_that_were_lost_are_made_again() -> None:
    losing = dataclasses.replace(SMALL, losses=10, first_loss=0.4, loss_interval=0.1)
    assert run("tree", settings=losing).tasks > run("tree").tasks


def test_slow_nodes_get_less_to_do() -> None:
    slow = dataclasses.replace(SMALL, stragglers=0.1)
    assert run("skewed", settings=slow).makespan < run("skewed", "random", slow).makespan


def test_the_command_compares_the_policies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workload", "map", "--nodes", "3", "--slots", "2", "--tasks", "50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == list(POLICIES)
    assert all("100.0%" in line for line in lines if line.startswith("locality"))


@pytest.mark.parametrize("wrong", [["--nodes", "0"], ["--stragglers", "1"], ["--disk", "nan"]])
def test_the_command_refuses_nonsense(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert "must be" in capsys.readouterr().err


def chain(*keys: int) -> list[Task]:
    """Tasks that each read what the one before it makes, the first one a block."""
    tasks = []
    before = b"block"
    for key in keys:
        made = Object(b"made%d" % key, 1, readers=1)
        tasks.append(Task(key, {before: 1}, 1.0, (made,)))
        before = made.id
    return tasks


def test_lineage_is_kept_as_long_as_something_that_is_read_depends_on_it() -> None:
    directory = Directory(keep_lineage=True)
    directory.make(Object(b"block", 1, readers=1))
    tasks = chain(1, 2)
    for task in tasks:
        directory.expect(task)
        assert directory.make(task.outputs[0])
    for object_id in (b"block", b"made1"):
        directory.read(object_id)
    assert directory.maker(b"made1") is tasks[0], "made2 may be lost yet"
    directory.read_again(b"made1")
    directory.read(b"made1")
    assert directory.maker(b"made1") is tasks[0]
    directory.read(b"made2")
    for object_id in (b"made1", b"made2"):
        with pytest.raises(KeyError):
            directory.maker(object_id)
    assert not directory.kept


def test_all_outputs_of_a_task_are_known_as_long_as_one_may_have_to_be_made_again() -> None:
    directory = Directory(keep_lineage=True)
    pieces = tuple(Object(b"piece%d" % i, 1, readers=1) for i in range(2))
    directory.expect(Task(1, {}, 1.0, pieces))
    for piece in pieces:
        directory.make(piece)
    directory.read(pieces[0].id)
    assert not directory.make(pieces[0]), "nobody reads it when it is made again"
    directory.read(pieces[1].id)
    assert not directory.kept
