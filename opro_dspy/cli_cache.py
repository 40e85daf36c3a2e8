"""`opro_dspy cache …`: what the cache holds, and making it smaller; prints, no more."""

import time
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from opro_dspy.cache import CacheDir
from opro_dspy.cache.upkeep import cache_info, clear_cache, prune_cache
from opro_dspy.errors import ConfigurationError

app = typer.Typer(no_args_is_help=True, help="The cache of example scores and LM answers.")

DAY_S = 86_400

Folder = Annotated[
    Path | None, typer.Option("--dir", help="The folder; the user's cache folder if not given.")
]


@app.command()
def info(folder: Folder = None) -> None:
    """Show where the cache is and what it holds."""
    where = CacheDir(path=folder)
    try:
        found = cache_info(where)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error
    oldest = "" if found.oldest is None else f", the oldest {_days(found.oldest)} old"
    _say(str(found.folder))
    _say(f"{found.scores:,} example scores and {found.answers:,} LM answers{oldest}")
    _say(f"{found.bytes / 1e6:,.1f} MB")


@app.command()
def clear(folder: Folder = None) -> None:
    """Delete all that the cache holds."""
    where = CacheDir(path=folder)
    try:
        clear_cache(where)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error
    _say(f"{where.folder} is empty now.")


@app.command()
def prune(
    folder: Folder = None,
    max_size: Annotated[
        float | None, typer.Option(min=0, help="Delete the oldest until so many MB are left.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Delete what was stored so many days ago.")
    ] = None,
) -> None:
    """Delete old entries.

    Example: python -m opro_dspy cache prune --older-than 30 --max-size 500
    """
    if max_size is None and older_than is None:
        raise typer.BadParameter("give --max-size (in MB), --older-than (in days), or both.")
    if max_size is not None and not isfinite(max_size):
        raise typer.BadParameter(f"--max-size is a number of MB, got {max_size}.")
    try:
        removed = prune_cache(
            CacheDir(path=folder),
            max_bytes=None if max_size is None else int(max_size * 1e6),
            older_than_s=None if older_than is None else older_than * DAY_S,
        )
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error
    _say(f"{removed:,} entries deleted.")


def _days(stored: float) -> str:
    days = max(0.0, time.time() - stored) / DAY_S
    return f"{days:,.0f} days" if days >= 2 else f"{24 * days:,.1f} hours"


def _say(line: str) -> None:
    Console(soft_wrap=True).print(Text(line))
