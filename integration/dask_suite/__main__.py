"""Run Dask's own tests on millpond: ``python -m integration.dask_suite``.

Without ``--quick`` it runs every file in a process of its own and notes each in a file of
results, where an interrupted run goes on. A test that fails though it should pass, and one that
passes though it cannot, fail the run. What follows ``--`` goes to pytest.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tomllib
from pathlib import Path

from integration.foreign_tests import Ended, Result, failed, run_tests, show

_HERE = Path(__file__).parent
_COLUMNS = ("passed", "failed", "skipped", "xfailed", "computations", "seconds")


def _dask_directory() -> Path:
    """Return where Dask is, without importing it."""
    spec = importlib.util.find_spec("dask")
    if spec is None or spec.origin is None:
        sys.exit("Dask is not installed: pip install 'millpond[dask]'")
    return Path(spec.origin).parent


def _run(files: list[Path], limit: float | None, options: list[str]) -> Ended:
    root = _HERE.parents[1]  # where the plugin is found
    return run_tests(_HERE / "pytest.ini", files, options, directory=root, limit=limit)


def main() -> int:
    """Run what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="integration.dask_suite", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the files for every change, at once")
    parser.add_argument("--restart", action="store_true", help="forget earlier results")
    parser.add_argument("--results", type=Path, default=Path(".dask-suite.json"))
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one file")
    parser.add_argument("files", nargs="*", help="such as array/tests/test_slicing.py")
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    arguments, extra = parser.parse_args(words[:split]), words[split + 1 :]

    dask = _dask_directory()
    suite = tomllib.loads((_HERE / "suite.toml").read_text())
    if arguments.quick:
        files = [dask / name for name in [*suite["quick"], *suite["quick_in_part"]]]
        return _run(files, None, ["--in-part", *extra]).status or 0
    beside = [name for name in suite["beside"] if (dask.parent / name).exists()]
    every = beside + sorted(
        path.relative_to(dask).as_posix() for path in dask.rglob("tests/test_*.py")
    )
    names = arguments.files or [name for name in every if name not in suite["not_run"]]
    results: dict[str, Result] = {}
    if arguments.results.exists() and not arguments.restart:
        results = json.loads(arguments.results.read_text())
    for name in names:
        if name not in results or arguments.files:
            # The warnings of other packages' tests are not ours to judge.
            options = ["-W", "default", *extra] if name in beside else extra
            path = dask.parent / name if name in beside else dask / name
            results[name] = _run([path], arguments.limit, options).result
            arguments.results.write_text(json.dumps(results, indent=1, sort_keys=True))
    shown = {name: results[name] for name in names}
    show(shown, _COLUMNS)
    return int(failed(shown))


if __name__ == "__main__":
    sys.exit(main())
