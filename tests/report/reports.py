"""Reports and rows made by hand."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from millpond.objectstore.statistics import StoreStatistics
from millpond.report.memory import MemoryReport, NodeMemory, ObjectMemory, OwnerTotals, Process

MIB = 1 << 20


def store(**figures: int) -> dict[str, int]:
    return {**{f.name: 0 for f in fields(StoreStatistics)}, **figures}


def row(number: int, **changes: Any) -> ObjectMemory:
    given: dict[str, Any] = {
        "id": f"{number:032x}",
        "size": MIB,
        "state": "in memory",
        "in_memory": True,
        "in_file": False,
        "pins": (),
        "owner": Process("driver", 10),
        "made_by": "put",
        "call_site": "app.py:7 in main",
        "refs": 1,
        "borrowers": 0,
    }
    return ObjectMemory(**{**given, **changes})


def report(
    objects: tuple[ObjectMemory, ...] = (),
    *,
    used: int = 0,
    capacity: int = 64 * MIB,
    spilled: int = 0,
    owners: tuple[OwnerTotals, ...] = (),
) -> MemoryReport:
    return MemoryReport(
        objects=objects,
        groups=(),
        owners=owners,
        nodes=(
            NodeMemory(
                node="",
                total_objects=len(objects),
                total_bytes=sum(one.size for one in objects),
                waiting_bytes=0,
                store=StoreStatistics(
                    **store(used=used, capacity=capacity, spilled_bytes=spilled)  # type: ignore[arg-type]
                ),
                spill_location=None,
                spill_free_bytes=None,
            ),
        ),
    )
