"""A row or column of blocks: functions that need a whole axis of the frame run on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from modin.core.dataframe.pandas.partitioning.axis_partition import PandasDataframeAxisPartition

import millpond

from . import tasks
from .arguments import pack
from .block_partition import NODE_IP, PandasOnMillpondDataframePartition
from .engine_wrapper import MillpondWrapper, submit
from .extents import extents_of


class PandasOnMillpondDataframeVirtualPartition(
    PandasDataframeAxisPartition  # type: ignore[misc]  # Modin is not annotated
):
    """Blocks that together make a row or a column; the base class says how they are used."""

    axis: Literal[0, 1] | None = None
    partition_type = PandasOnMillpondDataframePartition
    #: Modin builds a block from its data and this many values: length, width, address.
    _PARTITIONS_METADATA_LEN = 3

    @property
    def list_of_ips(self) -> list[str]:
        """Addresses of the nodes that hold the blocks."""
        return [block.ip(materialize=False) for block in self.list_of_block_partitions]

    def wait(self) -> None:
        """Wait until the queued calls of the blocks have run."""
        self.drain_call_queue()
        MillpondWrapper.wait(self.list_of_blocks)

    def length(self, materialize: bool = True) -> Any:
        """Return the number of rows; if not ``materialize``, perhaps a future of it."""
        extent = super().length(materialize)
        return MillpondWrapper.materialize(extent) if materialize else extent

    def width(self, materialize: bool = True) -> Any:
        """Return the number of columns; if not ``materialize``, perhaps a future of it."""
        extent = super().width(materialize)
        return MillpondWrapper.materialize(extent) if materialize else extent

    @classmethod
    def deploy_axis_func(  # noqa: PLR0917 - Modin's signature
        cls,
        axis: Literal[0, 1],
        func: Any,
        f_args: Sequence[Any],
        f_kwargs: Mapping[str, Any],
        num_splits: int,
        maintain_partitioning: bool,
        *partitions: millpond.ObjectRef[Any],
        min_block_size: int,
        lengths: Sequence[int] | None = None,
        manual_partition: bool = False,
    ) -> list[Any]:
        """Run ``func`` on the joined ``partitions``; return splits of the result with shapes."""
        return _with_shapes(
            tasks.map_axis,
            len(lengths) if lengths is not None else num_splits,
            (axis, func),
            (f_args, f_kwargs, num_splits, maintain_partitioning, *partitions),
            {
                "min_block_size": min_block_size,
                "lengths": lengths,
                "manual_partition": manual_partition,
            },
        )

    @classmethod
    def deploy_func_between_two_axis_partitions(  # noqa: PLR0917 - Modin's signature
        cls,
        axis: Literal[0, 1],
        func: Any,
        f_args: Sequence[Any],
        f_kwargs: Mapping[str, Any],
        num_splits: int,
        len_of_left: int,
        other_shape: Sequence[int],
        *partitions: millpond.ObjectRef[Any],
        min_block_size: int,
    ) -> list[Any]:
        """Run ``func`` on two joined groups of ``partitions``; return splits with shapes."""
        return _with_shapes(
            tasks.combine_axes,
            num_splits,
            (axis, func),
            (f_args, f_kwargs, num_splits, len_of_left, other_shape, *partitions),
            {"min_block_size": min_block_size},
        )

    @classmethod
    def deploy_splitting_func(
        cls,
        axis: Literal[0, 1],
        split_func: Any,
        f_args: Sequence[Any],
        f_kwargs: Mapping[str, Any],
        num_splits: int,
        *partitions: millpond.ObjectRef[Any],
        extract_metadata: bool = False,
    ) -> list[Any]:
        """Run ``split_func`` on the joined ``partitions``; return what it splits them into."""
        splits = _with_shapes(
            tasks.split_axis,
            num_splits,
            (axis, split_func),
            (f_args, f_kwargs, num_splits, *partitions),
            {},
        )
        return splits if extract_metadata else splits[:: 1 + cls._PARTITIONS_METADATA_LEN]


class PandasOnMillpondDataframeColumnPartition(PandasOnMillpondDataframeVirtualPartition):
    """A column of blocks."""

    axis = 0


class PandasOnMillpondDataframeRowPartition(PandasOnMillpondDataframeVirtualPartition):
    """A row of blocks."""

    axis = 1


def _with_shapes(
    body: Callable[..., tuple[Any, ...]],
    num_splits: int,
    target: tuple[Literal[0, 1], Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> list[Any]:
    """Submit an axis task; return data, length, width and address of every split, flat."""
    axis, func = target
    template, refs = pack((axis, MillpondWrapper.sendable(func), args, dict(kwargs)))
    *splits, shapes = submit(body, num_splits + 1, template, *refs)
    flat: list[Any] = []
    for position, split in enumerate(splits):
        flat += (split, *extents_of(shapes, position), NODE_IP)
    return flat
