"""Snapshots of the store for people and metrics. Sizes are in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .states import ObjectState


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """What the store holds now and what it did so far."""

    capacity: int
    """The most that blocks in memory may take together."""
    used: int
    """Bytes of memory in blocks now."""
    peak: int
    """The most that `used` ever was."""
    num_objects: int
    """Objects known, in memory or in files, unsealed ones included."""
    num_pinned: int
    """Objects that somebody reads."""
    num_waiting: int
    """Requests that are not answered yet."""
    evictable_bytes: int
    """Bytes in blocks of sealed objects that nobody reads."""
    spilling_bytes: int
    """Bytes in blocks that will be free when the file work under way ends."""
    spilled_bytes: int
    """Bytes of objects that have a complete file now, whether or not they are in memory as well."""
    spilled_objects: int
    """How many objects have a complete file now."""
    file_backed_bytes: int
    """Of `spilled_bytes`: those written straight to a file, for want of room in memory."""
    file_backed_bytes_total: int
    """Bytes that were written straight to a file so far."""
    spilled_bytes_total: int
    """Bytes that left memory for files so far (not those written straight to a file)."""
    restored_bytes_total: int
    """Bytes that were read back into memory so far."""
    spills_total: int
    """Spills that succeeded."""
    spill_failures_total: int
    """Spills that failed."""
    restores_total: int
    """Restores that succeeded."""
    prefetches_total: int
    """Restores that were started before anybody asked for the object."""
    prefetched_bytes_total: int
    """Bytes of the objects of those restores."""
    evictions_total: int
    """Blocks freed at no cost, because the object had a file copy."""
    spill_paused: bool
    """A spill failed, and no other was tried since."""
    disk_full: bool
    """The spill that failed last failed for want of space, and none succeeded since."""


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One object, for a listing."""

    oid: bytes
    size: int
    state: ObjectState
    doomed: bool
    """Its owner deleted it; it stays until the last use ends."""
    in_memory: bool
    """It has a block in the arena."""
    in_file: bool
    """It has a complete file."""
    pins: Mapping[bytes, int]
    """Client -> how many pins it holds."""
