"""Lost objects are rebuilt: the owner's part, on a node and workers that are simulated here."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from millpond.errors import ObjectLostError
from millpond.owner.alone import Alone
from millpond.owner.inline_budget import InlineBudget
from millpond.owner.lineage import Lineage, Recipe
from millpond.owner.objects import PENDING, Entry, Freed, ObjectTable, tried_from
from millpond.owner.rebuilding import MAX_REBUILDS, Rebuilding
from millpond.owner.refs import ObjectRef
from millpond.owner.state_lock import StateLock
from millpond.owner.submission import Submission
from millpond.owner.tasks import PendingTask
from millpond.serialization.exceptions import deserialize_exception
from millpond.wire import messages as m
from millpond.wire.ids import ObjectIds, ProcessId, following, node_of, object_order

ME = ProcessId(b"driver-1")
Ref = ObjectRef[Any]

#: what has damaged bytes in the store
DAMAGED = b"damaged"


class NoActors:
    """In the place of ``ActorCalls``."""

    def dispatch(self) -> None: ...

    def forget(self, actor_id: bytes) -> None: ...


class Owner:
    """A runtime's state with a simulated node, store, and worker.

    The function id of a task says of each of its results whether it is stored (``s``) or inline
    (``i``). A result is a digest of the task's id, its position, and the arguments' bytes.
    """

    def __init__(self) -> None:
        self.process_id = ME
        self.node_id = node_of(ME)
        self.failure = None
        self.task_memory = 0
        self.lock = StateLock()
        self.dead: list[Entry] = []
        self.ids = ObjectIds(ME)
        self.objects = ObjectTable(ME, self.dead.append, InlineBudget(1 << 30))
        self.actor_calls = NoActors()
        self.alone = Alone(self)  # type: ignore[arg-type]
        self.submission = Submission(self)  # type: ignore[arg-type]
        self.rebuilding = Rebuilding(self)  # type: ignore[arg-type]
        self.node = self
        self.store: dict[bytes, bytes] = {}
        self.queue: list[m.Task] = []
        self.runs: Counter[bytes] = Counter()
        self._leases = 0

    # --- what the engine calls ---

    def send(self, message: Any) -> bool:
        if isinstance(message, m.SubmitTask):
            self.queue.append(message.task)
        elif isinstance(message, m.RunTasks):
            self.queue += message.tasks
        elif isinstance(message, m.DeleteObjects):
            for object_id in message.object_ids:
                self.store.pop(object_id, None)
        return True

    def peer(self, process_id: bytes) -> Owner:
        return self

    def tell_node(self, any_id: bytes, message: Any) -> None:
        assert node_of(any_id) == self.node_id
        self.send(message)

    def delete_elsewhere(self, copies: dict[bytes, list[bytes]]) -> None:
        assert not copies, "there is one node"

    def start_resolving(self, entry: Entry) -> None:
        assert entry.owned

    def forget(self, freed: Freed) -> None:
        for recipe in freed.recipes:
            self.rebuilding.lineage.release(recipe)
        if freed.stored:
            self.send(m.DeleteObjects(freed.stored))

    def report_lost(self, entry: Entry, reason: str, tried: list[bytes]) -> bool:
        raise AssertionError("everything here is owned")

    # --- the user ---

    def put(self, data: bytes) -> Ref:
        entry, ref = self.objects.own(self.ids.reserve(1))
        self.store[entry.id] = data
        self.objects.finish(entry, m.Value(m.STORED, b"", len(data)))
        return ref

    def submit(
        self,
        kinds: str,
        arguments: Sequence[Ref] = (),
        held: Sequence[Ref] = (),
        *,
        max_retries: int = 3,
        kind: int = m.FUNCTION,
        payload: bytes = b"",
    ) -> list[Ref]:
        task = PendingTask(
            self.ids.reserve(len(kinds)), kinds.encode(), "f", b"", kind=kind, retries_left=-1
        )
        task.max_retries = max_retries
        task.arguments, task.held, task.payload = list(arguments), list(held), payload
        return self.submission.submit(task, len(kinds))

    def read(self, ref: Ref) -> bytes | None:
        """Return a finished object's bytes; None when it has to be rebuilt."""
        entry = ref._entry
        if entry.state == m.FAILED:
            raise deserialize_exception(entry.data)
        if entry.state == m.INLINE:
            return entry.data
        found = self.store.get(entry.id, DAMAGED)
        if found is not DAMAGED:
            return found
        with self.lock:
            self.rebuilding.lost(entry, entry.rebuilds, "it is damaged", [])
        return None

    def get(self, ref: Ref) -> bytes:
        self.run()
        while (found := self.read(ref)) is None:
            self.run()
        return found

    def damage(self, *refs: Ref) -> None:
        for ref in refs:
            assert ref.id in self.store
            self.store[ref.id] = DAMAGED

    # --- the node and the worker ---

    def run(self) -> None:
        while self.step():
            pass

    def step(self, index: int = 0, *, die: bool = False) -> bool:
        """Do what is due; then run or lose one task. False when there is nothing to do."""
        self.drain()
        if not self.queue:
            self._leases += 1
            grant = m.LeaseGranted(self._leases, b"", b"drivwork")
            if b"" in self.submission._pools:
                self.submission._on_lease_granted(None, grant)  # type: ignore[arg-type]
        if not self.queue:
            return False
        task = self.queue.pop(index % len(self.queue))
        lost = [a for a in task.arguments if a.value.kind == m.STORED and self.is_lost(a.object_id)]
        if lost:
            self.submission._on_task_lost(
                None,  # type: ignore[arg-type]
                m.TaskLost(task.task_id, task.attempt, "it is damaged", lost=lost),
            )
        elif die and (task.wanted or any(a.value.kind == m.STORED for a in task.arguments)):
            message = m.TaskLost(task.task_id, task.attempt, "it died")
            self.submission._on_task_lost(None, message)  # type: ignore[arg-type]
        else:
            self.runs[task.task_id] += 1
            result = m.TaskResult(task.task_id, task.attempt, self._values(task))
            self.submission._on_tasks_done(None, m.TasksDone([result]))  # type: ignore[arg-type]
        return True

    def is_lost(self, object_id: bytes) -> bool:
        return self.store.get(object_id, DAMAGED) is DAMAGED

    def _values(self, task: m.Task) -> list[m.Value]:
        arguments = [
            a.value.data if a.value.kind == m.INLINE else self.store[a.object_id]
            for a in task.arguments
        ]
        values = []
        for index in task.wanted or range(task.num_returns):
            object_id, data = following(task.task_id, index), result(task.task_id, index, arguments)
            if task.function_id[index : index + 1] == b"i":
                values.append(m.Value(m.INLINE, data, len(data)))
                continue
            write = not task.wanted or self.is_lost(object_id)
            if write:
                self.store[object_id] = data
            rebuilds = int(write and bool(task.wanted))
            values.append(m.Value(m.STORED, b"", len(data), [], rebuilds))
        return values

    def drain(self) -> None:
        freed = Freed()
        while self.dead:
            self.objects.free_if_unused(self.dead.pop(), freed)
        self.forget(freed)

    def validate(self) -> None:
        self.drain()
        self.objects.validate()
        self.submission.validate()
        self.rebuilding.validate()

    def assert_empty(self) -> None:
        """Nothing is left of anything."""
        self.run()
        self.validate()
        assert self.objects.entries == {}
        assert self.store == {}
        assert len(self.rebuilding.lineage) == self.rebuilding.lineage.size == 0
        assert not self.rebuilding._running
        assert not self.rebuilding._later


