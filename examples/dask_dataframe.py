"""Dask on millpond: one line chooses the scheduler, the rest is Dask."""

import dask
import dask.datasets

import millpond


def main() -> None:
    """Aggregate and sort a table of random time series."""
    millpond.init(object_store_memory=100_000_000)
    dask.config.set(scheduler="millpond")

    frame = dask.datasets.timeseries("2000-01-01", "2000-01-15", freq="5s", seed=1)
    means = frame.groupby("name").x.mean().compute()
    print(means.sort_index().head(3))
    assert means.between(-1, 1).all()

    # A full shuffle: the sorted table stays in the object store, spilled where it must be.
    by_id = frame.set_index("id")
    smallest = by_id.head(5)
    print(smallest)
    assert smallest.index.is_monotonic_increasing
    assert by_id.x.count().compute() == len(frame)


if __name__ == "__main__":
    main()
