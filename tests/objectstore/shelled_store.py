"""The store's core with a small shell that does its file work, and a model of what it holds.

The shell keeps real bytes (one bytearray for the arena, a dict for the files) so that a value that
is read back wrong, or was lost, is noticed: a block that is reused too early holds another object's
bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from millpond.objectstore.commands import (
    Command,
    CreateGranted,
    CreateRefused,
    DeleteFile,
    InArena,
    InFile,
    Location,
    Lost,
    Missing,
    PinGranted,
    Refusal,
    Restore,
    Spill,
)
from millpond.objectstore.core import StoreCore

OWNERS = [b"owner-%02d" % i for i in range(2)]
CLIENTS = [b"client%02d" % i for i in range(3)]
OIDS = [owner + b"%08d" % i for owner in OWNERS for i in range(8)]
UNIT = 64
SIZES = [64, 100, 128, 192, 250, 0, 1, 320, 640]
MARKS = [(0.6, 0.8), (0.0, 0.0), (1.0, 1.0), (0.2, 1.0)]

T = TypeVar("T")


def pick(items: Iterable[T], which: int) -> T:
    """One of the items; any number picks one."""
    known = list(items)
    return known[which % len(known)]


@dataclass
class Value:
    """What the model knows of a live object."""

    content: bytes
    writer: bytes
    location: Location | None = None  # where it is being written
    sealed: bool = False
    deleted: bool = False
    damaged: bool = False


@dataclass
class Pin:
    oid: bytes
    client: bytes
    location: Location
    content: bytes


@dataclass
class Shell:
    """The bytes, and the work that the core has asked for and not been told about."""

    arena: bytearray
    files: dict[bytes, bytes] = field(default_factory=dict)
    drafts: set[bytes] = field(default_factory=set)
    spills: list[Spill] = field(default_factory=list)
    restores: list[Restore] = field(default_factory=list)


class ShelledStore:
    """A core, its shell, and what the processes that use it know."""

    def __init__(self) -> None:
        self.tokens = 0
        self.fill = 0
        self.values: dict[bytes, Value] = {}
        self.pins: list[Pin] = []
        self.creating: dict[int, bytes] = {}  # token -> oid
        self.pinning: dict[int, tuple[bytes, bytes]] = {}  # token -> (oid, client)
        self.taken: dict[int, bytes] = {}  # creates of known ids, which must be refused

    def open(self, units: int, *, can_spill: bool, marks: tuple[float, float]) -> None:
        """Begin with an empty store of so many units."""
        self.can_spill = can_spill
        self.capacity = units * UNIT
        self.core = StoreCore(
            self.capacity + 5,  # rounded down
            can_spill=can_spill,
            low_water=marks[0],
            high_water=marks[1],
        )
        self.shell = Shell(bytearray(self.capacity))

    # -- what the shell and the processes do with the core's commands --

    def carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case CreateGranted(token, oid, location):
                    self.granted(token, oid, location)
                case CreateRefused(token, oid, reason):
                    self.refused(token, oid, reason)
                case PinGranted(token, oid, location):
                    expected, client = self.pinning.pop(token)
                    value = self.values[oid]
                    assert expected == oid
                    assert value.sealed
                    assert not value.deleted
                    self.pins.append(Pin(oid, client, location, value.content))
                    assert self.read(location) == value.content
                case Missing(token, oid):
                    expected, _ = self.pinning.pop(token)
                    assert expected == oid
                    assert oid not in self.values or self.values[oid].deleted
                case Lost(token, oid):
                    self.pinning.pop(token)
                    assert self.values[oid].damaged
                case Spill():
                    assert self.can_spill
                    assert not self.core.statistics().spill_paused
                    self.shell.spills.append(command)
                case Restore():
                    assert self.can_spill
                    self.shell.restores.append(command)
                    self.scribble(InArena(command.offset, command.size))
                case DeleteFile(oid):
                    assert oid in self.shell.files or oid in self.shell.drafts
                    assert not any(
                        pin.oid == oid and isinstance(pin.location, InFile) for pin in self.pins
                    )
                    self.shell.files.pop(oid, None)
                    self.shell.drafts.discard(oid)
                    assert all(spill.oid != oid for spill in self.shell.spills)
                    assert all(restore.oid != oid for restore in self.shell.restores)

    def granted(self, token: int, oid: bytes, location: Location) -> None:
        assert self.creating.pop(token) == oid
        value = self.values[oid]
        if len(value.content) <= self.capacity:
            assert all(token < other for other in self.creating), "not first in, first out"
        value.location = location
        assert location.size == len(value.content)
        if isinstance(location, InFile):
            assert self.can_spill
            self.shell.drafts.add(oid)
        else:
            self.scribble(location)  # the writer starts

    def refused(self, token: int, oid: bytes, reason: Refusal) -> None:
        if reason is Refusal.EXISTS:
            assert self.taken.pop(token) == oid
        else:
            assert not self.can_spill
            assert self.creating.pop(token) == oid
            assert reason is Refusal.FULL or len(self.values[oid].content) > self.capacity
            del self.values[oid]  # pins that wait for it are told next

    def scribble(self, location: InArena) -> None:
        """Somebody is given a block: whatever was in it is overwritten."""
        end = location.offset + location.size
        assert end <= self.capacity
        self.shell.arena[location.offset : end] = b"\xff" * location.size

    def read(self, location: Location) -> bytes:
        if isinstance(location, InArena):
            return bytes(self.shell.arena[location.offset : location.offset + location.size])
        return self.shell.files[location.oid]

    def token(self) -> int:
        self.tokens += 1
        return self.tokens

    # -- work that ends --

    def writing(self) -> list[bytes]:
        return sorted(
            oid for oid, v in self.values.items() if v.location is not None and not v.sealed
        )

    def finish_writing(self, oid: bytes) -> None:
        value = self.values[oid]
        if isinstance(value.location, InArena):
            offset, size = value.location.offset, value.location.size
            self.shell.arena[offset : offset + size] = value.content
        else:
            self.shell.drafts.discard(oid)
            self.shell.files[oid] = value.content
        value.sealed = True
        if value.deleted:
            del self.values[oid]
        self.carry_out(self.core.seal(oid))

    def write_out(self, spill: Spill) -> None:
        self.shell.spills.remove(spill)
        self.shell.files[spill.oid] = self.read(InArena(spill.offset, spill.size))
        self.carry_out(self.core.spilled(spill.oid))

    def read_in(self, restore: Restore, *, fails: bool) -> None:
        self.shell.restores.remove(restore)
        value = self.values.get(restore.oid)
        if value is not None:
            value.damaged = fails
        if fails:
            self.carry_out(self.core.restore_failed(restore.oid))
        else:
            offset, size = restore.offset, restore.size
            self.shell.arena[offset : offset + size] = self.shell.files[restore.oid]
            self.carry_out(self.core.restored(restore.oid))
