"""The lease queue under random events, against a model that knows who waits and who holds what."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from millpond.scheduler.queue import Grant, Kind, LeaseQueue, Request
from millpond.scheduler.resources import pack_shape, unpack_shape

OWNERS = [b"owner-A", b"owner-B", b"owner-C"]
SHAPES = [
    pack_shape(shape)
    for shape in ({"CPU": 1}, {"CPU": 2}, {"CPU": 3}, {"GPU": 1}, {"CPU": 1, "GPU": 1}, {})
]
CAPACITY = 100
OBJECTS = {b"%d" % size: size for size in (0, 5, 20, 40, 60, 90, 150)}
MANY = 1000

T = TypeVar("T")

owners = st.sampled_from(OWNERS)
shapes = st.sampled_from(SHAPES)
kinds = st.sampled_from([Kind.TASK, Kind.TASK, Kind.TASK, Kind.ACTOR])
arguments = st.lists(st.sampled_from(sorted(OBJECTS)), max_size=2, unique=True)
outputs = st.sampled_from([0, 0, 10, 50])
numbers = st.integers(0, 255)


def pick(items: Iterable[T], which: int) -> T:
    """One of the items; any number picks one."""
    known = list(items)
    return known[which % len(known)]


class Model:
    """Who waits and who holds what, kept in the plainest way."""

    def __init__(self, total: Mapping[str, int]) -> None:
        self.total = dict(total)
        self.waiting: dict[Hashable, Request] = {}
        #: owner, shape -> leases wanted
        self.wanted: dict[tuple[bytes, bytes], int] = {}
        self.held: dict[Hashable, Grant] = {}
        #: grants whose arguments are promised, with the output that still counts
        self.admitted: dict[Hashable, tuple[Mapping[bytes, int], int]] = {}

    def free(self) -> dict[str, int]:
        free = dict(self.total)
        for grant in self.held.values():
            if not grant.lent:
                for name, needed in unpack_shape(grant.shape).items():
                    free[name] -= needed
        return free

    def fits(self, shape: bytes) -> bool:
        return not self.short_of(shape)

    def short_of(self, shape: bytes) -> set[str]:
        free = self.free()
        return {name for name, needed in unpack_shape(shape).items() if needed > free[name]}

    def promised(self) -> int:
        objects: dict[bytes, int] = {}
        for sizes, _ in self.admitted.values():
            objects.update(sizes)
        return sum(objects.values()) + sum(output for _, output in self.admitted.values())

    def heads(self) -> list[Request]:
        """The first waiting request of each owner and shape."""
        heads: dict[tuple[bytes, bytes], Request] = {}
        for request in self.waiting.values():
            first = heads.setdefault((request.owner, request.shape), request)
            if request.order < first.order:
                heads[request.owner, request.shape] = request
        return list(heads.values())

    def granted(self, grant: Grant) -> None:
        """A grant must be somebody's turn and fit; note it."""
        assert grant.key not in self.held, "every key is granted once"
        assert self.fits(grant.shape)
        if grant.kind is Kind.LEASE:
            assert grant.request is None
            left = self.wanted.pop((grant.owner, grant.shape)) - 1
            if left:
                self.wanted[grant.owner, grant.shape] = left
        else:
            assert grant.request is self.waiting[grant.key]
            assert grant.request in self.heads(), "an owner's order, among equal shapes"
            request = self.waiting.pop(grant.key)
            assert (grant.owner, grant.shape, grant.kind) == (
                *(request.owner, request.shape, request.kind),
            )
            if request.arguments:
                alone = not self.admitted
                self.admitted[grant.key] = request.arguments, request.output
                assert alone or self.promised() <= CAPACITY
        self.held[grant.key] = grant


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        #: what was withdrawn last, if it has not come back
        self.withdrawn: Request | None = None

    @initialize(cpus=st.integers(1, 4), gpus=st.integers(0, 1))
    def start(self, cpus: int, gpus: int) -> None:
        self.model = Model({"CPU": cpus, "GPU": gpus})
        self.queue = LeaseQueue(self.model.total, CAPACITY)

    def possible(self, shape: bytes) -> bool:
        return self.queue.pool.lacking(unpack_shape(shape)) is None

    # -- events --

    @rule(
        owner=owners,
        shape=shapes,
        kind=kinds,
        needs=arguments,
        output=outputs,
        early=st.sampled_from([0, 0, 0, 0, 3]),
    )
    def add(  # noqa: PLR0917 - hypothesis passes them by name
        self, owner: bytes, shape: bytes, kind: Kind, needs: list[bytes], output: int, early: int
    ) -> None:
        """A request; sometimes one that was submitted earlier than those that wait."""
        if not self.possible(shape):
            return
        self.count += 1
        sizes = {object_id: OBJECTS[object_id] for object_id in needs}
        # Twice the count, so that an early one is the equal of none.
        order = 2 * (self.count - early) + (early > 0)
        request = Request(b"%d" % self.count, owner, shape, order, kind, sizes, output)
        if any(other.order == order for other in self.model.waiting.values()):
            return
        self.model.waiting[request.key] = request
        self.queue.add(request)

    @rule(owner=owners, shape=shapes, count=st.sampled_from([0, 1, 2, 5]))
    def want_leases(self, owner: bytes, shape: bytes, count: int) -> None:
        if not self.possible(shape):
            return
        self.count += 1
        self.queue.want_leases(owner, shape, count, 2 * self.count)
        self.model.wanted.pop((owner, shape), None)
        if count:
            self.model.wanted[owner, shape] = count

    @rule(limit=st.sampled_from([0, 1, 2, MANY, MANY, MANY]))
    def grant(self, limit: int) -> None:
        granted = self.queue.next_grants(limit)
        assert len(granted) <= limit
        for grant in granted:
            self.model.granted(grant)
        if len(granted) < limit:
            self.nothing_lies_idle()

    def nothing_lies_idle(self) -> None:
        """What fits was granted, or is kept for somebody who needs more of the same."""
        model = self.model
        heads = model.heads()
        waiting = [
            *model.wanted,
            *((head.owner, head.shape) for head in heads),
        ]
        short = set().union(*[model.short_of(shape) for _, shape in waiting])
        for owner, shape in model.wanted:
            if model.fits(shape):
                assert short & unpack_shape(shape).keys(), (owner, shape)
        for head in heads:
            if not model.fits(head.shape) or short & unpack_shape(head.shape).keys():
                continue
            assert head.arguments, head
            others = [other for other in heads if other.arguments and other is not head]
            assert model.admitted or others, "nobody is in the way"

    @precondition(lambda self: self.model.held)
    @rule(which=numbers)
    def release(self, which: int) -> None:
        self.end(pick(self.model.held, which))

    def end(self, key: Hashable) -> None:
        del self.model.held[key]
        self.model.admitted.pop(key, None)
        self.queue.release(key)

    @precondition(lambda self: self.model.held)
    @rule(which=numbers)
    def lend(self, which: int) -> None:
        key = pick(self.model.held, which)
        self.queue.lend(key)
        assert self.model.held[key].lent
        self.model.admitted.pop(key, None)

    @precondition(lambda self: any(grant.lent for grant in self.model.held.values()))
    @rule(which=numbers)
    def take_back(self, which: int) -> None:
        grant = pick([grant for grant in self.model.held.values() if grant.lent], which)
        self.queue.take_back(grant.key)
        assert not grant.lent
        if grant.request is not None and grant.request.arguments:
            self.model.admitted[grant.key] = grant.request.arguments, 0

    @rule(which=numbers)
    def withdraw(self, which: int) -> None:
        key = b"%d" % (self.count - which % (min(self.count, 30) + 1))
        waiting = self.model.waiting.pop(key, None)
        assert self.queue.withdraw(key) is (waiting is not None)
        self.withdrawn = waiting

    @precondition(lambda self: self.withdrawn is not None)
    @rule()
    def come_back(self) -> None:
        request, self.withdrawn = self.withdrawn, None
        assert request is not None
        if any(other.order == request.order for other in self.model.waiting.values()):
            return
        again = dataclasses.replace(request)
        self.model.waiting[again.key] = again
        self.queue.add(again)

    @rule(owner=owners)
    def drop_owner(self, owner: bytes) -> None:
        model = self.model
        held = [grant for grant in model.held.values() if grant.owner == owner]
        dropped = self.queue.drop_owner(owner)
        assert sorted(id(g) for g in dropped) == sorted(id(g) for g in held)
        model.waiting = {k: r for k, r in model.waiting.items() if r.owner != owner}
        model.wanted = {k: count for k, count in model.wanted.items() if k[0] != owner}
        for grant in dropped:
            self.end(grant.key)

    @rule(come=st.booleans())
    def recall(self, come: bool) -> None:
        before = {grant.key for grant in self.model.held.values() if grant.recalled}
        recalled = self.queue.recalls()
        lacking: set[str] = set()
        for _, shape in self.model.wanted:
            lacking |= self.model.short_of(shape)
        for head in self.model.heads():
            lacking |= self.model.short_of(head.shape)
        for grant in recalled:
            assert grant is self.model.held[grant.key]
            assert grant.kind is Kind.LEASE
            assert grant.recalled
            assert not grant.lent
            assert grant.key not in before
            assert lacking & unpack_shape(grant.shape).keys(), "it helps somebody who waits"
            if come:
                self.end(grant.key)

    # -- what must hold --

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "queue"):
            return
        self.queue.validate()
        assert self.queue.grants == self.model.held
        assert self.queue.pool.available == self.model.free()
        assert self.queue.admission.promised == self.model.promised()

    def teardown(self) -> None:
        """Everybody is served when everything granted is given back in turn."""
        if not hasattr(self, "queue"):
            return
        which = self.count
        for _ in range(10 * (len(self.model.held) + self.count + 5 * MANY)):
            for grant in self.queue.next_grants(MANY):
                self.model.granted(grant)
            self.books_agree()
            if not self.model.held:
                break
            which = which * 17 % 257 + 1
            self.end(pick(self.model.held, which))
        assert not self.model.waiting
        assert not self.model.wanted
        assert self.queue.recalls() == []
        assert self.queue.pool.available == self.queue.pool.total
        assert self.queue.admission.promised == 0


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


