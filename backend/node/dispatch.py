"""Serving messages by their type."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["dispatch"]

_log = logging.getLogger("millpond.node")


def dispatch(
    handlers: Mapping[type, Callable[[Any, Any], None]], sender: Any, message: Any
) -> None:
    """Have a message served; a failure of ours is logged, and ends nothing.

    Args:
        handlers: what is to be called with the sender and a message, by the message's type.
        sender: who sent it.
        message: the message.
    """
    handler = handlers.get(type(message))
    if handler is None:
        _log.warning("ignoring an unexpected %s message", type(message).__name__)
        return
    try:
        handler(sender, message)
    except Exception:  # noqa: BLE001 - one bad message must not end the node
        _log.exception("handling a %s message failed", type(message).__name__)
