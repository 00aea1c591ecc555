"""A table of what each policy made of the same work."""

from __future__ import annotations

from collections.abc import Mapping

from .simulation import Outcome

__all__ = ["table"]

_TITLES = (
    "policy",
    "makespan",
    "of least",
    "moved",
    "local reads",
    "restored",
    "handed on",
    "tasks run",
    "decisions/s",
)


def table(outcomes: Mapping[str, Outcome]) -> str:
    """Return a table in plain text, a line for each policy."""
    rows = [_TITLES, *(_row(name, outcome) for name, outcome in outcomes.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _row(name: str, outcome: Outcome) -> tuple[str, ...]:
    traffic = outcome.traffic
    read = traffic.local + traffic.moved
    return (
        name,
        f"{outcome.makespan:.1f} s",
        f"{outcome.makespan / outcome.least:.2f}x" if outcome.least else "",
        _bytes(traffic.moved),
        f"{traffic.local / read:.1%}" if read else "",
        _bytes(traffic.restored),
        f"{outcome.handed_on:,}",
        f"{outcome.tasks:,}",
        f"{outcome.decisions / outcome.decision_seconds:,.0f}" if outcome.decision_seconds else "",
    )


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
