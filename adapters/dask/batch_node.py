"""What runs in the workers for a batch: its units, one after the other.

Between the units of a batch values behave as if they had been in the store: what several units
use, each gets as an object of its own over the same read-only memory.

What turns out otherwise than expected is handed on: when small units take long, those that are
left run as tasks of their own, side by side; so does what tries to write into its inputs.
"""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Sequence
from timeit import default_timer
from typing import Any, NamedTuple

import cloudpickle
from dask._task_spec import Alias, DataNode, GraphNode, Task
from dask.typing import Key

from .batches import Batch
from .copies import is_plain, private_copy
from .node import TASK_NOTE, Times, is_about_writing, keep_times, try_call
from .payload import Bundled, Call, call_of, inputs_of, quick_size, unpickle
from .settings import apply_settings, copies_inputs
from .warned import Recording

__all__ = ["BatchWork", "Report", "batch_work_of", "run_batch", "run_timed_batch"]

#: seconds after which a batch of small units hands on the rest
_LIMIT = 0.1

#: seconds that each unit took, and the sizes of their results in bytes
Report = tuple[list[float], list[int]]


class BatchWork(NamedTuple):
    """What a worker gets to know of a batch."""

    #: the tasks of each unit
    units: tuple[tuple[Call, ...], ...]
    #: what is not needed any more after each of them
    drops: tuple[tuple[Key, ...], ...]
    #: what several units use, or one uses and the batch returns
    shared: frozenset[Key]
    #: results of units -> the other names under which later ones look for them
    aliases: dict[Key, tuple[Key, ...]]
    #: the names under which the tasks look for the values that come as arguments
    names: tuple[Key, ...]
    #: values of the graph itself, by name
    literals: dict[Key, Any]
    #: values that come as items of arguments
    bundled: tuple[Bundled, ...]
    #: results that are returned as one object, and those that are returned on their own
    bundle: tuple[Key, ...]
    singles: tuple[Key, ...]
    retries: int
    #: whether what takes long is handed on
    small: bool


def batch_work_of(
    batch: Batch, names: Sequence[Key], literals: dict[Key, Any], bundled: Sequence[Bundled]
) -> BatchWork:
    """Return what is to be known of a batch by whoever runs it."""
    returned = {*batch.bundle, *batch.singles}
    uses: Counter[Key] = Counter()
    uses_of_key = Counter(returned)
    key_of: dict[Key, Key] = {}
    for unit in batch.units:
        uses.update(unit.inputs.keys())
        uses_of_key.update(set(unit.inputs.values()))
        key_of |= unit.inputs
    shared = frozenset([name for name, key in key_of.items() if uses_of_key[key] > 1])
    made = {unit.key for unit in batch.units}
    aliases: dict[Key, tuple[Key, ...]] = {}
    for name, key in key_of.items():
        if name != key and key in made:
            aliases[key] = (*aliases.get(key, ()), name)
    drops = []
    for unit in batch.units:
        uses.subtract(unit.inputs.keys())
        drops.append(tuple([n for n in unit.inputs if not uses[n] and n not in returned]))
    return BatchWork(
        tuple([tuple([call_of(task) for task in unit.tasks]) for unit in batch.units]),
        tuple(drops),
        shared,
        aliases,
        tuple(names),
        literals,
        tuple(bundled),
        tuple(batch.bundle),
        tuple(batch.singles),
        batch.hints.retries,
        batch.small,
    )


def run_batch(settings: bytes, payload: bytes, *values: Any) -> Any:
    """Execute a batch.

    Args:
        settings: of `capture_settings`.
        payload: of `WorkPickler.dumps`, from a `BatchWork`.
        *values: of the names, then the bundles, then the lifted ones.

    Returns:
        The bundle: a list of its values with the `Report` as one item more. If results are
        returned on their own, a list: the bundle, and them. Warnings come with it.
    """
    return _run(settings, payload, values, None)


def run_timed_batch(settings: bytes, payload: bytes, *values: Any) -> Any:
    """Execute a batch as `run_batch` does; return the list of its objects, and its `Times`.

    An error carries the times, for `take_times`.
    """
    times: Times = []
    try:
        return _run(settings, payload, values, times)
    except Exception as error:
        keep_times(error, times)
        raise


def _run(settings: bytes, payload: bytes, values: tuple[Any, ...], times: Times | None) -> Any:
    apply_settings(settings)
    run = _Run(BatchWork(*unpickle(payload, values)), values, times)
    with Recording() as recording:
        run.all()
    work, results = run.work, run.results
    bundle = [*[results[key] for key in work.bundle], run.report]
    if not work.singles and times is None:
        return recording.attach_to(bundle, pieces=False)
    objects = [bundle, *[results[key] for key in work.singles]]
    return recording.attach_to(objects if times is None else [*objects, times], pieces=True)