def result(task_id: bytes, index: int, arguments: Sequence[bytes]) -> bytes:
    digest = hashlib.blake2b(task_id + bytes([index]), digest_size=16)
    for argument in arguments:
        digest.update(argument)
    return digest.digest()


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


numbers = st.integers(0, 255)


class LineageMachine(RuleBasedStateMachine):
    """Random graphs, freed, lost and read at random; puts are kept, so all can be rebuilt."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = Owner()
        self.refs: dict[bytes, Ref] = {}
        self.puts: list[Ref] = []
        #: object id -> its bytes, whether or not it lives
        self.expected: dict[bytes, bytes] = {}

    def pick(self, which: list[int]) -> list[Ref]:
        refs = [*self.refs.values(), *self.puts]
        return [refs[number % len(refs)] for number in which] if refs else []

    @rule(data=st.binary(min_size=1, max_size=3))
    def put(self, data: bytes) -> None:
        self.puts.append(self.owner.put(data))
        self.expected[self.puts[-1].id] = data

    @rule(
        kinds=st.text("ssi", min_size=1, max_size=3),
        arguments=st.lists(numbers, max_size=3),
        held=st.lists(numbers, max_size=1),
    )
    def submit(self, kinds: str, arguments: list[int], held: list[int]) -> None:
        chosen = self.pick(arguments)
        # Refs nested in arguments are only told apart from top-level ones by what they keep.
        nested = [ref for ref in self.pick(held) if ref._entry.state != PENDING]
        refs = self.owner.submit(kinds, chosen, nested, max_retries=-1)
        values = [self.expected[ref.id] for ref in chosen]
        for index, ref in enumerate(refs):
            self.expected[ref.id] = result(refs[0].id, index, values)
            self.refs[ref.id] = ref

    @precondition(lambda self: self.refs)
    @rule(which=numbers)
    def drop(self, which: int) -> None:
        del self.refs[list(self.refs)[which % len(self.refs)]]

    @rule(which=st.lists(numbers, min_size=1, max_size=4))
    def lose(self, which: list[int]) -> None:
        puts = {ref.id for ref in self.puts}
        for number in which:
            stored = [
                object_id
                for object_id, entry in self.owner.objects.entries.items()
                if object_id in self.owner.store
                and object_id not in puts
                and entry.rebuilds < MAX_REBUILDS
            ]
            if stored:
                self.owner.store[stored[number % len(stored)]] = DAMAGED

    @rule(index=numbers, die=st.booleans(), times=st.integers(1, 4))
    def step(self, index: int, die: bool, times: int) -> None:
        for _ in range(times):
            self.owner.step(index, die=die)

    @precondition(lambda self: self.refs)
    @rule(which=numbers)
    def read(self, which: int) -> None:
        (ref,) = self.pick([which])
        if ref._entry.state != PENDING:
            found = self.owner.read(ref)
            assert found in (None, self.expected[ref.id])

    @rule()
    def get_all(self) -> None:
        owner = self.owner
        owner.run()
        runs = owner.runs.copy()
        for ref in self.refs.values():
            assert owner.get(ref) == self.expected[ref.id]
        # A task whose results are all held runs again once at most.
        for task_id, count in (owner.runs - runs).items():
            size = sum(1 for _ in self.results_of(task_id))
            held = sum(1 for object_id in self.results_of(task_id) if object_id in self.refs)
            assert count == 1 or held < size, (task_id, count)

    def results_of(self, task_id: bytes) -> list[bytes]:
        order, starts = object_order(task_id), set(self.owner.runs)
        found = []
        while (object_id := ME + order.to_bytes(8, "big")) in self.expected:
            if found and object_id in starts:
                break
            found.append(object_id)
            order += 1
        return found

    @invariant()
    def is_consistent(self) -> None:
        self.owner.validate()

    def teardown(self) -> None:
        self.get_all()
        self.refs.clear()
        self.puts.clear()
        self.owner.assert_empty()


TestLineage = LineageMachine.TestCase
TestLineage.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


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
