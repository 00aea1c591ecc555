"""Signals while the main thread serves messages.

A Python signal handler runs on the main thread, in the middle of anything, and may raise: Ctrl-C
does. Half a message served would be lost. So while the main thread leads (``leadership``), SIGINT
waits until the message at hand is done; inside the poll it comes through at once.
"""

from __future__ import annotations

# What `signal` wraps: that turns numbers into enums, at 4 to 8 us a call.
import _signal  # type: ignore[import-not-found]
import signal
from collections.abc import Callable
from types import FrameType

__all__ = ["InterruptGuard"]

_getsignal = _signal.getsignal
# Plain numbers: looking up those of an enum takes longer than all the rest.
_SIGINT = int(signal.SIGINT)
#: signals that programs use to interrupt themselves; a handler of theirs may raise
_OTHERS = tuple(
    int(number)
    for number in (
        signal.SIGALRM,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGVTALRM,
        signal.SIGPROF,
    )
)

Handler = Callable[[int, FrameType | None], object]


class InterruptGuard:
    """Lets the handler of SIGINT run only where an exception breaks nothing.

    On the main thread, `enter` begins to hold SIGINT back and `leave` ends it; between the two,
    `allow` lets it through and `hold` ends that.
    """

    def __init__(self) -> None:
        #: what SIGINT is to do
        self._handler: Handler = signal.default_int_handler
        self._installed = False
        self._entered = False
        #: the handler is ours until `leave`
        self._replaced = False
        self._holding = False
        self._pending = False

    def install(self, handler: Handler) -> None:
        """Make ``handler`` the process's handler of SIGINT, and guard it. Main thread."""
        self._handler = handler
        self._installed = True
        signal.signal(signal.SIGINT, self._on_signal)

    def enter(self) -> bool:
        """Begin to hold SIGINT back; False, and nothing done, if a handler of the user may raise.

        Without `install` the handler is Python's own, and is replaced until `leave`.
        """
        handler = _getsignal(_SIGINT)
        expected = self._on_signal if self._installed else signal.default_int_handler
        # One that is not callable ignores SIGINT, as under nohup, or ends the process.
        if callable(handler) and handler != expected:
            return False
        if any(map(callable, map(_getsignal, _OTHERS))):
            return False
        self._entered = self._holding = True
        self._replaced = callable(handler) and not self._installed
        if self._replaced:
            _signal.signal(_SIGINT, self._on_signal)
        return True

    def leave(self) -> None:
        """Let SIGINT through again; one that was held back comes now."""
        if self._replaced:
            _signal.signal(_SIGINT, self._handler)
        self._entered = self._holding = self._replaced = False
        if self._pending:
            self._deliver()

    def allow(self) -> None:
        """Let SIGINT through for a while, beginning with one that was held back."""
        self._holding = False
        if self._pending:
            self._deliver()

    def hold(self) -> None:
        """Hold SIGINT back again."""
        self._holding = True

    def _deliver(self) -> None:
        self._pending = False
        signal.raise_signal(signal.SIGINT)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._holding:
            self._pending = True
            return
        # If it raises, whoever leads has to clean up: a second one must not disturb that.
        self._holding = self._entered
        self._handler(signum, frame)
        self._holding = False
