"""The record of a run as markdown: the bars first, then every result, CPU time, and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .bars import BARS, RIVAL, SUBJECT, number, times_as_good
from .catalogue import CASES, Metric, Unit
from .record import DOUBTFUL_LOAD, Record

BEGIN = "<!-- results: begin -->"
END = "<!-- results: end -->"

_DOUBT = "~"


def markdown(record: Record) -> str:
    """Return the report."""
    parts = [_introduction(record), "### Bars", _bars(record)]
    for group in dict.fromkeys(case.group for case in CASES.values()):
        rows = _results(record, group)
        if rows:
            parts += [f"### Results: {group}", rows]
    cpu = _cpu(record)
    if cpu:
        parts += ["### CPU time per operation, whole process tree, in microseconds", cpu]
    if record.failures or record.unavailable:
        parts += ["### Failures", _failures(record)]
    return "\n\n".join(parts) + "\n"


def write(text: str, path: Path) -> None:
    """Write the report to a file; if the file has the marks of a results section, between them."""
    if path.exists():
        page = path.read_text()
        before, begin, rest = page.partition(BEGIN)
        _, end, after = rest.partition(END)
        if begin and end:
            text = f"{before}{BEGIN}\n\n{text}\n{END}{after}"
    path.write_text(text)


def _introduction(record: Record) -> str:
    machine = "; ".join(f"{name}: {value}" for name, value in record.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    scale = (
        ""
        if record.scale == 1
        else f" Sizes and counts times {record.scale:g}: the names of the cases are wrong."
    )
    return (
        f"{machine}.\n\nEngines: {versions}.{scale}\n\n"
        f"Medians of {record.repeats} repeats. `{_DOUBT}`: others used more than {DOUBTFUL_LOAD:g} "
        f"cores meanwhile. Bold: best of the row. `{SUBJECT} : {RIVAL}`: how many times as good. "
        f"Spread: from {SUBJECT}'s lowest to its highest repeat, as a part of the median."
    )


def _bars(record: Record) -> str:
    rows = []
    for bar in BARS:
        verdict = bar.judge(record)
        if verdict is None:
            rows.append([bar.metric, bar.text, "", "not measured"])
            continue
        measured = verdict.measured + (_DOUBT if verdict.doubtful else "")
        rows.append([bar.metric, bar.text, measured, "pass" if verdict.passed else "**FAIL**"])
    return _table(["metric", "bar", "measured", "verdict"], rows)


def _results(record: Record, group: str) -> str:
    rows = []
    for metric in _metrics(group):
        results = [record.result(engine, metric.name) for engine in record.engines]
        values = [result.value for result in results if result is not None]
        if not values:
            continue
        best = max(values) if metric.unit.higher_is_better else min(values)
        cells = []
        for result in results:
            if result is None:
                cells.append("")
                continue
            text = number(result.value)
            text = f"**{text}**" if result.value == best and len(values) > 1 else text
            cells.append(text + (_DOUBT if result.doubtful else ""))
        times = times_as_good(record, metric.name, RIVAL)
        cells += ["" if times is None else f"{number(times)}x", _spread(record, metric.name)]
        rows.append([metric.name, metric.unit.value, *cells])
    if not rows:
        return ""
    return _table(
        ["metric", "unit", *record.engines, f"{SUBJECT} : {RIVAL}", "spread"], rows, numbers_from=2
    )


def _spread(record: Record, metric: str) -> str:
    """How far the repeats are apart, for the engine that the report is about."""
    result = record.result(SUBJECT, metric)
    if result is None or result.repeats == 1 or not result.value:
        return ""
    return f"{(result.high - result.low) / result.value:.0%}"


def _cpu(record: Record) -> str:
    rows = []
    for case in CASES.values():
        for metric in case.metrics:
            if metric.unit not in (Unit.PER_SECOND, Unit.SECONDS) or case.group == "startup":
                continue
            results = [record.result(engine, metric.name) for engine in record.engines]
            cells = [
                ""
                if result is None or result.cpu_per_operation is None
                else number(result.cpu_per_operation * 1e6)
                for result in results
            ]
            if any(cells):
                rows.append([metric.name, *cells])
    return _table(["metric", *record.engines], rows, numbers_from=1) if rows else ""


def _failures(record: Record) -> str:
    lines = [f"- {engine}: not available: {why}" for engine, why in record.unavailable.items()]
    lines += [
        f"- {failure.engine}, repeat {failure.repeat + 1}, {failure.case}: {failure.reason}"
        for failure in record.failures
    ]
    return "\n".join(lines)


def _metrics(group: str) -> Iterable[Metric]:
    return (metric for case in CASES.values() if case.group == group for metric in case.metrics)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 99) -> str:
    marks = ["---:" if column >= numbers_from else "---" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, marks, *rows])
