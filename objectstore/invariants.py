"""What must hold between any two events, checked the slow way.

For tests and for hunting faults: production runs without. Each check recomputes from the records
alone what the store keeps incrementally.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from .states import ObjectState
from .table import ObjectRecord, ObjectTable

if TYPE_CHECKING:
    from .core import StoreCore


def check_core(core: StoreCore) -> None:
    """Check the books and that every request that waits has something to wait for.

    Raises:
        AssertionError: an invariant is broken; the text tells which, and the story of the object.
    """
    check_table(core.table)
    _check_requests(core)
    _check_progress(core)
    assert not core.room.dropped, "nobody was told of copies that were dropped"


def check_table(table: ObjectTable) -> None:
    """Check that blocks, files, pools, pins and sums agree with the records.

    Raises:
        AssertionError: they do not.
    """
    table.allocator.validate()
    blocks = sorted((r.offset, r.block) for r in table.records.values() if r.offset is not None)
    assert blocks == table.allocator.blocks(), (
        "a block without an object, or an object without its block"
    )
    for (offset, size), (following, _) in pairwise(blocks):
        assert offset + size <= following, f"blocks overlap at {following}"
    in_memory = [record for record in table.records.values() if record.offset is not None]
    assert table.starting == {record.offset: record for record in in_memory}
    assert table.ending == {(record.offset or 0) + record.block: record for record in in_memory}
    assert table.allocator.used <= table.allocator.capacity
    for oid, record in table.records.items():
        assert record.oid == oid
        _check_record(table, record)
    _check_sums(table)
    _check_clients(table)


def _check_record(table: ObjectTable, record: ObjectRecord) -> None:
    state = record.state
    story = f"object {record.oid.hex()} is {state}: {', '.join(table.story(record.oid))}"
    in_memory, in_file = record.offset is not None, record.has_file
    if state is ObjectState.CREATED:
        assert not (in_memory and record.direct), f"granted twice; {story}"
        assert not in_file, f"a file before the seal; {story}"
        assert not record.pins, f"readable before the seal; {story}"
        assert not record.secondary, f"a copy before the seal; {story}"
    else:
        assert in_memory is (state is not ObjectState.SPILLED), f"its block; {story}"
        if state is not ObjectState.SEALED:
            assert in_file is (state is not ObjectState.SPILLING), f"its file; {story}"
    assert state is not ObjectState.DELETED, f"known; {story}"
    assert all(count > 0 for count in record.pins.values()), f"an empty pin; {story}"
    if record.doomed:
        assert not record.waiters, f"a wait for a deleted object; {story}"
        busy = state not in (ObjectState.SEALED, ObjectState.SPILLED)
        assert busy or record.pins, f"deleted and unused, but kept; {story}"
    if record.pins:
        assert state is not ObjectState.RESTORING, f"pinned while it is restored; {story}"
        assert record.pool is None, f"pinned and in a pool; {story}"
    for pool, belongs in (
        (table.clean, state is ObjectState.SEALED and record.spare),
        (table.dirty, state is ObjectState.SEALED and not record.spare),
        (
            table.leaving,
            state is ObjectState.SPILLING
            or (state is ObjectState.RESTORING and (record.doomed or not record.waiters)),
        ),
    ):
        assert (record.oid in pool) is (belongs and not record.pins), f"its pool; {story}"
        assert (record.pool is pool) is (record.oid in pool), f"its pool; {story}"


def _check_sums(table: ObjectTable) -> None:
    records = table.records.values()
    for pool in (table.clean, table.dirty, table.leaving):
        members = [record for record in records if record.oid in pool]
        assert len(pool) == len(members), "a pool holds an unknown object"
        assert pool.total == sum(record.block for record in members), "the sum of a pool"
        idle = [record for record in members if record.oid not in table.next_use]
        assert pool.idle == sum(record.block for record in idle), "the sum of what is not needed"
        needed = [table.next_use[r.oid] for r in members if r.oid in table.next_use]
        last = pool.furthest()
        assert (last and last[0]) == max(needed, default=None), "the furthest use"
    assert table.num_pinned == sum(1 for record in records if record.pins), (
        "the number of pinned objects"
    )
    filed = [record for record in records if record.has_file]
    assert table.file_objects == len(filed), "the number of files"
    assert table.file_bytes == sum(record.size for record in filed), "the bytes in files"
    assert table.direct_bytes == sum(record.size for record in filed if record.direct)


def _check_clients(table: ObjectTable) -> None:
    pinned: Counter[tuple[bytes, bytes]] = Counter()
    writing: Counter[tuple[bytes, bytes]] = Counter()
    for record in table.records.values():
        for client in record.pins:
            pinned[client, record.oid] += 1
        if record.state is ObjectState.CREATED:
            writing[record.writer, record.oid] += 1
    listed = Counter(
        (client, oid) for client, books in table.clients.items() for oid in books.pinned
    )
    assert pinned == listed, "the clients' lists of pins"
    listed = Counter(
        (client, oid) for client, books in table.clients.items() for oid in books.writing
    )
    assert writing == listed, "the clients' lists of unsealed objects"
    for books in table.clients.values():
        for record in [*books.pinned.values(), *books.writing.values()]:
            assert table.records.get(record.oid) is record, (
                "a client holds a record that was replaced"
            )


def _check_requests(core: StoreCore) -> None:
    expected: dict[object, ObjectRecord] = {}
    queued: set[bytes] = set()
    for record in core.table.records.values():
        for token in record.waiters:
            assert token not in expected, f"two requests with the token {token!r}"
            expected[token] = record
        if record.state is ObjectState.CREATED and not record.granted:
            assert record.token not in expected, f"two requests with the token {record.token!r}"
            expected[record.token] = record
            queued.add(record.oid)
        if record.state is ObjectState.SPILLED and record.waiters:
            queued.add(record.oid)
        if record.waiters:
            assert record.state not in (ObjectState.SEALED, ObjectState.SPILLING), (
                "a wait for what is readable"
            )
    assert core.requests.waiting == expected, "the requests that wait"
    assert set(core.requests.queue) == queued, "the queue for room"
    assert all(core.table.records.get(oid) is record for oid, record in core.requests.queue.items())


def _check_progress(core: StoreCore) -> None:
    """Somebody owes an event that will answer the first request in the queue."""
    if not core.requests.queue:
        return
    table = core.table
    first = next(iter(core.requests.queue.values()))
    assert first.block > table.allocator.largest_free, "the first request fits and was not served"
    if not core.room.can_spill:
        assert core.reactions.others_may_free(), "the first request waits, and nobody may free any"
        return
    if core.room.paused:
        readers = [r for r in core.requests.queue.values() if r.state is ObjectState.SPILLED]
        assert not readers, "a reader waits out a pause"
    paused_create = core.room.paused and first.state is ObjectState.CREATED
    assert len(table.leaving) > 0 or paused_create, "the first request waits for nothing"
