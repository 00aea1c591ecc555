"""When objects are needed next, told by tasks that come and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millpond.scheduler.needs import Needs

A, B = b"owner-A", b"owner-B"
X, Y, Z = b"x", b"y", b"z"


class Told:
    """What the store was told last of each object."""

    def __init__(self) -> None:
        self.needs = Needs()
        self.uses: dict[bytes, int] = {}
        self.needs.changed = self._changed

    def _changed(self, object_id: bytes, position: int | None) -> None:
        if position is None:
            del self.uses[object_id]
        else:
            assert self.uses.get(object_id) != position, "nothing changed"
            self.uses[object_id] = position

    def order(self) -> list[bytes]:
        return sorted(self.uses, key=lambda object_id: self.uses[object_id])


def test_the_first_task_that_needs_an_object_counts() -> None:
    told = Told()
    told.needs.add("later", A, 7, [X, Y])
    told.needs.add("sooner", A, 5, [Y, Z])
    told.needs.validate()
    assert told.uses[Y] == told.uses[Z] == told.uses[X] - 2
    told.needs.end("sooner")
    assert told.uses[Y] == told.uses[X]
    assert Z not in told.uses
    told.needs.end("later")
    told.needs.end("never heard of")
    assert told.uses == {}
    told.needs.validate()


def test_an_owner_that_joins_starts_where_the_others_are() -> None:
    told = Told()
    for order in (1000, 1001, 1002):
        told.needs.add(order, A, order, [b"a%d" % order])
    told.needs.started(1000)
    told.needs.started(1001)
    told.needs.add("b", B, 3, [X])
    assert told.order() == [b"a1000", b"a1001", X, b"a1002"]


def test_an_owner_that_was_away_starts_where_the_others_are() -> None:
    told = Told()
    told.needs.add("a", A, 1, [X])
    told.needs.end("a")
    told.needs.add("b", B, 500, [Y])
    told.needs.started("b")
    told.needs.add("again", A, 90_000, [X])
    assert told.uses[X] == told.uses[Y]


def test_tasks_at_their_owner_count_until_they_are_queued_or_not_told_of_any_more() -> None:
    told = Told()
    told.needs.add("queued", A, 10, [X])
    told.needs.waiting(A, {"twelve": (12, [Y]), "fourteen": (14, [Z, X])})
    assert told.order() == [X, Y, Z]
    told.needs.add("twelve", A, 12, [Y])
    told.needs.end("twelve")
    assert told.order() == [X, Z], "it was queued, and is done"
    told.needs.waiting(A, {"fourteen": (14, [Z, X]), "sixteen": (16, [Y])})
    told.needs.end("queued")
    assert told.uses[X] == told.uses[Z] == told.uses[Y] - 2
    told.needs.waiting(A, {})
    assert told.uses == {}
    told.needs.validate()


def test_a_dead_owner_needs_nothing() -> None:
    told = Told()
    told.needs.add("a", A, 1, [X, Y])
    told.needs.waiting(A, {"c": (2, [Z])})
    told.needs.add("b", B, 1, [Y])
    told.needs.drop_owner(A)
    assert told.order() == [Y]
    told.needs.validate()


def test_a_task_that_comes_again_needs_only_what_it_says_then() -> None:
    told = Told()
    told.needs.add("a", A, 0, [X, Y])
    told.needs.add("b", B, 0, [X, Y])
    told.needs.add("b", B, 0, [X])
    told.needs.drop_owner(A)
    assert told.order() == [X]
    told.needs.validate()


_events = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "end", "start", "wait", "drop"]),
        st.sampled_from([A, B]),
        st.integers(0, 12),
        st.lists(st.sampled_from([X, Y, Z]), unique=True, max_size=3),
    )
)


@given(_events)
def test_what_is_told_is_what_is_known(events: list[tuple[str, bytes, int, list[bytes]]]) -> None:
    told = Told()
    for kind, owner, order, ids in events:
        match kind:
            case "add":
                told.needs.add((owner, order), owner, order, ids)
            case "end":
                told.needs.end((owner, order))
            case "start":
                told.needs.started((owner, order))
            case "wait":
                later = {(owner, order + 1): (order + 1, ids), (owner, order + 2): (order, ids[:1])}
                told.needs.waiting(owner, later)
            case "drop":
                told.needs.drop_owner(owner)
        told.needs.validate()
        assert told.uses == {x: at for x in (X, Y, Z) if (at := told.needs.next_use(x)) is not None}
    for owner in (A, B):
        told.needs.drop_owner(owner)
    assert told.uses == {}
