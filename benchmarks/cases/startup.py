"""From nothing to the first result and back to nothing, with the settings a user gets."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import gettempdir

from .. import processes
from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import ENGINES, Feature

#: Seconds that an engine may take to come to rest before its idle state is measured.
_SETTLE = 2.0
#: Seconds over which the CPU time of the idle engine is measured.
_IDLE = 2.0
#: Seconds after shutdown until what is still there counts as left behind.
_GRACE = 1.0

_MEGABYTE = 1e6
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, not written to


@case(
    "startup",
    ("import", Unit.SECONDS),
    ("init_to_first_result", Unit.SECONDS),
    ("idle_pss", Unit.MEGABYTES),
    ("idle_rss", Unit.MEGABYTES),
    ("idle_shared_memory", Unit.MEGABYTES),
    ("idle_processes", Unit.COUNT),
    ("idle_cpu", Unit.CORES),
    ("shutdown", Unit.SECONDS),
    ("leftover_processes", Unit.COUNT),
    ("leftover_files", Unit.COUNT),
    needs=[Feature.TASKS],
    started=False,
)
def startup(bench: Bench) -> None:
    """Import, start, first result, idle, stop, look for leftovers."""
    bench.record("import", _seconds_to_import(ENGINES[bench.engine_name].package))
    bench.load()
    files = _files()
    shared = processes.shared_memory_bytes()
    with bench.timed("init_to_first_result"):
        bench.engine.start(bench.settings)
        bench.first_result()

    time.sleep(_SETTLE)
    cpu = processes.cpu_seconds(bench.mark)
    time.sleep(_IDLE)
    bench.record("idle_cpu", (processes.cpu_seconds(bench.mark) - cpu) / _IDLE)
    memory = processes.memory(bench.mark)
    bench.record("idle_pss", memory.pss / _MEGABYTE)
    bench.record("idle_rss", memory.rss / _MEGABYTE)
    bench.record("idle_processes", memory.processes)
    grown = processes.shared_memory_bytes() - shared
    bench.record("idle_shared_memory", max(0, grown) / _MEGABYTE)

    with bench.timed("shutdown"):
        bench.engine.stop()
    time.sleep(_GRACE)
    bench.record("leftover_processes", len(processes.marked(bench.mark)) - 1)
    bench.record("leftover_files", len(_files() - files))


def _seconds_to_import(package: str) -> float:
    """Import a package in an interpreter that has imported nothing else."""
    program = (
        "import time; began = time.perf_counter()\n"
        f"import {package}\n"
        "print(time.perf_counter() - began)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    if done.returncode:
        raise ImportError(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    return float(done.stdout)


def _files() -> set[Path]:
    """Files and sockets in this run's own temporary directory and in shared memory."""
    return {
        path
        for root in (Path(gettempdir()), _SHARED_MEMORY)
        for path in root.rglob("*")
        if not path.is_dir()
    }
