"""Runs a trace through the real `LeaseQueue` and the real `StoreCore`, without time or bytes.

Everything happens in rounds: in each, as many file operations end as there are I/O threads, and
every task that was running ends. So a run is the same every time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from millpond.objectstore.commands import (
    Command,
    CreateGranted,
    CreateRefused,
    InFile,
    PinGranted,
    Restore,
    Spill,
)
from millpond.objectstore.core import StoreCore
from millpond.objectstore.states import ObjectState
from millpond.scheduler.lines import Line, continued
from millpond.scheduler.prefetch import worth_restoring
from millpond.scheduler.queue import Grant, LeaseQueue, Request
from millpond.scheduler.resources import UNIT, pack_shape

from .trace import Trace

__all__ = ["Event", "Outcome", "Replay", "Stuck"]

_OWNER = b"owner-00"
_SLOT = pack_shape({"CPU": UNIT})
_IO_THREADS = 2
#: objects that are restored ahead at the same time
_AHEAD = 2
#: objects that the owner tells of
_TOLD = 4096


class Stuck(Exception):  # noqa: N818 - the name says what happened
    """Tasks are left and nothing can happen any more."""


@dataclass(frozen=True, slots=True)
class Event:
    """A step of a run: "start" and "end" of a task, "make" and "drop" of an object."""

    kind: str
    number: int


@dataclass(slots=True)
class Outcome:
    """What a run cost."""

    #: bytes read back from files, into memory or in place
    restored: int = 0
    #: object -> how often it was read back
    reads: dict[int, int] = field(default_factory=dict)
    spilled: int = 0
    rounds: int = 0
    peak: int = 0
    events: list[Event] = field(default_factory=list)


class _Running:
    """A task that has its slot."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.pins_missing = 0
        self.creates_missing: int | None = None


