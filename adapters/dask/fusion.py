"""Blockwise fusion of dataframe expressions, where Dask has not done it.

Dask fuses the partition-wise steps of a dataframe into one task per partition as the last step of
its optimization. When it computes (other than when it persists) it optimizes a *sequence* of
expressions, and sequences do not pass that step on to their members; so frames arrive unfused,
with each intermediate column a task and an object of its own. This module catches up.
"""

from __future__ import annotations

import sys
from typing import Any

import dask.config
from dask._expr import _ExprSequence
from dask.core import flatten
from dask.typing import Key

__all__ = ["fuse_frames"]


def fuse_frames(expr: Any) -> tuple[Any, dict[Key, Key]]:
    """Fuse what can be fused in an optimized expression.

    Returns:
        The expression, and for each of its output keys that has a new name: old -> new.
    """
    frames: Any = sys.modules.get("dask.dataframe.dask_expr._expr")
    if (
        frames is None
        or not isinstance(expr, _ExprSequence)
        or dask.config.get("optimization.fuse.active", None) is False
    ):
        return expr, {}
    # The members together: a step that several of them need must not be fused into each.
    fused = frames.optimize_blockwise_fusion(expr)
    pairs = zip(flatten(expr.__dask_keys__()), flatten(fused.__dask_keys__()), strict=True)
    return fused, {old: new for old, new in pairs if old != new}
