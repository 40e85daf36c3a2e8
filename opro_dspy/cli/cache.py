"""`opro_dspy cache …`: what the cache holds, and making it smaller; prints, no more."""

import time
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from opro_dspy.cache import CacheDir
from opro_dspy.cache.upkeep import cache_info, clear_cache, prune_cache
from opro_dspy.cli import options
from opro_dspy.cli.group import Command, Group
from opro_dspy.cli.screen import console, say_json
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import shown

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="The cache of example scores and LM answers.",
    epilog=options.examples("cache info", "cache prune --older-than 30 --max-size 500"),
)

DAY_S = 86_400

Folder = Annotated[
    Path | None,
    typer.Option("--dir", metavar="FOLDER", help="The user's cache folder if not given."),
]


@app.command(cls=Command, epilog=options.examples("cache info", "cache info --json"))
def info(folder: Folder = None, as_json: options.Json = False) -> None:
    """Show where the cache is and what it holds."""
    where = CacheDir(path=folder)
    found = cache_info(where)
    if as_json:
        say_json({**asdict(found), "folder": str(found.folder)})
        return
    oldest = "" if found.oldest is None else f", the oldest {_days(found.oldest)} old"
    _say(str(found.folder))
    _say(f"{found.scores:,} example scores and {found.answers:,} LM answers{oldest}")
    _say(f"{found.bytes / 1e6:,.1f} MB")


@app.command(cls=Command, epilog=options.examples("cache clear"))
def clear(folder: Folder = None, as_json: options.Json = False) -> None:
    """Delete all that the cache holds, and nothing else in its folder.

    Of a damaged cache the folders v1/entries and v1/locks are deleted, with all that is in them.
    """
    where = CacheDir(path=folder)
    was_there = clear_cache(where)
    if as_json:
        say_json({"folder": str(where.folder), "cleared": was_there})
    elif was_there:
        _say(f"The cache in {where.folder} is empty now.")
    else:
        _say(f"There is no cache in {where.folder}.")


@app.command(cls=Command, epilog=options.examples("cache prune --older-than 30 --max-size 500"))
def prune(
    folder: Folder = None,
    max_size: Annotated[
        float | None,
        typer.Option(min=0, metavar="MB", help="Delete the oldest until so much is left."),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(min=0, metavar="DAYS", help="Delete what was stored so long ago."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Delete old entries."""
    if max_size is None and older_than is None:
        raise ConfigurationError("give --max-size (in MB), --older-than (in days), or both.")
    if max_size is not None and not isfinite(max_size):
        raise ConfigurationError(f"--max-size is a number of MB, got {max_size}.")
    where = CacheDir(path=folder)
    removed = prune_cache(
        where,
        max_bytes=None if max_size is None else int(max_size * 1e6),
        older_than_s=None if older_than is None else older_than * DAY_S,
    )
    if as_json:
        say_json({"folder": str(where.folder), "deleted": removed})
    else:
        _say(f"{removed:,} entries deleted.")


def _days(stored: float) -> str:
    days = max(0.0, time.time() - stored) / DAY_S
    return f"{days:,.0f} days" if days >= 2 else f"{24 * days:,.1f} hours"


def _say(line: str) -> None:
    console().print(shown(line), soft_wrap=True)
