"""What a process tells of its own objects when somebody asks who holds the memory. Pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..wire import messages as m
from .call_sites import Site, describe_site
from .objects import PENDING, Entry, ObjectTable

__all__ = ["describe"]

#: references to a ref that looking at it adds: a local variable, and the argument of the count
_OWN_REFERENCES = 2


def describe(objects: ObjectTable, object_ids: Sequence[bytes]) -> m.OwnerMemory:
    """Return what is known here of objects, and the sum of the small values that live here.

    Needs no lock: what changes meanwhile may or may not be seen.
    """
    origins: list[m.ObjectOrigin] = []
    sites: dict[Site, int] = {}
    for object_id in object_ids:
        entry = objects.entries.get(object_id)
        refs = borrowers = 0
        if entry is not None and entry.owned:
            origin = _origin(entry)
            refs, borrowers = _references(entry), len(entry.borrows or ())
        elif (pin := objects.still_read.get(object_id)) is not None:
            origin = pin.origin
        else:
            continue
        made_by, site = origin
        index = -1 if site is None else sites.setdefault(site, len(sites))
        origins.append(m.ObjectOrigin(object_id, made_by, index, refs, borrowers))
    inline = [
        entry.size
        for entry in list(objects.entries.values())
        if entry.owned and entry.state == m.INLINE
    ]
    texts = [describe_site(site) for site in sites]
    return m.OwnerMemory(objects.process_id, origins, texts, len(inline), sum(inline))


def _origin(entry: Entry) -> tuple[str, Site | None]:
    task: Any = entry.task
    if entry.origin is not None:
        return entry.origin
    if entry.state == PENDING and task is not None:
        return task.name, task.site
    return "put", None  # it has a ref only when it is written


def _references(entry: Entry) -> int:
    ref = entry.handle()
    return 0 if ref is None else sys.getrefcount(ref) - _OWN_REFERENCES