def step(machine: QueueMachine, rng: random.Random) -> None:
    """One event, chosen so that the node is kept busier than hypothesis would."""
    which, owner = rng.randrange(256), rng.choice(OWNERS)
    shape = rng.choice(SHAPES)
    needs = rng.sample(sorted(OBJECTS), rng.randint(0, 2))
    kind = rng.choice([Kind.TASK] * 9 + [Kind.ACTOR])
    early = rng.choice([0, 0, 0, 3])
    output = rng.choice([0, 0, 10, 50])
    held = machine.model.held
    lent = any(grant.lent for grant in held.values())
    events: list[tuple[int, object, Callable[[], None]]] = [
        (20, True, lambda: machine.add(owner, shape, kind, needs, output, early)),
        (8, True, lambda: machine.want_leases(owner, shape, rng.randint(0, 5))),
        (20, True, lambda: machine.grant(rng.choice([1, MANY, MANY, MANY]))),
        (20, held, lambda: machine.release(which)),
        (4, held, lambda: machine.lend(which)),
        (4, lent, lambda: machine.take_back(which)),
        (3, True, lambda: machine.withdraw(which)),
        (3, machine.withdrawn, machine.come_back),
        (1, True, lambda: machine.drop_owner(owner)),
        (12, True, lambda: machine.recall(come=rng.random() < 0.5)),
    ]
    possible = [(weight, act) for weight, when, act in events if when]
    (act,) = rng.choices([act for _, act in possible], [weight for weight, _ in possible])
    act()


