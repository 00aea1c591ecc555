"""The command line of the demonstration: ``python -m demo --scale-factor 1``."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .data import Dataset, prepare
from .duck import Duck
from .jobs import JOBS, Job
from .measure import Measurement
from .table import megabytes, render, seconds

#: The store holds this fraction of what a job reads.
_STORE_FRACTION = 4
#: Below this a store has no room for the partitions that two workers hold at once.
_SMALLEST_STORE = 16 * 2**20

_HEADER = (
    "job",
    "wall time",
    "data",
    "store limit",
    "peak store",
    "peak memory",
    "spilled",
    "restored",
    "equal to DuckDB",
)

_LEGEND = """
data: the columns the job reads, in memory as Arrow arrays (decimals as float64)
store limit: a quarter of that, at least 16 MiB
peak memory: all processes, the driver, its imports and the store included; 1 MB = 10**6 bytes
"""


def main() -> int:
    """Run the jobs, print their table, and return the exit status: 0 when all are equal."""
    arguments = _parse()
    root = arguments.data / f"tpch-sf{arguments.scale_factor:g}"
    print(f"TPC-H, scale factor {arguments.scale_factor:g}, in {root}", flush=True)
    dataset = prepare(root, arguments.scale_factor)

    rows: list[Sequence[str]] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="millpond-demo-") as scratch:
        for number, job in enumerate(arguments.jobs, start=1):
            print(f"[{number}/{len(arguments.jobs)}] {job.title}", flush=True)
            out = Path(scratch, job.name)
            out.mkdir()
            failure, row = _run(job, dataset, out, arguments.timeout)
            rows.append(row)
            if failure is not None:
                failures.append(f"{job.title}: {failure}")
    print(f"\n{render(_HEADER, rows)}\n{_LEGEND}")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--scale-factor", type=float, default=1.0, help="of TPC-H (default: 1)")
    parser.add_argument("--data", type=Path, default=Path(".data"), help="folder for data sets")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for each job")
    parser.add_argument(
        "jobs", nargs="*", metavar="JOB", help=f"of {', '.join(job.name for job in JOBS)}"
    )
    arguments = parser.parse_args()
    by_name = {job.name: job for job in JOBS}
    if unknown := set(arguments.jobs) - set(by_name):
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    if arguments.scale_factor <= 0:
        parser.error(f"the scale factor must be positive, not {arguments.scale_factor:g}")
    arguments.jobs = [by_name[name] for name in arguments.jobs] or list(JOBS)
    return arguments


def _run(job: Job, dataset: Dataset, out: Path, timeout: float) -> tuple[str | None, Sequence[str]]:
    """Run a job in a process of its own; return what is wrong with its answer, and its row."""
    data = dataset.loaded_bytes(job.columns)
    store = max(data // _STORE_FRACTION, _SMALLEST_STORE)
    command = [sys.executable, "-m", "demo.child", job.name, "--data", str(dataset.root)]
    command += ["--store", str(store), "--out", str(out)]
    unmeasured = (job.title, "-", megabytes(data), megabytes(store), *["-"] * 4, "NO ANSWER")
    try:
        subprocess.run(command, check=True, timeout=timeout)
    except subprocess.CalledProcessError as error:
        return f"its process ended with status {error.returncode}", unmeasured
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout:g} s", unmeasured

    measured = Measurement(**json.loads((out / "measurement.json").read_text()))
    difference = job.difference(pd.read_parquet(out / "answer.parquet"), Duck(dataset, out))
    return difference, (
        job.title,
        seconds(measured.seconds),
        megabytes(data),
        megabytes(measured.store_limit),
        megabytes(measured.store_peak),
        megabytes(measured.memory_peak),
        megabytes(measured.spilled),
        megabytes(measured.restored),
        "yes" if difference is None else "NO",
    )


if __name__ == "__main__":
    sys.exit(main())
