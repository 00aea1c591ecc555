"""Operations on frames, on real processes, against the same code in pandas."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from integration.modin_support import NO_DEFAULTING, assert_same, mpd

pytestmark = NO_DEFAULTING
__all__ = ["mpd"]

ROWS = 5_000


@pytest.fixture(scope="module")
def sales() -> pd.DataFrame:
    random = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "shop": random.integers(0, 40, ROWS),
            "item": random.choice(["apple", "pear", "plum"], ROWS),
            "price": random.random(ROWS).round(3),
            "sold": pd.date_range("2020-01-01", periods=ROWS, freq="h"),
            "kind": pd.Categorical(random.choice(["a", "b"], ROWS)),
            "note": [None if i % 7 == 0 else f"n{i % 50}" for i in range(ROWS)],
        }
    )


@pytest.fixture(scope="module")
def shops() -> pd.DataFrame:
    return pd.DataFrame({"shop": range(40), "city": [f"city {i % 9}" for i in range(40)]})


Operations = dict[str, Callable[[Any, Any], Any]]

SELECTIONS: Operations = {
    "column": lambda f, _: f["price"],
    "columns": lambda f, _: f[["price", "item"]],
    "filter": lambda f, _: f[f["price"] > 0.5],
    "filter by two": lambda f, _: f[(f["price"] > 0.5) & (f["item"] == "pear")],
    "filter by date": lambda f, _: f[f["sold"] <= pd.Timestamp("2020-03-01")],
    "isin": lambda f, _: f[f["item"].isin(["pear", "plum"])],
    "query": lambda f, _: f.query("price < 0.1"),
    "iloc": lambda f, _: f.iloc[1000:3000:3, [0, 2]],
    "loc": lambda f, _: f.loc[10:20, "shop":"price"],
    "head": lambda f, _: f.head(7),
    "tail": lambda f, _: f.tail(7),
    "dropna": lambda f, _: f.dropna(),
    "drop": lambda f, _: f.drop(columns=["note"]),
    "rename": lambda f, _: f.rename(columns={"price": "euro"}),
    "drop_duplicates": lambda f, _: f[["shop", "item"]].drop_duplicates(),
}

ELEMENTWISE: Operations = {
    "elementwise": lambda f, _: f[["shop", "price"]] * 2 + 1,
    "two columns": lambda f, _: f["price"] * (1 - f["shop"]),
    "assign": lambda f, _: f.assign(half=f["price"] / 2),
    "astype": lambda f, _: f.astype({"shop": "float64"}),
    "fillna": lambda f, _: f.fillna({"note": "none"}),
    "string method": lambda f, _: f["item"].str.upper(),
    "date method": lambda f, _: f["sold"].dt.year,
    "case_when": lambda f, _: f["price"].case_when([(f["price"] > 0.5, 1.0)]),
    "where": lambda f, _: f[["price"]].where(f[["price"]] > 0.5, 0.0),
    "map": lambda f, _: f["item"].map(len),
    "apply to columns": lambda f, _: f[["price", "shop"]].apply(lambda c: c / c.max()),
    "apply to rows": lambda f, _: f.head(500).apply(lambda r: r["price"] * r["shop"], axis=1),
    "cumsum": lambda f, _: f[["price"]].cumsum(),
    "rolling": lambda f, _: f[["price"]].rolling(24).mean(),
}

REDUCTIONS: Operations = {
    "sum": lambda f, _: f["price"].sum(),
    "mean": lambda f, _: f[["price", "shop"]].mean(),
    "describe": lambda f, _: f[["price", "shop"]].describe(),
    "nunique": lambda f, _: f["note"].nunique(),
    "quantile": lambda f, _: f["price"].quantile(0.3),
    "max of dates": lambda f, _: f[["sold"]].max(),
    "length": lambda f, _: len(f[f["item"] == "pear"]),
    "shape": lambda f, _: f[f["item"] == "pear"].shape,
    "dtypes": lambda f, _: f.dtypes,
}

GROUPS: Operations = {
    "groupby sum": lambda f, _: f.groupby("item")[["price"]].sum(),
    "groupby agg": lambda f, _: f.groupby("item").agg({"price": ["sum", "mean"], "shop": "max"}),
    "groupby two keys": lambda f, _: f.groupby(["item", "shop"])[["price"]].mean(),
    "groupby size": lambda f, _: f.groupby("shop").size(),
    "groupby transform": lambda f, _: f.groupby("shop")[["price"]].transform("mean"),
}

JOINS_AND_ORDER: Operations = {
    "merge": lambda f, g: f.merge(g, on="shop"),
    "left merge": lambda f, g: f.merge(g[g["shop"] < 9], on="shop", how="left"),
    "merge on two names": lambda f, g: f.merge(g, left_on="shop", right_on="shop"),
    "columns after": lambda f, g: f.merge(g, on="shop").columns,
    "sort_values": lambda f, _: f.sort_values(["price", "sold"]),
    "sort descending": lambda f, _: f.sort_values(["item", "sold"], ascending=[False, True]),
    "sort_index": lambda f, _: f.sort_values(["price", "sold"]).sort_index(),
    "reset_index": lambda f, _: f[f["price"] > 0.5].reset_index(drop=True),
    "set_index": lambda f, _: f.set_index("sold"),
    "transpose": lambda f, _: f[["price", "shop"]].head(30).T,
}


@pytest.mark.parametrize(
    "operations",
    [SELECTIONS, ELEMENTWISE, REDUCTIONS, GROUPS, JOINS_AND_ORDER],
    ids=["selections", "elementwise", "reductions", "groups", "joins and order"],
)
def test_gives_what_pandas_gives(
    mpd: ModuleType, sales: pd.DataFrame, shops: pd.DataFrame, operations: Operations
) -> None:
    frame, other = mpd.DataFrame(sales), mpd.DataFrame(shops)
    for name, operation in operations.items():
        try:
            assert_same(operation(frame, other), operation(sales, shops))
        except Exception as error:
            error.add_note(f"operation: {name}")
            raise


def test_concat(mpd: ModuleType, sales: pd.DataFrame) -> None:
    parts = [sales[:1000], sales[1000:1001], sales[1001:]]
    frames = [mpd.DataFrame(part) for part in parts]
    assert_same(mpd.concat(frames), pd.concat(parts))
    assert_same(
        mpd.concat([frames[0]] * 9, ignore_index=True), pd.concat([parts[0]] * 9, ignore_index=True)
    )
    wide = [sales[["shop"]], sales[["price"]].rename(columns={"price": "cost"})]
    assert_same(mpd.concat(list(map(mpd.DataFrame, wide)), axis=1), pd.concat(wide, axis=1))


def test_work_on_one_block_is_spread(mpd: ModuleType) -> None:
    import modin.config

    many = pd.DataFrame(
        {
            "n": np.arange(20_000),
            "x": np.linspace(0, 1, 20_000),
            "s": np.resize(["a", "b", None], 20_000),
        },
        index=np.arange(20_000)[::-1],
    )
    with modin.config.context(NPartitions=1):
        ours = mpd.DataFrame(many)
    assert ours._query_compiler._modin_frame._partitions.shape == (1, 1)

    products = ours.apply(lambda r: r["n"] * r["x"], axis=1)
    assert products._query_compiler._modin_frame._partitions.shape == (2, 1)
    assert_same(products, many["n"] * many["x"])
    assert_same(ours.describe(include="all"), many.describe(include="all"))
    assert_same(ours.iloc[5:15_000].describe([0.1]), many.iloc[5:15_000].describe([0.1]))
    described = ours.describe()._query_compiler._modin_frame._partitions
    assert described.shape == (1, 2)


def test_descriptions_of_few_rows_of_all_kinds(mpd: ModuleType) -> None:
    few = pd.DataFrame(
        {
            "n": np.arange(7),
            "when": pd.date_range("2020", periods=7),
            "flag": np.arange(7) > 2,
            "kind": pd.Categorical(list("abcabca")),
            "word": ["x", None, "y", "x", "x", "z", "z"],
            "ratio": np.linspace(0, 1, 7),
        }
    )
    for include in (None, "all", ["number"], ["category", "object"]):
        assert_same(mpd.DataFrame(few).describe(include=include), few.describe(include=include))
    twice = few[["n", "ratio"]].set_axis(["same", "same"], axis=1)
    assert_same(mpd.DataFrame(twice).describe([0.3]), twice.describe([0.3]))
    assert_same(mpd.Series(few["word"]).describe(), few["word"].describe())


def test_arithmetic_with_a_scalar_is_tried_once_for_its_types(
    mpd: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modin.core.dataframe.algebra import binary

    numbers = pd.DataFrame({"a": np.arange(9), "b": np.linspace(0, 1, 9)})
    operations: list[Callable[[Any], Any]] = [
        lambda frame: frame * 2,
        lambda frame: frame * 2.5,
        lambda frame: frame * np.int32(2),
        lambda frame: 7 - frame,
        lambda frame: frame["a"] ** 0.5,
        lambda frame: frame / True,
        lambda frame: frame.add(1, fill_value=3),
    ]
    for operation in operations:
        assert_same(operation(mpd.DataFrame(numbers)), operation(numbers))
    monkeypatch.setattr(binary, "maybe_compute_dtypes_common_cast", None)
    for operation in operations:
        result = operation(mpd.DataFrame(numbers))
        assert result._query_compiler.frame_has_materialized_dtypes
        assert_same(result, operation(numbers))
        assert np.all(result.dtypes == operation(numbers).dtypes)


def test_labels_and_types_need_no_look_at_the_data(
    mpd: ModuleType, sales: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millpond.adapters.modin import engine_wrapper

    frame = mpd.DataFrame(sales)
    merged = frame.merge(frame[["shop", "item"]].head(3), on="shop", how="left")
    expected = sales.merge(sales[["shop", "item"]].head(3), on="shop", how="left")
    small = frame.groupby("item")[["price"]].sum()
    monkeypatch.setattr(engine_wrapper, "_remote", None)
    assert_same(merged.columns, expected.columns)
    assert merged.dtypes.equals(expected.dtypes)
    assert list(small.index) == ["apple", "pear", "plum"]


def test_assignment(mpd: ModuleType, sales: pd.DataFrame) -> None:
    frame, expected = mpd.DataFrame(sales), sales.copy()
    for each in (frame, expected):
        each["double"] = each["price"] * 2
        each.loc[each["item"] == "pear", "price"] = 0.0
        each.iloc[17, 0] = -1
        del each["note"]
    assert_same(frame, expected)


def test_frames_without_rows_or_columns(mpd: ModuleType) -> None:
    for empty in (pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame(index=range(3))):
        assert_same(mpd.DataFrame(empty), empty)
    frame = mpd.DataFrame({"a": [1, 2, 3]})
    assert_same(
        frame[frame["a"] > 5],
        pd.DataFrame({"a": pd.Series([], dtype="int64")}),
        check_index_type=False,
    )


def test_what_comes_back_can_be_written(mpd: ModuleType, sales: pd.DataFrame) -> None:
    for frame in (
        mpd.DataFrame(sales),
        mpd.DataFrame(sales.head(20)),
        mpd.DataFrame(sales)[["price"]],
    ):
        back = frame.modin.to_pandas()
        back["price"] += 1
        back.loc[3, "price"] = 7.0
        back["price"].to_numpy()[0] = 5.0
    array = mpd.DataFrame(sales[["price"]]).to_numpy()
    array[0] = 1


def test_correlations(mpd: ModuleType) -> None:
    """Those of ranks Modin leaves to pandas, by a way of its own to its base class."""
    frame = pd.DataFrame({"a": [1.0, 2, 3, 5], "b": [4.0, 1, 2, 9]})
    ours = mpd.DataFrame(frame)
    assert_same(ours.corr(), frame.corr())
    with pytest.warns(UserWarning, match="defaulting to pandas"):
        assert_same(ours.corr("spearman"), frame.corr("spearman"))
