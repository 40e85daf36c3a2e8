"""Printing: text that others wrote stays text, and scripts get JSON and nothing else."""

import codecs
import io
import json
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from opro_dspy.filters import shown

ENCODING_ERRORS = "opro_dspy.plain"
"""Name of the rule for what a console's encoding lacks."""

_PLAIN = {"−": "-", "…": "...", "→": "->", "±": "+/-", "≥": ">=", "≤": "<=", "×": "x", "–": "-"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that cannot be printed, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    spelt = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking)
    return "".join(spelt), error.end


codecs.register_error(ENCODING_ERRORS, _plain)


def print_whatever_comes() -> None:
    """Let stdout and stderr spell out what their encoding lacks, where that would be an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ENCODING_ERRORS)


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
