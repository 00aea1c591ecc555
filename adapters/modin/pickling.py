"""What a pickle of a frame holds: refs where the engine carries it, the data anywhere else."""

from __future__ import annotations

from collections.abc import Iterable

import millpond
from millpond.errors import SerializationError


def travels_by_engine(refs: Iterable[millpond.ObjectRef[object]]) -> bool:
    """Tell whether the pickle that is being made is for the engine, which counts its refs.

    Anywhere else a ref refuses to be pickled: whoever keeps that pickle would hold nothing.
    """
    try:
        for ref in refs:
            ref.__reduce__()
    except SerializationError:
        return False
    return True
