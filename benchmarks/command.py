"""The command line of the suite."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

from . import cases as _cases  # noqa: F401 - fills the catalogue
from .bars import BARS
from .catalogue import CASES, select
from .engines import ENGINES
from .record import Record
from .report import markdown, write
from .runner import Limits
from .session import Options, Session


def main(arguments: list[str] | None = None) -> int:
    """Run the suite, or only report a run that was kept; return the exit status.

    The status is 1 when a bar was missed, 0 otherwise: what could not be measured is no miss.
    """
    # Ended from outside, the suite still ends what it started and reports what it has.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        for case in CASES.values():
            metrics = ", ".join(metric.name for metric in case.metrics)
            print(f"{case.group:<13}{case.name:<24}{metrics}")
        return 0
    if options.load:
        record = Record.load(options.load)
    else:
        try:
            chosen = select(options.cases)
        except ValueError as error:
            parser.error(str(error))
        record = Session(
            Options(
                engines=tuple(options.engines),
                cases=tuple(chosen),
                repeats=options.repeats,
                scale=options.scale,
                cpus=options.cpus,
                limits=Limits(case=options.timeout),
            )
        ).run()
        if options.json:
            record.save(options.json)
    text = markdown(record)
    print(text)
    if options.report:
        write(text, options.report)
    verdicts = [bar.judge(record) for bar in BARS]
    return int(any(verdict is not None and not verdict.passed for verdict in verdicts))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure millpond beside its peers, and hold the results against the bars.",
    )
    parser.add_argument(
        "--engines",
        type=_engine_names,
        default=list(ENGINES),
        help=f"comma-separated, of: {', '.join(ENGINES)} (default: all)",
    )
    parser.add_argument(
        "--cases",
        type=lambda text: text.split(","),
        default=["*"],
        help="comma-separated names or patterns of cases, groups or metrics (default: all)",
    )
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    parser.add_argument("--repeats", type=_positive_count, default=3, help="default: 3")
    parser.add_argument("--scale", type=_positive, default=1.0, help="factor on counts and sizes")
    parser.add_argument(
        "--cpus",
        type=_positive_count,
        default=len(os.sched_getaffinity(0)),
        help="worker slots of each engine (default: the cores of this machine)",
    )
    parser.add_argument(
        "--timeout", type=_positive, default=300.0, help="seconds for a case (default: 300)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all samples in FILE")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write the markdown to FILE; only between its result marks if it has them",
    )
    parser.add_argument(
        "--load", type=Path, metavar="FILE", help="report a run kept with --json, measure nothing"
    )
    return parser


def _engine_names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in ENGINES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no engine is called {unknown[0]!r}")
    return names


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _positive_count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value
