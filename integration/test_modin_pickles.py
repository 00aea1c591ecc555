"""Frames that are pickled: by the engine, and by anybody else."""

from __future__ import annotations

import pickle
from types import ModuleType

import pandas as pd
import pytest

import millpond
from integration.modin_support import NO_DEFAULTING, assert_same, mpd

pytestmark = NO_DEFAULTING
__all__ = ["mpd"]

ROWS = 200_000


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"a": range(ROWS), "b": 0.5, "c": "text"})


def test_a_pickle_holds_the_data(mpd: ModuleType, frame: pd.DataFrame) -> None:
    ours = mpd.DataFrame(frame)
    pickled = pickle.dumps([ours, ours["a"] + 1])
    del ours
    again, column = pickle.loads(pickled)
    assert_same(again, frame)
    assert_same(column, frame["a"] + 1)


def test_the_engine_carries_refs_and_no_data(mpd: ModuleType, frame: pd.DataFrame) -> None:
    @millpond.remote
    def total(argument: list[pd.DataFrame]) -> tuple[str, int]:
        return type(argument[0]).__module__, int(argument[0]["a"].sum())

    ours = mpd.DataFrame(frame)
    used = millpond.statistics().store.used
    wrapped = millpond.put([ours])
    assert millpond.statistics().store.used - used < frame["a"].nbytes
    assert millpond.get(total.remote(wrapped)) == ("pandas.core.frame", ROWS * (ROWS - 1) // 2)


def test_an_empty_frame(mpd: ModuleType) -> None:
    assert_same(pickle.loads(pickle.dumps(mpd.DataFrame())), pd.DataFrame())
