"""Every Python block of the README is a program that runs."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the table that the README speaks of."""
    sales = pd.DataFrame({"customer": [3, 1, 2, 1], "shop": list("abab"), "price": [1, 2, 3, 4]})
    (tmp_path / "sales").mkdir()
    for part in range(2):
        sales[part::2].to_parquet(tmp_path / "sales" / f"{part}.parquet")
    return tmp_path


@pytest.mark.parametrize("program", PROGRAMS, ids=["tasks", "dask", "modin"])
def test_program(program: str, folder: Path) -> None:
    script = folder / "program.py"
    script.write_text(program)

    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    for expected in re.findall(r"^print\(.*\) +# (.*)$", program, re.MULTILINE):
        assert expected in run.stdout
