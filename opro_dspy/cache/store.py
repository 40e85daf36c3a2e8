"""Entries by key on disk: for several threads and processes, bounded, and never in a run's way."""

import json
import logging
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import diskcache

from opro_dspy.cache.damage import BUSY_S, check_settings, clearing, is_damage
from opro_dspy.cache.disk import TextDisk
from opro_dspy.cache.places import LAYOUT, CacheDir
from opro_dspy.errors import ConfigurationError

logger = logging.getLogger(__name__)

MAX_WAITING, MAX_WAIT_S = 32, 0.1
"""So many entries, and for so long, may wait to be written with others."""

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

    def put(self, key: str, value: Any, *, soon: bool = False) -> None:
        """Keep JSON data under `key`; the caller sees it from now on, whatever happens.

        Args:
            key: Where.
            value: What.
            soon: It need not be there for others when this returns, but shortly after, and after
                `flush` at the latest: entries that are written together cost less.
        """
        ...

    def flush(self) -> None:
        """Write what is to be written soon."""
        ...


class MemoryStore:
    """A store as long as it lives; see `Store`.

    Args:
        max_entries: With so many it is full, and begins anew; None keeps all.
    """

    locks: Path | None = None

    def __init__(self, *, max_entries: int | None = None) -> None:
        self._values: dict[str, Any] = {}
        self._max_entries = max_entries

    def get(self, key: str) -> Any:
        """See `Store`."""
        return self._values.get(key)

    def put(self, key: str, value: Any, *, soon: bool = False) -> None:
        """See `Store`."""
        if self._max_entries is not None and len(self._values) >= self._max_entries:
            self._values = {}
        self._values[key] = value

    def flush(self) -> None:
        """See `Store`."""


class DiskStore:
    """A store in a folder; see `Store`.

    Threads that wait for each other to write are served by the one that comes first: it writes
    for all of them, in one transaction.

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
        self._waiting: dict[str, str] = {}
        """Entries that are not written yet."""
        self._kept: dict[str, str] = {}
        """Entries that cannot be written."""
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._n_written, self._written_at = 0, time.monotonic()
        self._told = False

    def get(self, key: str) -> Any:
        """See `Store`."""
        text = self._waiting.get(key)
        try:
            text = self.entries.get(key) if text is None else text
        except _WRONG as error:
            self._tell("read", error)
        text = self._kept.get(key) if text is None else text
        try:
            return None if text is None else json.loads(text)
        except (ValueError, RecursionError):
            return None

    def put(self, key: str, value: Any, *, soon: bool = False) -> None:
        """See `Store`."""
        text = json.dumps(value)
        with self._lock:
            self._waiting[key] = text
            soon = soon and len(self._waiting) < MAX_WAITING
        if not soon or time.monotonic() - self._written_at > MAX_WAIT_S:
            self._write(key)

    def flush(self) -> None:
        """See `Store`."""
        self._write()

    def _write(self, key: str | None = None) -> None:
        """Write all that waits, unless another has written `key` meanwhile."""
        with self._writing:
            with self._lock:
                batch = dict(self._waiting)
            if not batch or (key is not None and key not in batch):
                return
            try:
                with self.entries.transact():
                    for each, text in batch.items():
                        # looking at the size takes nearly half of what diskcache does for one
                        full = self._n_written % CULL_EVERY == 0
                        self.entries.cull_limit = 10 * CULL_EVERY if full else 0
                        self._n_written += 1
                        self.entries.set(each, text)
            except _WRONG as error:
                self._tell("written", error)
                self._kept.update(batch)
                self.entries.close()  # a transaction that is left open would block others
            self._written_at = time.monotonic()
            with self._lock:
                for each, text in batch.items():
                    if self._waiting.get(each) is text:
                        del self._waiting[each]

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

    A default folder that cannot be written to (rights, full disk) is done without, with a warning.

    Raises:
        ConfigurationError: If a folder that was asked for cannot be used, or one is damaged.
    """
    if where is None:
        return MemoryStore()
    try:
        return DiskStore(where)
    except ConfigurationError as error:
        cannot = isinstance(error.__cause__, (OSError, sqlite3.OperationalError))
        if not (where.is_default and cannot):
            raise
        logger.warning(
            "No cache: %s cannot be written to (%s). Set `cache_dir` to another folder or None.",
            *(where.folder, error.__cause__),
        )
        return MemoryStore()


def _opened(where: CacheDir) -> diskcache.Cache:
    entries = where.folder / LAYOUT / "entries"
    try:
        if os.path.expandvars(entries) != str(entries):  # diskcache would expand them
            raise ValueError("its name holds what reads as a variable")
        for folder in (entries, entries.parent / "locks"):
            folder.mkdir(parents=True, exist_ok=True)
        check_settings(entries)
        if not (entries / diskcache.core.DBNAME).exists():  # SQLite would forget the umask
            (entries / diskcache.core.DBNAME).touch(0o666)
        return diskcache.Cache(
            str(entries),
            timeout=BUSY_S,
            disk=TextDisk,
            size_limit=where.max_bytes,
            eviction_policy="least-recently-stored",
            statistics=0,
            tag_index=0,
        )
    except (*_WRONG, AttributeError) as error:
        emptied = f"; {clearing(where)} empties a damaged one" if is_damage(error) else ""
        raise ConfigurationError(
            f"the cache in {where.folder} cannot be used ({type(error).__name__}: {error}). "
            f"Set `cache_dir` to another folder, or to None for no cache{emptied}."
        ) from error
