"""Ctrl-C while the command line still imports, which takes seconds: a word, and no traceback.

Imported before all else. Where the package is imported by anything but its own command line,
nothing changes.
"""

import sys
from collections.abc import Sequence
from pathlib import PurePath
from types import TracebackType

INTERRUPTED = 130


def is_command_line(argv: Sequence[str]) -> bool:
    """Tell whether the words that Python was called with are `-m opro_dspy` or `opro-dspy`."""
    if "-m" in argv:
        return argv[argv.index("-m") + 1 :][:1] == ["opro_dspy"]
    return any(PurePath(word).stem == "opro-dspy" for word in argv[1:2])


def without_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Be `sys.excepthook`: say that it was interrupted and exit so; show other errors as ever."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write("Interrupted.\n")
    sys.exit(INTERRUPTED)


if is_command_line(sys.orig_argv):
    sys.excepthook = without_traceback
