"""Selecting the engine, starting it, starting it again; each in a process of its own or anew."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

import millpond
from integration.conftest import MIB
from integration.modin_support import NO_DEFAULTING, assert_same, mpd

pytestmark = NO_DEFAULTING
__all__ = ["mpd"]

ROOT = Path(__file__).parent.parent

USE = """
frame = modin.pandas.DataFrame({"a": range(100)})
assert frame["a"].sum() == 4950
print(type(frame._query_compiler._modin_frame).__name__)
"""


def run(program: str, **environment: str) -> str:
    """Run a program in a process of its own; return the last line that it prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MODIN_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "imports",
    [
        "import millpond, modin.pandas",
        "import modin.pandas, millpond",
        "import modin.config, modin.distributed.dataframe.pandas, millpond, modin.pandas",
    ],
)
def test_selected_by_the_environment(imports: str) -> None:
    assert run(imports + USE, MODIN_ENGINE="millpond") == "PandasOnMillpondDataframe"


@pytest.mark.parametrize(
    "selection",
    [
        "modin.config.Engine.put('millpond')",
        "modin.config.Backend.put('Millpond')",
        "modin.set_execution(engine='Millpond', storage_format='Pandas')",
    ],
)
def test_selected_in_the_program(selection: str) -> None:
    program = f"import modin.config, millpond; {selection}; import modin.pandas\n"
    assert run(program + USE) == "PandasOnMillpondDataframe"


def test_selected_after_everything_is_imported() -> None:
    program = "import modin.pandas, millpond; modin.config.Engine.put('Millpond')\n"
    assert run(program + USE) == "PandasOnMillpondDataframe"


def test_start_up_hook_needs_no_import(tmp_path: Path) -> None:
    # What pip does with the wheel, for the length of this test.
    shutil.copy(ROOT / "millpond-modin.pth", tmp_path)
    program = f"import site; site.addsitedir({str(tmp_path)!r}); import sys\n"
    loaded = "print(sorted({'millpond', 'modin', 'pandas'} & set(sys.modules)))"
    assert run(program + loaded, MODIN_ENGINE="millpond") == "['millpond']"
    assert run(program + loaded, MODIN_ENGINE="ray") == "[]"
    assert run(program + loaded) == "[]"
    use = program + "import modin.pandas\n" + USE
    assert run(use, MODIN_ENGINE="millpond") == "PandasOnMillpondDataframe"
    assert run(use, MODIN_BACKEND="Millpond") == "PandasOnMillpondDataframe"


def test_millpond_alone_does_not_import_modin() -> None:
    program = "import millpond, millpond.modin, sys; print('modin' in sys.modules)"
    assert run(program) == "False"


def test_starts_by_modins_settings() -> None:
    program = "import millpond, modin.pandas; modin.pandas.DataFrame({'a': range(9)})\n"
    program += "store = millpond.statistics().store; print(store.capacity)"
    settings = {"MODIN_ENGINE": "millpond", "MODIN_CPUS": "1", "MODIN_MEMORY": str(64 * MIB)}
    assert run(program, **settings) == str(64 * MIB)


def test_workers_know_the_engine(mpd: ModuleType) -> None:
    def engine_there(_: int) -> str:
        import modin.config

        return str(modin.config.Engine.get())

    frame = mpd.DataFrame({"a": range(100)})
    assert_same(frame["a"].map(engine_there), pd.Series(["Millpond"] * 100, name="a"))


@pytest.mark.usefixtures("mpd")
def test_modin_inside_a_task() -> None:
    @millpond.remote
    def nested(rows: int) -> int:
        import modin.config
        import modin.pandas

        modin.config.Engine.put("Millpond")
        return int(modin.pandas.DataFrame({"a": range(rows)})["a"].sum())

    assert millpond.get(nested.remote(100)) == 4950


def test_engine_starts_again(mpd: ModuleType) -> None:
    import modin.config

    frame = pd.DataFrame({"a": range(1000), "b": 1.0})
    ours = mpd.DataFrame(frame)
    assert_same(ours.iloc[5:50], frame.iloc[5:50])
    millpond.shutdown()
    with pytest.raises(millpond.MillpondError):
        ours.modin.to_pandas()
    # At first use, by itself.
    again = mpd.DataFrame(frame)
    assert_same(again.iloc[5:50], frame.iloc[5:50])
    assert_same(again.merge(again, on="a"), frame.merge(frame, on="a"))
    millpond.shutdown()
    millpond.init(num_cpus=3, object_store_memory=64 * MIB)
    assert_same(mpd.DataFrame(frame).iloc[5:50], frame.iloc[5:50])
    assert modin.config.CpuCount.get() == 3


def test_frames_move_between_engines(mpd: ModuleType) -> None:
    frame = pd.DataFrame({"a": range(1000)})
    ours = mpd.DataFrame(frame)
    assert ours.get_backend() == "Millpond"
    other = ours.move_to("Python_Test")
    assert other.get_backend() == "Python_Test"
    assert_same(other.move_to("Millpond"), frame)
