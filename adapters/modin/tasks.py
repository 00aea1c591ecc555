"""What runs in the workers: the bodies of all tasks that Modin's partitions submit.

Each takes a template made by `arguments.pack` and the values of its refs. Bodies that make
partitions return one more value than partitions: the tuple of their outlines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from modin.core.dataframe.pandas.partitioning.axis_partition import PandasDataframeAxisPartition

from . import read_only
from .arguments import unpack
from .labels import set_labels
from .outlines import Outline, outline_of
from .session import select_in_worker


def call(template: Any, *values: Any) -> Any:
    """Call a function; what it returns is the result, or the sequence of results."""
    select_in_worker()
    function, args, kwargs, as_frame = unpack(template, values)
    result = function(*args, **kwargs)
    if as_frame and not isinstance(result, pd.DataFrame):
        result = pd.DataFrame(result)
    return result


def call_for_many(template: Any, *values: Any) -> tuple[Any, ...]:
    """Call a function that returns several values, some of which may be partitions."""
    results = tuple(call(template, *values))
    return (*results, tuple(map(outline_of, results)))


def transform(value: Any, template: Any, *values: Any) -> tuple[Any, tuple[Outline, ...]]:
    """Run a whole call queue on the value of one partition."""
    select_in_worker()
    value = read_only.run(unpack(template, values), value)
    return value, (outline_of(value),)


def measure(value: Any, as_frame: bool) -> tuple[Outline, ...]:
    """Return the outline of one partition, in the form that `transform` returns it.

    Args:
        value: The value of the partition.
        as_frame: Whether it may be a series that its readers take for a frame.
    """
    return (outline_of(set_labels(value) if as_frame else value),)


def map_axis(template: Any, *values: Any) -> tuple[Any, ...]:
    """Run a function on partitions joined along an axis, and split its result."""
    return _deploy(PandasDataframeAxisPartition.deploy_axis_func, template, values)


def combine_axes(template: Any, *values: Any) -> tuple[Any, ...]:
    """Run a function on two joined groups of partitions, and split its result."""
    deployer = PandasDataframeAxisPartition.deploy_func_between_two_axis_partitions
    return _deploy(deployer, template, values)


def split_axis(template: Any, *values: Any) -> tuple[Any, ...]:
    """Run a function that splits the joined partitions itself."""
    return _deploy(PandasDataframeAxisPartition.deploy_splitting_func, template, values)


def _deploy(deployer: Callable[..., Any], template: Any, values: Sequence[Any]) -> tuple[Any, ...]:
    """Call one of Modin's functions for axis partitions, which joins, calls and splits."""
    select_in_worker()
    axis, function, args, kwargs = unpack(template, values)
    results = deployer(axis, read_only.CallOnce(function), *args, **kwargs)
    frames = list(results) if isinstance(results, (list, tuple)) else [results]
    return (*frames, tuple(map(outline_of, frames)))
