from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from millpond.scheduler.admission import Admission

CAPACITY = 100


def test_an_object_needed_twice_is_counted_once() -> None:
    admission = Admission(CAPACITY)
    admission.admit("one", {b"a": 60}, 10)
    assert admission.fits({b"a": 60}, 30)
    assert not admission.fits({b"a": 60}, 31)
    assert not admission.fits({b"b": 60}, 0)
    admission.admit("two", {b"a": 60, b"b": 5}, 0)
    assert admission.promised == 75
    admission.end("one")
    assert admission.promised == 65, "the other one still needs the object"
    admission.end("two")
    assert admission.promised == 0


def test_a_task_that_never_fits_is_admitted_alone() -> None:
    admission = Admission(CAPACITY)
    assert admission.fits({b"a": 1000}, 1000)
    admission.admit("small", {b"b": 1}, 0)
    assert not admission.fits({b"a": 1000}, 1000)
    admission.end("small")
    admission.admit("large", {b"a": 1000}, 1000)
    assert not admission.fits({b"b": 1}, 0)
    admission.validate()


def test_exactly_full_fits() -> None:
    admission = Admission(CAPACITY)
    admission.admit("one", {b"a": 40}, 10)
    assert admission.fits({b"b": 40}, 10)
    assert not admission.fits({b"b": 40}, 11)


def test_ending_what_was_not_admitted_changes_nothing() -> None:
    admission = Admission(CAPACITY)
    admission.admit("one", {b"a": 40}, 10)
    admission.end("two")
    admission.end("one")
    admission.end("one")
    assert admission.promised == 0
    admission.validate()


objects = {bytes([i]): size for i, size in enumerate([0, 1, 10, 30, 60, 100, 150])}
needs = st.sets(st.sampled_from(sorted(objects)), min_size=1, max_size=3)


class AdmissionMachine(RuleBasedStateMachine):
    """Admission against the plain sums."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(CAPACITY)
        self.admitted: dict[int, tuple[set[bytes], int]] = {}
        self.next_key = 0

    def sum_with(self, *more: tuple[set[bytes], int]) -> int:
        tasks = [*self.admitted.values(), *more]
        needed = set().union(*[arguments for arguments, _ in tasks])
        return sum(objects[o] for o in needed) + sum(output for _, output in tasks)

    @rule(arguments=needs, output=st.integers(0, 50), goes_on=st.booleans())
    def admit(self, arguments: set[bytes], output: int, goes_on: bool) -> None:
        sizes = {o: objects[o] for o in arguments}
        fits = not self.admitted or self.sum_with((arguments, output)) <= CAPACITY
        assert self.admission.fits(sizes, output) is fits
        if fits or goes_on:  # a task that waited goes on whether it fits or not
            self.next_key += 1
            self.admission.admit(self.next_key, sizes, output)
            self.admitted[self.next_key] = (arguments, output)

    @precondition(lambda self: self.admitted)
    @rule(which=st.integers(0, 100))
    def end(self, which: int) -> None:
        key = sorted(self.admitted)[which % len(self.admitted)]
        del self.admitted[key]
        self.admission.end(key)

    @invariant()
    def sums_agree(self) -> None:
        self.admission.validate()
        assert self.admission.promised == self.sum_with()


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
