from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millpond.node.memory_report import MemoryReporter
from millpond.objectstore.core import StoreCore
from millpond.wire import messages as m

MIB = 1 << 20
DRIVER, WORKER = b"d" * 8, b"w" * 8


def oid(number: int, owner: bytes = DRIVER) -> bytes:
    return owner + number.to_bytes(8, "big")


class FakePeer:
    def __init__(self, pid: int, worker: Any = None) -> None:
        self.pid = pid
        self.worker = worker
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)


class FakeWorker:
    actor_id = b""


class FakeTimer:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., None], tuple[Any, ...], FakeTimer]] = []

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> FakeTimer:
        self.calls.append((call, args, FakeTimer()))
        return self.calls[-1][2]

    def time_out(self) -> None:
        for call, args, timer in self.calls:
            if not timer.cancelled:
                call(*args)


class Node:
    def __init__(self) -> None:
        self.core = StoreCore(64 * MIB, validate=True)
        self.loop = FakeLoop()
        self.peers: dict[bytes, Any] = {DRIVER: FakePeer(10), WORKER: FakePeer(11, FakeWorker())}
        self.locations: list[str] = []
        self.reporter = MemoryReporter(self.core, self.peers, self.loop, self.locations)  # type: ignore[arg-type]
        self.answers: list[m.MemoryState] = []

    def store(self, object_id: bytes, size: int) -> None:
        self.core.create(object_id, size, DRIVER, object_id)
        self.core.seal(object_id)

    def ask(self, **options: Any) -> None:
        self.reporter.report(m.GetMemory(7, **options), self.answers.append)

    def answer(self, process_id: bytes) -> None:
        question = self.peers[process_id].sent[-1]
        owner = m.OwnerMemory(process_id, [], [], 1, 2)
        self.reporter.described(process_id, m.ObjectsDescribed(question.request, owner))


@pytest.fixture
def node() -> Node:
    made = Node()
    made.store(oid(1), 1 * MIB)
    made.store(oid(2, WORKER), 3 * MIB)
    made.store(oid(3), 2 * MIB)
    return made


def test_every_process_is_asked_for_its_own_objects(node: Node) -> None:
    node.ask()
    assert node.peers[DRIVER].sent[0].object_ids == [oid(3), oid(1)]
    assert node.peers[WORKER].sent[0].object_ids == [oid(2, WORKER)]
    node.answer(DRIVER)
    assert node.answers == []
    node.answer(WORKER)
    (state,) = node.answers
    assert state.request == 7
    assert [owner.process_id for owner in state.owners] == [DRIVER, WORKER]
    assert state.silent == []
    assert node.loop.calls[0][2].cancelled
    assert [(p.role, p.pid) for p in state.processes] == [("driver", 10), ("worker", 11)]


def test_who_does_not_answer_in_time_is_named(node: Node) -> None:
    node.ask()
    node.answer(DRIVER)
    node.loop.time_out()
    (state,) = node.answers
    assert state.silent == [WORKER]
    node.answer(WORKER)  # too late, and harmless
    assert len(node.answers) == 1


def test_who_dies_is_not_waited_for(node: Node) -> None:
    node.ask()
    node.answer(DRIVER)
    del node.peers[WORKER]
    node.reporter.process_died(WORKER)
    assert len(node.answers) == 1


def test_an_answer_counts_once_and_only_from_who_was_asked(node: Node) -> None:
    node.ask()
    node.answer(DRIVER)
    node.answer(DRIVER)
    node.reporter.described(b"x" * 8, m.ObjectsDescribed(1, m.OwnerMemory(b"x" * 8, [], [], 0, 0)))
    node.answer(WORKER)
    (state,) = node.answers
    assert [owner.process_id for owner in state.owners] == [DRIVER, WORKER]


