"""Why the store has no room, as an error that says who holds it and what to do."""

from __future__ import annotations

from ..errors import ObjectStoreFullError, OutOfDiskError
from ..report.memory import MemoryReport
from ..report.memory_text import format_bytes, object_table

__all__ = ["HOLDERS", "refusal", "refusal_word"]

#: objects that an error lists at most
HOLDERS = 10

_WORDS = ("exists", "full", "no-disk", "too-large")


def refusal_word(reason: str) -> tuple[str, str]:
    """Return the first word of the node's reason, and the rest. Without a known word: "full"."""
    word, _, rest = reason.partition(": ")
    return (word, rest) if word in _WORDS else ("full", reason)


def refusal(
    reason: str, requested: int, report: MemoryReport | None
) -> ObjectStoreFullError | OutOfDiskError:
    """Return the error for a refused create.

    Args:
        reason: the node's.
        requested: bytes of the objects that were refused.
        report: who holds the memory, the largest objects first; None where it cannot be had.
    """
    word, text = refusal_word(reason)
    if word == "no-disk":
        return _out_of_disk(text, requested, report)
    parts = [text]
    if report is not None and word == "full" and report.objects:
        parts.append(_holders(report))
    error = ObjectStoreFullError("\n\n".join(parts))
    error.requested_bytes = requested
    if report is not None:
        error.used_bytes = report.store.used
        error.capacity = report.store.capacity
        error.holders = report.objects[:HOLDERS]
    return error


def _out_of_disk(text: str, requested: int, report: MemoryReport | None) -> OutOfDiskError:
    if report is None:
        error = OutOfDiskError(text)
        error.requested_bytes = requested
        return error
    store = report.store
    waiting = report.waiting_bytes + requested
    free = report.spill_free_bytes
    error = OutOfDiskError(
        f"{text}\n\n"
        f"  wanted                {format_bytes(requested)}\n"
        f"  store, used of limit  {format_bytes(store.used)} of {format_bytes(store.capacity)}\n"
        f"  spilled to            {report.spill_location}\n"
        f"  spilled so far        {format_bytes(store.spilled_bytes)} in {store.spilled_objects} "
        f"objects\n"
        f"  free there            {'unknown' if free is None else format_bytes(free)}\n"
        f"  waiting for room      {format_bytes(waiting)}\n\n"
        "No value was lost. Free disk space there, give millpond.init a spill directory with more "
        "room or a larger object_store_memory, or drop refs.\n\n"
        f"{_holders(report)}".rstrip()
    )
    error.requested_bytes = requested
    error.used_bytes = store.used
    error.capacity = store.capacity
    error.spill_location = report.spill_location
    error.free_bytes = free
    error.spilled_bytes = store.spilled_bytes
    error.waiting_bytes = waiting
    return error


def _holders(report: MemoryReport) -> str:
    shown = report.objects[:HOLDERS]
    if not shown:
        return ""
    rest = report.total_objects - len(shown)
    more = f"\nand {rest} more; millpond.memory() lists them" if rest > 0 else ""
    return f"The largest objects:\n\n{object_table(shown)}{more}"
