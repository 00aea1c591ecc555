"""Which neighbours in memory should leave so that a large block fits in their place.

Free bytes in pieces are of no use to a large object. Evicting by next use alone would scatter the
holes over the arena until, by luck, enough of them touch; so for an object that is larger than the
next victim the cheapest run of neighbours leaves.
"""

from __future__ import annotations

from collections.abc import Container

from .eviction import Candidates
from .table import ObjectRecord, ObjectTable

#: cost of writing a byte that may never be read again, in bytes that are needed next
_WRITE = 0.001


def cheapest_hole(
    table: ObjectTable, size: int, pools: Container[Candidates | None]
) -> list[ObjectRecord] | None:
    """Return the neighbours that leave a hole, or None when no hole is large enough.

    An object costs its bytes, the less the later it is needed; nothing when it is not, but for the
    writing of one without a file.

    Args:
        table: the objects.
        size: bytes that the hole must have.
        pools: those whose members may leave.
    """
    inside = sorted(
        (r.offset, r.block, r) for r in table.records.values() if r.offset is not None and r.block
    )
    first = min(table.next_use.values(), default=0)
    costs = [_cost(table, record, first) if record.pool in pools else None for *_, record in inside]
    # A hole reaches from the end of the block before the run to the start of the one after.
    ends = [0, *(offset + block for offset, block, _ in inside)]
    starts = [*(offset for offset, _, _ in inside[1:]), table.allocator.capacity]
    best: tuple[float, int, int] | None = None
    left, cost = 0, 0.0
    for right, own in enumerate(costs):
        if own is None:
            left, cost = right + 1, 0.0
            continue
        cost += own
        while left < right and starts[right] - ends[left + 1] >= size:
            cost -= costs[left] or 0.0
            left += 1
        if starts[right] - ends[left] >= size and (best is None or cost < best[0]):
            best = cost, left, right
    if best is None:
        return None
    return [record for _, _, record in inside[best[1] : best[2] + 1]]


def _cost(table: ObjectTable, record: ObjectRecord, first: int) -> float:
    use = table.next_use.get(record.oid)
    cost = 0.0 if use is None else record.block / (1 + use - first)
    return cost if record.has_file else cost + record.block * _WRITE
