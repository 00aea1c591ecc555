"""The store's core under random events, in a shell that does the file work."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from millpond.objectstore.commands import (
    CreateRefused,
    InArena,
    InFile,
    Refusal,
    Restore,
    Spill,
)
from millpond.objectstore.states import ObjectState
from tests.objectstore.shelled_store import (
    CLIENTS,
    MARKS,
    OIDS,
    OWNERS,
    SIZES,
    Pin,
    ShelledStore,
    Value,
    pick,
)

oids = st.sampled_from(OIDS)
clients = st.sampled_from(CLIENTS)
sizes = st.sampled_from(SIZES)
numbers = st.integers(0, 255)


class StoreMachine(ShelledStore, RuleBasedStateMachine):
    def __init__(self) -> None:
        RuleBasedStateMachine.__init__(self)
        ShelledStore.__init__(self)

    @initialize(
        units=st.integers(4, 10),
        can_spill=st.sampled_from([True] * 5 + [False]),
        marks=st.sampled_from(MARKS),
    )
    def start(self, units: int, can_spill: bool, marks: tuple[float, float]) -> None:
        self.open(units, can_spill=can_spill, marks=marks)

    # -- events from clients --

    @rule(oid=oids, size=sizes, client=clients)
    def create(self, oid: bytes, size: int, client: bytes) -> None:
        token = self.token()
        known = self.values.get(oid)
        users: list[Pin | Spill | Restore] = [
            *self.pins,
            *self.shell.spills,
            *self.shell.restores,
        ]
        in_use = any(user.oid == oid for user in users)
        if in_use or (known is not None and not known.damaged):
            self.taken[token] = oid
        else:
            self.fill = self.fill % 250 + 1
            self.values[oid] = Value(bytes([self.fill]) * size, client)
            self.creating[token] = oid
        self.carry_out(self.core.create(oid, size, client, token))
        assert token not in self.taken

    @rule(some=st.lists(sizes, min_size=1, max_size=4), client=clients)
    def put(self, some: list[int], client: bytes) -> None:
        """What happens most often: new objects are created and sealed at once."""
        taken = {row.oid for row in self.core.contents()}
        for oid, size in zip([oid for oid in OIDS if oid not in taken], some, strict=False):
            self.create(oid, size, client)
            if oid in self.writing():
                self.finish_writing(oid)

    @precondition(lambda self: self.writing())
    @rule(which=numbers)
    def seal(self, which: int) -> None:
        self.finish_writing(pick(self.writing(), which))

    @precondition(lambda self: self.writing())
    @rule(which=numbers)
    def abort(self, which: int) -> None:
        oid = pick(self.writing(), which)
        del self.values[oid]
        self.carry_out(self.core.abort(oid))

    @precondition(lambda self: self.values)
    @rule(which=numbers, client=clients)
    def pin_known(self, which: int, client: bytes) -> None:
        self.pin(pick(self.values, which), client)

    @rule(oid=oids, client=clients)
    def pin(self, oid: bytes, client: bytes) -> None:
        token = self.token()
        self.pinning[token] = (oid, client)
        self.carry_out(self.core.pin(oid, client, token))

    @precondition(lambda self: self.pins)
    @rule(which=numbers)
    def unpin(self, which: int) -> None:
        pin = self.pins.pop(which % len(self.pins))
        self.carry_out(self.core.unpin(pin.oid, pin.client))

    def read_from_files(self) -> list[Pin]:
        return [pin for pin in self.pins if isinstance(pin.location, InFile)]

    @precondition(lambda self: self.read_from_files())
    @rule(which=numbers)
    def find_file_unreadable(self, which: int) -> None:
        pin = pick(self.read_from_files(), which)
        self.pins.remove(pin)
        if pin.oid in self.values:
            self.values[pin.oid].damaged = True
        self.carry_out(self.core.unreadable(pin.oid, pin.client))
        assert pin.oid not in self.values or self.core.is_damaged(pin.oid)

    def unpin_all_and_more(self, oid: bytes, client: bytes) -> None:
        self.pins = [pin for pin in self.pins if (pin.oid, pin.client) != (oid, client)]
        self.carry_out(self.core.unpin(oid, client, 1000))

    @rule(oid=oids)
    def delete(self, oid: bytes) -> None:
        self.forget_deleted(oid)
        self.carry_out(self.core.delete(oid))

    def forget_deleted(self, oid: bytes) -> None:
        value = self.values.get(oid)
        if value is not None:
            value.deleted = True
            if value.sealed:
                del self.values[oid]

    def drop_owner(self, prefix: bytes) -> None:
        for oid in OIDS:
            if oid.startswith(prefix):
                self.forget_deleted(oid)
        self.carry_out(self.core.drop_owner(prefix))

    def drop_client(self, client: bytes) -> None:
        self.pins = [pin for pin in self.pins if pin.client != client]
        self.pinning = {t: (o, c) for t, (o, c) in self.pinning.items() if c != client}
        unsealed = {o for o, v in self.values.items() if v.writer == client and not v.sealed}
        self.creating = {t: o for t, o in self.creating.items() if o not in unsealed}
        for oid in unsealed:
            del self.values[oid]
        self.carry_out(self.core.drop_client(client))

    @precondition(lambda self: self.creating or self.pinning)
    @rule(which=numbers)
    def cancel(self, which: int) -> None:
        token = pick([*self.creating, *self.pinning], which)
        self.pinning.pop(token, None)
        if token in self.creating:
            del self.values[self.creating.pop(token)]
        self.carry_out(self.core.cancel(token))

    @rule(which=numbers, client=clients)
    def rare_event(self, which: int, client: bytes) -> None:
        match which % 4:
            case 0:
                self.unpin_all_and_more(pick(OIDS, which // 4), client)
            case 1:
                self.drop_client(client)
            case 2:
                self.drop_owner(pick(OWNERS, which // 4))
            case 3:
                self.carry_out(self.core.cancel(-1))

    # -- events from the scheduler --

    @rule(oid=oids, position=st.one_of(st.none(), st.integers(0, 20)))
    def expect(self, oid: bytes, position: int | None) -> None:
        self.core.expect(oid, position)

    @rule(order=st.permutations(range(len(OIDS))), some=st.integers(0, len(OIDS)))
    def expect_all(self, order: list[int], some: int) -> None:
        """The tasks that wait are other ones now."""
        for position, index in enumerate(order):
            self.core.expect(OIDS[index], position if position < some else None)

    @precondition(lambda self: self.shell.files)
    @rule(which=numbers)
    def prefetch(self, which: int) -> None:
        oid = pick(self.shell.files, which)
        sooner = self.in_memory_and_needed_before(oid)
        waiting = len(self.core.requests.waiting)
        commands = self.core.prefetch(oid)
        assert all(isinstance(command, (Restore, Spill)) for command in commands)
        restored = [command.oid for command in commands if isinstance(command, Restore)]
        assert restored in ([], [oid])
        if restored:
            assert sooner <= self.in_memory_and_needed_before(oid), "it pushed out what is sooner"
            assert not waiting or not self.core.requests.queue
        self.carry_out(commands)

    def in_memory_and_needed_before(self, oid: bytes) -> set[bytes]:
        next_use = self.core.table.next_use
        limit = next_use.get(oid, -1)
        return {
            row.oid
            for row in self.core.contents()
            if row.in_memory and row.oid != oid and next_use.get(row.oid, limit + 1) <= limit
        }

    # -- events from the file work --

    @rule()
    def out_of_disk(self) -> None:
        failing = self.core.room.failing
        refused = self.core.out_of_disk()
        for command in refused:
            if isinstance(command, CreateRefused):
                assert failing
                assert command.reason is Refusal.NO_DISK
                assert self.creating.pop(command.token) == command.oid
                assert self.values[command.oid].location is None
                del self.values[command.oid]
        self.carry_out([c for c in refused if not isinstance(c, CreateRefused)])
        assert not (failing and self.creating)

    @precondition(lambda self: self.shell.spills)
    @rule(which=numbers, outcome=st.sampled_from(["done", "done", "done", "full", "error"]))
    def finish_spill(self, which: int, outcome: str) -> None:
        spill = pick(self.shell.spills, which)
        if outcome == "done":
            self.write_out(spill)
        else:
            self.shell.spills.remove(spill)
            self.carry_out(self.core.spill_failed(spill.oid, outcome == "full"))
            assert self.core.statistics().spill_paused

    @rule()
    def retry_spill(self) -> None:
        self.carry_out(self.core.retry_spill())

    @precondition(lambda self: self.shell.restores)
    @rule(which=numbers, fails=st.sampled_from([False, False, False, True]))
    def finish_restore(self, which: int, fails: bool) -> None:
        self.read_in(pick(self.shell.restores, which), fails=fails)

    @precondition(lambda self: self.shell.spills or self.shell.restores)
    @rule()
    def finish_all_work(self) -> None:
        while self.shell.spills or self.shell.restores:
            for spill in self.shell.spills[:]:
                self.write_out(spill)
            for restore in self.shell.restores[:]:
                self.read_in(restore, fails=False)

    # -- what must hold between any two events --

    @invariant()
    def pinned_bytes_stay(self) -> None:
        blocks = dict(self.core.table.allocator.blocks()) if self.pins else {}
        for pin in self.pins:
            assert self.read(pin.location) == pin.content
            if isinstance(pin.location, InArena):
                assert blocks[pin.location.offset] >= pin.location.size

    @invariant()
    def sealed_bytes_are_safe(self) -> None:
        """Every sealed value is complete in memory or in a file."""
        if not hasattr(self, "core"):
            return
        rows = {row.oid: row for row in self.core.contents()}
        for oid, value in self.values.items():
            row = rows[oid]
            assert row.size == len(value.content)
            if value.sealed and row.state is ObjectState.SPILLED:
                assert self.shell.files[oid] == value.content
            if row.in_file:
                assert self.shell.files[oid] == value.content
            if value.sealed and row.in_memory and row.state is not ObjectState.RESTORING:
                offset = self.core.table.records[oid].offset
                assert offset is not None
                assert self.read(InArena(offset, row.size)) == value.content

    @invariant()
    def books_and_limit_hold(self) -> None:
        if hasattr(self, "core"):
            self.core.validate()
            statistics = self.core.statistics()
            assert statistics.used <= statistics.peak <= statistics.capacity == self.capacity

    @invariant()
    def who_waits_is_known(self) -> None:
        if hasattr(self, "core"):
            waiting = set(self.core.requests.waiting)
            assert waiting == set(self.creating) | set(self.pinning)

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """A request for room waits only while file work, a retry or a release is due."""
        if not hasattr(self, "core") or self.shell.spills or self.shell.restores:
            return
        if not self.core.statistics().spill_paused and self.can_spill:
            assert not self.creating
            for oid, _ in self.pinning.values():
                assert not self.values[oid].sealed

    def teardown(self) -> None:
        """Everything ends when everybody goes: nothing is left."""
        if not hasattr(self, "core"):
            return
        for client in CLIENTS:
            self.drop_client(client)
        for owner in OWNERS:
            self.drop_owner(owner)
        self.finish_all_work()
        statistics = self.core.statistics()
        assert statistics.num_objects == statistics.used == statistics.spilled_bytes == 0
        assert statistics.num_pinned == statistics.num_waiting == 0
        assert not self.shell.files
        assert not self.shell.drafts


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)


def step(machine: StoreMachine, rng: random.Random) -> None:
    """One event, chosen so that the store is kept busier than hypothesis would."""
    which, client = rng.randrange(256), rng.choice(CLIENTS)
    oid, size = rng.choice(OIDS), rng.choice(SIZES)
    outcome = rng.choice(["done"] * 9 + ["full", "error"])
    waits = [*machine.creating, *machine.pinning]
    events: list[tuple[int, object, Callable[[], None]]] = [
        (15, True, lambda: machine.put([size], client)),
        (5, True, lambda: machine.create(oid, size, client)),
        (15, machine.values, lambda: machine.pin_known(which, client)),
        (15, machine.pins, lambda: machine.unpin(which)),
        (2, machine.read_from_files(), lambda: machine.find_file_unreadable(which)),
        (6, machine.writing(), lambda: machine.seal(which)),
        (2, machine.writing(), lambda: machine.abort(which)),
        (6, True, lambda: machine.delete(oid)),
        (2, True, lambda: machine.rare_event(which, client)),
        (2, waits, lambda: machine.cancel(which)),
        (2, True, machine.retry_spill),
        (1, True, machine.out_of_disk),
        (8, True, lambda: machine.expect(oid, rng.choice([None, *range(9)]))),
        (8, machine.shell.files, lambda: machine.prefetch(which)),
        (15, machine.shell.spills, lambda: machine.finish_spill(which, outcome)),
        (15, machine.shell.restores, lambda: machine.finish_restore(which, outcome == "error")),
    ]
    possible = [(weight, act) for weight, when, act in events if when]
    (act,) = rng.choices([act for _, act in possible], [weight for weight, _ in possible])
    act()


@pytest.mark.parametrize("seed", range(8))
def test_random_walk(seed: int) -> None:
    """The same machine on long walks that keep the store busy."""
    rng = random.Random(seed)
    machine = StoreMachine()
    machine.start(rng.randint(4, 12), can_spill=seed % 4 != 3, marks=rng.choice(MARKS))
    for _ in range(300):
        step(machine, rng)
        machine.pinned_bytes_stay()
        machine.sealed_bytes_are_safe()
        machine.books_and_limit_hold()
        machine.who_waits_is_known()
        machine.nobody_waits_for_ever()
    machine.teardown()
