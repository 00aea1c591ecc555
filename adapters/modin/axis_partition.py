"""A row or column of blocks: functions that need a whole axis of the frame run on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from modin.core.dataframe.pandas.partitioning.axis_partition import PandasDataframeAxisPartition

import millpond

from . import tasks
from .arguments import pack
from .block_partition import NODE_IP, PandasOnMillpondDataframePartition
from .engine_wrapper import MillpondWrapper, submit
from .extents import extents_of
from .outlines import remember


class PandasOnMillpondDataframeVirtualPartition(
    PandasDataframeAxisPartition  # type: ignore[misc]  # Modin is not annotated
):
    """Blocks that together make a row or a column; the base class says how they are used."""

    axis: Literal[0, 1] | None = None
    partition_type = PandasOnMillpondDataframePartition
    #: Modin builds a block from its data and this many values: length, width, address.
    _PARTITIONS_METADATA_LEN = 3

    #: What a task that is being submitted takes of the blocks.
    taken: list[Any] | None = None

    @property
    def list_of_blocks(self) -> list[Any]:
        """Refs to the data of the blocks after their queued calls."""
        if self.taken is not None:
            return self.taken
        refs: list[Any] = super().list_of_blocks
        return refs

    def apply(
        self, func: Any, *args: Any, other_axis_partition: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Run ``func`` on the joined blocks, and on those of other partitions beside them."""
        others = other_axis_partition or []
        together = [self, *(others if isinstance(others, list) else [others])]
        for each in together:
            if each.call_queue:
                each.drain_call_queue()
        with _taking(together):
            results: list[Any] = super().apply(
                func, *args, other_axis_partition=other_axis_partition, **kwargs
            )
        return results

    def split(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Let a function split the joined blocks."""
        with _taking([self]):
            results: list[Any] = super().split(*args, **kwargs)
        return results

    @property
    def list_of_ips(self) -> list[str]:
        """Addresses of the nodes that hold the blocks."""
        return [block.ip(materialize=False) for block in self.list_of_block_partitions]

    def wait(self) -> None:
        """Wait until the queued calls have run, but for those that every reader runs itself."""
        MillpondWrapper.wait(self.submitted())

    def submitted(self) -> list[millpond.ObjectRef[Any]]:
        """Return what to wait for, after submitting the queued calls that are not free."""
        if self.call_queue:
            self.drain_call_queue()
        return [ref for block in self.list_of_block_partitions for ref in block.submitted()]

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
        return _with_outlines(
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
        return _with_outlines(
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
        splits = _with_outlines(
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


@contextmanager
def _taking(partitions: Sequence[PandasOnMillpondDataframeVirtualPartition]) -> Iterator[None]:
    """Let ``list_of_blocks`` be what one task takes, for the submission of that task."""
    blocks = [block for each in partitions for block in each.list_of_block_partitions]
    # Calls that wait on several blocks are better run side by side, before the task.
    alone = len(blocks) == 1
    for each in partitions:
        each.taken = [block.taken(run_queue=alone) for block in each.list_of_block_partitions]
    try:
        yield
    finally:
        for each in partitions:
            each.taken = None


def _with_outlines(
    body: Callable[..., tuple[Any, ...]],
    num_splits: int,
    target: tuple[Literal[0, 1], Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> list[Any]:
    """Submit an axis task; return data, length, width and address of every split, flat."""
    axis, func = target
    template, refs = pack((axis, MillpondWrapper.sendable(func), args, dict(kwargs)))
    *splits, outlines = submit(body, num_splits + 1, template, *refs)
    remember(splits, outlines)
    flat: list[Any] = []
    for position, split in enumerate(splits):
        flat += (split, *extents_of(outlines, position), NODE_IP)
    return flat
