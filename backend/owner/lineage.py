"""How stored results came to be, so that a lost one can be made again. Pure.

A `Recipe` describes a task that gave stored results; each thing that the task needed is a
`Source`: an inline value, the recipe of another task, or the reason why there is neither. No
recipe keeps a stored value or a ref alive. A recipe lives while one of its results does, or
while another recipe needs it.

Not kept: what `put` stored, results of actors, tasks with ``max_retries=0``, and tasks whose
arguments by value were themselves a stored object (keeping that would fill the store with
things nobody holds a ref of). Not covered: how a rebuild runs (``rebuilding``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from ..wire.messages import FUNCTION, INLINE, STORED

if TYPE_CHECKING:
    from .objects import Entry
    from .tasks import PendingTask

__all__ = ["LINEAGE_LIMIT", "Lineage", "Plan", "Recipe", "Source", "why_not"]

#: bytes of recipes that one owner keeps: room for about 100,000 tasks with small arguments, and
#: little beside the store whose objects they describe
LINEAGE_LIMIT = 64 << 20
#: bytes of a recipe, and of a source, beside the bytes that they refer to (as measured)
_RECIPE_BYTES = 500
_SOURCE_BYTES = 150

_PUT = "it was stored by millpond.put, and only results of tasks can be rebuilt"


class Source:
    """One object that a task needed, and how to have it when it is gone."""

    __slots__ = ("object_id", "reason", "recipe", "value")

    def __init__(self, entry: Entry) -> None:
        self.object_id = entry.id
        #: the serialized value of an inline object
        self.value: bytes | None = None
        #: what makes a stored object
        self.recipe: Recipe | None = None
        #: why there is neither
        self.reason = ""
        if entry.actor:
            self.reason = "it was an actor, which has ended"
        elif entry.state == INLINE:
            self.value = entry.data
        elif entry.state == STORED and isinstance(entry.lineage, Recipe):
            self.recipe = entry.lineage
        else:
            self.reason = why_not(entry)


class Recipe:
    """A finished task with stored results."""

    __slots__ = (
        "arguments",
        "attempt",
        "environment",
        "function_id",
        "held",
        "kept",
        "max_retries",
        "name",
        "num_returns",
        "payload",
        "retry_exceptions",
        "shape",
        "size",
        "task_id",
        "users",
    )

    def __init__(self, task: PendingTask) -> None:
        self.task_id = task.task_id
        self.function_id = task.function_id
        self.name = task.name
        self.shape = task.shape
        self.environment = task.environment
        self.max_retries = task.max_retries
        self.retry_exceptions = task.retry_exceptions
        self.num_returns = task.num_returns
        self.payload = task.payload
        #: top-level arguments, in slot order
        self.arguments = [Source(ref._entry) for ref in task.arguments]
        #: what must exist while it runs: refs nested in the arguments
        self.held = [Source(ref._entry) for ref in task.held]
        for ref in task.arguments:
            entry = ref._entry
            if entry.state == INLINE and entry.contains:
                self.held += [Source(inner._entry) for inner in entry.contains]
        #: the last attempt: the next must have a higher number
        self.attempt = task.attempt
        #: living results and recipes that need it
        self.users = 0
        #: False once it was dropped for want of room, and describes nothing any more
        self.kept = True
        self.size = _RECIPE_BYTES + len(self.payload)
        for source in self.sources():
            self.size += _SOURCE_BYTES + len(source.value or b"")

    def sources(self) -> Iterator[Source]:
        """Return everything that the task needs."""
        yield from self.arguments
        yield from self.held


class Plan:
    """What has to be had again before a task can run again."""

    __slots__ = ("obstacle", "outputs", "values")

    def __init__(self) -> None:
        #: inline objects to be made from their kept bytes
        self.values: list[Source] = []
        #: freed results -> the tasks that make them, to run again too
        self.outputs: dict[bytes, Recipe] = {}
        #: why it cannot be done; empty when it can
        self.obstacle = ""


class Lineage:
    """All recipes of one owner.

    Args:
        limit: bytes of recipes to keep; beyond it the oldest are dropped.
    """

    def __init__(self, limit: int = LINEAGE_LIMIT) -> None:
        self.limit = limit
        #: task id -> recipe, oldest first
        self._recipes: dict[bytes, Recipe] = {}
        #: bytes of all of them
        self.size = 0

    def __len__(self) -> int:
        return len(self._recipes)

    def remember(self, task: PendingTask, entry: Entry) -> None:
        """Note how a stored result of a task that just ended can be made again, or why not."""
        known = self._recipes.get(task.task_id)
        lineage = known if known is not None else self._record(task)
        entry.lineage = lineage
        if isinstance(lineage, Recipe):
            lineage.users += 1

    def hold(self, recipe: Recipe) -> None:
        """One more living object is a result of the recipe's task."""
        recipe.users += 1

    def release(self, recipe: Recipe) -> None:
        """A living result of the recipe's task was freed."""
        recipe.users -= 1
        if recipe.users == 0:
            self._forget([recipe])

    def plan(self, recipe: Recipe, is_known: Callable[[bytes], bool]) -> Plan:
        """Find out what must be made, however far back, so that a task can run again.

        Args:
            recipe: of the task.
            is_known: whether an object still exists, so that it can be used as it is.
        """
        plan = Plan()
        values: dict[bytes, Source] = {}
        visited = {recipe.task_id}
        waiting = [recipe]
        while waiting:
            recipe = waiting.pop()
            if not recipe.kept:
                plan.obstacle = self._dropped(recipe)
                return plan
            for source in recipe.sources():
                object_id = source.object_id
                if object_id in plan.outputs or object_id in values or is_known(object_id):
                    continue
                if source.value is not None:
                    values[object_id] = source
                elif source.recipe is not None:
                    plan.outputs[object_id] = source.recipe
                    if source.recipe.task_id not in visited:
                        visited.add(source.recipe.task_id)
                        waiting.append(source.recipe)
                else:
                    plan.obstacle = (
                        f"its task {recipe.name} needs object {object_id.hex()}, which was freed; "
                        f"{source.reason}"
                    )
                    return plan
        plan.values = list(values.values())
        return plan

    def _record(self, task: PendingTask) -> Recipe | str:
        if task.kind != FUNCTION:
            return f"it is a result of {task.name}, and an actor's methods are not run again"
        if task.max_retries == 0:
            return f"it is a result of task {task.name}, which has max_retries=0"
        if task.payload_ref is not None:
            return (
                f"it is a result of task {task.name}, whose arguments by value "
                f"({task.payload_ref._entry.size} bytes) are too large to be kept: put them, and "
                "keep the refs"
            )
        recipe = Recipe(task)
        if recipe.size > self.limit:
            recipe.kept = False
            return self._dropped(recipe)
        for source in recipe.sources():
            if source.recipe is not None:
                source.recipe.users += 1
        self._recipes[recipe.task_id] = recipe
        self.size += recipe.size
        while self.size > self.limit:
            self._forget([next(iter(self._recipes.values()))])
        return recipe

    def _forget(self, recipes: list[Recipe]) -> None:
        """Drop recipes, and with them those that only they needed."""
        while recipes:
            recipe = recipes.pop()
            if self._recipes.pop(recipe.task_id, None) is None:
                continue
            self.size -= recipe.size
            for source in recipe.sources():
                if source.recipe is not None:
                    source.recipe.users -= 1
                    if source.recipe.users == 0:
                        recipes.append(source.recipe)
            recipe.kept = False
            recipe.payload = b""
            recipe.arguments = []
            recipe.held = []

    def _dropped(self, recipe: Recipe) -> str:
        return (
            f"it is a result of task {recipe.name}, whose description was dropped: those of this "
            f"process's stored results take more than {self.limit >> 20} MiB"
        )

    def validate(self, entries: Iterable[Entry]) -> None:
        """Raise AssertionError where the counts are not those of ``entries`` and recipes."""
        users: dict[bytes, int] = {}
        for entry in entries:
            if isinstance(entry.lineage, Recipe) and entry.lineage.kept:
                users[entry.lineage.task_id] = users.get(entry.lineage.task_id, 0) + 1
        for recipe in self._recipes.values():
            for source in recipe.sources():
                if source.recipe is not None:
                    users[source.recipe.task_id] = users.get(source.recipe.task_id, 0) + 1
        assert self.size == sum(recipe.size for recipe in self._recipes.values())
        assert self.size <= self.limit
        for task_id, recipe in self._recipes.items():
            assert recipe.kept, recipe.name
            assert recipe.users == users.get(task_id, 0) > 0, (recipe.name, recipe.users)


def why_not(entry: Entry) -> str:
    """Return why an object without a recipe cannot be rebuilt."""
    if not entry.owned:
        return "it belongs to another process, and is not borrowed any more"
    if entry.state != STORED:
        return "it was not finished when that task ended"
    return entry.lineage if isinstance(entry.lineage, str) and entry.lineage else _PUT
