from __future__ import annotations

import pickle

import pytest

from millpond.objectstore.states import TRANSITIONS, InvalidTransition, ObjectState
from millpond.objectstore.table import ObjectTable

OID = b"owner-00" + bytes(8)


def reachable(start: ObjectState) -> set[ObjectState]:
    found: set[ObjectState] = set()
    border = {start}
    while border:
        found |= border
        border = {after for state in border for after in TRANSITIONS[state]} - found
    return found


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(ObjectState) == reachable(ObjectState.CREATED)


def test_every_state_but_the_last_can_end() -> None:
    for state in ObjectState:
        assert (ObjectState.DELETED in TRANSITIONS[state]) is (state is not ObjectState.DELETED)
    assert not TRANSITIONS[ObjectState.DELETED]


def test_bytes_never_change_once_sealed() -> None:
    assert not any(ObjectState.CREATED in after for after in TRANSITIONS.values())


@pytest.mark.parametrize("start", ObjectState)
@pytest.mark.parametrize("finish", ObjectState)
def test_the_table_of_objects_allows_what_the_table_of_transitions_does(
    start: ObjectState, finish: ObjectState
) -> None:
    table = ObjectTable(640)
    record = table.add(OID, 1, b"client", None)
    assert table.take_block(record)
    path = {
        ObjectState.CREATED: [],
        ObjectState.SEALED: [ObjectState.SEALED],
        ObjectState.SPILLING: [ObjectState.SEALED, ObjectState.SPILLING],
        ObjectState.SPILLED: [ObjectState.SPILLED],
        ObjectState.RESTORING: [ObjectState.SPILLED, ObjectState.RESTORING],
        ObjectState.DELETED: [ObjectState.DELETED],
    }[start]
    for state in path:
        table.move(record, state)
    if finish in TRANSITIONS[start]:
        table.move(record, finish)
        assert record.state is finish
    else:
        with pytest.raises(InvalidTransition) as caught:
            table.move(record, finish)
        assert (caught.value.start, caught.value.finish) == (start, finish)
        assert record.state is start


def test_an_invalid_transition_tells_its_story_across_processes() -> None:
    error = InvalidTransition(OID, ObjectState.SEALED, ObjectState.SEALED, ("create", "seal"))
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.oid, copy.start, copy.finish, copy.story) == (
        OID,
        ObjectState.SEALED,
        ObjectState.SEALED,
        ("create", "seal"),
    )
    assert str(copy) == f"object {OID.hex()} cannot go from sealed to sealed: create, seal"
