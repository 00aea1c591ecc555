"""The engine behind Modin: started when Modin first needs it, and known to Modin in workers."""

from __future__ import annotations

import os

from modin.config import Engine, Memory

import millpond

from . import sizing
from .registration import ENGINE

#: What every worker needs first.
_PRELOAD = ("modin.pandas", "millpond.adapters.modin.tasks")

#: The session that Modin was told of last.
_known: millpond.Context | None = None

_worker_knows_engine = False


def start() -> None:
    """Start the engine unless it runs, by ``MODIN_CPUS`` and ``MODIN_MEMORY`` where they are set.

    Raises:
        millpond.errors.ConfigurationError: The machine does not have what these ask for.
    """
    global _known
    if millpond.is_worker():
        return
    session = millpond.context()
    if session is None:
        session = millpond.init(num_cpus=sizing.cpus_by_user(), object_store_memory=Memory.get())
    if session is not _known:
        _known = session
        millpond.preload(*_PRELOAD)
        sizing.follow_cpus(max(1, int(session.num_cpus)))


def ensure_started() -> None:
    """Start the engine if it was shut down, or notice that it was started anew."""
    if not _worker_knows_engine and (_known is None or millpond.context() is not _known):
        start()


def select_in_worker() -> None:
    """Make our engine the selected one in this worker.

    Otherwise the first look at the configuration there would search for an installed engine, which
    imports Ray if there is one.
    """
    global _worker_knows_engine
    if _worker_knows_engine or not millpond.is_worker():
        return
    # The environment first: to set a value, Modin looks up the old one.
    for name in ("MODIN_BACKEND", "MODIN_STORAGE_FORMAT"):
        os.environ.pop(name, None)
    os.environ["MODIN_ENGINE"] = ENGINE
    Engine.put(ENGINE)
    _worker_knows_engine = True
