"""Lost objects are rebuilt: the owner's part, on a simulated node (`losing_owner`)."""

from __future__ import annotations

from typing import Any

import pytest

from millpond.errors import ObjectLostError
from millpond.owner.lineage import Lineage, Recipe
from millpond.owner.objects import tried_from
from millpond.owner.rebuilding import MAX_REBUILDS
from millpond.wire import messages as m
from millpond.wire.ids import node_of
from tests.owner.losing_owner import Owner, result


@pytest.fixture
def owner() -> Owner:
    return Owner()


def test_a_lost_result_is_made_again(owner: Owner) -> None:
    (ref,) = owner.submit("s")
    before = owner.get(ref)
    owner.damage(ref)
    assert owner.get(ref) == before
    assert owner.runs[ref.id] == 2
    del ref
    owner.assert_empty()


def test_freed_arguments_are_made_again_and_freed_again(owner: Owner) -> None:
    (first,) = owner.submit("s")
    (second,) = owner.submit("s", [first])
    (third,) = owner.submit("s", [second, second])
    before = owner.get(third)
    ids = [first.id, second.id, third.id]
    del first, second
    owner.run()
    owner.damage(third)
    assert owner.get(third) == before
    assert [owner.runs[object_id] for object_id in ids] == [2, 2, 2]
    owner.drain()
    assert set(owner.store) == set(owner.objects.entries) == {third.id}
    del third
    owner.assert_empty()


def test_a_chain_of_any_length(owner: Owner) -> None:
    (ref,) = owner.submit("s")
    for _ in range(10_000):
        (ref,) = owner.submit("s", [ref])
    before = owner.get(ref)
    owner.damage(ref)
    assert owner.get(ref) == before
    assert set(owner.runs.values()) == {2}
    owner.damage(ref)
    assert owner.get(ref) == before
    del ref
    owner.assert_empty()


def test_a_chain_that_is_held_and_all_lost(owner: Owner) -> None:
    refs = owner.submit("s")
    for _ in range(3_000):
        refs += owner.submit("s", [refs[-1]])
    before = owner.get(refs[-1])
    owner.damage(*refs)
    assert owner.get(refs[-1]) == before
    assert set(owner.runs.values()) == {2}
    refs.clear()
    owner.assert_empty()


def test_only_what_is_lost_is_replaced(owner: Owner) -> None:
    refs = owner.submit("sssi")
    before = [owner.get(ref) for ref in refs]
    owner.damage(refs[0], refs[2])
    owner.store[refs[1].id] = b"stays"
    assert owner.get(refs[0]) == before[0]
    assert owner.store[refs[1].id] == b"stays"
    # The other lost one was replaced by the same run.
    assert owner.get(refs[2]) == before[2]
    assert owner.runs[refs[0].id] == 2
    assert [ref._entry.rebuilds for ref in refs] == [1, 0, 1, 0]


def test_a_result_needed_while_its_task_runs_again_for_another(owner: Owner) -> None:
    held, freed = owner.submit("ss")
    (user,) = owner.submit("s", [freed])
    before = owner.get(user)
    freed_id = freed.id
    del freed
    owner.run()
    owner.damage(held, user)
    assert owner.read(held) is None  # the rerun does not make what nobody holds
    assert owner.read(user) is None
    assert owner.get(user) == before
    assert owner.get(held) == result(held.id, 0, [])
    assert owner.runs == {held.id: 3, user.id: 2}
    owner.drain()
    assert freed_id not in owner.store
    del held, user
    owner.assert_empty()


def test_several_readers_cause_one_rebuild(owner: Owner) -> None:
    (ref,) = owner.submit("s")
    users = [owner.submit("i", [ref])[0] for _ in range(5)]
    owner.step()
    owner.damage(ref)
    assert owner.read(ref) is owner.read(ref) is None
    expected = result(ref.id, 0, [])
    for user in users:
        assert owner.get(user) == result(user.id, 0, [expected])
    assert owner.runs[ref.id] == 2


def test_a_late_report_of_an_old_loss_rebuilds_nothing(owner: Owner) -> None:
    (ref,) = owner.submit("s")
    owner.get(ref)
    seen = ref._entry.rebuilds
    owner.damage(ref)
    owner.get(ref)
    assert not owner.rebuilding.lost(ref._entry, seen, "it was damaged", [])
    owner.run()
    assert owner.runs[ref.id] == 2


def test_the_waiting_task_is_not_charged(owner: Owner) -> None:
    (ref,) = owner.submit("s")
    owner.run()
    (user,) = owner.submit("i", [ref], max_retries=0)
    user._entry.task.retries_left = 0
    owner.damage(ref)
    assert owner.get(user) == result(user.id, 0, [result(ref.id, 0, [])])


def test_late_results_of_earlier_attempts_are_ignored(owner: Owner) -> None:
    (ref,) = owner.submit("s")
    owner.get(ref)
    attempt = 0
    for _ in range(2):
        owner.damage(ref)
        assert owner.read(ref) is None
        stale = m.TaskResult(ref.id, attempt, [m.Value(m.INLINE, b"stale", 5)])
        owner.submission._on_tasks_done(None, m.TasksDone([stale]))  # type: ignore[arg-type]
        assert owner.queue[0].attempt > attempt
        attempt = owner.queue[0].attempt
        assert owner.get(ref) == result(ref.id, 0, [])


