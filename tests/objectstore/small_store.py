"""A store whose tests are short to write. Sizes are in units of 64 bytes."""

from __future__ import annotations

from itertools import count

from millpond.objectstore.commands import (
    Command,
    CreateGranted,
    InArena,
    InFile,
    Restore,
    Spill,
)
from millpond.objectstore.core import StoreCore

ME, YOU = b"client-1", b"client-2"
UNIT = 64


def oid(number: int, owner: int = 0) -> bytes:
    return b"owner-%02dobject%02d" % (owner, number)


class Store:
    """A core with tokens, sizes and ids that are short to write."""

    def __init__(
        self, units: int, *, can_spill: bool = True, low: float = 1.0, high: float = 1.0
    ) -> None:
        self.core = StoreCore(
            units * UNIT, can_spill=can_spill, low_water=low, high_water=high, validate=True
        )
        self.tokens = count(1)

    def create(self, number: int, units: int = 1, client: bytes = ME) -> list[Command]:
        return self.core.create(oid(number), units * UNIT, client, next(self.tokens))

    def put(self, number: int, units: int = 1, client: bytes = ME) -> list[Command]:
        """Create and seal an object for which there is room."""
        *others, granted = self.create(number, units, client)
        assert isinstance(granted, CreateGranted)
        return others + self.core.seal(oid(number))

    def put_spilled(self, number: int, units: int = 1) -> None:
        """An object that is in a file only."""
        self.put(number, units)
        token = next(self.tokens)
        self.core.create(oid(99), self.core.statistics().capacity, YOU, token)
        self.core.spilled(oid(number))
        self.core.abort(oid(99))

    def pin(self, number: int, client: bytes = ME) -> list[Command]:
        return self.core.pin(oid(number), client, next(self.tokens))

    def state(self, number: int) -> str | None:
        """The object's state, with a + when it is in memory and in a file."""
        for row in self.core.contents():
            if row.oid == oid(number):
                return row.state + ("+" if row.in_memory and row.in_file else "")
        return None

    @property
    def used(self) -> int:
        return self.core.statistics().used // UNIT


def block(offset: int, units: int = 1) -> InArena:
    return InArena(offset * UNIT, units * UNIT)


def file(number: int, units: int = 1) -> InFile:
    return InFile(oid(number), units * UNIT)


def spill(number: int, offset: int, units: int = 1) -> Spill:
    return Spill(oid(number), offset * UNIT, units * UNIT)


def restore(number: int, offset: int, units: int = 1) -> Restore:
    return Restore(oid(number), offset * UNIT, units * UNIT)
