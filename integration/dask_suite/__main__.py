"""Run Dask's own tests on millpond: ``python -m integration.dask_suite``.

Without ``--quick`` it runs every file in a process of its own and notes each in a file of
results, where an interrupted run goes on. A test that fails though it should pass, and one that
passes though it cannot, fail the run. What follows ``--`` goes to pytest.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_COLUMNS = ("passed", "failed", "skipped", "xfailed", "computations", "seconds")


def _dask_directory() -> Path:
    """Return where Dask is, without importing it."""
    spec = importlib.util.find_spec("dask")
    if spec is None or spec.origin is None:
        sys.exit("Dask is not installed: pip install 'millpond[dask]'")
    return Path(spec.origin).parent


def _pytest(files: list[Path], counts: Path, limit: float | None, extra: list[str]) -> int | None:
    """Run tests in a process of their own; return its exit status, None if it took too long."""
    options = ["-q", "-p", "no:cacheprovider", "-c", str(_HERE / "pytest.ini")]
    command = [sys.executable, "-m", "pytest", *options, f"--counts={counts}", *extra]
    command += map(str, files)
    root = _HERE.parents[1]  # where the plugin is found
    try:
        return subprocess.run(command, cwd=root, timeout=limit, check=False).returncode
    except subprocess.TimeoutExpired:
        return None


def _run_one(file: Path, limit: float, extra: list[str]) -> dict[str, Any]:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        counts = Path(directory, "counts.json")
        status = _pytest([file], counts, limit, extra)
        result = json.loads(counts.read_text()) if counts.exists() else {}
    result["seconds"] = round(time.monotonic() - start)
    if status is None:
        result["aborted"] = f"took longer than {limit:g} s"
    elif status not in (0, 1, 5) or len(result) == 1:  # all passed, some failed, none there
        result["aborted"] = f"pytest ended with status {status}"
    return result


def _show(results: dict[str, Any]) -> None:
    width = max(map(len, results), default=0)
    print("file".ljust(width), *(name.rjust(12) for name in _COLUMNS))
    for file, result in results.items():
        numbers = [str(result.get(name, 0)).rjust(12) for name in _COLUMNS]
        print(file.ljust(width), *numbers, result.get("aborted", ""))
    sums = [str(sum(r.get(name, 0) for r in results.values())).rjust(12) for name in _COLUMNS]
    print("all".ljust(width), *sums)
    for result in results.values():
        for test in result.get("failures", ()):
            print("FAILED", test)


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
        with tempfile.TemporaryDirectory() as directory:
            files = [dask / name for name in suite["quick"]]
            return _pytest(files, Path(directory, "counts.json"), None, extra) or 0
    beside = [name for name in suite["beside"] if (dask.parent / name).exists()]
    every = beside + sorted(
        path.relative_to(dask).as_posix() for path in dask.rglob("tests/test_*.py")
    )
    names = arguments.files or [name for name in every if name not in suite["not_run"]]
    results: dict[str, Any] = {}
    if arguments.results.exists() and not arguments.restart:
        results = json.loads(arguments.results.read_text())
    for name in names:
        if name not in results or arguments.files:
            # The warnings of other packages' tests are not ours to judge.
            options = ["-W", "default", *extra] if name in beside else extra
            path = dask.parent / name if name in beside else dask / name
            results[name] = _run_one(path, arguments.limit, options)
            arguments.results.write_text(json.dumps(results, indent=1, sort_keys=True))
    shown = {name: results[name] for name in names}
    _show(shown)
    return int(any(r.get("failures") or "aborted" in r for r in shown.values()))


if __name__ == "__main__":
    sys.exit(main())
