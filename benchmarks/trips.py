"""Taxi trips as files: a frame of 18 columns, always the same, made part by part.

Covers: writing them as CSV and Parquet, and what a test needs to know of them. Columns are those of
the New York taxi records of 2019 to 2024: numbers, two times, and one column of strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

#: Bytes of one trip in memory as a pandas frame, of which the string is a pointer.
ROW_BYTES = 18 * 8
#: About how many bytes a trip takes in a CSV file.
CSV_ROW_BYTES = 100
TIMES = ["pickup", "dropoff"]
AMOUNTS = ["fare", "extra", "tax", "tip", "tolls", "improvement", "total", "congestion"]
ZONES = 265

#: Rows that are made from one seed.
_BLOCK = 250_000
_FIRST_SECOND = int(np.datetime64("2023-01-01", "s").astype(np.int64))
_YEAR = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Trips:
    """Some trips: those of a whole file, or of several files."""

    rows: int
    #: The seed of the first block.
    first: int = 0

    @classmethod
    def of_memory(cls, size: int) -> Trips:
        """Return as many trips as take `size` bytes as a frame."""
        return cls(max(1_000, size // ROW_BYTES))

    @classmethod
    def of_csv(cls, size: int) -> Trips:
        """Return as many trips as take about `size` bytes as a CSV file."""
        return cls(max(1_000, size // CSV_ROW_BYTES))

    def blocks(self) -> Iterator[pa.Table]:
        """Make the trips, a few at a time."""
        for start in range(0, self.rows, _BLOCK):
            yield _make(self.first + start // _BLOCK, min(_BLOCK, self.rows - start))

    def parts(self, count: int) -> list[Trips]:
        """Return other trips, together about as many as these, in `count` parts."""
        rows = -(-self.rows // count)
        blocks = -(-rows // _BLOCK)
        return [Trips(rows, part * blocks) for part in range(count)]

    def write_csv(self, path: Path) -> None:
        """Write one CSV file."""
        with pa_csv.CSVWriter(path, self._schema) as writer:
            for block in self.blocks():
                writer.write_table(block)

    def write_parquet(self, path: Path, row_groups: int = 8) -> None:
        """Write one Parquet file with about as many row groups as are asked for."""
        rows = -(-self.rows // row_groups)
        with pq.ParquetWriter(path, self._schema) as writer:
            table = pa.concat_tables(self.blocks())
            writer.write_table(table, row_group_size=rows)

    @property
    def _schema(self) -> pa.Schema:
        return _make(0, 1).schema


def zones() -> pd.DataFrame:
    """Return the table that trips are merged with: a name and a surcharge for each zone."""
    import pandas as pd

    numbers = np.arange(1, ZONES + 1)
    names = [f"zone {number}" for number in numbers]
    return pd.DataFrame({"pickup_zone": numbers, "zone": names, "surcharge": numbers % 7 * 0.25})


def _make(seed: int, rows: int) -> pa.Table:
    random = np.random.Generator(np.random.SFC64(seed))

    def cents(most: float, step: float = 0.01) -> Any:
        return np.round(random.integers(0, round(most / step), rows) * step, 2)

    def choice(*options: float) -> Any:
        return np.asarray(options)[random.integers(0, len(options), rows)]

    pickup = _FIRST_SECOND + random.integers(0, _YEAR, rows)
    fare, tip = cents(80, 0.5) + 3, cents(20)
    extra, tolls = choice(0.0, 0.5, 1.0, 2.5), choice(0.0, 0.0, 0.0, 6.55)
    flags = pa.DictionaryArray.from_arrays(
        (random.random(rows) < 0.01).astype(np.int8), pa.array(["N", "Y"])
    )
    columns: dict[str, Any] = {
        "vendor": random.integers(1, 3, rows),
        "pickup": pa.array(pickup, pa.timestamp("s")),
        "dropoff": pa.array(pickup + random.integers(60, 3_600, rows), pa.timestamp("s")),
        "passengers": random.integers(0, 7, rows),
        "distance": cents(30),
        "rate": random.integers(1, 7, rows),
        "stored": flags.cast(pa.string()),
        "pickup_zone": random.integers(1, ZONES + 1, rows),
        "dropoff_zone": random.integers(1, ZONES + 1, rows),
        "payment": random.integers(1, 5, rows),
        "fare": fare,
        "extra": extra,
        "tax": np.full(rows, 0.5),
        "tip": tip,
        "tolls": tolls,
        "improvement": np.full(rows, 0.3),
        "total": np.round(fare + tip + extra + tolls + 0.8, 2),
        "congestion": choice(0.0, 2.5),
    }
    return pa.table(columns)