class _Values(dict[Key, Any]):
    """Values by name; those that are shared are made anew for each use."""

    def __init__(self) -> None:
        super().__init__()
        self._frozen: dict[Key, tuple[bytes, list[memoryview]]] = {}

    def __missing__(self, name: Key) -> Any:
        pickled, buffers = self._frozen[name]
        return pickle.loads(pickled, buffers=buffers)

    def share(self, name: Key, value: Any) -> None:
        """Set a value that is used more than once."""
        self[name] = value
        if is_plain(value) and type(value) not in (list, dict, set):
            return
        buffers: list[pickle.PickleBuffer] = []
        try:
            pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        except Exception:  # noqa: BLE001 - whatever it is, it cannot leave this process
            return
        self._frozen[name] = pickled, [buffer.raw().toreadonly() for buffer in buffers]
        del self[name]

    def drop(self, name: Key) -> None:
        self.pop(name, None)
        self._frozen.pop(name, None)

    def of(self, names: Sequence[Key]) -> dict[Key, Any]:
        """Return values as a plain mapping."""
        return {name: self[name] for name in names}

    @property
    def names(self) -> list[Key]:
        return [*self, *self._frozen]


class _Run:
    """The execution of one batch.

    Args:
        work: what to do.
        values: of the call's arguments.
        times: takes the times of the tasks, if anybody wants them.
    """

    def __init__(
        self, work: BatchWork, values: tuple[Any, ...], times: Times | None = None
    ) -> None:
        self.work = work
        self._times = times
        #: what is to be returned, by key
        self.results: dict[Key, Any] = {}
        self.report: Report = ([], [])
        self._returned = {*work.bundle, *work.singles}
        self._known = _Values()
        for name, value in inputs_of(work.names, work.literals, work.bundled, values):
            self._set(name, value)

    def all(self) -> None:
        """Run every unit, and hand on what has to be."""
        seconds, sizes = self.report
        last = len(self.work.units) - 1
        began = before = default_timer()
        for number, calls in enumerate(self.work.units):
            if self.work.small and before - began > _LIMIT and number < last:
                self._hand_on(number)
                return
            result = self._run(calls)
            if result is _WRITES:
                self._hand_on(number)
                return
            key = calls[-1][0]
            if key in self._returned:
                self.results[key] = result
            for name in (key, *self.work.aliases.get(key, ())):
                self._set(name, result)
            for name in self.work.drops[number]:
                self._known.drop(name)
            now = default_timer()
            seconds.append(now - before)
            sizes.append(quick_size(result))
            before = now

    def _set(self, name: Key, value: Any) -> None:
        if name in self.work.shared:
            self._known.share(name, value)
        else:
            self._known[name] = value

    def _run(self, calls: tuple[Call, ...]) -> Any:
        result = previous = None
        for key, function, arguments, keywords in calls:
            if previous is not None:
                self._known[previous] = result
            began = default_timer()
            try:
                result = try_call(self.work.retries, function, arguments, keywords, self._known)
            except Exception as error:
                if is_about_writing(error) and copies_inputs():
                    return _WRITES
                error.add_note(f"{TASK_NOTE}{key!r}")
                raise
            if self._times is not None:
                self._times.append((began, default_timer(), os.getpid()))
            if previous is not None:
                del self._known[previous]
            previous = key
        return result

    def _hand_on(self, first: int) -> None:
        """Compute what is missing from the unit ``first`` on by tasks of their own."""
        graph: dict[Key, GraphNode] = {
            name: DataNode(name, private_copy(value))
            for name, value in self._known.of(self._known.names).items()
        }
        for calls in self.work.units[first:]:
            for key, function, arguments, keywords in calls:
                graph[key] = Task(key, function, *arguments, **keywords)
            key = calls[-1][0]
            graph |= {name: Alias(name, key) for name in self.work.aliases.get(key, ())}
        missing = [key for key in self._returned if key not in self.results]
        tasks = [call[0] for calls in self.work.units[first:] for call in calls]
        values = self._compute(graph, missing, tasks)
        self.results.update(zip(missing, values, strict=True))

    def _compute(self, graph: dict[Key, GraphNode], keys: list[Key], tasks: list[Key]) -> Any:
        """Compute keys of a graph on the engine, and take the times of its tasks."""
        from .scheduler import compute  # which imports, by and by, this module

        if self._times is None:
            return compute(graph, keys, retries=self.work.retries)
        from dask.diagnostics import Profiler

        profiler = Profiler()
        try:
            return compute(graph, keys, retries=self.work.retries, callbacks=profiler)
        finally:
            ran = {r.key: (r.start_time, r.end_time, r.worker_id) for r in profiler.results}
            self._times += [ran.get(key) for key in tasks]


#: the result of a unit that writes into its inputs
_WRITES = object()
