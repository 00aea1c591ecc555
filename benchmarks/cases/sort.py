"""An external sort, 10 GB through 2 GB of memory, beside programs that were made for that."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .. import disk, footprint
from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature

_PARTS = 64
_MEGABYTE = 1e6
_MEMORY = 2_000_000_000


@case(
    "sort",
    ("sort", Unit.SECONDS),
    ("sort_cpu", Unit.SECONDS),
    ("sort_peak", Unit.MEGABYTES),
    ("sort_disk_written", Unit.MEGABYTES),
    ("sort_disk_read", Unit.MEGABYTES),
    ("sort_duplicates", Unit.COUNT),
    needs=[Feature.SORT],
    max_repeats=1,
    store_bytes=_MEMORY,
    timeout=1_200,
)
def sort(bench: Bench) -> None:
    """Records of 100 bytes with keys of 10, from a file that is not in the page cache to files."""
    # Not at the top: the drivers of other groups are measured without numpy.
    from .. import records, sorting

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source, results = directory / "source", directory / "results"
        results.mkdir()
        count, cpus = bench.scaled(100_000_000), bench.settings.cpus
        expected = records.generate(source, count, cpus)
        fd = os.open(source, os.O_RDONLY)
        disk.drop_cache(fd)
        os.close(fd)
        work = sorting.Work(source, count, results, bench.scaled(_MEMORY), cpus, _PARTS)
        moved = footprint.disk_bytes(bench.mark)
        with footprint.watched(bench.mark) as peak, bench.timed(operations=count) as timing:
            files = bench.engine.sort(work)
        moved = footprint.disk_bytes(bench.mark) - moved
        bench.record("sort_cpu", timing.cpu)
        bench.record("sort_peak", peak.size / _MEGABYTE)
        bench.record("sort_disk_written", moved.written / _MEGABYTE)
        bench.record("sort_disk_read", moved.read / _MEGABYTE)
        bench.record("sort_duplicates", records.check(files, expected))
