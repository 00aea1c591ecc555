from __future__ import annotations

from millpond.report.status import ResourceUse, build_status
from millpond.wire import messages as m
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
    status = build_status(state)
    cpu, memory = status.resources
    assert cpu == ResourceUse("CPU", 3.5, 4)
    assert memory.total > memory.used > 0
    lines = [line.split() for line in str(status).splitlines()]
    assert ["CPU", "3.5", "4"] in lines
    assert ["workers", "4", "5"] in lines
    assert ["object", "store", "3.0", "MiB", "64.0", "MiB"] in lines
    assert "Spilled so far 1.0 MiB, restored 0 B." in str(status)
