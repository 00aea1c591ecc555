"""The table of restored bytes."""

from __future__ import annotations

from collections.abc import Iterable

from .optimum import least_restored
from .replay import Replay
from .trace import Trace

__all__ = ["table"]

#: sizes of the store, as parts of the most bytes that are alive at once
_PARTS = (0.125, 0.25, 0.5, 0.75)
_MIB = 1 << 20


def table(traces: Iterable[Trace]) -> str:
    """Return the markdown table of all traces at all sizes of the store."""
    lines = [
        (
            "| trace | alive at most, MiB | store, MiB | optimum, MiB | LRU | by next use "
            "| with prefetch | spilled by LRU, MiB | by next use |"
        ),
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for trace in traces:
        lines += [_row(trace, int(trace.working_set * part)) for part in _PARTS]
    return "\n".join(lines) + "\n"


def _row(trace: Trace, capacity: int) -> str:
    lru = Replay(trace, capacity, by_next_use=False, prefetch=False).run()
    ours = Replay(trace, capacity, prefetch=False).run()
    ahead = Replay(trace, capacity).run()
    least = least_restored(trace, ahead.events, capacity)
    cells = [
        trace.name,
        f"{trace.working_set / _MIB:.0f}",
        f"{capacity / _MIB:.0f}",
        f"{least / _MIB:.0f}",
        *(_ratio(outcome.restored, least) for outcome in (lru, ours, ahead)),
        f"{lru.spilled / _MIB:.0f}",
        f"{ahead.spilled / _MIB:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _ratio(restored: int, least: int) -> str:
    return f"{restored / least:.2f}" if least else f"+{restored / _MIB:.0f} MiB"
