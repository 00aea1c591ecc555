"""Where bytes are, by what owners name."""

from __future__ import annotations

from millpond.wire import messages as m
from millpond.wire.copies import copies_of, copies_of_arguments, nodes_to_name, places

HERE, THERE, YONDER = b"nod1", b"nod2", b"nod3"
NEAR, FAR = HERE + b"driv00000002", THERE + b"work00000001"


def test_an_object_is_with_its_owner_unless_others_are_named() -> None:
    assert places(FAR, None) == places(FAR, []) == [THERE]
    assert places(FAR, [YONDER, HERE]) == [YONDER, HERE]


def test_the_node_of_the_owner_need_not_be_named() -> None:
    assert nodes_to_name(NEAR, HERE) == []
    assert nodes_to_name(FAR, HERE) == [HERE]


def test_copies_are_told_of_what_may_be_elsewhere() -> None:
    found = copies_of([(NEAR, 5, None), (FAR, 6, []), (NEAR, 7, [YONDER])], HERE)
    assert found == [m.Copies(FAR, 6, [THERE]), m.Copies(NEAR, 7, [YONDER])]


def test_arguments_that_are_no_stored_objects_have_no_copies() -> None:
    arguments = [
        m.Argument(FAR, m.Value(m.INLINE, b"x", 1)),
        m.Argument(FAR, m.Value(m.STORED, b"", 6)),
    ]
    assert copies_of_arguments(arguments, HERE) == [m.Copies(FAR, 6, [THERE])]
