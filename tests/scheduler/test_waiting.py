from __future__ import annotations

import pytest

from millpond.scheduler.requests import Request
from millpond.scheduler.waiting import PATIENCE, Overtaken, OwnerQueue

OWNER = b"owner-A"
NARROW, WIDE = (OWNER, b"narrow"), (OWNER, b"wide")
CPU, GPU = {"CPU": 1}, {"GPU": 1}


def request(key: str, order: int, shape: bytes = b"shape") -> Request:
    return Request(key, OWNER, shape, order)


def test_the_first_submitted_is_the_head_of_its_shape() -> None:
    queue = OwnerQueue()
    for key, order in (("b", 2), ("a", 1), ("c", 2)):
        queue.add(request(key, order))
    queue.add(request("other", 9, b"other shape"))
    assert [head.key for head in queue.heads()] == ["a", "other"]
    keys = []
    while (head := queue.head(b"shape")) is not None:
        keys.append(head.key)
        queue.remove_head(head)
        queue.validate()
    assert keys == ["a", "b", "c"], "of equal order, the one that was added first"
    assert [head.key for head in queue.heads()] == ["other"]


def test_only_the_head_can_be_taken_out() -> None:
    queue = OwnerQueue()
    first, second = request("first", 1), request("second", 2)
    queue.add(first)
    queue.add(second)
    with pytest.raises(AssertionError):
        queue.remove_head(second)


def test_what_was_withdrawn_leaves_no_trace() -> None:
    queue = OwnerQueue()
    for order in range(3):
        queue.add(request(str(order), order))
    assert queue.withdraw("0")
    assert queue.withdraw("1")
    assert not queue.withdraw("1")
    assert not queue.withdraw("unknown")
    queue.validate()
    last = queue.head(b"shape")
    assert last is not None
    assert last.key == "2"
    queue.remove_head(last)
    assert list(queue.heads()) == []
    assert not queue._requests
    assert not queue._serials


def test_what_was_withdrawn_may_come_back_and_be_withdrawn_again() -> None:
    queue = OwnerQueue()
    queue.add(request("first", 1))
    for _ in range(3):  # while the first one keeps the traces of those before
        queue.add(request("back", 2))
        queue.validate()
        assert list(queue.waiting()) == [(b"shape", 2)]
        assert [each.key for each in queue.in_order()] == ["first", "back"]
        assert queue.withdraw("back")
        assert list(queue.waiting()) == [(b"shape", 1)]
    assert not queue.withdraw("back")


def test_held_leases_are_not_wanted_any_more() -> None:
    queue = OwnerQueue()
    queue.leases_wanted[b"shape"] = [2, 7]
    queue.remove_lease(b"shape")
    assert queue.leases_wanted == {b"shape": [1, 7]}
    queue.remove_lease(b"shape")
    assert queue.leases_wanted == {}
    assert queue.leases_held == 2
    queue.leases_wanted[b"shape"] = [0, 7]
    with pytest.raises(AssertionError):
        queue.validate()


def test_patience_ends_after_so_many_grants_of_the_same_resource() -> None:
    overtaken = Overtaken()
    overtaken.begin(WIDE, CPU)
    for _ in range(PATIENCE - 1):
        overtaken.granted(NARROW, CPU)
        overtaken.granted(NARROW, GPU)
        overtaken.granted(NARROW, {})
        overtaken.begin(WIDE, CPU)
    assert overtaken.too_often() == []
    overtaken.granted(NARROW, {"CPU": 1, "GPU": 1})
    assert overtaken.too_often() == [WIDE]
    overtaken.begin(NARROW, CPU)
    for _ in range(PATIENCE):
        overtaken.granted((b"owner-B", b"narrow"), CPU)
    assert overtaken.too_often() == [WIDE, NARROW], "who has waited longest is the first"


@pytest.mark.parametrize("how", ["granted", "end", "drop_owner"])
def test_patience_is_whole_again_for_who_waits_anew(how: str) -> None:
    overtaken = Overtaken()
    overtaken.begin((b"owner-B", b"wide"), CPU)
    overtaken.begin(WIDE, CPU)
    for _ in range(PATIENCE):
        overtaken.granted(NARROW, CPU)
    match how:
        case "granted":
            overtaken.granted(WIDE, CPU)
        case "end":
            overtaken.end(WIDE)
        case _:
            overtaken.drop_owner(OWNER)
    assert overtaken.too_often() == [(b"owner-B", b"wide")]
    overtaken.begin(WIDE, CPU)
    assert WIDE not in overtaken.too_often()
