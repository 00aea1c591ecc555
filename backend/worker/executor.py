"""Runs tasks, one after the other, on the main thread of a worker.

The thread that polls queues tasks here; when there are none, that is the main thread itself. The
main thread loads the function and the arguments, calls it, stores or inlines the results, and
answers the caller in batches. Not covered: which tasks come (owner and node decide that).
"""

from __future__ import annotations

import inspect
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..errors import ActorDiedError, MillpondError, ObjectLostError, TaskCancelledError
from ..owner.functions import LoadedFunctions
from ..owner.runtime import Runtime, sooner
from ..serialization.exceptions import serialize_error, serialize_exception
from ..wire import messages as m
from .environment import EnvironmentSetup
from .peak_memory import TaskMemory
from .task_io import TaskIO

if TYPE_CHECKING:
    from ..wire.channel import Channel
    from ..wire.leadership import Wait
    from .output import TaskOutput

__all__ = ["Executor"]

#: answers kept back to be sent together
_BATCH = 64
#: seconds after which a kept-back answer is sent even if the next task still runs
_MAX_DELAY = 0.002


class _Queued:
    __slots__ = ("connection", "task")

    def __init__(self, connection: Channel, task: m.Task) -> None:
        self.connection = connection
        self.task = task


class Executor:
    """The task loop of one worker."""

    def __init__(
        self, runtime: Runtime, stdout: TaskOutput, stderr: TaskOutput, memory: TaskMemory
    ) -> None:
        self._runtime = runtime
        self._memory = memory
        self._streams = (stdout, stderr)
        self._functions = LoadedFunctions(self._fetch_function)
        self._environment = EnvironmentSetup(runtime, self._fetch_function)
        self._io = TaskIO(runtime)
        self._queue: deque[_Queued] = deque()
        #: the main thread waits for a task
        self._idle: Wait | None = None
        self._exiting = False
        #: not before nobody needs an object of ours
        self._when_free = False
        self._main_thread = threading.get_ident()
        #: the task that is being run, its arguments and results included
        self._task: m.Task | None = None
        #: the task that user code runs for, and those to be interrupted
        self._current: m.Task | None = None
        self._cancelled: set[bytes] = set()
        self._blocked = False
        self._actor: Any = None
        self._actor_error: str = ""
        self._loop: Any = None
        self._answers: list[tuple[bytes, m.TaskResult]] = []
        self._answers_since = 0.0
        self._answers_lock = threading.Lock()
        self.handlers: dict[type, Callable[[Channel, Any], None]] = {
            m.RunTasks: self._on_run_tasks,
            m.Reclaim: self._on_reclaim,
            m.CancelTask: self._on_cancel,
            m.Exit: self._on_exit,
        }
        owner_tick = runtime.tick
        runtime.reactor.tick = lambda: sooner(owner_tick(), self._tick())

    # --- the loop ---

    def run(self) -> None:
        """Run tasks until told to exit."""
        self._runtime.reactor.guard.install(self._interrupted)
        while True:
            try:
                queued = self._queue.popleft()
            except IndexError:
                self._flush_answers()
                if not self._wait_for_task():
                    return
                continue
            self._run_one(queued)
            del queued

    def _wait_for_task(self) -> bool:
        """Wait until there is something to look at; False when it is time to exit."""
        # Whoever adds a task, frees an object or says to exit looks at `_idle` afterwards.
        wait = self._idle = self._runtime.reactor.leadership.wait()
        leaving = self._exiting and not (self._when_free and self._is_needed())
        if not (self._queue or leaving):
            wait.wait()
        self._idle = None
        return not leaving

    def _run_one(self, queued: _Queued) -> None:
        task = queued.task
        if queued.connection is self._runtime.node:
            self._flush_answers()
        self._memory.begin(task)
        if task.task_id in self._cancelled:
            values, seconds, retry, error = [self._cancelled_value(task)], 0.0, False, None
        else:
            self._task = task
            values, seconds, retry, error = self._execute(task)
            self._task = None
        self._cancelled.discard(task.task_id)
        peak = self._memory.end(task, seconds)
        self._runtime.tell_heavy_imports()
        result = m.TaskResult(task.task_id, task.attempt, values, seconds, retry, peak)
        if queued.connection is self._runtime.node:
            self._answer(task.caller, [result])
            self._runtime.releaser.drain()
            output = sum(value.size for value in values if value.kind == m.STORED)
            text = _one_line(error) if error is not None and task.kind == m.ACTOR_CREATE else ""
            self._runtime.node.send(m.TaskFinished(task.task_id, output, text, peak))
            return
        with self._answers_lock:
            if not self._answers:
                self._answers_since = time.monotonic()
            self._answers.append((task.caller, result))
            full = len(self._answers) >= _BATCH
        if full or not self._queue or seconds > _MAX_DELAY:
            self._flush_answers()

    def _execute(self, task: m.Task) -> tuple[list[m.Value], float, bool, BaseException | None]:
        """Run one task; return its values, the seconds it took, whether to retry, its error."""
        for stream in self._streams:
            stream.task_name = task.name
        seconds = 0.0
        brought: list[Any] = []
        try:
            function = self._load(task)
            args, kwargs = self._io.arguments(task, brought)
            started = time.perf_counter()
            try:
                self._current = task
                # Who cancels notes it first and looks at `_current` then: that may have been early.
                if task.task_id in self._cancelled:
                    raise TaskCancelledError(f"task {task.name} was cancelled")
                result = function(*args, **kwargs)
                if inspect.iscoroutine(result):
                    result = self._run_coroutine(result)
            finally:
                self._current = None
                seconds = time.perf_counter() - started
                del args, kwargs
            if task.kind == m.ACTOR_CREATE:
                self._actor, result = result, None
            values = self._io.results(task, result)
            seconds = time.perf_counter() - started  # to store them may take longer than all else
            del result
            error: BaseException | None = None
        except TaskCancelledError as cancelled:
            error = cancelled
            own = task.task_id in self._cancelled
            values = [self._cancelled_value(task) if own else self._failure(task, cancelled)]
        except BaseException as raised:  # noqa: BLE001 - whatever user code raises is its result
            error = raised
            values = [self._failure(task, raised)]
        retry = error is not None and self._io.should_retry(task, error)
        if task.kind == m.ACTOR_CREATE and error is not None:
            self._actor_error = _one_line(error)
        if error is not None:
            error = error.with_traceback(None)  # its frames hold the arguments
        self._io.keep_brought(task, brought)
        return values, seconds, retry, error

    def _load(self, task: m.Task) -> Callable[..., Any]:
        if task.kind != m.ACTOR_METHOD:
            if task.environment:
                self._environment.enter(task.environment, task.caller)
            return self._functions.load(task.function_id, task.caller)  # type: ignore[no-any-return]
        if self._actor is None:
            raise ActorDiedError(
                f"actor {task.actor_id.hex()} was not constructed: {self._actor_error}"
            )
        return getattr(self._actor, task.method)  # type: ignore[no-any-return]

    def _run_coroutine(self, coroutine: Any) -> Any:
        if self._loop is None:
            import asyncio  # takes 40 ms, and few tasks are coroutines

            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(coroutine)

    def _fetch_function(self, function_id: bytes, owner: bytes) -> bytes:
        peer = self._runtime.peer(owner)
        if peer is None:
            raise ObjectLostError(f"the process {owner.hex()} that submitted the task is gone")
        blob = self._runtime.requests.ask(peer, m.FetchFunction(0, function_id)).blob
        if blob is None:
            raise ObjectLostError(
                f"process {owner.hex()} does not know function {function_id.hex()}"
            )
        return blob  # type: ignore[no-any-return]

    def _failure(self, task: m.Task, error: BaseException) -> m.Value:
        where = f"in task {task.name} ({task.task_id.hex()}), process {os.getpid()}\n"
        if isinstance(error, MillpondError) and error.__traceback__ is None:
            return m.Value(m.FAILED, serialize_error(error))
        return m.Value(m.FAILED, serialize_exception(error, where))

    def _cancelled_value(self, task: m.Task) -> m.Value:
        error = TaskCancelledError(f"task {task.name} ({task.task_id.hex()}) was cancelled")
        return m.Value(m.FAILED, serialize_error(error))

    # --- answers ---

    def _flush_answers(self) -> None:
        with self._answers_lock:
            if not self._answers:
                return
            answers, self._answers = self._answers, []
            by_caller: dict[bytes, list[m.TaskResult]] = {}
            for caller, result in answers:
                by_caller.setdefault(caller, []).append(result)
            for caller, results in by_caller.items():
                self._answer(caller, results)

    def _answer(self, caller: bytes, results: list[m.TaskResult]) -> None:
        peer = self._runtime.peer(caller)
        if peer is not None:  # otherwise nobody waits any more
            peer.send(m.TasksDone(results))

    def _tick(self) -> float | None:
        """Send answers that a long task holds up. On the thread that polls."""
        if not self._answers:
            return _MAX_DELAY if self._queue else None
        if time.monotonic() - self._answers_since >= _MAX_DELAY:
            self._flush_answers()
        return _MAX_DELAY

    # --- waiting inside a task ---

    def before_wait(self) -> bool:
        """The task is about to wait for other tasks: lend the slot, give back what is queued."""
        if threading.get_ident() != self._main_thread or self._task is None:
            return False
        self._flush_answers()
        if self._task.kind == m.FUNCTION:
            self._blocked = True
            self._give_back(len(self._queue), blocked=True)
        self._runtime.node.send(m.Blocked())
        return True

    def after_wait(self) -> None:
        """The task goes on."""
        self._blocked = False
        self._runtime.node.send(m.Unblocked())

    def _give_back(self, count: int, *, blocked: bool) -> None:
        returned: dict[Channel, list[bytes]] = {}
        for _ in range(count):
            try:
                queued = self._queue.pop()
            except IndexError:
                break
            returned.setdefault(queued.connection, []).append(queued.task.task_id)
        for connection, task_ids in returned.items():
            connection.send(m.TasksReturned(task_ids, blocked))

    # --- messages (on the thread that polls) ---

    def _on_run_tasks(self, connection: Channel, message: m.RunTasks) -> None:
        if self._blocked:
            connection.send(m.TasksReturned([task.task_id for task in message.tasks], blocked=True))
            return
        if message.function:
            self._functions.bring(message.tasks[0].function_id, message.function)
        for task in message.tasks:
            self._queue.append(_Queued(connection, task))
        self._wake()

    def _wake(self) -> None:
        idle = self._idle
        if idle is not None:
            idle.wake()

    def _on_reclaim(self, connection: Channel, message: m.Reclaim) -> None:
        before = len(self._queue)
        self._give_back(min(message.count, before), blocked=False)
        if before == 0:
            connection.send(m.TasksReturned([]))

    def _on_cancel(self, connection: Channel, message: m.CancelTask) -> None:
        self._cancelled.add(message.task_id)
        current = self._current
        if current is not None and current.task_id == message.task_id:
            signal.pthread_kill(self._main_thread, signal.SIGINT)

    def _interrupted(self, signum: int, frame: FrameType | None) -> None:
        """SIGINT on the main thread: only a cancelled task in user code is interrupted."""
        current = self._current
        if current is not None and current.task_id in self._cancelled:
            self._current = None
            raise TaskCancelledError(f"task {current.name} was cancelled")

    def _on_exit(self, connection: Channel, message: m.Exit) -> None:
        if message.now:
            self.exit_now()
        self._exiting = True
        self._when_free = message.when_free
        if message.when_free:
            self._runtime.on_freed = self._wake
        self._wake()

    def _is_needed(self) -> bool:
        """Whether others hold objects of ours, or tasks of ours run, that would end with us."""
        with self._runtime.lock:
            runtime = self._runtime
            return runtime.submission.is_busy or runtime.objects.is_owner_for_others()

    def exit_now(self) -> None:
        """Flush the output and end the process, whatever runs."""
        flusher = threading.Thread(target=self._flush_streams, daemon=True)
        flusher.start()
        flusher.join(0.1)  # the main thread may hold a stream's lock for ever
        os._exit(0)

    def _flush_streams(self) -> None:
        for stream in self._streams:
            stream.flush()


def _one_line(error: BaseException) -> str:
    return f"{type(error).__qualname__}: {error}"
