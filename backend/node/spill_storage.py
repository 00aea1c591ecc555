"""Opens the storage of spilled objects that a session was set up with."""

from __future__ import annotations

from millpond.objectstore.spill.local import LocalStorage
from millpond.objectstore.spill.storage import Storage
from millpond.objectstore.spill.uri import without_secrets

from ..wire.messages import SpillSettings
from .cgroup import available_memory

__all__ = ["open_storage", "spill_places"]


def open_storage(settings: SpillSettings | None, session_dir: str) -> Storage | None:
    """Return the storage, ready to be written, or None if nothing is ever spilled.

    To be called when this process forks no more: some file systems start threads.

    Raises:
        OSError: a directory or the bucket cannot be used; the text says which and why.
        ValueError: the URI is wrong.
    """
    if settings is None:
        return None
    if settings.uri:
        from millpond.objectstore.spill.remote import RemoteStorage

        return RemoteStorage(
            settings.uri,
            session_dir,
            compression=settings.compression,
            quota=settings.quota,
            floor=settings.free_space_floor,
            patience=settings.read_timeout,
        )
    return LocalStorage(
        settings.directories or [session_dir],
        compression=settings.compression,
        quota=settings.quota,
        floor=settings.free_space_floor,
        page_cache=_page_cache(settings),
    )


def _page_cache(settings: SpillSettings) -> int:
    """Bytes of spill files that may stay in the page cache.

    A tenth of what is available is also where Linux begins by default to write back what is there.
    """
    if settings.page_cache is not None:
        return settings.page_cache
    return available_memory() // 10


def spill_places(settings: SpillSettings | None, session_dir: str) -> list[str]:
    """Return where values are spilled, for the user to read."""
    if settings is None:
        return []
    if settings.uri:
        return [without_secrets(settings.uri)]
    return list(settings.directories) or [session_dir]
