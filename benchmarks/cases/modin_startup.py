"""From a new interpreter to the first result of Modin, with the settings that a user gets."""

from __future__ import annotations

import os
import subprocess
import sys

from ..bench import Bench
from ..catalogue import Unit, case
from ..engines import Feature

#: What a program imports to compute with frames on an engine.
_IMPORTS = {
    # An editable installation has no start-up hook; this import is a part of what is measured.
    "millpond": "import millpond, modin.pandas as pd",
    "pandas": "import pandas as pd",
}
_MODIN = "import modin.pandas as pd"

_PROGRAM = """
import time
began = time.perf_counter()
{imports}
total = int(pd.DataFrame({{"a": range(1_000)}})["a"].sum())
print(time.perf_counter() - began)
assert total == 499_500, total
"""


@case(
    "modin_startup",
    ("modin_first_result", Unit.SECONDS),
    needs=[Feature.FRAMES],
    started=False,
)
def modin_startup(bench: Bench) -> None:
    """Import, start the engine, sum a column."""
    program = _PROGRAM.format(imports=_IMPORTS.get(bench.engine_name, _MODIN))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MODIN_ENGINE": bench.engine_name},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    bench.record("modin_first_result", float(done.stdout.split()[-1]))
