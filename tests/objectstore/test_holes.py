"""Runs of neighbours that leave so that a large block fits: near the next victims, or anywhere."""

from __future__ import annotations

import random

import pytest

from millpond.objectstore.holes import hole_anywhere, hole_near_victims
from millpond.objectstore.states import ObjectState
from millpond.objectstore.table import ObjectRecord, ObjectTable

UNIT = 64


def oid(number: int) -> bytes:
    return b"owner-00%08d" % number


def table_of(*blocks: int, spare: int = 0) -> ObjectTable:
    """Sealed objects without files, one after the other, of so many units each."""
    table = ObjectTable((sum(blocks) + spare) * UNIT)
    for number, units in enumerate(blocks):
        record = table.add(oid(number), units * UNIT, b"me", number)
        assert table.take_block(record)
        table.move(record, ObjectState.SEALED)
    return table


def numbers(run: list[ObjectRecord] | None) -> list[int] | None:
    return None if run is None else [int(record.oid[8:]) for record in run]


def near(table: ObjectTable, units: int) -> list[int] | None:
    return numbers(hole_near_victims(table, units * UNIT, (table.clean, table.dirty)))


def test_neighbours_of_the_next_victim_leave() -> None:
    table = table_of(1, 1, 1, 1)
    assert near(table, 2) == [0, 1]


def test_free_space_beside_them_counts() -> None:
    table = table_of(1, 1, 1, 1, spare=1)
    for number in (0, 2):
        table.add_pin(table.records[oid(number)], b"me")
    table.free_block(table.records[oid(1)])
    table.add_pin(table.records[oid(1)], b"me")
    assert near(table, 2) == [3], "what is above was never used"
    assert near(table, 3) is None


def test_what_is_needed_later_leaves_rather() -> None:
    table = table_of(1, 1, 1, 1, 1)
    for number, position in enumerate([9, 1, 5, 8, 7]):
        table.expect(oid(number), position)
    assert near(table, 2) == [3, 4], "the first victim has a bad neighbour"
    assert near(table, 1) == [0]


def test_what_is_read_stays() -> None:
    table = table_of(1, 1, 1, 1)
    table.add_pin(table.records[oid(1)], b"me")
    assert near(table, 2) == [2, 3]
    table.add_pin(table.records[oid(3)], b"me")
    assert near(table, 2) is None


def test_no_more_than_needed_leaves() -> None:
    table = table_of(1, 1, 4, 1)
    for number, position in enumerate([7, 8, 9, 1]):
        table.expect(oid(number), position)
    assert near(table, 5) == [1, 2]
    table.expect(oid(0), 10)
    table.expect(oid(2), None)
    assert near(table, 4) == [2]


@pytest.mark.parametrize("seed", range(20))
def test_a_hole_is_large_enough_and_no_member_is_there_in_vain(seed: int) -> None:
    chance = random.Random(seed)
    table = table_of(*(chance.randint(1, 9) for _ in range(60)), spare=chance.randint(0, 9))
    for number in range(60):
        record = table.records[oid(number)]
        fate = chance.random()
        if fate < 0.1:
            table.add_pin(record, b"me")
        elif fate < 0.3:
            table.move(record, ObjectState.SPILLING)
            table.add_file(record)
            table.move(record, ObjectState.SEALED)
        elif fate < 0.4:
            table.free_block(record)
            table.remove(record)
            continue
        if chance.random() < 0.5:
            table.expect(oid(number), chance.randint(0, 50))
    pools = (table.clean, table.dirty)
    for units in (3, 10, 30):
        found = hole_near_victims(table, units * UNIT, pools)
        assert found is None or hole_anywhere(table, units * UNIT, pools) is not None
        for run in (found, hole_anywhere(table, units * UNIT, pools)):
            if run is None:
                continue
            assert all(record.pool in pools for record in run)
            start = table.allocator.room_around(run[0].offset or 0)[0]
            end = table.allocator.room_around(run[-1].offset or 0)[1]
            assert end - start >= units * UNIT
            inner = [table.allocator.room_around(each.offset or 0) for each in run]
            assert len(run) == 1 or end - ((run[0].offset or 0) + run[0].block) < units * UNIT
            assert len(run) == 1 or (run[-1].offset or 0) - start < units * UNIT
            for (_, ends), following in zip(inner, run[1:], strict=False):
                assert ends == following.offset, "they are neighbours"


def test_the_first_few_victims_are_those_that_would_leave_one_by_one() -> None:
    table = table_of(*[1] * 20)
    for number in range(12):
        table.expect(oid(number), (number * 7) % 12)
        table.expect(oid(number), (number * 5) % 12)
    expected = []
    few = table.dirty.first_few(15)
    for _ in range(15):
        victim = table.dirty.first()
        assert victim is not None
        expected.append(victim)
        table.add_pin(table.records[victim], b"me")
    assert few == expected
