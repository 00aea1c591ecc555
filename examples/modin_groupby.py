"""Modin on millpond: pandas code on every core."""

import modin.config
import modin.pandas as pd
import numpy as np

import millpond


def main() -> None:
    """Join and aggregate two tables."""
    millpond.init()
    modin.config.Engine.put("Millpond")

    rng = np.random.default_rng(0)
    sales = pd.DataFrame(
        {"shop": rng.integers(0, 4, 100_000), "price": rng.integers(1, 100, 100_000)}
    )
    shops = pd.DataFrame({"shop": range(4), "town": ["Ulm", "Bonn", "Jena", "Kiel"]})
    income = sales.merge(shops, on="shop").groupby("town")["price"].sum()
    print(income)
    assert income.sum() == sales["price"].sum()


if __name__ == "__main__":
    main()
