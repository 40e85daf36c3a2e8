"""diskcache with text for keys and values and nothing else: no pickle is written, none is read."""

import re
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_RAW, MODE_TEXT

_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
"""The names that diskcache gives to the files of long values, below its folder."""


class NotOurs(OSError):
    """An entry that this module never writes; diskcache counts it as missing."""


class TextDisk(diskcache.Disk):  # type: ignore[misc]
    """Keys and values are text.

    `diskcache.Disk`, and `diskcache.JSONDisk` too, unpickle an entry whose row says so: whoever
    can write to the folder could run code (CVE-2025-69872). Here such a row is as good as
    missing, and so is one whose file lies anywhere else.
    """

    def put(self, key: Any) -> tuple[str, bool]:
        """Return a key as it stands in the database."""
        if not isinstance(key, str):
            raise TypeError(f"keys are text, got {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        """Return the key that stands in the database."""
        if not raw or not isinstance(key, str):
            raise NotOurs("this key was not written by opro_dspy")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> Any:
        """Return a value as it stands in the database; long ones get a file."""
        if read or not isinstance(value, str):
            raise TypeError(f"values are text, got {type(value).__name__}")
        return super().store(value, False, key)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """Return a stored value."""
        if mode == MODE_RAW and filename is None and isinstance(value, str):
            return value
        if mode == MODE_TEXT and _is_ours(filename):
            return super().fetch(mode, filename, None, False)
        raise NotOurs("this entry was not written by opro_dspy")

    def remove(self, file_path: Any) -> None:
        """Delete the file of a value; nothing that lies elsewhere."""
        if _is_ours(file_path):
            super().remove(file_path)


def _is_ours(filename: Any) -> bool:
    return isinstance(filename, str) and _FILE.fullmatch(Path(filename).as_posix()) is not None
