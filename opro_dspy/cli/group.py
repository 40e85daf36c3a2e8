"""How a command ends: its exit code, and errors in one line."""

import errno
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from dspy.utils.exceptions import LMBillingError
from typer.core import TyperCommand, TyperGroup

from opro_dspy import early
from opro_dspy.boundary.faults import chain, is_fatal
from opro_dspy.cli.logs import told
from opro_dspy.cli.screen import complain, note, print_whatever_comes
from opro_dspy.errors import (
    ConfigurationError,
    LMCallError,
    LogDirInUseError,
    OproError,
    RunError,
    UnknownArgumentError,
)
from opro_dspy.filters import sentence
from opro_dspy.result import RunResult

DEBUG = "--debug"

FINE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, early.INTERRUPTED

EXIT_CODES = (
    f"Exit codes: {FINE} fine; {FAILED} the run failed; {USAGE} wrong usage or configuration; "
    f"{INTERRUPTED} interrupted by Ctrl-C. {DEBUG} shows the traceback of an error."
)

_WRONG_USE = (ConfigurationError, UnknownArgumentError, LogDirInUseError, ImportError)

_Usage: Any = typer.BadParameter.__mro__[1]
_Shown: Any = _Usage.__mro__[1]


class Command(TyperCommand):
    """A command whose help says no type of options that take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options and arguments."""
        return _without_types_of_flags(super().get_params(ctx))


def _without_types_of_flags(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


class Failed(OproError):
    """A command did what it was told, and nothing came of it."""


def failed(error: BaseException, said: str) -> OproError:
    """Return the error of a command that an LM made fail, with the exit code that fits."""
    return ConfigurationError(said) if _is_misuse(error) else Failed(said)


def _is_misuse(error: BaseException) -> bool:
    """Tell whether an LM that never answered lacks a key, is not known, or refuses who asks."""
    result = getattr(error, "result", None)
    rows = result.usage if isinstance(result, RunResult) else ()
    if not isinstance(error, LMCallError) or any(
        r.calls > r.failures or r.cache_hits for r in rows
    ):
        return False
    links = [link for link in chain(error) if not isinstance(link, LMBillingError)]
    return any(is_fatal(link, answered=True) for link in links)


class Group(TyperGroup):
    """Commands whose errors are one line on stderr; `--debug` anywhere shows the traceback."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options."""
        return _without_types_of_flags(super().get_params(ctx))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and end the process with its exit code."""
        print_whatever_comes()
        given = list(sys.argv[1:] if args is None else args)
        debug = DEBUG in given
        given = [word for word in given if word != DEBUG]
        try:
            with told():
                code = super().main(
                    given,
                    prog_name or "opro-dspy",
                    complete_var,
                    False,
                    windows_expand_args,
                    **extra,
                )
        except KeyboardInterrupt:
            note("Interrupted.")
            code = INTERRUPTED
        except Exception as error:
            if _pipe_closed(error):
                sys.stdout = None  # nobody reads any further
                sys.exit(FAILED)
            if debug:
                traceback.print_exc()
            raise SystemExit(_told(error, debug=debug)) from error
        sys.exit(code if isinstance(code, int) else FINE)


def _in_our_words(message: str) -> str:
    """Return what typer says of an option's value, without pydantic's way of saying it."""
    said = message.replace("Value error, ", "").replace("Input should ", "it must ")
    return said.partition(", unable to parse")[0]


def _pipe_closed(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _told(error: Exception, *, debug: bool) -> int:
    """Say what went wrong, and return the exit code."""
    if isinstance(error, _Shown):
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
            error.show()
        else:
            context = getattr(error, "ctx", None)
            where = f" See `{context.command_path} --help`." if context else ""
            complain(_in_our_words(error.format_message()).rstrip(".") + "." + where)
        return int(error.exit_code)
    if isinstance(error, _WRONG_USE):
        complain(str(error))
        return USAGE
    if isinstance(error, (OproError, OSError)):
        complain((isinstance(error, RunError) and error.what) or str(error))
        return USAGE if _is_misuse(error) else FAILED
    hint = "" if debug else f" {DEBUG} shows where; if it is not your code, it is a bug of ours."
    complain(sentence(f"unexpected {type(error).__name__}: {error}") + hint)
    return FAILED
