"""Bars: which measurements pass them."""

from __future__ import annotations

import pytest

from benchmarks import cases as _cases  # noqa: F401 - fills the catalogue
from benchmarks.bars import BARS, Bar
from benchmarks.catalogue import unit_of
from benchmarks.events import Sample
from benchmarks.record import Measured, Record


def record(**values: float) -> Record:
    samples = [
        Measured("millpond", 0, Sample("case", metric, value)) for metric, value in values.items()
    ]
    return Record(["millpond"], 1, 1.0, samples=samples)


@pytest.mark.parametrize(("seconds", "passed"), [(2.4, True), (2.6, False)])
def test_a_bar_beside_another_metric(seconds: float, passed: bool) -> None:
    bar = Bar("dask_quarter_shuffle", 2.5, beside="dask_shuffle")
    verdict = bar.judge(record(dask_quarter_shuffle=seconds, dask_shuffle=1.0))
    assert verdict is not None
    assert verdict.passed is passed
    assert verdict.measured == f"{seconds} times"
    assert bar.judge(record(dask_quarter_shuffle=seconds)) is None


def test_bars_are_about_metrics_that_exist() -> None:
    for bar in BARS:
        assert unit_of(bar.metric) is unit_of(bar.beside or bar.metric)
        assert bar.text
