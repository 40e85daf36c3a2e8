"""Looking into a cache folder, and making it smaller."""

import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from diskcache.core import DBNAME, MODE_RAW, MODE_TEXT

from opro_dspy.cache.damage import BUSY_S, check_settings, clearing, is_damage
from opro_dspy.cache.places import LAYOUT, CacheDir
from opro_dspy.cache.store import DiskStore
from opro_dspy.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheInfo:
    """What a cache folder holds."""

    folder: Path
    scores: int = 0
    answers: int = 0
    bytes: int = 0
    """Bytes on disk."""
    max_bytes: int
    oldest: float | None = None
    """Seconds since the epoch at which the oldest entry was stored; None if there is none."""


def cache_info(where: CacheDir) -> CacheInfo:
    """Return what the folder holds; makes nothing.

    Raises:
        ConfigurationError: If it is damaged.
    """
    folder = where.folder / LAYOUT
    database = folder / "entries" / DBNAME
    if not database.exists():
        return CacheInfo(folder=where.folder, max_bytes=where.max_bytes)
    parts = "substr(key, 1, instr(key, ':')), count(*), min(CAST(store_time AS REAL))"
    query = f"SELECT {parts} FROM Cache GROUP BY 1"
    try:
        check_settings(folder / "entries")
        with closing(sqlite3.connect(database, timeout=BUSY_S)) as connection:
            rows = connection.execute(query).fetchall()
    except (sqlite3.Error, ValueError) as error:
        raise ConfigurationError(
            f"the cache in {where.folder} is damaged ({error}). {clearing(where)} empties it."
            if is_damage(error)
            else f"the cache in {where.folder} cannot be read ({error})."
        ) from error
    counts = {kind: count for kind, count, _ in rows}
    return CacheInfo(
        folder=where.folder,
        scores=counts.get("score:", 0),
        answers=counts.get("answer:", 0),
        bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        max_bytes=where.max_bytes,
        oldest=min((oldest for *_, oldest in rows if oldest is not None), default=None),
    )


def clear_cache(where: CacheDir) -> bool:
    """Delete all entries, damaged ones too; return whether there was a cache.

    Nothing else in the folder is touched, but for a damaged database: then its whole folder
    `v1/entries` goes, and that of the locks.

    Raises:
        ConfigurationError: If something that is no folder of a cache is in the way.
    """
    if not _there(where):
        return False
    try:
        store = DiskStore(where)
        store.entries.clear(retry=True)
        store.close()
    except (ConfigurationError, sqlite3.Error):
        for name in ("entries", "locks"):
            _deleted(where.folder / LAYOUT / name)
    return True


def prune_cache(
    where: CacheDir, *, max_bytes: int | None = None, older_than_s: float | None = None
) -> int:
    """Delete old entries, and what this package did not write; return how many.

    Args:
        where: The folder.
        max_bytes: Delete the oldest until no more than this is left on disk.
        older_than_s: Delete those stored so many seconds ago or earlier.

    Raises:
        ConfigurationError: If the folder is damaged.
    """
    if not _there(where):
        return 0
    store = DiskStore(where)
    cache = store.entries
    before = len(cache)
    foreign = f"raw != 1 OR typeof(key) != 'text' OR mode NOT IN ({MODE_RAW}, {MODE_TEXT})"
    with cache.transact(retry=True):
        cache._sql(f"DELETE FROM Cache WHERE {foreign}")
    if older_than_s is not None:
        limit = time.time() - older_than_s
        old = cache._sql("SELECT key FROM Cache WHERE store_time <= ?", (limit,)).fetchall()
        for (key,) in old:
            cache.delete(key, retry=True)
    if max_bytes is not None:
        cache.reset("size_limit", max_bytes)
        cache.cull(retry=True)
        cache.reset("size_limit", where.max_bytes)
    removed = before - len(cache)
    store.close()
    return removed


def _deleted(folder: Path) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be deleted ({error}). Set the rights, or remove it yourself."
        ) from error


def _there(where: CacheDir) -> bool:
    return (where.folder / LAYOUT).is_dir()
