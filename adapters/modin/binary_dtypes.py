"""The dtypes of arithmetic with a scalar, found once for each combination of types.

To know them ahead of the result, Modin tries each operation on two made-up frames in the driver.
On a small frame that takes longer than the operation.
"""

# ruff: noqa: SLF001 - Modin has no public way from a query compiler to its frame

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
from modin.core.dataframe.algebra import Binary
from modin.core.storage_formats.pandas.query_compiler import PandasQueryCompiler

#: The operations that Modin tries.
SAMPLED = tuple(
    side + name
    for side in ("", "r")
    for name in ("add", "floordiv", "mod", "mul", "pow", "sub", "truediv")
)

#: Scalars whose type says what numpy takes them for.
_SCALARS = (bool, complex, float, int, str)

#: How many combinations are kept, the same for all operations.
_MOST = 1024

#: By operation, dtypes of the columns and type of the scalar: dtypes of the result.
_known: dict[Hashable, tuple[Any, ...]] = {}


def sampled_once(name: str) -> Callable[..., Any]:
    """Return a method of a query compiler: Modin's of this name, which tries once for each case."""
    trying = getattr(PandasQueryCompiler, name)
    untried = Binary.register(getattr(pd.DataFrame, name))

    @wraps(trying)
    def operate(self: Any, other: Any, *args: Any, **kwargs: Any) -> Any:
        case = None if kwargs.get("dtypes") else _case(self, other)
        if case is None:
            return trying(self, other, *args, **kwargs)
        key = name, *case
        dtypes = _known.get(key)
        if dtypes is None:
            result = trying(self, other, *args, **kwargs)
            if len(_known) >= _MOST:
                _known.clear()
            if result.frame_has_materialized_dtypes:
                _known[key] = tuple(result.dtypes)
            return result
        result = untried(self, other, *args, **kwargs)
        frame = result._modin_frame
        frame.set_dtypes_cache(pd.Series(dtypes, index=self.columns, dtype=object))
        return result

    return operate


def _case(compiler: Any, other: Any) -> tuple[Any, ...] | None:
    """Return what the dtypes depend on; None if Modin would not try, or that is hard to tell."""
    plain = type(other) in _SCALARS
    if not (plain or isinstance(other, np.generic)) or not compiler.frame_has_materialized_dtypes:
        return None
    return tuple(compiler.dtypes), type(other) if plain else other.dtype
