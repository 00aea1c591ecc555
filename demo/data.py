"""The TPC-H files that every job reads, and how large they are once loaded.

Files are made by ``tpchgen-cli`` and converted once: TPC-H's decimals become float64 and its dates
timestamps, the types that a pandas user computes with. Dask, Modin, the tasks and DuckDB all read
the converted files. Not covered: anything that computes on them.
"""

import json
import math
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

#: Table -> the names of its columns that a job reads.
Columns = Mapping[str, Sequence[str]]

#: Tables cut into several files; the others are small and stay whole.
_LARGE = ("lineitem", "orders", "customer", "partsupp", "part")
_SMALL = ("supplier", "nation", "region")
#: All eight.
TABLES = _LARGE + _SMALL

_SIZES = "loaded-bytes.json"


@dataclass(frozen=True)
class Dataset:
    """One scale factor's files: ``root/<table>/*.parquet``."""

    #: Folder that holds a subfolder for each table.
    root: Path

    def files(self, table: str) -> list[Path]:
        """Return the files of a table in their order of keys."""
        return sorted((self.root / table).glob("*.parquet"))

    def pattern(self, table: str) -> str:
        """Return a glob pattern that matches the files of a table."""
        return str(self.root / table / "*.parquet")

    def loaded_bytes(self, columns: Columns) -> int:
        """Return the bytes that these columns of these tables take in memory as Arrow arrays.

        Arrow is the most compact form that the jobs use; pandas objects would only be larger.
        """
        sizes: dict[str, dict[str, int]] = json.loads((self.root / _SIZES).read_text())
        return sum(sizes[table][name] for table, names in columns.items() for name in names)


def prepare(root: Path, scale_factor: float) -> Dataset:
    """Return the data set in ``root``, made now unless an earlier call has finished it.

    Raises:
        subprocess.CalledProcessError: ``tpchgen-cli`` failed.
    """
    if not _is_complete(root):
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent, prefix="making-") as scratch:
            raw, ready = Path(scratch, "raw"), Path(scratch, "ready")
            _generate(raw, scale_factor)
            _convert(raw, ready)
            shutil.rmtree(root, ignore_errors=True)
            ready.rename(root)
    return Dataset(root)


def _is_complete(root: Path) -> bool:
    sizes = root / _SIZES
    return sizes.exists() and set(TABLES) <= json.loads(sizes.read_text()).keys()


def _generate(raw: Path, scale_factor: float) -> None:
    # At scale factor 1 a file of lineitem takes 28 MB in memory: an eighth of the store of a sort.
    parts = max(16, min(64, math.ceil(32 * scale_factor)))
    for tables, count in ((_LARGE, parts), (_SMALL, 1)):
        subprocess.run(
            [
                str(Path(sysconfig.get_path("scripts"), "tpchgen-cli")),
                *("parquet", "--quiet", "--scale-factor", str(scale_factor)),
                *("--tables", ",".join(tables), "--parts", str(count), "--output-dir", str(raw)),
            ],
            check=True,
        )


def _convert(raw: Path, ready: Path) -> None:
    sizes: dict[str, dict[str, int]] = {}
    for table in TABLES:
        (ready / table).mkdir(parents=True)
        totals = sizes.setdefault(table, {})
        files = sorted((raw / table).glob("*.parquet"), key=lambda path: int(path.suffixes[0][1:]))
        for number, path in enumerate(files):
            data = _with_plain_types(pq.read_table(path))
            pq.write_table(data, ready / table / f"{number:04d}.parquet", compression="zstd")
            for name in data.column_names:
                totals[name] = totals.get(name, 0) + data.column(name).nbytes
    (ready / _SIZES).write_text(json.dumps(sizes, indent=1))


def _with_plain_types(data: pa.Table) -> pa.Table:
    """Cast decimals to float64, dates to timestamps and string views to strings."""
    return data.cast(
        pa.schema([pa.field(field.name, _plain_type(field.type)) for field in data.schema])
    )


def _plain_type(dtype: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal(dtype):
        return pa.float64()
    if pa.types.is_date(dtype):
        return pa.timestamp("ms")
    if pa.types.is_string_view(dtype):
        return pa.string()
    return dtype
