"""Making room in memory: what leaves it, when, and whether that will be enough.

`RoomMaker` frees blocks that cost nothing and starts spills. It answers nobody: which request
is served next, and how, is `millpond.objectstore.core`.
"""

from __future__ import annotations

from .commands import Command, Spill
from .holes import hole_anywhere, hole_near_victims
from .states import ObjectState
from .table import ObjectRecord, ObjectTable

#: victims that are smaller than this part of what needs room leave together with their neighbours
_TINY = 4


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
        #: A spill failed, and none succeeded since.
        self.failing = False
        self.spills = 0
        self.spill_failures = 0
        self.spilled_bytes = 0
        self.evictions = 0
        self._low = int(low_water * table.allocator.capacity)
        self._high = int(high_water * table.allocator.capacity)
        #: secondary copies that were dropped, and of which nobody was told yet
        self.dropped: list[bytes] = []
        #: who looked for a hole last, and bytes with files from which on it makes sense again
        self._tried = b"", 0
        #: bytes that are spilled beyond what a request needs that has to wait for it: while what
        #: is needed soon fills memory nothing is spilled ahead, and the disk is to work on while
        #: those who were served make the next values
        self._beyond = self._high - self._low
        #: bytes of new objects whose uses need not be known yet
        self.stride = self._beyond // 4

    @property
    def pressed(self) -> bool:
        """Whether so much is in memory that something will have to leave it."""
        return self._table.allocator.used > self._low

    def take_block(self, record: ObjectRecord) -> bool:
        """Give the object a block, freeing those that cost nothing if that helps.

        One that a task will need stays while there is something to spill that is needed later.
        """
        table = self._table
        if record.block > table.allocator.free_bytes + table.clean.total:
            return False
        evicted = 0
        while not table.take_block(record):
            oid = table.clean.first()
            if oid is None or self._dirty_goes_first():
                return False
            block = table.records[oid].block
            if evicted >= record.block or block * _TINY < record.block:
                return self._take_hole(record)
            self._evict(oid)
            evicted += block
        return True

    def _take_hole(self, record: ObjectRecord) -> bool:
        """Give the object the room of several neighbours that have files."""
        table = self._table
        hole = hole_near_victims(table, record.block, (table.clean,))
        if hole is None and self.can_spill and not self.paused:
            hole = hole_near_victims(table, record.block, (table.clean, table.dirty))
            if hole is not None and any(victim.pool is table.dirty for victim in hole):
                return False  # to spill those is better than to look through everything
        if hole is None:
            # To look everywhere takes a while: not at every event while little has changed.
            tried, total = self._tried
            if tried == record.oid and len(table.leaving) and table.clean.total < total:
                return False
            hole = hole_anywhere(table, record.block, (table.clean,))
        if hole is None:
            self._tried = record.oid, table.clean.total + record.block // 4
            return False
        for victim in hole:
            self._evict(victim.oid)
        return table.take_block(record)

    def take_spare(self, record: ObjectRecord, position: int) -> bool:
        """Give the object a block if nothing has to leave for it that is needed sooner.

        Args:
            record: the object.
            position: of its next use.
        """
        table = self._table
        if record.block > table.allocator.free_bytes + table.clean.later_than(position):
            return False
        while not table.take_block(record):
            oid = table.clean.first_idle()
            if oid is None:
                last = table.clean.furthest()
                if last is None or last[0] <= position:
                    return False
                oid = last[1]
                if table.records[oid].block < record.block:
                    return False  # it may take many, until some of them touch
            self._evict(oid)
        return True

    def bring_room(self, record: ObjectRecord, commands: list[Command]) -> bool:
        """Start what will make room for the object; False when nothing will.

        Not to be called during a pause. True means that file work is under way which may be enough.
        What it brings may be in pieces, or be pinned meanwhile: then the next call starts more, or
        tells that it is no use.
        """
        table = self._table
        at_hand = table.allocator.free_bytes + table.leaving.total
        missing = record.block - at_hand - table.clean.total
        if missing > table.dirty.total:
            return False
        wanted = record.block - at_hand - table.clean.idle
        if wanted > 0:
            wanted += self._beyond
        while wanted > 0 and (missing > 0 or self._dirty_goes_first()):
            spilled = self._spill_first(commands)
            if spilled == 0:
                break
            missing -= spilled
            wanted -= spilled
        if len(table.leaving) == 0:  # there is enough free space, but in pieces
            self._spill_hole(record, commands)
        return len(table.leaving) > 0

    def _spill_hole(self, record: ObjectRecord, commands: list[Command]) -> None:
        """Start to spill neighbours in whose room the object fits, if there are any."""
        table = self._table
        pools = (table.clean, table.dirty)
        hole = hole_near_victims(table, record.block, pools)
        for victim in hole or hole_anywhere(table, record.block, pools) or ():
            if victim.pool is table.dirty:
                self._spill(victim, commands)

    def spill_ahead(self, commands: list[Command]) -> None:
        """Above the high mark, start to spill down to the low one, so that creates seldom wait.

        What was spilled ahead stays in memory until its room is asked for.
        """
        table = self._table
        # What costs nothing to free is as good as free.
        busy = table.allocator.used - table.clean.total
        if busy > self._high and self.can_spill and not self.paused:
            amount = busy - table.leaving.total - self._low
            while amount > 0 and (spilled := self._spill_first(commands)) > 0:
                amount -= spilled

    def succeeded(self, record: ObjectRecord) -> None:
        """Count a spill."""
        self.spills += 1
        self.spilled_bytes += record.size
        self.disk_full = False
        self.failing = False

    def failed(self, *, no_space: bool) -> None:
        """Count a spill that failed, and pause."""
        self.spill_failures += 1
        self.disk_full = no_space
        self.failing = True
        self.paused = True

    def _evict(self, oid: bytes) -> None:
        """Free the block of an object that is safe elsewhere."""
        victim = self._table.records[oid]
        if victim.has_file:
            self._table.move(victim, ObjectState.SPILLED)
            self._table.free_block(victim)
        else:
            self._table.remove(victim)
            self.dropped.append(oid)
        self.evictions += 1

    def _spill_first(self, commands: list[Command]) -> int:
        """Start to spill the first victim; return the bytes of its block, 0 without a victim."""
        table = self._table
        oid = table.dirty.first()
        if oid is None:
            return 0
        victim = table.records[oid]
        self._spill(victim, commands)
        return victim.block

    def _spill(self, victim: ObjectRecord, commands: list[Command]) -> None:
        assert victim.offset is not None
        self._table.move(victim, ObjectState.SPILLING)
        commands.append(Spill(victim.oid, victim.offset, victim.size))

    def _dirty_goes_first(self) -> bool:
        """Whether the object that should leave first is one that has to be spilled for that."""
        clean, dirty = self._table.clean, self._table.dirty
        if clean.idle or not self.can_spill or self.paused or not len(dirty):
            return False
        last_clean, last_dirty = clean.furthest(), dirty.furthest()
        if dirty.idle or last_clean is None or last_dirty is None:
            return True
        return last_dirty[0] > last_clean[0]
