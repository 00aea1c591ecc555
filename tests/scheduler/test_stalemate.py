"""A stalemate is seen if there is one, and never where there is none."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.scheduler.stalemate import Standing, Verdict, judge

ME, YOU = b"me", b"you"

#: steps that a message takes at most, and that lie between two rounds
TRANSIT, PAUSE = 4, 5


def said(waiting: int = 1, threads: int = 1, served: int = 5) -> Standing:
    return Standing(waiting, threads, served)


def test_all_wait_and_nothing_happened() -> None:
    both = {ME: said(), YOU: said()}
    assert judge(both, dict(both)) is Verdict.STUCK
    assert judge({}, both) is Verdict.MOVES, "one round tells nothing"
    assert judge({}, {}) is Verdict.MOVES


def test_one_works_or_has_served_something_or_is_new() -> None:
    both = {ME: said(), YOU: said()}
    assert judge(both, {ME: said(), YOU: said(served=6)}) is Verdict.MOVES
    assert judge(both, {ME: said()}) is Verdict.MOVES
    works = {ME: said(), YOU: said(waiting=0)}
    assert judge(works, works) is Verdict.MOVES


def test_a_thread_beside_those_that_wait_may_do_something() -> None:
    both = {ME: said(), YOU: said(waiting=1, threads=2)}
    assert judge(both, both) is Verdict.QUIET


@dataclass
class Process:
    """Follows a program: a number sends a message to that process, None waits for one."""

    program: list[int | None]
    inbox: int = 0
    served: int = 0

    def waits(self) -> bool:
        """Whether only a message gets it to do anything."""
        return self.inbox == 0 and (not self.program or self.program[0] is None)


@dataclass
class System:
    """Processes, and the messages between them."""

    processes: list[Process]
    chance: random.Random
    under_way: list[tuple[int, int]] = field(default_factory=list)
    now: int = 0

    def step(self) -> None:
        """Let messages arrive, and some of those that can do something do it."""
        self.now += 1
        for arrives, target in [each for each in self.under_way if each[0] <= self.now]:
            self.under_way.remove((arrives, target))
            self.processes[target].inbox += 1
        for process in self.processes:
            if process.waits() or self.chance.random() < 0.3:
                continue
            if not process.program or process.program[0] is None:
                process.inbox -= 1
                process.served += 1
                del process.program[:1]
            else:
                target = process.program.pop(0)
                assert target is not None
                arrival = self.now + self.chance.randint(1, TRANSIT)
                self.under_way.append((arrival, target % len(self.processes)))

    def round(self) -> dict[bytes, Standing]:
        """Ask all, each at its own time."""
        answers = {}
        order = list(range(len(self.processes)))
        self.chance.shuffle(order)
        for index in order:
            for _ in range(self.chance.randint(0, 2)):
                self.step()
            process = self.processes[index]
            answers[b"%d" % index] = Standing(int(process.waits()), 1, process.served)
        return answers

    def is_over(self) -> bool:
        return not self.under_way and all(process.waits() for process in self.processes)


programs = st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=12)


@settings(max_examples=300, deadline=None)
@given(programs=st.lists(programs, min_size=1, max_size=5), seed=st.integers(0, 1 << 30))
def test_a_stalemate_is_found_when_nothing_can_happen_and_not_before(
    programs: list[list[int | None]], seed: int
) -> None:
    system = System([Process(program[:]) for program in programs], random.Random(seed))
    before: dict[bytes, Standing] = {}
    for _ in range(1000):
        over = system.is_over()
        now = system.round()
        stuck = judge(before, now) is Verdict.STUCK
        assert not stuck or system.is_over()
        if stuck:
            return
        assert not (over and before == now), "nothing happened in two rounds, and it is not seen"
        before = now
        for _ in range(PAUSE):
            system.step()
    raise AssertionError("it is over, and that was not seen")
