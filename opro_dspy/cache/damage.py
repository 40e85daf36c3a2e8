"""Telling a damaged cache folder from one that cannot be used for another reason."""

import shlex
import sqlite3
from pathlib import Path

import diskcache

from opro_dspy.cache.places import CacheDir

BUSY_S = 20.0
"""How long to wait for another process that writes."""


class ForeignSettingError(ValueError):
    """A database holds a setting that diskcache does not write."""


_DAMAGE = (sqlite3.DatabaseError, LookupError, AttributeError, TypeError, ForeignSettingError)
"""What opening a damaged folder may raise."""


def is_damage(error: Exception) -> bool:
    """Tell whether emptying a folder helps; it does not against a full disk, or rights."""
    if isinstance(error, sqlite3.OperationalError):
        return str(error).startswith("no such ")
    return isinstance(error, _DAMAGE)


def clearing(where: CacheDir) -> str:
    """Return the command that empties a folder, and no other one."""
    named = "" if where.path is None else f" --dir {shlex.quote(str(where.folder))}"
    return f"`python -m opro_dspy cache clear{named}`"


def check_settings(entries: Path) -> None:
    """Refuse a database with settings that diskcache does not write, before it obeys them.

    Raises:
        ForeignSettingError: If there are any.
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
                raise ForeignSettingError(f"foreign setting {key!r}")
    finally:
        connection.close()
