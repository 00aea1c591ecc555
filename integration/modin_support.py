"""What the tests of the Modin engine share: Modin on the engine, and comparison with pandas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import millpond

#: Modin announces what it cannot do in partitions; here that is a failure.
NO_DEFAULTING = pytest.mark.filterwarnings("error:.*defaulting to pandas.*:UserWarning")


@pytest.fixture
def mpd(engine: millpond.Context) -> Iterator[ModuleType]:
    """Return ``modin.pandas``, with our engine selected."""
    import modin.config
    import modin.pandas

    modin.config.Engine.put("millpond")
    with modin.config.context(NPartitions=4):
        yield modin.pandas


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the tasks that the adapter submits, by the names of their bodies."""
    from millpond.adapters.modin import engine_wrapper

    count: Counter[str] = Counter()
    original = engine_wrapper._remote

    def counting(body: Callable[..., Any], num_returns: int) -> Any:
        count[body.__name__] += 1
        return original(body, num_returns)

    monkeypatch.setattr(engine_wrapper, "_remote", counting)
    return count


def numbers_and_words(rows: int, *, words: tuple[str, ...]) -> pd.DataFrame:
    """Return a frame that any format of files can hold, and that compares equal when read back."""
    random = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "number": random.integers(0, 1000, rows),
            "ratio": random.random(rows).round(6),
            "word": random.choice(words, rows),
        }
    )


def assert_same(modin_value: Any, pandas_value: Any, **how: Any) -> None:
    """Both are equal, dtypes, labels and names included; ``how`` relaxes that as in pandas."""
    if hasattr(modin_value, "modin"):
        frame = modin_value._query_compiler._modin_frame
        assert type(frame).__name__ == "PandasOnMillpondDataframe"
        modin_value = modin_value.modin.to_pandas()
    if isinstance(pandas_value, pd.DataFrame):
        pd.testing.assert_frame_equal(modin_value, pandas_value, **how)
    elif isinstance(pandas_value, pd.Series):
        pd.testing.assert_series_equal(modin_value, pandas_value, **how)
    elif isinstance(pandas_value, pd.Index):
        pd.testing.assert_index_equal(modin_value, pandas_value, **how)
    else:
        assert modin_value == pytest.approx(pandas_value)
