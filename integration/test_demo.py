"""The demonstration at a tiny scale factor, and that its checks would notice a wrong answer."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demo.checksum import summarise
from demo.compare import difference, sort_difference
from demo.data import Dataset, prepare
from demo.duck import Duck
from demo.jobs import JOBS

ROOT = Path(__file__).parent.parent
SCALE_FACTOR = 0.01

# The first test waits for the whole demonstration.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="session")
def dataset(folder: Path) -> Dataset:
    return prepare(folder / f"tpch-sf{SCALE_FACTOR:g}", SCALE_FACTOR)


@pytest.fixture
def duck(dataset: Dataset, tmp_path: Path) -> Duck:
    return Duck(dataset, tmp_path)


@pytest.fixture(scope="session")
def run(folder: Path, dataset: Dataset) -> subprocess.CompletedProcess[str]:
    """Run the whole demonstration once."""
    assert dataset.files("lineitem")
    command = [sys.executable, "-m", "demo", "--scale-factor", str(SCALE_FACTOR)]
    return subprocess.run(
        [*command, "--data", str(folder), "--timeout", "240"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("title", [job.title for job in JOBS])
def test_every_job_is_equal_to_duckdb(title: str, run: subprocess.CompletedProcess[str]) -> None:
    rows = [line for line in run.stdout.splitlines() if line.startswith(title)]

    assert rows, run.stdout + run.stderr
    assert rows[0].endswith("yes"), run.stdout + run.stderr


def test_the_demonstration_succeeds(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 0, run.stdout + run.stderr


def _sorted_lineitem(dataset: Dataset) -> pa.Table:
    return pq.read_table(dataset.root / "lineitem").sort_by("l_partkey")


def _summary(*parts: pa.Table) -> pd.DataFrame:
    return pd.concat([summarise(part, "l_partkey") for part in parts])


def _halves(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    keys = rows.column("l_partkey").to_numpy()
    middle = int(keys.searchsorted(keys[len(keys) // 2]))
    return rows.slice(0, middle), rows.slice(middle)


def test_a_right_sort_passes(dataset: Dataset, duck: Duck) -> None:
    low, high = _halves(_sorted_lineitem(dataset))

    assert sort_difference("l_partkey", _summary(low, high), duck) is None


def test_a_lost_row_is_noticed(dataset: Dataset, duck: Duck) -> None:
    low, high = _halves(_sorted_lineitem(dataset))

    assert sort_difference("l_partkey", _summary(low.slice(1), high), duck) is not None


def test_ranges_in_the_wrong_order_are_noticed(dataset: Dataset, duck: Duck) -> None:
    low, high = _halves(_sorted_lineitem(dataset))

    assert sort_difference("l_partkey", _summary(high, low), duck) is not None


def test_rows_out_of_order_are_noticed(dataset: Dataset, duck: Duck) -> None:
    rows = _sorted_lineitem(dataset)
    order = list(range(len(rows)))
    order[1], order[-2] = order[-2], order[1]

    assert sort_difference("l_partkey", _summary(rows.take(order)), duck) is not None


def test_a_column_that_slipped_by_a_row_is_noticed(dataset: Dataset, duck: Duck) -> None:
    rows = _sorted_lineitem(dataset)
    prices = rows.column("l_extendedprice").take([*range(1, len(rows)), 0])
    slipped = rows.set_column(
        rows.schema.get_field_index("l_extendedprice"), "l_extendedprice", prices
    )

    assert sort_difference("l_partkey", _summary(slipped), duck) is not None


@pytest.mark.parametrize(
    "answer",
    [
        pd.DataFrame({"n": [1, 2], "x": [1.0, 2.00001]}),
        pd.DataFrame({"n": [1, 3], "x": [1.0, 2.0]}),
        pd.DataFrame({"n": [1], "x": [1.0]}),
        pd.DataFrame({"x": [1.0, 2.0], "n": [1, 2]}),
    ],
)
def test_a_wrong_answer_is_noticed(answer: pd.DataFrame) -> None:
    expected = pd.DataFrame({"n": [1, 2], "x": [1.0, 2.0]})

    assert difference(answer, expected) is not None
    assert difference(expected.copy(), expected) is None
