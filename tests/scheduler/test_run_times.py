"""How long the tasks of a node are taken to need."""

from __future__ import annotations

import pytest

from millpond.scheduler.run_times import RunTimes


def ended(*seconds: float) -> RunTimes:
    """Return what is known after tasks that took so long."""
    times = RunTimes()
    for key, taken in enumerate(seconds):
        times.begin(key, 100.0)
        times.end(key, 100.0 + taken)
    return times


def test_nothing_is_known_before_a_task_has_run() -> None:
    assert RunTimes().expected(5.0) == 0.0


def test_the_average_of_those_that_ended_follows_the_last_ones() -> None:
    assert ended(1.0).expected(200.0) == 1.0
    assert ended(1.0, 2.0).expected(200.0) == pytest.approx(1.2)
    assert ended(1.0, *[4.0] * 50).expected(200.0) == pytest.approx(4.0, rel=0.01)


@pytest.mark.parametrize(
    ("average", "running", "expected"),
    [(0.0, [0.3], 0.25), (1.0, [0.5, 1.5], 1.0), (1.0, [9.0, 9.5], 8.0), (1.0, [1.9], 1.0)],
)
def test_what_runs_for_long_is_taken_to_run_for_as_long_again(
    average: float, running: list[float], expected: float
) -> None:
    times = ended(average) if average else RunTimes()
    for key, seconds in enumerate(running):
        times.begin(key, 200.0 - seconds)
    assert times.expected(200.0) == expected


def test_what_was_killed_is_not_counted_and_runs_no_more() -> None:
    times = ended(1.0)
    times.begin("killed", 200.0)
    times.forget("killed")
    times.end("killed", 300.0)
    times.end("never begun", 300.0)
    assert times.expected(300.0) == 1.0
