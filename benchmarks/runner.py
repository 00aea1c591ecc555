"""Runs the benchmarked processes: environment, time limits, and the end of everything they started.

Covers one engine and one group of cases at a time. Which, and how often, is the session's concern.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import processes
from .catalogue import CASES
from .child import Job
from .events import (
    CaseBegun,
    CaseFailed,
    Event,
    Finished,
    Sample,
    Started,
    StartFailed,
    Unavailable,
    decode,
)

_ROOT = Path(__file__).resolve().parent.parent
#: One thread for numeric libraries, in every engine alike.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: Seconds after the end of the benchmarked process until what it started counts as left behind.
_GRACE = 2.0
#: Lines of an engine's output that are shown when it fails.
_TAIL = 15


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds after which a benchmarked process is killed; a case may ask for more."""

    start: float = 120.0
    case: float = 300.0
    stop: float = 60.0


@dataclass(slots=True)
class Outcome:
    """What came of one process."""

    samples: list[Sample] = field(default_factory=list)
    #: Case -> why there is no result.
    failures: dict[str, str] = field(default_factory=dict)
    #: Cases that ran out of time.
    timeouts: set[str] = field(default_factory=set)
    #: The case during which the process was lost, by timeout or crash.
    lost_in: str | None = None
    version: str | None = None
    unavailable: str | None = None
    start_failure: str | None = None
    #: Names of processes that had to be killed after the benchmarked one had ended by itself.
    left_behind: list[str] = field(default_factory=list)
    #: The last lines that the process wrote, when something failed.
    output: str = ""


def run(job: Job, limits: Limits) -> Outcome:
    """Run a job in a fresh process, and the rest in another one if a case takes that down."""
    outcome = _run_once(job, limits)
    remaining, lost_in = job.cases, outcome.lost_in
    while lost_in is not None:
        remaining = remaining[remaining.index(lost_in) + 1 :]
        if not remaining:
            break
        more = _run_once(replace(job, cases=remaining), limits)
        outcome.samples += more.samples
        outcome.failures |= more.failures
        outcome.timeouts |= more.timeouts
        outcome.start_failure = outcome.start_failure or more.start_failure
        outcome.left_behind += more.left_behind
        outcome.output += more.output
        lost_in = more.lost_in
    return outcome


def _run_once(job: Job, limits: Limits) -> Outcome:
    job = replace(job, mark=secrets.token_hex(8))
    # Short, because paths of sockets are limited to 107 bytes.
    with tempfile.TemporaryDirectory(prefix="mpb", ignore_cleanup_errors=True) as name:
        private = Path(name)
        reading, writing = os.pipe()
        log = private / "output"
        with log.open("wb") as output:
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.child",
                    replace(job, events_fd=writing).encode(),
                ],
                cwd=_ROOT,
                env=_environment(private, job.mark),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
            )
        os.close(writing)
        try:
            outcome = _Watch(job, child, reading, limits).until_the_end()
        finally:
            os.close(reading)
            if child.poll() is None:
                child.kill()
                child.wait()
            if child.returncode == 0:
                processes.wait_for_end(job.mark, _GRACE)
            killed = processes.kill(job.mark)
        if child.returncode == 0:
            outcome.left_behind = killed
        if outcome.failures or outcome.start_failure:
            outcome.output = "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL:])
    return outcome


def _environment(private: Path, mark: str) -> dict[str, str]:
    """Give the process a home and a temporary directory of its own: leftovers show there."""
    for name in ("home", "tmp"):
        (private / name).mkdir()
    search = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # An installed package comes with its bytecode; ours, in the source tree, must be let keep it.
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        **dict.fromkeys(_THREADS, "1"),
        "HOME": str(private / "home"),
        "TMPDIR": str(private / "tmp"),
        "PYTHONPATH": os.pathsep.join(search),
        processes.MARK_VARIABLE: mark,
    }


class _Watch:
    """Reads the events of one process until it ends or runs out of time."""

    def __init__(
        self, job: Job, child: subprocess.Popen[bytes], events_fd: int, limits: Limits
    ) -> None:
        self._job = job
        self._child = child
        self._events_fd = events_fd
        self._limits = limits
        self._outcome = Outcome()
        self._case: str | None = None
        self._finished = False
        self._limit = limits.start
        self._deadline = time.monotonic() + self._limit

    def until_the_end(self) -> Outcome:
        """Return what came of it; the process may still be there when it ran out of time."""
        buffer = b""
        os.set_blocking(self._events_fd, False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._events_fd, selectors.EVENT_READ)
            while time.monotonic() < self._deadline:
                # Daemons may hold the pipe's other end, so that only the status tells the end.
                ended = self._child.poll() is not None
                if selector.select(0.0 if ended else 0.2):
                    with contextlib.suppress(BlockingIOError):
                        *lines, buffer = (buffer + os.read(self._events_fd, 1 << 16)).split(b"\n")
                        for line in lines:
                            self._handle(decode(line))
                        if lines:
                            continue
                if ended:
                    self._ended()
                    return self._outcome
        self._out_of_time()
        return self._outcome

    def _handle(self, event: Event) -> None:
        outcome = self._outcome
        match event:
            case Started():
                outcome.version = event.version
            case Unavailable():
                outcome.unavailable = event.reason
                self._finished = True
            case StartFailed():
                outcome.start_failure = event.reason
            case CaseBegun():
                self._case = event.case
                self._limit = max(self._limits.case, CASES[event.case].timeout)
                self._deadline = time.monotonic() + self._limit
            case Sample():
                outcome.samples.append(event)
            case CaseFailed():
                outcome.failures[event.case] = event.reason
            case Finished():
                self._finished = True
                self._deadline = time.monotonic() + self._limits.stop

    def _ended(self) -> None:
        outcome, reason = self._outcome, f"the process ended with status {self._child.returncode}"
        if outcome.start_failure or outcome.unavailable:
            return
        if self._finished:
            if self._child.returncode:
                outcome.failures["shutdown"] = reason
        elif self._case is None:
            outcome.start_failure = reason
        else:
            outcome.failures[self._case] = reason
            outcome.lost_in = self._case

    def _out_of_time(self) -> None:
        outcome = self._outcome
        if self._finished:
            outcome.failures["shutdown"] = f"did not end within {self._limits.stop:.0f} s"
        elif self._case is None:
            outcome.start_failure = f"did not start within {self._limits.start:.0f} s"
        else:
            outcome.failures[self._case] = f"timed out after {self._limit:g} s"
            outcome.timeouts.add(self._case)
            outcome.lost_in = self._case
