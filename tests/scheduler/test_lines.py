from __future__ import annotations

import pytest

from millpond.scheduler.lines import LONGEST, Line, continued


def test_a_task_without_arguments_begins_a_line() -> None:
    assert continued(7, []) == Line(7)


def test_a_task_goes_where_its_argument_was_made() -> None:
    first = continued(3, [])
    second = continued(50, [first])
    third = continued(99, [second, first, second])
    assert [first.start, second.start, third.start] == [3, 3, 3]
    assert third.length == 2


@pytest.mark.parametrize("lines", [[Line(3), Line(4)], [Line(4, 2), Line(3, 1), Line(4, 2)]])
def test_a_task_that_joins_lines_goes_where_it_was_submitted(lines: list[Line]) -> None:
    assert continued(50, lines) == Line(50)


def test_a_line_ends() -> None:
    """So whoever waits behind an endless one is overtaken so often at most."""
    line = Line(0)
    starts = []
    for position in range(1, 100):
        line = continued(position, [line])
        starts.append(line.start)
    assert starts[:LONGEST] == [0] * LONGEST
    assert all(position - start <= LONGEST for position, start in enumerate(starts, start=1))