def test_several_reports_do_not_mix(node: Node) -> None:
    node.ask()
    node.ask(limit=1)
    node.answer(DRIVER)
    node.answer(WORKER)
    (state,) = node.answers
    assert len(state.objects) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [3, 2, 1]),
        ({"limit": 2}, [3, 2]),
        ({"limit": 100}, [3, 2, 1]),
        ({"oldest_first": True}, [1, 3, 2]),
        ({"oldest_first": True, "limit": 2}, [1, 3]),
    ],
)
def test_the_largest_or_the_oldest_are_listed(
    node: Node, options: dict[str, Any], expected: list[int]
) -> None:
    node.ask(**options)
    node.loop.time_out()
    (state,) = node.answers
    assert [stored.size // MIB for stored in state.objects] == expected
    assert state.total_bytes == 6 * MIB
    assert state.store["num_objects"] == 3


def test_states_have_words(node: Node) -> None:
    node.core.pin(oid(1), WORKER, "pin")
    node.core.delete(oid(1))
    node.core.create(oid(4), 4 * MIB, DRIVER, "written")
    node.core.create(oid(5), 57 * MIB, DRIVER, "waits")
    node.ask()
    node.loop.time_out()
    (state,) = node.answers
    words = {stored.object_id: stored.state for stored in state.objects}
    assert words[oid(1)] == "deleted, in use"
    assert words[oid(4)] == "being written"
    assert words[oid(5)] == "waiting for room"
    assert words[oid(2, WORKER)] == "spilling"
    assert state.waiting_bytes == 57 * MIB
    node.core.spilled(oid(2, WORKER))
    node.ask()
    node.loop.time_out()
    words = {stored.object_id: stored.state for stored in node.answers[-1].objects}
    assert words[oid(2, WORKER)] == "in memory and file"


def test_objects_that_wait_for_room_are_summed(node: Node) -> None:
    node.core.create(oid(4), 62 * MIB, DRIVER, "waits")
    node.core.pin(oid(4), WORKER, "waits for it")
    node.ask()
    node.loop.time_out()
    assert node.answers[0].waiting_bytes == 62 * MIB


def test_pins_are_listed_by_process(node: Node) -> None:
    node.core.pin(oid(1), WORKER, "one")
    node.core.pin(oid(1), WORKER, "two")
    node.ask(oldest_first=True, limit=1)
    node.loop.time_out()
    assert node.answers[0].objects[0].pins == {WORKER: 2}


def test_the_free_space_is_that_of_the_disks(node: Node, tmp_path: Path) -> None:
    def free() -> tuple[str, int]:
        node.ask()
        node.loop.time_out()
        return node.answers[-1].spill_location, node.answers[-1].spill_free

    assert free() == ("", -1)
    node.locations += [str(tmp_path), str(tmp_path.parent)]  # one disk, which counts once
    location, size = free()
    assert location == f"{tmp_path}, {tmp_path.parent}"
    assert 0 < size <= shutil.disk_usage(tmp_path).total
    node.locations.append("s3://bucket/prefix")
    assert free()[1] == -1


def test_owners_on_other_nodes_are_asked_of_what_is_here(node: Node) -> None:
    far = FakePeer(99)
    owner = b"farnodrv"
    node.reporter.far = {owner: far}.get  # type: ignore[assignment]
    node.store(oid(1, owner), MIB)
    node.store(oid(2, b"gonenode"), MIB)
    node.ask()
    (question,) = far.sent
    assert question.object_ids == [oid(1, owner)]
    for process_id in (DRIVER, WORKER):
        node.answer(process_id)
    assert node.answers == []
    told = m.OwnerMemory(owner, [], [], 3, 4)
    node.reporter.described(owner, m.ObjectsDescribed(question.request, told))
    (state,) = node.answers
    assert told in state.owners
    assert state.silent == []


def test_the_other_nodes_are_asked_if_the_cluster_is_meant(node: Node) -> None:
    asked: list[m.GetMemory] = []

    def ask_others(question: m.GetMemory) -> list[bytes]:
        asked.append(question)
        return [b"nod2", b"nod3"]

    node.reporter.ask_others = ask_others
    node.ask()
    assert asked == []
    node.ask(cluster=True, limit=5)
    (question,) = asked
    assert (question.limit, question.cluster) == (5, False)
    for process_id in (DRIVER, WORKER):
        node.answer(process_id)
    other = node.reporter._look(question)
    node.reporter.node_answered(b"nod2", other)
    node.loop.time_out()
    state = node.answers[-1]
    (told,) = state.others
    assert type(told) is m.NodeStore
    assert (told.request, told.store) == (other.request, other.store)
    assert state.silent == [b"nod3"]
