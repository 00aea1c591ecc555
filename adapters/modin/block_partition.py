"""One block of a frame: an object ref, and the calls that wait to run on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import pandas as pd
from modin.core.dataframe.pandas.partitioning.partition import PandasDataframePartition
from pandas.api.types import is_list_like

import millpond

from . import session, tasks
from .arguments import Deferred, pack
from .engine_wrapper import MillpondWrapper, submit
from .extents import Extent, extents_of, known_extents
from .labels import choose_columns, is_free, relabelled, set_labels
from .outlines import Outline, note, outline_of, remember

#: An entry of a call queue: function, positional arguments, keyword arguments.
Call = tuple[Any, tuple[Any, ...], dict[str, Any]]

#: Which node holds the data. There is one.
NODE_IP = "127.0.0.1"


class PandasOnMillpondDataframePartition(
    PandasDataframePartition  # type: ignore[misc]  # Modin is not annotated
):
    """A block whose data is in the object store.

    Args:
        data: Ref to the data, on which ``call_queue`` has not run yet.
        length: Rows, or how to get them; None if unknown.
        width: Columns, or how to get them; None if unknown.
        ip: Address of the node that holds the data.
        call_queue: Calls to run on the data, each with the result of the one before.

    Raises:
        TypeError: ``data`` is not a ref.
    """

    execution_wrapper = MillpondWrapper

    def __init__(
        self,
        data: millpond.ObjectRef[Any],
        length: int | Extent | millpond.ObjectRef[Any] | None = None,
        width: int | Extent | millpond.ObjectRef[Any] | None = None,
        ip: str = NODE_IP,
        call_queue: Sequence[Call] = (),
    ) -> None:
        super().__init__()
        if not isinstance(data, millpond.ObjectRef):
            raise TypeError(f"a partition is made of a millpond.ObjectRef, not of {type(data)}")
        self._stored = data
        self.call_queue = list(call_queue)
        # Readers give a ref to the bare number where they do not know it.
        self._length_cache = Extent(length) if isinstance(length, millpond.ObjectRef) else length
        self._width_cache = Extent(width) if isinstance(width, millpond.ObjectRef) else width
        self._ip_cache = ip
        #: Whether the call queue ran once already, without its result being kept.
        self._ran = False

    @property
    def _data(self) -> millpond.ObjectRef[Any]:
        """Ref to the data after the queued calls; Modin reads this attribute in a few places."""
        self.drain_call_queue()
        return self._stored

    def apply(self, func: Any, *args: Any, **kwargs: Any) -> Self:
        """Run ``func`` on the data after the queued calls, as one task."""
        self._before_read()
        data, length, width = self._transformed([*self.call_queue, (func, args, kwargs)])
        return type(self)(data, length, width, self._ip_cache)

    def taken(self, *, run_queue: bool) -> millpond.ObjectRef[Any] | Deferred:
        """Return the data for one task.

        Args:
            run_queue: Whether that task may run the queued calls, however long they take.
        """
        if not run_queue and not self._is_free():
            self.drain_call_queue()
        self._before_read()
        return (
            Deferred(self._stored, self._sendable(self.call_queue))
            if self.call_queue
            else self._stored
        )

    def _before_read(self) -> None:
        """Keep what the queue computes when a second reader comes: now it pays."""
        if self._ran:
            self.drain_call_queue()
        self._ran = not self._is_free()

    def _is_free(self) -> bool:
        return all(is_free(func, kwargs) for func, _, kwargs in self.call_queue)

    def outlined(self, stored: Outline | None) -> Outline | None:
        """Return the outline of the data after the queued calls, if there is telling.

        Args:
            stored: The outline of the data before them, if it is known.
        """
        for func, args, labels in self.call_queue:
            if stored is None:
                return None
            if func is set_labels:
                stored = relabelled(stored, labels)
            elif func is choose_columns:
                stored = stored.of_columns(*args)
            else:
                return None
        return stored

    @property
    def stored(self) -> millpond.ObjectRef[Any]:
        """Ref to the data before the queued calls."""
        return self._stored

    def add_to_apply_calls(
        self, func: Any, *args: Any, length: Any = None, width: Any = None, **kwargs: Any
    ) -> Self:
        """Return a block that will run ``func`` on the data of this one."""
        return type(self)(
            self._stored, length, width, self._ip_cache, [*self.call_queue, (func, args, kwargs)]
        )

    def drain_call_queue(self) -> None:
        """Submit the queued calls, as one task, and keep its result as the data."""
        if not self.call_queue:
            return
        self._stored, length, width = self._transformed(self.call_queue)
        self.call_queue = []
        self._ran = False
        # A number that is known already stays: it needs no waiting.
        if not isinstance(self._length_cache, int):
            self._length_cache = length
        if not isinstance(self._width_cache, int):
            self._width_cache = width

    def _transformed(self, calls: Sequence[Call]) -> tuple[millpond.ObjectRef[Any], Extent, Extent]:
        """Submit ``calls`` on the data; return the result with its length and width."""
        template, refs = pack(self._sendable(calls))
        result, outlines = submit(tasks.transform, 2, self._stored, template, *refs)
        remember([result], outlines)
        return result, *extents_of(outlines, 0)

    def _sendable(self, calls: Sequence[Call]) -> list[Call]:
        sendable = self.execution_wrapper.sendable
        return [(sendable(func), args, kwargs) for func, args, kwargs in calls]

    def wait(self) -> None:
        """Wait until the queued calls have run, but for those that every reader runs itself."""
        self.execution_wrapper.wait(self.submitted())

    def submitted(self) -> list[millpond.ObjectRef[Any]]:
        """Return what to wait for, after submitting the queued calls that are not free."""
        if not self._is_free():
            self.drain_call_queue()
        return [self._stored]

    def mask(self, row_labels: Any, col_labels: Any) -> Self:
        """Return a block with the chosen rows and columns, lazily."""
        if isinstance(row_labels, slice) and row_labels == slice(None) and is_list_like(col_labels):
            # The base class takes as many columns as there are for all of them in their order.
            positions = list(col_labels)
            if positions != list(range(len(positions))) or self._width_cache != len(positions):
                return self.add_to_apply_calls(
                    choose_columns, positions, length=self._length_cache, width=len(positions)
                )
        masked: Self = super().mask(row_labels, col_labels)
        # The base class gives up a length that is still being computed.
        if isinstance(row_labels, slice) and isinstance(self._length_cache, Extent):
            masked._length_cache = self._length_cache.sliced(row_labels)
        if isinstance(col_labels, slice) and isinstance(self._width_cache, Extent):
            masked._width_cache = self._width_cache.sliced(col_labels)
        return masked

    def length(self, materialize: bool = True) -> Any:
        """Return the number of rows; if not ``materialize``, perhaps a future of it."""
        self._measure_if_unknown(self._length_cache)
        if materialize:
            self._length_cache = self.execution_wrapper.materialize(self._length_cache)
        return self._length_cache

    def width(self, materialize: bool = True) -> Any:
        """Return the number of columns; if not ``materialize``, perhaps a future of it."""
        self._measure_if_unknown(self._width_cache)
        if materialize:
            self._width_cache = self.execution_wrapper.materialize(self._width_cache)
        return self._width_cache

    def _measure_if_unknown(self, extent: Any) -> None:
        if extent is not None:
            return
        if self.call_queue:
            self.drain_call_queue()
            return
        length, width = _measured(self._stored)
        self._length_cache = length if self._length_cache is None else self._length_cache
        self._width_cache = width if self._width_cache is None else self._width_cache

    def ip(self, materialize: bool = True) -> str:
        """Return the address of the node that holds the data."""
        return self._ip_cache

    def __copy__(self) -> Self:
        return type(self)(
            self._stored, self._length_cache, self._width_cache, self._ip_cache, self.call_queue
        )

    @classmethod
    def put(cls, obj: pd.DataFrame) -> Self:
        """Put a pandas frame into the store and wrap it."""
        session.ensure_started()
        data = millpond.put(obj)
        note(data, outline_of(obj))
        return cls(data, len(obj.index), len(obj.columns))

    @classmethod
    def wrap(cls, data: millpond.ObjectRef[Any], labels: Mapping[str, pd.Index[Any]]) -> Self:
        """Wrap a ref to a frame, of whatever origin; or to a series, if there are ``labels``.

        Args:
            data: The ref.
            labels: What `set_labels` is to give to the block; nothing if it has its labels.
        """
        block = cls(data)
        length, width = _measured(data, as_frame=bool(labels))
        if not labels:
            return cls(data, length, width)
        return block.add_to_apply_calls(set_labels, length=length, width=width, **labels)

    @classmethod
    def preprocess_func(cls, func: Callable[..., Any]) -> Any:
        """Return the form of ``func`` in which it is sent with every task."""
        return cls.execution_wrapper.sendable(func)


def _measured(
    data: millpond.ObjectRef[Any], *, as_frame: bool = False
) -> tuple[int | Extent, int | Extent]:
    """Return length and width of a partition, by a task if its origin is unknown."""
    known = known_extents(data)
    if known is not None:
        return known
    outlines = submit(tasks.measure, 1, data, as_frame)
    remember([data], outlines)
    return extents_of(outlines, 0)