class Replay:
    """One run of a trace.

    Args:
        trace: what to run.
        capacity: bytes of the store.
        slots: tasks that run side by side.
        by_next_use: tell the store what the tasks need; else it goes by least recent use.
        prefetch: restore for the next tasks while others run.
        in_order: run the tasks in the order of submission; None for what the trace says.
        validate: check the invariants of queue and store after every event.
    """

    def __init__(
        self,
        trace: Trace,
        capacity: int,
        *,
        slots: int = 2,
        by_next_use: bool = True,
        prefetch: bool = True,
        in_order: bool | None = None,
        validate: bool = False,
    ) -> None:
        self.core = StoreCore(capacity, validate=validate)
        self.queue = LeaseQueue({"CPU": slots * UNIT}, self.core.table.allocator.capacity)
        self._trace = trace
        self._prefetch = prefetch
        self._validate = validate
        if by_next_use:
            self.queue.needs.changed = self.core.expect
        self._uses = trace.uses()
        self._made: set[int] = set()
        self._places = _places(trace, trace.in_order if in_order is None else in_order)
        self._unmade = [len(set(task.arguments)) for task in trace.tasks]
        self._consumers: dict[int, list[int]] = {}
        for index, task in enumerate(trace.tasks):
            for number in set(task.arguments):
                self._consumers.setdefault(number, []).append(index)
        self._running: dict[int, _Running] = {}
        self._work: deque[Spill | Restore] = deque()
        self._ahead: set[bytes] = set()
        self._asked_bytes = 0
        self._left = len(trace.tasks)
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Run all tasks.

        Raises:
            Stuck: they cannot all be run.
        """
        for index, missing in enumerate(self._unmade):
            if missing == 0:
                self._submit(index)
        while self._left:
            self.outcome.rounds += 1
            if not self.core.knows_enough(self._asked_bytes):
                self._tell_of_waiting()
            progress = self._grant()
            self._restore_ahead()
            running = list(self._running.items())
            for _ in range(min(_IO_THREADS, len(self._work))):
                self._finish_work()
                progress = True
            for index, task in running:
                if task.pins_missing == 0 and task.creates_missing is None:
                    self._write_outputs(index, task)
                    progress = True
            if not progress and not self._work:
                raise Stuck(f"{self._left} tasks are left")
        while self._work:
            self._finish_work()
        statistics = self.core.statistics()
        self.outcome.spilled = statistics.spilled_bytes_total + statistics.file_backed_bytes_total
        self.outcome.peak = statistics.peak
        return self.outcome

    # --- tasks ---

    def _submit(self, index: int) -> None:
        task = self._trace.tasks[index]
        sizes = {_name(number): self._trace.sizes[number] for number in task.arguments}
        output = sum(self._trace.sizes[number] for number in task.outputs)
        order = self._places[index]
        self.queue.add(Request(index, _OWNER, _SLOT, order=order, arguments=sizes, output=output))

    def _tell_of_waiting(self) -> None:
        """Tell what the tasks need that wait for others, as their owner does."""
        self._asked_bytes = self.core.table.asked_bytes
        told: dict[Hashable, tuple[int, list[bytes]]] = {}
        count = 0
        for index, task in enumerate(self._trace.tasks):
            if self._unmade[index] and count < _TOLD:
                ids = [_name(number) for number in task.arguments if number in self._made]
                if ids:
                    told[index] = self._places[index], ids
                    count += len(ids)
        self.queue.needs.waiting(_OWNER, told)

    def _grant(self) -> bool:
        granted = self.queue.next_grants(1 << 30)
        for grant in granted:
            index = grant.key
            assert isinstance(index, int)
            running = self._running[index] = _Running(grant)
            wanted = list(dict.fromkeys(self._trace.tasks[index].arguments))
            running.pins_missing = len(wanted)
            self._log("start", index)
            for number in wanted:
                self._carry_out(
                    self.core.pin(_name(number), _client(index), ("pin", index, number))
                )
        if self._validate:
            self.queue.validate()
        return bool(granted)

    def _write_outputs(self, index: int, running: _Running) -> None:
        outputs = self._trace.tasks[index].outputs
        running.creates_missing = len(outputs)
        if not outputs:
            self._end(index)
        for number in outputs:
            size = self._trace.sizes[number]
            token = ("create", index, number)
            self._carry_out(self.core.create(_name(number), size, _client(index), token))

    def _end(self, index: int) -> None:
        del self._running[index]
        self._left -= 1
        task = self._trace.tasks[index]
        for number in dict.fromkeys(task.arguments):
            self._carry_out(self.core.unpin(_name(number), _client(index)))
        self.queue.release(index)
        self._log("end", index)
        for number in dict.fromkeys(task.arguments):
            self._uses[number] -= 1
            self._drop_if_unused(number)
        for number in task.outputs:
            self._made.add(number)
            self._drop_if_unused(number)
            for consumer in self._consumers.get(number, ()):
                self._unmade[consumer] -= 1
                if self._unmade[consumer] == 0:
                    self._submit(consumer)

    def _drop_if_unused(self, number: int) -> None:
        if self._uses[number] == 0 and number not in self._trace.kept:
            self._log("drop", number)
            self._carry_out(self.core.delete(_name(number)))

    # --- the store ---

    def _restore_ahead(self) -> None:
        if not self._prefetch:
            return
        self._ahead = {oid for oid in self._ahead if self._is_in(oid, ObjectState.RESTORING)}
        for oid in worth_restoring(self.queue, lambda oid: self._is_in(oid, ObjectState.SPILLED)):
            if len(self._ahead) >= _AHEAD:
                return
            commands = self.core.prefetch(oid)
            if not commands:
                return
            self._ahead.add(oid)
            self._carry_out(commands)

    def _is_in(self, oid: bytes, state: ObjectState) -> bool:
        record = self.core.table.records.get(oid)
        return record is not None and record.state is state

    def _finish_work(self) -> None:
        command = self._work.popleft()
        if isinstance(command, Spill):
            self._carry_out(self.core.spilled(command.oid))
        else:
            self._read_back(command.oid)
            self._carry_out(self.core.restored(command.oid))

    def _read_back(self, oid: bytes) -> None:
        number = _number(oid)
        self.outcome.restored += self._trace.sizes[number]
        self.outcome.reads[number] = self.outcome.reads.get(number, 0) + 1

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, (Spill, Restore)):
                self._work.append(command)
            elif isinstance(command, PinGranted):
                _, index, _ = command.token
                self._running[index].pins_missing -= 1
                if isinstance(command.location, InFile):
                    self._read_back(command.oid)
            elif isinstance(command, CreateGranted):
                self._created(command)
            elif isinstance(command, CreateRefused):
                raise Stuck(f"refused: {command}")

    def _created(self, command: CreateGranted) -> None:
        _, index, number = command.token
        self._log("make", number)
        self._carry_out(self.core.seal(command.oid))
        running = self._running[index]
        assert running.creates_missing is not None
        running.creates_missing -= 1
        if running.creates_missing == 0:
            self._end(index)

    def _log(self, kind: str, number: int) -> None:
        self.outcome.events.append(Event(kind, number))


def _places(trace: Trace, in_order: bool) -> list[int]:
    """Return where the tasks go in the order of their owner."""
    places: list[int] = []
    lines: dict[int, Line] = {}
    for index, task in enumerate(trace.tasks):
        made = [] if in_order else [lines[number] for number in task.arguments if number in lines]
        line = continued(index, made)
        places.append(line.start)
        lines.update((number, line) for number in task.outputs)
    return places


def _name(number: int) -> bytes:
    return _OWNER + number.to_bytes(8, "big")


def _number(oid: bytes) -> int:
    return int.from_bytes(oid[8:], "big")


def _client(index: int) -> bytes:
    return b"task%08d" % index
