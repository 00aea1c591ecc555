from __future__ import annotations

from millpond.report.status import ResourceUse, build_status
from millpond.scheduler.placement import Load
from millpond.wire import messages as m
from millpond.wire.messages.cluster import ClusterState, NodeInfo
from tests.report.reports import MIB, store


def test_the_status_tells_what_is_used_of_what() -> None:
    state = m.SessionState(
        request=1,
        total={"CPU": 40_000, "memory": 10_000 * MIB},
        available={"CPU": 5_000, "memory": 7_500 * MIB},
        workers=5,
        busy_workers=4,
        actors=1,
        store=store(used=3 * MIB, capacity=64 * MIB, num_objects=2, spilled_bytes_total=MIB),
    )
    head = NodeInfo(b"head", "10.0.0.1:7600", "one", 5, {"CPU": 40_000}, 64 * MIB, False)
    other = NodeInfo(b"abcd", "10.0.0.2:7600", "two", 6, {"CPU": 20_000}, 32 * MIB, True)
    loads = [(b"abcd", Load(3, 2, 0.0, 24 * MIB))]
    status = build_status(state, ClusterState(1, [other, head], b"head", b"abcd", loads))
    cpu, memory = status.resources
    assert cpu == ResourceUse("CPU", 3.5, 4)
    assert memory.total > memory.used > 0
    lines = [line.split() for line in str(status).splitlines()]
    assert ["CPU", "3.5", "4"] in lines
    assert ["workers", "4", "5"] in lines
    assert ["object", "store", "3.0", "MiB", "64.0", "MiB"] in lines
    assert "Spilled so far 1.0 MiB, restored 0 B." in str(status)
    head_line, other_line, sums = [" ".join(line) for line in lines[-3:]]
    assert head_line == "68656164 head 10.0.0.1:7600 one 5 4 ? ? 64.0 MiB"
    assert other_line == "61626364 driver 10.0.0.2:7600 two 6 2 3 8.0 MiB 32.0 MiB"
    assert sums == "all 6 3 8.0 MiB 96.0 MiB"


def test_a_cluster_of_one_that_nobody_can_join_is_not_mentioned() -> None:
    state = m.SessionState(1, {"CPU": 10_000}, {}, 1, 0, 0, store())
    only = NodeInfo(b"only", "", "one", 5, {"CPU": 10_000}, 64 * MIB, True)
    assert b"only".hex() not in str(build_status(state, ClusterState(1, [only], b"only", b"only")))
