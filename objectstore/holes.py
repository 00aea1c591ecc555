"""Which neighbours in memory should leave so that a large block fits in their place.

Free bytes in pieces are of no use to a large object. Evicting by next use alone would scatter the
holes over the arena until, by luck, enough of them touch; so for an object that is larger than the
next victim a run of neighbours leaves: the cheapest of those around the next victims. Only when
there is none, all of the arena is looked through.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .eviction import Candidates
from .table import ObjectRecord, ObjectTable

#: cost of writing a byte that may never be read again, in bytes that are needed next
_WRITE = 0.001

#: victims of each pool around which a hole is looked for
_VICTIMS = 8


def hole_near_victims(
    table: ObjectTable, size: int, pools: Collection[Candidates]
) -> list[ObjectRecord] | None:
    """Return neighbours, among them one of the next victims, that leave a hole.

    It takes time in proportion to their number, however much there is in memory. None when the
    neighbours of all those victims have to stay.

    Args:
        table: the objects.
        size: bytes that the hole must have.
        pools: those whose members may leave.
    """
    runs: list[list[ObjectRecord]] = []
    for pool in pools:
        for oid in pool.first_few(_VICTIMS):
            run = _grown(table, table.records[oid], size, pools)
            if run is not None and run not in runs:
                runs.append(run)
    if not runs:
        return None
    positions = [table.next_use.get(record.oid) for run in runs for record in run]
    first = min((position for position in positions if position is not None), default=0)
    return min(runs, key=lambda run: sum(_cost(table, record, first) for record in run))


def hole_anywhere(
    table: ObjectTable, size: int, pools: Collection[Candidates]
) -> list[ObjectRecord] | None:
    """Return the cheapest neighbours that leave a hole, or None when no hole is large enough.

    It looks at everything in memory.

    Args:
        table: the objects.
        size: bytes that the hole must have.
        pools: those whose members may leave.
    """
    inside = sorted(table.starting.items())
    first = min(table.next_use.values(), default=0)
    costs = [_cost(table, record, first) if record.pool in pools else None for _, record in inside]
    # A hole reaches from the end of the block before the run to the start of the one after.
    ends = [0, *(offset + record.block for offset, record in inside)]
    starts = [*(offset for offset, _ in inside[1:]), table.allocator.capacity]
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
    return [record for _, record in inside[best[1] : best[2] + 1]]


def _grown(
    table: ObjectTable, victim: ObjectRecord, size: int, pools: Collection[Candidates]
) -> list[ObjectRecord] | None:
    """The neighbours around a victim, taken one by one from the better side; None if too few."""
    before: list[ObjectRecord] = []
    after: list[ObjectRecord] = []
    start, end = _room(table, victim)
    while end - start < size:
        left, right = table.ending.get(start), table.starting.get(end)
        sides = [record for record in (left, right) if record is not None and record.pool in pools]
        if not sides:
            return None
        chosen = min(sides, key=lambda record: _leaves_late(table, record))
        if chosen is left:
            before.append(chosen)
            start = _room(table, chosen)[0]
        else:
            after.append(chosen)
            end = _room(table, chosen)[1]
    return _needed([*reversed(before), victim, *after], start, end, size)


def _needed(run: Sequence[ObjectRecord], start: int, end: int, size: int) -> list[ObjectRecord]:
    """A run whose last member may have made others unnecessary, without those at its ends."""
    kept = list(run)
    while len(kept) > 1 and end - _end(kept[0]) >= size:
        start = _end(kept.pop(0))
    while len(kept) > 1 and _start(kept[-1]) - start >= size:
        end = _start(kept.pop())
    return kept


def _room(table: ObjectTable, record: ObjectRecord) -> tuple[int, int]:
    return table.allocator.room_around(_start(record))


def _start(record: ObjectRecord) -> int:
    assert record.offset is not None
    return record.offset


def _end(record: ObjectRecord) -> int:
    return _start(record) + record.block


def _leaves_late(table: ObjectTable, record: ObjectRecord) -> tuple[float, bool]:
    """What is smaller for those that should leave sooner: not needed, or later, or with a file."""
    use = table.next_use.get(record.oid)
    return float("-inf") if use is None else -use, not record.spare


def _cost(table: ObjectTable, record: ObjectRecord, first: int) -> float:
    """Its bytes, the less the later it is needed, and next to nothing for having to write it."""
    use = table.next_use.get(record.oid)
    cost = 0.0 if use is None else record.block / (1 + use - first)
    return cost if record.spare else cost + record.block * _WRITE
