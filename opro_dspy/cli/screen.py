"""Printing: text that others wrote stays text, and scripts get JSON and nothing else."""

import json
from typing import Any

from rich.console import Console
from rich.text import Text

from opro_dspy.filters import shown


def console(*, stderr: bool = False) -> Console:
    """Return where people read: no markup, no emoji codes, no colour but on a terminal."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def bold(text: str) -> Text:
    """Return `text` to be printed bold; escapes in it are spelt out."""
    return Text(shown(text), style="bold")


def say(*parts: str | Text) -> None:
    """Print a paragraph; escapes in plain parts are spelt out."""
    told = Text.assemble(*(part if isinstance(part, Text) else shown(part) for part in parts))
    console().print(told)


def say_json(value: Any) -> None:
    """Print `value` as JSON, the only thing on stdout."""
    console().print(Text(json.dumps(value, indent=2)), soft_wrap=True)


def complain(message: str) -> None:
    """Print an error in one line on stderr."""
    line = " ".join(shown(message).split())
    console(stderr=True).print(Text.assemble(("Error: ", "bold red"), line), soft_wrap=True)


def note(message: str) -> None:
    """Print a remark in one line on stderr, out of the way of what scripts read."""
    console(stderr=True).print(Text(shown(message)), soft_wrap=True)


def shortened(text: str, width: int) -> str:
    """Return `text` in one line of at most `width` characters."""
    line = " ".join(shown(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"
