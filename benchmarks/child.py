"""One engine, one group of cases, in a process of its own: ``python -m benchmarks.child JOB``.

Events go to the file descriptor named in the job: nothing an engine prints can disturb them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version

from . import cases as _cases  # noqa: F401 - fills the catalogue
from .bench import Bench
from .catalogue import CASES, Case
from .engines import ENGINES, Settings
from .events import (
    CaseBegun,
    CaseFailed,
    Event,
    Finished,
    Started,
    StartFailed,
    Unavailable,
    encode,
)


@dataclass(frozen=True, slots=True)
class Job:
    """What a benchmarked process is to do."""

    engine: str
    cases: tuple[str, ...]
    cpus: int
    #: None leaves the engine's default.
    store_bytes: int | None
    #: None leaves the engine's default.
    worker_bytes: int | None
    lean: bool
    scale: float
    #: What marks this process and all that it starts.
    mark: str = ""
    #: Where the events are written to.
    events_fd: int = -1

    def encode(self) -> str:
        """Return the job as a command line argument."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Job:
        """Return the job of a command line argument."""
        fields = json.loads(text)
        return cls(**{**fields, "cases": tuple(fields["cases"])})


def main(text: str) -> int:
    """Run the job; return the exit status."""
    job = Job.decode(text)

    def report(event: Event) -> None:
        os.write(job.events_fd, encode(event))

    settings = Settings(job.cpus, job.store_bytes, job.lean, job.worker_bytes)
    bench = Bench(job.engine, settings, job.scale, job.mark, report)
    cases = [CASES[name] for name in job.cases]
    started = cases[0].started
    try:
        installed = _version(job.engine)
        # Cases that start the engine themselves also import it themselves.
        if started:
            bench.load()
            bench.start()
    except ImportError as error:
        report(Unavailable(str(error)))
        return 0
    except Exception:  # noqa: BLE001 - whatever a peer raises is a result
        report(StartFailed(_reason()))
        return 1
    report(Started(installed))
    for case in cases:
        _run(bench, case, report)
    report(Finished())
    bench.shared.clear()
    if started:
        bench.engine.stop()
    return 0


def _run(bench: Bench, case: Case, report: Callable[[Event], None]) -> None:
    report(CaseBegun(case.name))
    try:
        bench.run(case)
    except ImportError as error:
        report(Unavailable(str(error)))
    except Exception:  # noqa: BLE001 - whatever a peer raises is a result
        report(CaseFailed(case.name, _reason()))


def _reason() -> str:
    traceback.print_exc()
    kind, error, _ = sys.exc_info()
    text = str(error).strip().splitlines() or [""]
    return f"{kind.__name__ if kind else 'error'}: {text[0]}"


def _version(engine: str) -> str:
    offer = ENGINES[engine]
    if offer.version_command:
        output = subprocess.check_output(offer.version_command, text=True)
        return output.splitlines()[0].split()[-1]
    return version(offer.distribution) if offer.distribution else sys.version.split()[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