def test_a_rerun_that_fails_gives_its_error(owner: Owner) -> None:
    refs = owner.submit("ss")
    owner.run()
    owner.damage(refs[0])
    assert owner.read(refs[0]) is None
    task = owner.queue.pop()
    error = m.Value(m.FAILED, b"error")
    answer = m.TasksDone([m.TaskResult(task.task_id, task.attempt, [error])])
    owner.submission._on_tasks_done(None, answer)  # type: ignore[arg-type]
    assert (refs[0]._entry.state, refs[0]._entry.data) == (m.FAILED, b"error")
    assert owner.get(refs[1]) == result(refs[0].id, 1, [])
    refs.clear()
    owner.assert_empty()


@pytest.mark.parametrize(
    ("why", "options"),
    [
        ("max_retries=0", {"max_retries": 0}),
        ("actor's methods are not run again", {"kind": m.ACTOR_METHOD}),
    ],
)
def test_what_may_not_run_again(owner: Owner, why: str, options: dict[str, Any]) -> None:
    (ref,) = owner.submit("s", **options)
    (user,) = owner.submit("s", [ref])
    owner.run()
    owner.damage(ref, user)
    with pytest.raises(ObjectLostError, match=rf"{ref.hex()} is lost: it is damaged; .*{why}"):
        owner.get(ref)
    with pytest.raises(ObjectLostError, match=f"{ref.hex()} is lost: .*{why}"):
        owner.get(user)
    del ref, user
    owner.assert_empty()


def test_a_freed_put_stops_a_rebuild_before_it_begins(owner: Owner) -> None:
    put = owner.put(b"data")
    (first,) = owner.submit("s", [put])
    (second,) = owner.submit("s", [first])
    owner.run()
    put_id = put.hex()
    del put, first
    owner.run()
    runs = owner.runs.copy()
    owner.damage(second)
    why = f"{second.hex()} is lost: .*needs object {put_id}, which was freed; .*millpond.put"
    with pytest.raises(ObjectLostError, match=why):
        owner.get(second)
    assert owner.runs == runs
    del second
    owner.assert_empty()


def test_rebuilds_are_bounded(owner: Owner) -> None:
    (ref,) = owner.submit("s")
    owner.get(ref)
    for _ in range(MAX_REBUILDS):
        owner.damage(ref)
        owner.get(ref)
    owner.damage(ref)
    with pytest.raises(ObjectLostError, match=f"rebuilt {MAX_REBUILDS} times already"):
        owner.get(ref)


def test_objects_nested_in_arguments_are_made_again(owner: Owner) -> None:
    nested, inline = owner.submit("si")
    (ref,) = owner.submit("s", [], [nested, inline])
    owner.run()
    nested_id, inline_id, value = nested.id, inline.id, owner.get(inline)
    del nested, inline
    owner.run()
    owner.damage(ref)
    assert owner.read(ref) is None
    assert owner.objects.entries[inline_id].data == value
    owner.run()
    assert owner.runs[nested_id] == 2
    del ref
    owner.assert_empty()


def test_the_oldest_recipes_are_dropped(owner: Owner) -> None:
    owner.rebuilding.lineage = Lineage(limit=8_000)
    refs = [owner.submit("s", payload=bytes(1_000))[0] for _ in range(10)]
    refs += owner.submit("s", [refs[0], refs[9]])
    owner.run()
    owner.validate()
    owner.damage(*refs)
    assert owner.get(refs[9]) == result(refs[9].id, 0, [])
    for ref in (refs[0], refs[10]):
        with pytest.raises(ObjectLostError, match=rf"{refs[0].hex()} is lost: .*was dropped"):
            owner.get(ref)
    refs.clear()
    del ref
    owner.assert_empty()


def test_one_recipe_that_is_too_large_is_not_kept(owner: Owner) -> None:
    owner.rebuilding.lineage = Lineage(limit=5_000)
    (small,) = owner.submit("s")
    (large,) = owner.submit("s", payload=bytes(5_000))
    owner.run()
    assert isinstance(small._entry.lineage, Recipe)
    assert "was dropped" in str(large._entry.lineage)


def test_inline_results_have_no_lineage(owner: Owner) -> None:
    (ref,) = owner.submit("i")
    (user,) = owner.submit("i", [ref])
    owner.get(user)
    assert len(owner.rebuilding.lineage) == 0


class OtherNode:
    """What is said to another node."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def send(self, message: Any) -> bool:
        self.heard.append(message)
        return True


def test_what_is_lost_here_is_read_from_another_node_that_keeps_it_from_then_on() -> None:
    owner = Owner()
    other = OtherNode()
    nodes = {owner.node_id: owner, b"nod2": other}
    owner.tell_node = lambda any_id, message: nodes[node_of(any_id)].send(message)  # type: ignore[method-assign]
    ref = owner.put(b"data")
    owner.objects.add_copies([ref.id], b"nod2")
    owner.damage(ref)
    assert not owner.rebuilding.lost(ref._entry, 0, "it is damaged", [owner.node_id])
    assert owner.objects.value_of(ref._entry).nodes == [b"nod2"]
    assert other.heard == [m.KeepObjects([ref.id])]
    assert ref.id not in owner.store, "nobody is to find the damaged bytes again"


def test_a_reader_has_looked_at_its_own_node_only_if_that_has_the_bytes() -> None:
    assert tried_from(b"nod1", [b"nod2", b"nod1"]) == [b"nod1"]
    assert tried_from(b"nod1", [b"nod2", b"nod3"]) == [b"nod2", b"nod3"]
