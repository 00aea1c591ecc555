"""A memory report as text: a table, and the totals below it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .memory import GroupMemory, MemoryReport, NodeMemory, ObjectMemory, Pins

__all__ = ["format_bytes", "object_table", "render", "table"]

#: characters that are shown of a name, and of a file with its line
_NAME_WIDTH = 28
_FILE_WIDTH = 44


def format_bytes(size: int) -> str:
    """Return a size with three digits or more and a binary unit: ``1.5 MiB``."""
    if abs(size) < 1024:
        return f"{size} B"
    value, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if abs(value) < 1023.95:  # more is shown as 1024.0
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: int = 1) -> str:
    """Return rows under their heads, in columns.

    Args:
        head: of each column.
        rows: cells.
        right: so many columns, from the left, are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = [
            cell.rjust(width) if index < right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def render(report: MemoryReport) -> str:
    """Return a whole report."""
    parts = []
    if report.groups:
        parts.append(_group_table(report.groups))
    elif report.objects:
        parts.append(object_table(report.objects))
    parts.append("\n".join([*_listed(report), *_totals(report), *_owners(report)]))
    return "\n\n".join(parts)


def object_table(objects: Sequence[ObjectMemory]) -> str:
    """Return a table of objects."""
    nodes = ("node",) if any(row.node for row in objects) else ()
    head = ("size", *nodes, "state", "pinned by", "owner", "refs", "made by", "call site", "object")
    return table(
        head,
        [
            (
                format_bytes(row.size),
                *((row.node,) if nodes else ()),
                row.state,
                _pins(row.pins),
                str(row.owner),
                _refs(row),
                _shortened(row.made_by or "?", _NAME_WIDTH),
                _site(row.call_site or "?"),
                row.id,
            )
            for row in objects
        ],
    )


def _group_table(groups: Sequence[GroupMemory]) -> str:
    head = ("size", "objects", "in memory", "in files", "pinned", "made by", "from")
    return table(
        head,
        [
            (
                format_bytes(group.size),
                str(group.objects),
                format_bytes(group.memory_bytes),
                format_bytes(group.file_bytes),
                format_bytes(group.pinned_bytes),
                _shortened(", ".join(group.made_by) or "?", _NAME_WIDTH),
                _site(group.key),
            )
            for group in groups
        ],
        right=5,
    )


def _pins(pins: Sequence[Pins]) -> str:
    shown = [f"{pin.process}" + (f" x{pin.count}" if pin.count > 1 else "") for pin in pins[:2]]
    if len(pins) > 2:
        shown.append(f"{len(pins) - 2} more")
    return ", ".join(shown) or "-"


def _refs(row: ObjectMemory) -> str:
    if row.refs is None:
        return "?"
    return f"{row.refs}+{row.borrowers}" if row.borrowers else str(row.refs)


def _site(text: str) -> str:
    """Return a call site; of a long path the end is shown, which tells more than its beginning."""
    place, inside, function = text.partition(" in ")
    return _shortened(place, _FILE_WIDTH) + inside + _shortened(function, _NAME_WIDTH)


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"...{text[3 - width :]}"


def _listed(report: MemoryReport) -> list[str]:
    listed = sum(group.objects for group in report.groups) or len(report.objects)
    if listed == report.total_objects:
        return []
    return [f"{listed} of {report.total_objects} objects are listed."]


def _totals(report: MemoryReport) -> list[str]:
    lines = []
    several = len(report.nodes) > 1
    for node in report.nodes:
        lines += _node(node, f"Node {node.node}: " if several else "")
    if several:
        lines.insert(0, f"{report.total_objects} objects, {format_bytes(report.total_bytes)}.")
    if report.silent_nodes:
        nodes = ", ".join(report.silent_nodes)
        lines.append(f"No answer in time from the nodes {nodes}: what they have is missing.")
    return lines


def _node(report: NodeMemory, name: str) -> list[str]:
    store = report.store
    total = (
        f"{name}{report.total_objects} objects, {format_bytes(report.total_bytes)}. In memory: "
        f"{format_bytes(store.used)} of {format_bytes(store.capacity)}, of which "
        f"{format_bytes(store.evictable_bytes)} can leave it. In files: "
        f"{format_bytes(store.spilled_bytes)}"
    )
    if report.spill_location is None:
        total += ". Spilling is off."
    elif report.spill_free_bytes is None:
        total += f" ({report.spill_location})."
    else:
        free = format_bytes(report.spill_free_bytes)
        total += f" ({report.spill_location}, {free} free)."
    lines = [total]
    if report.waiting_bytes:
        waiting = format_bytes(report.waiting_bytes)
        lines.append(f"{name}New objects of {waiting} wait for room.")
    if store.disk_full:
        lines.append(f"{name}The disk is full: nothing more can be spilled.")
    return lines


def _owners(report: MemoryReport) -> list[str]:
    lines = [
        f"{owner.process} holds {owner.inline_objects} small values of "
        f"{format_bytes(owner.inline_bytes)} itself, outside of the store."
        for owner in report.owners
        if owner.inline_objects
    ]
    silent = [str(owner.process) for owner in report.owners if not owner.answered]
    if silent:
        lines.append(f"No answer in time from {', '.join(silent)}: what they know is missing.")
    return lines
