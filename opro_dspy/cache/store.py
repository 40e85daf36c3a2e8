"""Entries by key on disk: for several threads and processes, bounded, and never in a run's way."""

import logging
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any, Protocol

import diskcache

from opro_dspy.cache.disk import JSONDisk
from opro_dspy.cache.places import LAYOUT, CacheDir
from opro_dspy.errors import ConfigurationError

logger = logging.getLogger(__name__)

BUSY_S = 20.0
"""How long to wait for another process that writes."""

CULL_EVERY = 8
"""Each so many entries the oldest make room; the size is looked up no more often than that."""

_WRONG = (OSError, sqlite3.Error, diskcache.Timeout, ValueError, TypeError, LookupError)
"""What reading or writing a damaged, full or foreign folder may raise."""


class Store(Protocol):
    """JSON values by key. Safe for threads."""

    @property
    def locks(self) -> Path | None:
        """The folder for locks between processes, or None if no other process sees the store."""
        ...

    def get(self, key: str) -> Any:
        """Return the value of `key`, or None; what cannot be read counts as missing."""
        ...

    def put(self, key: str, value: Any) -> None:
        """Keep JSON data under `key`; the caller sees it from now on, whatever happens."""
        ...


class MemoryStore:
    """A store as long as it lives; see `Store`."""

    locks: Path | None = None

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """See `Store`."""
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        """See `Store`."""
        self._values[key] = value


class DiskStore:
    """A store in a folder; see `Store`.

    When something cannot be written (a full disk, a folder that went away), that is logged once
    and the value stays in memory: a run never ends because of its cache.

    Args:
        where: The folder and its bound.

    Raises:
        ConfigurationError: If the folder cannot be used or holds something else.
    """

    def __init__(self, where: CacheDir) -> None:
        self._where = where
        self.folder = where.folder / LAYOUT
        self.locks: Path | None = self.folder / "locks"
        self.entries = _opened(where)
        """The diskcache; its values are JSON data."""
        self._memory = MemoryStore()
        self._writing = threading.Lock()  # SQLite lets threads that want to write sleep for long
        self._n_written = 0
        self._told = False

    def get(self, key: str) -> Any:
        """See `Store`."""
        try:
            found = self.entries.get(key)
        except _WRONG as error:
            self._tell("read", error)
            found = None
        return self._memory.get(key) if found is None else found

    def put(self, key: str, value: Any) -> None:
        """See `Store`."""
        try:
            with self._writing:
                # looking at the size takes nearly half of what diskcache does for an entry
                self.entries.cull_limit = 0 if self._n_written % CULL_EVERY else 10 * CULL_EVERY
                self._n_written += 1
                self.entries.set(key, value)
        except _WRONG as error:
            self._tell("written", error)
            self._memory.put(key, value)

    def close(self) -> None:
        """Close this thread's connection."""
        self.entries.close()

    def _tell(self, what: str, error: Exception) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "The cache in %s cannot be %s (%s: %s): going on without what it would hold.",
                *(self._where.folder, what, type(error).__name__, error),
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> "DiskStore":
        return self

    def __reduce__(self) -> Any:
        return DiskStore, (self._where,)


def open_store(where: CacheDir | None) -> Store:
    """Return the store of a folder, or one in memory if there is no folder.

    A default folder that cannot be written to is done without, with a warning.

    Raises:
        ConfigurationError: If a folder that was asked for cannot be used, or one is damaged.
    """
    if where is None:
        return MemoryStore()
    if where.is_default and not _writable(where.folder):
        logger.warning(
            "No cache: %s cannot be written to. Set `cache_dir` to another folder, or to None.",
            where.folder,
        )
        return MemoryStore()
    return DiskStore(where)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _opened(where: CacheDir) -> diskcache.Cache:
    entries = where.folder / LAYOUT / "entries"
    try:
        if os.path.expandvars(entries) != str(entries):  # diskcache would expand them
            raise ValueError("its name holds what reads as a variable")
        for folder in (entries, entries.parent / "locks"):
            folder.mkdir(parents=True, exist_ok=True)
        check_settings(entries)
        return diskcache.Cache(
            str(entries),
            timeout=BUSY_S,
            disk=JSONDisk,
            size_limit=where.max_bytes,
            eviction_policy="least-recently-stored",
            statistics=0,
            tag_index=0,
        )
    except (*_WRONG, AttributeError) as error:
        raise ConfigurationError(
            f"the cache in {where.folder} cannot be used ({type(error).__name__}: {error}). "
            "Set `cache_dir` to another folder, or to None for no cache; "
            "`python -m opro_dspy cache clear` empties a damaged one."
        ) from error


def check_settings(entries: Path) -> None:
    """Refuse a database with settings that diskcache does not write, before it obeys them.

    Raises:
        ValueError: If there are any.
        sqlite3.Error: If it is no database.
    """
    database = entries / diskcache.core.DBNAME
    if not database.exists():
        return
    known = {**diskcache.core.DEFAULT_SETTINGS, **diskcache.core.METADATA}
    connection = sqlite3.connect(database, timeout=BUSY_S)
    try:
        tables = "SELECT 1 FROM sqlite_master WHERE name = 'Settings'"
        if connection.execute(tables).fetchone() is None:
            return
        for key, value in connection.execute("SELECT key, value FROM Settings"):
            if key not in known or type(value) is not type(known[key]):
                raise ValueError(f"foreign setting {key!r}")
    finally:
        connection.close()
