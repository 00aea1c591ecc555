"""Run one job in this process and write down its answer and what it took.

Started by ``demo`` as ``python -m demo.child JOB --data DIR --store BYTES --out DIR``; writes
``answer.parquet`` and ``measurement.json`` into the folder ``--out``.
"""

import argparse
import json
import warnings
from dataclasses import asdict
from pathlib import Path

import millpond

from .data import Dataset
from .jobs import JOBS
from .measure import Meter


def main() -> None:
    """Parse the arguments and run the job."""
    parser = argparse.ArgumentParser(prog="demo.child", description=__doc__)
    parser.add_argument("job", choices=[job.name for job in JOBS])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=int, required=True, help="limit of the store, bytes")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    job = next(job for job in JOBS if job.name == arguments.job)
    dataset = Dataset(arguments.data)
    run = job.load()
    with Meter() as meter:
        millpond.init(object_store_memory=arguments.store)
        _choose(job.front, arguments.store)
        answer = run(dataset)
    millpond.shutdown()
    answer.to_parquet(arguments.out / "answer.parquet")
    assert meter.measurement is not None
    (arguments.out / "measurement.json").write_text(json.dumps(asdict(meter.measurement)))


def _choose(front: str, store: int) -> None:
    """Make millpond the engine of a front door, with partitions that are small beside the store."""
    if front == "dask":
        import dask

        import millpond.dask

        millpond.dask.enable()  # shuffles as tasks too, in the store, not through files of Dask's
        # Dask fuses files into partitions of 75 MB by default: too coarse for a small store.
        dask.config.set({"dataframe.parquet.minimum-partition-size": store // 16})
    elif front == "modin":
        import modin.config

        modin.config.Engine.put("Millpond")
        modin.config.NPartitions.put(16)
        # Modin 0.37 calls what pandas 2.3 has deprecated; its user can do nothing about it.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"modin\.")


if __name__ == "__main__":
    main()
