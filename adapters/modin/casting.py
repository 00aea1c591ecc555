"""What Modin does with every value that a user's function returns, at a fraction of the cost.

Modin lets a function return a Modin object where a pandas object is meant. For each call it asks
whether the value is of a run-time protocol, which takes longer than most functions that users
apply to rows. The usual answer depends on the type only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from modin.utils import try_cast_to_pandas

#: Types of values that stay as they are.
_PLAIN = frozenset(
    (
        *(type(None), bool, int, float, complex, str, bytes),
        *(np.bool_, np.int32, np.int64, np.float32, np.float64, np.ndarray),
        *(pd.Timestamp, pd.Timedelta, type(pd.NaT), type(pd.NA)),
        *(pd.Series, pd.DataFrame),
    )
)


def cast_to_pandas(value: Any, squeeze: bool = False) -> Any:
    """Return ``value`` with Modin objects in it turned into pandas objects.

    Args:
        value: What a function returned.
        squeeze: Whether to turn a Modin frame of one column into a series.
    """
    return value if type(value) in _PLAIN else try_cast_to_pandas(value, squeeze=squeeze)


def quick_cast() -> Any:
    """Return `cast_to_pandas`; a pickle of Modin's own function calls this instead."""
    return cast_to_pandas
