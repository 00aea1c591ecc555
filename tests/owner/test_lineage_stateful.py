"""Random graphs whose objects are lost, freed and read at random."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from millpond.owner.objects import PENDING
from millpond.owner.rebuilding import MAX_REBUILDS
from millpond.wire.ids import object_order
from tests.owner.losing_owner import DAMAGED, ME, Owner, Ref, result

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
