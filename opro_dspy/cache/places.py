"""Where a cache lies and how large it may get."""

import os
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import Field

from opro_dspy.errors import ConfigurationError
from opro_dspy.options import Options

LAYOUT = "v1"
"""The folder in a cache folder that entries of this format lie in."""

ENVIRONMENT = "OPRO_DSPY_CACHE_DIR"
"""The environment variable that moves the default folder, or switches it off."""

OFF = "off"


class CacheDir(Options):
    """A folder for example scores and LM answers; several processes may use it at once.

    Example: `OPRO(metric=…, cache_dir=CacheDir(path="/data/cache", max_bytes=20 * 10**9))`.
    """

    path: Path | None = None
    """The folder; `$OPRO_DSPY_CACHE_DIR` if not given ("off" is no cache by default), else the
    user's cache folder."""
    max_bytes: int = Field(default=2_000_000_000, ge=1_000_000)
    """Bytes that database and long values take at most; beyond them the entries stored longest ago
    are dropped. While the folder is in use SQLite's write-ahead log takes about 4 MB more."""

    @property
    def folder(self) -> Path:
        """The folder, absolute."""
        named = os.environ.get(ENVIRONMENT, "")
        told = self.path or ("" if named.lower() == OFF else named)
        told = told or platformdirs.user_cache_dir("opro_dspy")
        return Path(told).expanduser().absolute()

    @property
    def is_default(self) -> bool:
        """Whether nobody chose the folder."""
        return self.path is None and not os.environ.get(ENVIRONMENT)


DEFAULT_CACHE = CacheDir()
"""The user's own."""


def resolve_cache_dir(cache_dir: Any) -> CacheDir | None:
    """Return what `cache_dir` means; None is no cache.

    Raises:
        ConfigurationError: If it is no path, `CacheDir` or None.
    """
    if isinstance(cache_dir, CacheDir):
        off = cache_dir.path is None and os.environ.get(ENVIRONMENT, "").lower() == OFF
        return None if off else cache_dir
    if cache_dir is None:
        return None
    if isinstance(cache_dir, (str, os.PathLike)) and os.fspath(cache_dir):
        try:
            return CacheDir(path=Path(cache_dir))
        except (TypeError, ConfigurationError):
            pass
    raise ConfigurationError(
        f"`cache_dir` must be a folder, a CacheDir or None (no cache), got {cache_dir!r}."
    )
