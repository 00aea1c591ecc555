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
    uses = (table.next_use.get(record.oid) for _, _, record in inside)
    first = min((use for use in uses if use is not None), default=0)
    best: tuple[float, int, int] | None = None
    left, cost = 0, 0.0
    costs: list[float] = []
    bounds = [0, *(offset + block for offset, block, _ in inside)]
    starts = [*(offset for offset, _, _ in inside), table.allocator.capacity]
    for right, (_, block, record) in enumerate(inside):
        if record.pool not in pools:
            left, cost = right + 1, 0.0
            costs.append(0.0)
            continue
        use = table.next_use.get(record.oid)
        costs.append(0.0 if use is None else block / (1 + use - first))
        costs[-1] += 0.0 if record.has_file else block * _WRITE
        cost += costs[-1]
        # The hole reaches from the end of the block before the run to the start of the one after.
        while left < right and starts[right + 1] - bounds[left + 1] >= size:
            cost -= costs[left]
            left += 1
        if starts[right + 1] - bounds[left] >= size and (best is None or cost < best[0]):
            best = cost, left, right
    if best is None:
        return None
    return [record for _, _, record in inside[best[1] : best[2] + 1]]
