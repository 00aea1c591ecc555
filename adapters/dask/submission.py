"""Handing a computation's units to the engine, and letting go of them.

All units are submitted at once, in Dask's order: the engine runs what is ready, lowest first.
A result's reference is dropped as soon as its last consumer is submitted, because a submitted
task holds its arguments; so the engine frees each intermediate the moment its last consumer
ran, and this process keeps only what was asked for.

Of a large graph, small units are sent in batches (``batches``), by what their kinds are known to
take (``costs``); of kinds that are not known a few are tried out before.

Units that cannot be sent run here (``driver``) after everything else was submitted; what depends
on them follows then.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

from dask.typing import Key
from dask.utils import key_split

import millpond
from millpond.errors import SerializationError

from .batches import Batch, Budget, Cost, make_batches
from .costs import Costs
from .driver import DriverUnits, note_unpicklable
from .graph import TaskGraph
from .sending import Item, Sender
from .units import Unit, group_tasks, in_order

__all__ = ["Submission"]

#: units from which it is worth looking for batches
_LEAST_UNITS = 64
#: seconds to wait for trials, for each unit of the graph: what is not done by then is not small,
#: and the whole takes so long that the wait does not matter; at least, and at most
_TRIAL = 50e-6
_SHORTEST_TRIAL, _LONGEST_TRIAL = 0.02, 1.0
#: expected seconds of a batch, and how many batches each CPU is to have
_LEAST_SECONDS = 1e-3
_MOST_SECONDS = 10e-3
_BATCHES_PER_CPU = 4

_costs = Costs()

#: takes what was sent, and its objects: the last are the times of its tasks
Submitted = Callable[[Unit | Batch, Sequence[millpond.ObjectRef[Any]]], None]


class Submission:
    """The tasks of one computation in the engine.

    As a context manager it cancels what has not run when an exception (Ctrl-C included) ends the
    block.

    Args:
        graph: what to compute.
        wanted: keys of tasks and refs (no aliases) whose references to keep.
        grouped: whether tasks may share a unit; else each is one of its own.
        batched: whether small units may share a call. If one of them fails, so do the others.
    """

    def __init__(
        self,
        graph: TaskGraph,
        wanted: Collection[Key],
        *,
        grouped: bool = True,
        batched: bool = False,
    ) -> None:
        self._graph = graph
        self._wanted = set(wanted)
        #: what is still needed, by key
        self.refs: dict[Key, millpond.ObjectRef[Any]] = dict(graph.refs)
        #: likewise, what is in bundles
        self.items: dict[Key, Item] = {}
        #: every object, weakly: pending tasks keep what they wait for alive
        self._submitted: list[weakref.ref[millpond.ObjectRef[Any]]] = []
        #: the batches that were sent, by their bundles
        self._batches: weakref.WeakKeyDictionary[millpond.ObjectRef[Any], Batch]
        self._batches = weakref.WeakKeyDictionary()
        #: the bundles of what was tried out and was not done in time
        self._slow_trials: list[millpond.ObjectRef[Any]] = []
        self._units = group_tasks(graph, self._wanted, grouped=grouped)
        self._batched = batched and len(self._units) >= _LEAST_UNITS
        self._told: Submitted | None = None
        self._driver = DriverUnits()

    @property
    def values(self) -> dict[Key, Any]:
        """The wanted values that were made in this process, by key."""
        return {key: value for key, value in self._driver.values.items() if key in self._wanted}

    def submit(self, submitted: Submitted | None = None) -> None:
        """Submit every unit; afterwards `refs`, `items` and `values` hold the wanted keys.

        Args:
            submitted: called with each unit and batch, in an order in which they could run, and
                with its objects. The last of these holds the times of its tasks.
        """
        self._told = submitted
        sender = Sender(timed=submitted is not None)
        nodes = self._make_batches(sender) if self._batched else in_order(self._units)
        uses = self._count_uses(nodes)
        held: list[Unit] = []
        #: keys that units in ``held`` will make
        later: set[Key] = set()
        for node in nodes:
            if isinstance(node, Batch):
                if later.isdisjoint(node.inputs.values()) and self._send_batch(sender, node):
                    self._release(node, uses)
                    continue
                self._count_apart(node, node.units, uses)
            for unit in node.units if isinstance(node, Batch) else [node]:
                hold = DriverUnits.must_run(unit) or not later.isdisjoint(unit.inputs.values())
                if hold or not self._send(sender, unit):
                    later.update(*unit.outputs)
                    held += self._single(unit, uses)
                    continue
                self._release(unit, uses)
        for unit in held:
            if DriverUnits.must_run(unit) or not self._send(sender, unit):
                times = self._driver.run(unit, self._value)
                if submitted is not None:
                    submitted(unit, [millpond.put(None), millpond.put(times)])
            self._release(unit, uses)

    def learn(self, bundle: millpond.ObjectRef[Any], items: list[Any]) -> None:
        """Take from a batch's bundle what its units took."""
        batch = self._batches.get(bundle)
        if batch is not None:
            _costs.learn(batch.units, *items[-1])

    def _learn_late(self) -> None:
        """Learn, at the end, from trials that were not done in time."""
        trials = self._slow_trials
        if trials:
            self._learn_trials(millpond.wait(trials, num_returns=len(trials), timeout=0)[0])

    # --- batches ---

    def _make_batches(self, sender: Sender) -> list[Unit | Batch]:
        """Try out what is not known; return the rest in batches, in order."""
        units, costs, alone = self._assess(self._units)
        trials = [units[i] for i in _costs.choose_trials(units, costs, alone)]
        if trials:
            sent = self._try_out(trials, sender)
            units, costs, alone = self._assess([u for u in self._units if u.key not in sent])
        session = millpond.context()
        cpus = max(1, int(session.num_cpus)) if session is not None else 1
        work = sum(cost.seconds for cost in costs if cost is not None)
        seconds = min(max(work / (_BATCHES_PER_CPU * cpus), _LEAST_SECONDS), _MOST_SECONDS)
        budget = Budget(cpus, seconds)
        return in_order(make_batches(units, costs, alone, self._wanted, budget))

    @staticmethod
    def _assess(units: list[Unit]) -> tuple[list[Unit], list[Cost | None], set[int]]:
        """Return units, what is expected of each that is small, and which may share no batch."""
        alone = {
            i
            for i, unit in enumerate(units)
            if unit.picks or unit.hints.options() or DriverUnits.must_run(unit)
        }
        costs = [None if i in alone else _costs.of(unit) for i, unit in enumerate(units)]
        return units, costs, alone

    def _try_out(self, trials: list[Unit], sender: Sender) -> set[Key]:
        """Submit units and learn from those that end soon; return the keys of what was sent."""
        uses = self._count_uses(self._units)
        sent: dict[Key, millpond.ObjectRef[Any]] = {}
        for unit in trials:
            trial = Batch([unit], unit.inputs, [], [unit.key], small=False)
            bundle = self._send_batch(sender, trial)
            if bundle is None:
                break
            sent[unit.key] = bundle
            self._release(unit, uses)
        bundles = list(sent.values())
        timeout = min(max(_TRIAL * len(self._units), _SHORTEST_TRIAL), _LONGEST_TRIAL)
        ready, _ = millpond.wait(bundles, num_returns=len(bundles), timeout=timeout)
        self._learn_trials(ready)
        done = set(ready)
        self._slow_trials = [bundle for bundle in bundles if bundle not in done]
        return set(sent)

    def _learn_trials(self, bundles: list[millpond.ObjectRef[Any]]) -> None:
        reports = zip(bundles, millpond.get(bundles), strict=True)
        _costs.learn_trials(
            (self._batches[bundle].units[0], seconds[0], sizes[0])
            for bundle, (*_, (seconds, sizes)) in reports
            if seconds
        )

    def _send_batch(self, sender: Sender, batch: Batch) -> millpond.ObjectRef[Any] | None:
        """Submit a batch and return its bundle, or None where it cannot be pickled."""
        try:
            made = sender.send_batch(batch, self._source)
        except SerializationError:
            return None
        if self._told is not None:
            self._told(batch, made)
        bundle, *singles = made
        self._batches[bundle] = batch
        self._submitted.append(weakref.ref(bundle))
        for index, key in enumerate(batch.bundle):
            self.items[key] = Item(bundle, index)
        for key, ref in zip(batch.singles, singles, strict=False):  # times may follow
            self._submitted.append(weakref.ref(ref))
            self.refs[key] = ref
        return bundle

    # --- units ---

    @classmethod
    def _single(cls, unit: Unit, uses: Counter[Key]) -> list[Unit]:
        """Return a unit's tasks as units of their own: not all of them need run here."""
        if len(unit.tasks) == 1:
            return [unit]
        parts = unit.singles()
        cls._count_apart(unit, parts, uses)
        return parts

    @staticmethod
    def _count_apart(whole: Unit | Batch, parts: list[Unit], uses: Counter[Key]) -> None:
        """Count the inputs of parts instead of those of the whole."""
        uses.subtract(set(whole.inputs.values()))
        for part in parts:
            uses.update(set(part.inputs.values()))

    def _source(self, target: Key) -> Any:
        place = self.refs.get(target) or self.items.get(target)
        if place is not None:
            return place
        if target in self._driver.values:
            return self._driver.values[target]
        return self._graph.literals[target]

    def _value(self, target: Key) -> Any:
        """Return an input for this process: a ref, or the value."""
        place = self._source(target)
        return millpond.get(place.ref)[place.position] if type(place) is Item else place

    def _send(self, sender: Sender, unit: Unit) -> bool:
        """Submit a unit; return whether it could be pickled."""
        try:
            refs = sender.send(unit, self._source)
        except SerializationError as error:
            # Of several tasks it is not known which; after a value made here, it is that value.
            if len(unit.tasks) == 1 and self._driver.values.keys().isdisjoint(unit.inputs.values()):
                note_unpicklable(key_split(unit.key), str(error))
            return False
        if self._told is not None:
            self._told(unit, refs)
        for keys, ref in zip(unit.outputs, refs, strict=False):  # times may follow
            self._submitted.append(weakref.ref(ref))
            for key in keys:
                self.refs[key] = ref
        return True

    def _count_uses(self, nodes: Sequence[Unit | Batch]) -> Counter[Key]:
        uses: Counter[Key] = Counter(self._wanted)
        for node in nodes:
            uses.update(set(node.inputs.values()))
        return uses

    def _release(self, node: Unit | Batch, uses: Counter[Key]) -> None:
        """Drop what nothing later needs: a node's inputs, and outputs that nobody uses."""
        targets = set(node.inputs.values())
        for target in targets:
            uses[target] -= 1
        for target in targets.union(*node.outputs):
            if not uses[target]:
                self.refs.pop(target, None)
                self.items.pop(target, None)
                self._driver.values.pop(target, None)

    def cancel(self) -> None:
        """Cancel every task that has not run, as far as anything still refers to it."""
        # All first: cancelling a task lets go of its arguments, and so of who is to be next.
        alive = [ref for weak in self._submitted if (ref := weak()) is not None]
        for ref in reversed(alive):
            millpond.cancel(ref)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is not None:
            self.cancel()
        else:
            self._learn_late()
