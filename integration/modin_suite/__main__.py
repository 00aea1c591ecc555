"""Run Modin's own tests on millpond: ``python -m integration.modin_suite``.

Without ``--quick`` it runs every file in a process of its own and notes each in a file of
results, where an interrupted run goes on. A test that fails though it should pass, one that passes
though it cannot, and one that ran in plain pandas what another engine's run did not, fail the run.
What follows ``--`` goes to pytest.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from integration.foreign_tests import Result, failed, run_tests, show

from . import source

_HERE = Path(__file__).parent
_FOLDERS = ("pandas", "core")
_COLUMNS = ("passed", "failed", "skipped", "xfailed", "xpassed", "defaulting", "seconds")
_OURS = "millpond"
_TESTS = Path("modin", "tests")
#: Under which name the results of the slices are noted.
_SLICES = "slices"
#: How often tests of the slices ran something in plain pandas on Modin's engine for Ray: no test
#: may do so more often here. A run of the slices on Ray writes it.
_PEER = "ray"
_PEER_DEFAULTS = _HERE / "ray-defaults.json"


def _environment(tree: Path, engine: str) -> dict[str, str]:
    root = str(_HERE.parents[1])  # where the plugin is found
    search = [str(tree), root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(search),
        "MODIN_ENGINE": engine,
        "MODIN_CPUS": "2",
        # Modin's continuous integration runs most tests with the small data set.
        "MODIN_TEST_DATASET_SIZE": "Small",
    }


def _run(
    tree: Path, engine: str, files: list[str], limit: float | None, extra: list[str]
) -> Result:
    """Run tests in a process of their own; return how they ended."""
    result = run_tests(
        _HERE / "pytest.ini",
        [_TESTS / file for file in files],
        [f"--rootdir={tree}", *extra],
        directory=tree,
        limit=limit,
        environment=_environment(tree, engine),
    ).result
    result["defaulting"] = len(result.get("defaults", ()))
    return result


def _defaulting_more(ours: Result, theirs: Result) -> list[str]:
    """Return the tests that ran more in plain pandas on our engine than on the other."""
    other = theirs.get("defaults", {})
    return [test for test, n in ours.get("defaults", {}).items() if n > other.get(test, 0)]


def _show_defaulting(more: list[str]) -> bool:
    """Print the tests that default more than elsewhere; return whether there are any."""
    for test in more:
        print("DEFAULTS only here:", test)
    return bool(more)


def _notes(folder: Path, engine: str) -> Path:
    return folder / f"{engine}.json"


def _noted(folder: Path, engine: str) -> dict[str, Result]:
    """Return the results of earlier runs on an engine, by file."""
    notes = _notes(folder, engine)
    results: dict[str, Result] = json.loads(notes.read_text()) if notes.exists() else {}
    return results


def _compare(ours: dict[str, Result], theirs: dict[str, Result]) -> bool:
    """Print where our engine fails or defaults, and the other not; return whether there is any."""
    differs = False
    for file in sorted(ours.keys() & theirs.keys()):
        more = _defaulting_more(ours[file], theirs[file])
        failures = set(ours[file].get("failures", ())) - set(theirs[file].get("failures", ()))
        for test in sorted(failures):
            print("FAILED only here:", test)
        differs = _show_defaulting(more) or bool(failures) or differs
    return differs


def _files(tree: Path, suite: dict[str, Any]) -> list[str]:
    tests = tree / _TESTS
    found = [
        path.relative_to(tests).as_posix()
        for folder in _FOLDERS
        for path in sorted((tests / folder).rglob("test_*.py"))
    ]
    return [name for name in [*suite["beside"], *found] if name not in suite["not_run"]]


def main() -> int:
    """Run what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="integration.modin_suite", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="what runs for every change, at once")
    parser.add_argument("--engine", default=_OURS, help="such as ray, to compare with")
    parser.add_argument("--compare", metavar="ENGINE", help="show where ours differs; run nothing")
    parser.add_argument("--restart", action="store_true", help="forget earlier results")
    parser.add_argument("--source", type=Path, metavar="DIR", help="a checkout of Modin's release")
    parser.add_argument("--folder", type=Path, default=Path(".modin-suite"), help="tree, results")
    parser.add_argument("--limit", type=float, default=5400, help="seconds for one file")
    parser.add_argument("files", nargs="*", help="such as pandas/test_general.py")
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    arguments, extra = parser.parse_args(words[:split]), words[split + 1 :]

    engine, folder = arguments.engine.lower(), arguments.folder.resolve()
    suite = tomllib.loads((_HERE / "suite.toml").read_text())
    if arguments.compare:
        return int(_compare(_noted(folder, _OURS), _noted(folder, arguments.compare.lower())))
    tree = folder / "tree"
    print("Tests of", source.prepare(tree, arguments.source), flush=True)
    results = {} if arguments.restart else _noted(folder, engine)
    if arguments.quick:
        runs = {_SLICES: [name for name in suite["slices"] if (tree / _TESTS / name).exists()]}
    else:
        runs = {name: [name] for name in arguments.files or _files(tree, suite)}
    for name, files in runs.items():
        if name not in results or arguments.files or arguments.quick:
            options = ["--slices", *extra] if arguments.quick else extra
            results[name] = _run(tree, engine, files, arguments.limit, options)
            _notes(folder, engine).write_text(json.dumps(results, indent=1, sort_keys=True))
    shown = {name: results[name] for name in runs}
    show(shown, _COLUMNS)
    more: list[str] = []
    if arguments.quick and engine == _PEER and not extra:
        defaults = results[_SLICES].get("defaults", {})
        _PEER_DEFAULTS.write_text(json.dumps(defaults, indent=1, sort_keys=True) + "\n")
    elif arguments.quick and engine == _OURS:
        allowed = {"defaults": json.loads(_PEER_DEFAULTS.read_text())}
        more = _defaulting_more(results[_SLICES], allowed)
    return int(failed(shown) or _show_defaulting(more))


if __name__ == "__main__":
    sys.exit(main())
