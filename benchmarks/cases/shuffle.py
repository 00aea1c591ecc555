"""Shuffles of numpy arrays, 64 by 64: out of core, where the disk counts, and in memory."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir

from .. import disk, footprint, shuffling
from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature

_PARTS = 64
_MEGABYTE = 1e6


@case(
    "out_of_core",
    ("shuffle_out_of_core", Unit.SECONDS),
    ("shuffle_out_of_core_cpu", Unit.SECONDS),
    ("shuffle_out_of_core_peak", Unit.MEGABYTES),
    ("shuffle_out_of_core_spilled", Unit.MEGABYTES),
    ("shuffle_out_of_core_restored", Unit.MEGABYTES),
    ("shuffle_out_of_core_disk_written", Unit.MEGABYTES),
    ("shuffle_out_of_core_disk_read", Unit.MEGABYTES),
    ("shuffle_out_of_core_to_disk_limit", Unit.RATIO),
    ("disk_write", Unit.GIGABYTES_PER_SECOND),
    ("disk_read", Unit.GIGABYTES_PER_SECOND),
    needs=[Feature.SHUFFLE],
    store_bytes=1_000_000_000,
    timeout=900,
)
def shuffle_out_of_core(bench: Bench) -> None:
    """Eight times what the store can hold."""
    speed = disk.measure(Path(gettempdir()), bench.scaled(2_000_000_000))
    bench.record("disk_write", speed.write / 1e9)
    bench.record("disk_read", speed.read / 1e9)
    wall = _shuffle(bench, "shuffle_out_of_core", bench.scaled(8_000_000_000))
    spilled = bench.engine.spilled()
    if spilled is not None:
        limit = speed.seconds(spilled.written, spilled.restored)
        if limit:
            bench.record("shuffle_out_of_core_to_disk_limit", wall / limit)


@case(
    "in_memory",
    ("shuffle_in_memory", Unit.SECONDS),
    ("shuffle_in_memory_cpu", Unit.SECONDS),
    ("shuffle_in_memory_peak", Unit.MEGABYTES),
    ("shuffle_in_memory_spilled", Unit.MEGABYTES),
    ("shuffle_in_memory_restored", Unit.MEGABYTES),
    ("shuffle_in_memory_disk_written", Unit.MEGABYTES),
    ("shuffle_in_memory_disk_read", Unit.MEGABYTES),
    needs=[Feature.SHUFFLE],
    store_bytes=4_000_000_000,
    timeout=300,
)
def shuffle_in_memory(bench: Bench) -> None:
    """A quarter of what the store can hold, whose memory was never used before."""
    _shuffle(bench, "shuffle_in_memory", bench.scaled(1_000_000_000))


def _shuffle(bench: Bench, name: str, size: int) -> float:
    """Run a shuffle, report everything about it, check it; return its seconds."""
    work = shuffling.Work.of_size(_PARTS, size)
    moved = footprint.disk_bytes(bench.mark)
    with footprint.watched(bench.mark) as peak, bench.timed(operations=_PARTS**2) as timing:
        sums = bench.engine.shuffle(work)
    moved = footprint.disk_bytes(bench.mark) - moved
    bench.record(f"{name}_cpu", timing.cpu)
    bench.record(f"{name}_peak", peak.size / _MEGABYTE)
    bench.record(f"{name}_disk_written", moved.written / _MEGABYTE)
    bench.record(f"{name}_disk_read", moved.read / _MEGABYTE)
    spilled = bench.engine.spilled()
    if spilled is not None:
        bench.record(f"{name}_spilled", spilled.written / _MEGABYTE)
        bench.record(f"{name}_restored", spilled.restored / _MEGABYTE)
    expected = shuffling.expected_sums(work)
    if sums.shape != expected.shape or (sums != expected).any():
        wrong = (sums != expected).sum() if sums.shape == expected.shape else "all"
        raise AssertionError(f"{wrong} of {expected.size} pieces have another sum than was made")
    return timing.wall
