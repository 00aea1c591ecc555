"""Making room in memory: what leaves it, when, and whether that will be enough.

`RoomMaker` frees blocks that cost nothing and starts spills. It answers nobody: which request
is served next, and how, is `millpond.objectstore.core`.
"""

from __future__ import annotations

from .commands import Command, Spill
from .states import ObjectState
from .table import ObjectRecord, ObjectTable


class RoomMaker:
    """Evicts and spills objects of a table.

    Args:
        table: the objects.
        can_spill: False when values may never be written to files.
        low_water: spilling ahead stops at this part of the capacity.
        high_water: spilling ahead starts above this part of the capacity.

    Raises:
        ValueError: the marks are not 0 <= low_water <= high_water <= 1.
    """

    def __init__(
        self, table: ObjectTable, *, can_spill: bool, low_water: float, high_water: float
    ) -> None:
        if not 0 <= low_water <= high_water <= 1:
            text = f"the marks must be 0 <= low <= high <= 1, they are {low_water} and {high_water}"
            raise ValueError(text)
        self._table = table
        self.can_spill = can_spill
        #: A spill failed; no other is started until this is reset.
        self.paused = False
        #: The spill that failed last failed for want of space, and none succeeded since.
        self.disk_full = False
        self.spills = 0
        self.spill_failures = 0
        self.spilled_bytes = 0
        self.evictions = 0
        self._low = int(low_water * table.allocator.capacity)
        self._high = int(high_water * table.allocator.capacity)

    def take_block(self, record: ObjectRecord) -> bool:
        """Give the object a block, freeing those that cost nothing if that helps."""
        table = self._table
        if record.block > table.allocator.free_bytes + table.clean.total:
            return False
        while not table.take_block(record):
            oid = table.clean.first()
            if oid is None:
                return False
            victim = table.records[oid]
            table.move(victim, ObjectState.SPILLED)
            table.free_block(victim)
            self.evictions += 1
        return True

    def bring_room(self, record: ObjectRecord, commands: list[Command]) -> bool:
        """Start what will make room for the object; False when nothing will.

        Not to be called during a pause. True means that file work is under way which may be enough.
        What it brings may be in pieces, or be pinned meanwhile: then the next call starts more, or
        tells that it is no use.
        """
        table = self._table
        at_hand = table.allocator.free_bytes + table.clean.total + table.leaving.total
        missing = record.block - at_hand
        if missing > table.dirty.total:
            return False
        if missing <= 0 and len(table.leaving) == 0:
            missing = record.block  # there is enough free space, but in pieces
        self._spill(missing, commands)
        return len(table.leaving) > 0

    def spill_ahead(self, commands: list[Command]) -> None:
        """Above the high mark, start to spill down to the low one, so that creates seldom wait."""
        table = self._table
        # What costs nothing to free is as good as free.
        busy = table.allocator.used - table.clean.total
        if busy > self._high and self.can_spill and not self.paused:
            self._spill(busy - table.leaving.total - self._low, commands)

    def succeeded(self, record: ObjectRecord) -> None:
        """Count a spill."""
        self.spills += 1
        self.spilled_bytes += record.size
        self.disk_full = False

    def failed(self, *, no_space: bool) -> None:
        """Count a spill that failed, and pause."""
        self.spill_failures += 1
        self.disk_full = no_space
        self.paused = True

    def _spill(self, amount: int, commands: list[Command]) -> None:
        """Start to spill at least `amount` bytes, as far as there are victims."""
        table = self._table
        while amount > 0 and (oid := table.dirty.first()) is not None:
            victim = table.records[oid]
            assert victim.offset is not None
            table.move(victim, ObjectState.SPILLING)
            commands.append(Spill(oid, victim.offset, victim.size))
            amount -= victim.block