@pytest.mark.parametrize("seed", range(25))
def test_random_walk(seed: int) -> None:
    """The same machine on long walks that keep the node busy."""
    rng = random.Random(seed)
    machine = QueueMachine()
    machine.start(rng.randint(1, 4), seed % 2)
    for _ in range(200):
        step(machine, rng)
        machine.books_agree()
    machine.teardown()


class Crowd:
    """Owners with more work than the machine will ever do; their grants end at random."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.queue = LeaseQueue({"CPU": rng.randint(1, 4), "GPU": 1}, CAPACITY)
        self.count = 0
        self.held: list[Grant] = []
        self.shapes = [s for s in SHAPES if self.queue.pool.lacking(unpack_shape(s)) is None]

    def submit(self, owner: bytes) -> Request | None:
        """One more request, or the wish for more leases."""
        rng = self.rng
        self.count += 1
        shape = rng.choice(self.shapes)
        kind = rng.choice([Kind.TASK, Kind.TASK, Kind.LEASE, Kind.ACTOR])
        if kind is Kind.LEASE:
            self.queue.want_leases(owner, shape, rng.randint(1, 5), self.count)
            return None
        needs = rng.sample(sorted(OBJECTS), rng.randint(0, 2))
        sizes = {object_id: OBJECTS[object_id] for object_id in needs}
        output = rng.choice([0, 30])
        key = b"%d" % self.count
        request = Request(key, owner, shape, self.count, kind, sizes, output)
        self.queue.add(request)
        return request

    def work(self) -> set[Hashable]:
        """One step of everybody's life: submit, grant, recall, wait, end."""
        rng = self.rng
        for owner in OWNERS[:-1]:
            self.submit(owner)
        granted = self.queue.next_grants(MANY)
        self.held += granted
        for grant in self.queue.recalls():
            self.end(grant)
        lent = [grant for grant in self.held if grant.lent]
        if self.held and rng.random() < 0.2:
            self.queue.lend(rng.choice(self.held).key)
        if lent and rng.random() < 0.5:
            self.queue.take_back(rng.choice(lent).key)
        # A lease is only given back when it is recalled: its owner has enough to do.
        busy = [grant for grant in self.held if grant.kind is not Kind.LEASE]
        if busy:
            self.end(rng.choice(busy))
        self.queue.validate()
        return {grant.key for grant in granted}

    def end(self, grant: Grant) -> None:
        self.held.remove(grant)
        self.queue.release(grant.key)


@pytest.mark.parametrize("seed", range(40))
def test_nobody_starves_in_a_crowd(seed: int) -> None:
    crowd = Crowd(random.Random(seed))
    for _ in range(20):
        crowd.work()
    request = None
    while request is None:
        request = crowd.submit(OWNERS[-1])
    for _ in range(300):
        if request.key in crowd.work():
            return
    raise AssertionError(f"{request} was not granted")
