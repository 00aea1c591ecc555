"""Plain-text tables and quantities with units."""

from collections.abc import Sequence

_MEGABYTE = 1_000_000


def megabytes(count: int) -> str:
    """Return bytes as MB (10**6 bytes) without decimals, or one decimal below ten."""
    value = count / _MEGABYTE
    return f"{value:,.0f} MB" if value >= 10 or value == 0 else f"{value:.1f} MB"


def seconds(duration: float) -> str:
    """Return a duration in seconds with one decimal."""
    return f"{duration:,.1f} s"


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows under their header: the first column to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)
