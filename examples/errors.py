"""Errors: what a caller sees, what is tried again, and how to stop a task.

A task's exception is raised at ``get``, as the object it was, with the worker's traceback as its
cause. A worker that dies is replaced and its task run again.
"""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import millpond


@millpond.remote
def divide(left: float, right: float) -> float:
    """Return the quotient."""
    return left / right


@millpond.remote(retry_exceptions=[ConnectionError], max_retries=5)
def flaky(attempts: Path) -> int:
    """Fail twice, then return the number of the attempt."""
    with attempts.open("a") as file:
        file.write("x")
    number = len(attempts.read_text())
    if number < 3:
        raise ConnectionError(f"attempt {number}")
    return number


@millpond.remote(max_retries=0)
def crash() -> None:
    """Take the whole worker down."""
    os._exit(7)


@millpond.remote
def sleep() -> None:
    """Take longer than anybody will wait."""
    time.sleep(600)


def main() -> None:
    """Meet every kind of failure once."""
    try:
        millpond.get(divide.remote(1, 0))
    except ZeroDivisionError as error:
        print(f"raised here: {error}; caused by {type(error.__cause__).__name__}")

    with TemporaryDirectory() as folder:
        print(f"succeeded at attempt {millpond.get(flaky.remote(Path(folder, 'attempts')))}")

    try:
        millpond.get(crash.remote())
    except millpond.errors.WorkerCrashedError as error:
        print(f"worker lost: {error}")

    ref = sleep.remote()
    try:
        millpond.get(ref, timeout=0.5)
    except TimeoutError:
        millpond.cancel(ref, force=True)
    try:
        millpond.get(ref)
    except millpond.errors.TaskCancelledError:
        print("cancelled")


if __name__ == "__main__":
    main()
