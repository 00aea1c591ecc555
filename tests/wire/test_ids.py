from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.wire.ids import (
    ObjectIds,
    ProcessId,
    ProcessIds,
    driver_of,
    following,
    new_node_id,
    node_of,
    object_order,
    owner_of,
)

OWNER = ProcessId(b"driver-1")


def test_node_ids_differ() -> None:
    ids = {new_node_id() for _ in range(1000)}
    assert len(ids) > 990  # the head of a cluster refuses a duplicate
    assert {len(node_id) for node_id in ids} == {4}


def test_ids_of_processes_name_their_node_and_differ() -> None:
    node = new_node_id()
    source = ProcessIds(node)
    ids = {driver_of(node), *(source.new() for _ in range(1000))}
    assert len(ids) == 1001
    assert {len(process_id) for process_id in ids} == {8}
    assert {node_of(process_id) for process_id in ids} == {node}


def test_an_object_is_on_the_way_to_the_node_of_its_owner() -> None:
    node = new_node_id()
    assert node_of(ObjectIds(driver_of(node)).reserve(1)) == node


def test_an_id_names_its_owner_and_sorts_by_age() -> None:
    source = ObjectIds(OWNER)
    ids = [source.reserve(1) for _ in range(300)]
    assert {owner_of(object_id) for object_id in ids} == {OWNER}
    assert {len(object_id) for object_id in ids} == {16}
    assert sorted(ids) == ids
    assert [object_order(object_id) for object_id in ids] == list(range(1, 301))


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 1000), max_size=20))
def test_reserved_ranges_do_not_overlap(counts: list[int]) -> None:
    source = ObjectIds(OWNER)
    ids = []
    for count in counts:
        first = source.reserve(count)
        ids += [following(first, index) for index in range(count)]
    assert len(set(ids)) == sum(counts)
    assert sorted(ids) == ids


def test_threads_get_ids_of_their_own() -> None:
    source = ObjectIds(OWNER)
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: source.reserve(3), range(2000)))
    assert len({following(first, index) for first in ids for index in range(3)}) == 6000
