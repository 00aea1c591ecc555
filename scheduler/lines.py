"""Where a task goes in the order of its owner: after those submitted before it, or in a line. Pure.

Programs often work on many pieces step by step: one loop makes all pieces, the next calls a
function on each, and so on. In the order of submission every step goes over all pieces, and where
they do not fit in memory, each step reads back what the one before it wrote. So a task whose
arguments were made in one *line*, each from the result of another, takes the place of the line's
first task: the line is followed to its end before the next one begins, as far as its tasks are
submitted by then.

A line ends after so many tasks, so that endless ones leave room for others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = ["LONGEST", "Line", "continued"]

#: tasks that may follow the first of a line
LONGEST: Final = 16


class Line(NamedTuple):
    """The line of a task, and of its results.

    Attributes:
        start: position of its first task, which all of them take.
        length: tasks between that and this one, this one included.
    """

    start: int
    length: int = 0


def continued(position: int, arguments: Iterable[Line]) -> Line:
    """Return the line of a task.

    Args:
        position: of the task among its owner's submissions.
        arguments: the lines of its stored arguments, without those that no task made.
    """
    line: Line | None = None
    for each in arguments:
        if line is None or (each.start == line.start and each.length > line.length):
            line = each
        elif each.start != line.start:
            return Line(position)
    if line is None or line.length >= LONGEST:
        return Line(position)
    return Line(line.start, line.length + 1)
