"""What it takes to run another project's tests, whichever: the engine, marks, counts, a table.

`run_tests`, `failed` and `show` are for the commands that start pytest, all else for the plugins.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import millpond
from millpond.testing import Cluster

__all__ = [
    "Ended",
    "Endings",
    "Result",
    "add_options",
    "failed",
    "mark_failures",
    "run_tests",
    "show",
    "start_engine",
    "stop_engine",
]

#: How a file of tests ended: counts, names of failures, and what a plugin adds.
Result = dict[str, Any]


# --- in the process of the tests ----------------------------------------------------------------


_CPUS = 2
_STORE = 512 << 20

_cluster: Cluster | None = None


def add_options(parser: pytest.Parser) -> None:
    """Add the options that all such plugins have."""
    parser.addoption("--counts", metavar="FILE", help="write how the tests ended, as JSON")
    parser.addoption(
        "--nodes", type=int, default=0, help="compute on so many nodes, and none of it on ours"
    )


def start_engine(config: pytest.Config, preload: Iterable[str]) -> None:
    """Start the engine, one for all tests of the process, or a cluster where that is asked for."""
    global _cluster
    nodes = config.getoption("--nodes")
    if not nodes:
        millpond.init(num_cpus=_CPUS, object_store_memory=_STORE, preload=preload)
        return
    cpus = max(1, _CPUS // nodes)
    _cluster = Cluster(nodes, num_cpus=cpus, object_store_memory=_STORE, preload=preload)
    _cluster.connect(num_cpus=0)


def stop_engine() -> None:
    """End all that was started."""
    millpond.shutdown()
    if _cluster is not None:
        _cluster.shutdown()


class Endings:
    """How the tests of one process ended."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._failed: set[str] = set()

    def note(self, report: pytest.TestReport, name: str) -> None:
        """Count the end of a test, or of its setup or teardown."""
        outcome: str = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if outcome == "skipped" else "xpassed"
        if report.when == "call" or outcome != "passed":
            self.counts[outcome] += 1
        if report.outcome == "failed":
            self._failed.add(name)

    def write(self, path: str | None, more: Mapping[str, Any]) -> None:
        """Write the counts, if that was asked for, with ``more`` beside them."""
        if path:
            report = {**self.counts, "failures": sorted(self._failed), **more}
            Path(path).write_text(json.dumps(report, indent=1))


def mark_failures(
    groups: Sequence[Mapping[str, Any]],
    items: Sequence[pytest.Item],
    name_of: Callable[[pytest.Item], str],
) -> None:
    """Mark the tests that cannot pass; one that does pass nevertheless is a failure.

    Args:
        groups: each with a ``reason`` and names of ``tests``, without parameters for all of them;
            tests of one with ``sometimes`` may pass, those of one with ``run = false`` do not run.
        items: the tests.
        name_of: gives the name of a test.
    """
    of_test = {name: group for group in groups for name in group["tests"]}
    for item in items:
        name = name_of(item)
        group = of_test.get(name) or of_test.get(name.partition("[")[0])
        if group is not None:
            mark = pytest.mark.xfail(
                reason=group["reason"],
                strict=not group.get("sometimes", False),
                run=group.get("run", True),
            )
            item.add_marker(mark, append=False)


# --- in the process that starts them ------------------------------------------------------------


class Ended(NamedTuple):
    """How a run of pytest ended."""

    #: None when it took too long
    status: int | None
    result: Result


def run_tests(
    config: Path,
    files: Sequence[Path | str],
    options: Sequence[str],
    *,
    directory: Path,
    limit: float | None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run tests in a process of their own.

    Args:
        config: an ini file that names the plugin.
        files: of tests.
        options: further ones for pytest.
        directory: where to run.
        limit: seconds.
        environment: instead of that of this process.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        counts = Path(temporary, "counts.json")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-c", str(config), f"--counts={counts}", *options, *map(str, files)]
        status = None
        try:
            status = subprocess.run(
                command, cwd=directory, env=environment or os.environ, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            aborted = f"took longer than {limit:g} s"
        else:
            aborted = f"pytest ended with status {status}"
        result: Result = json.loads(counts.read_text()) if counts.exists() else {}
    # All passed, some failed, none there.
    if status not in (0, 1, 5) or not result:
        result["aborted"] = aborted
    result["seconds"] = round(time.monotonic() - start)
    return Ended(status, result)


def failed(results: Mapping[str, Result]) -> bool:
    """Whether anything failed that should not, or did not end by itself."""
    return any(result.get("failures") or "aborted" in result for result in results.values())


def show(results: Mapping[str, Result], columns: Sequence[str]) -> None:
    """Print a table of counts, a line for each file, and the tests that failed."""
    width = max(map(len, results), default=0)
    print("file".ljust(width), *(name.rjust(12) for name in columns))
    for file, result in results.items():
        numbers = [str(result.get(name, 0)).rjust(12) for name in columns]
        print(file.ljust(width), *numbers, result.get("aborted", ""))
    sums = [str(sum(r.get(name, 0) for r in results.values())).rjust(12) for name in columns]
    print("all".ljust(width), *sums)
    for result in results.values():
        for test in result.get("failures", ()):
            print("FAILED", test)
