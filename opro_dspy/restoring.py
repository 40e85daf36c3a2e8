"""Exceptions as plain data: told where they were raised, restored where they are raised again."""

import asyncio
import traceback
from collections.abc import Mapping
from typing import Any

from dspy.utils import exceptions
from dspy.utils.exceptions import LMError

from opro_dspy.boundary.faults import retry_after
from opro_dspy.errors import MetricError, UnknownPriceError

_OF_LM = ("message", "code", "model", "provider", "provider_code", "status", "request_id")

_STOPS = {kind.__name__: kind for kind in (KeyboardInterrupt, asyncio.CancelledError)}


class WorkerTraceback(Exception):
    """Where on the worker an exception was raised."""


def told(error: BaseException) -> dict[str, Any]:
    """Return an exception as JSON values, for `restored`."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == LMError.__module__]
    return {
        "type": type(error).__name__,
        "said": str(error),
        "traceback": "".join(traceback.format_exception(error)),
        "stops": not isinstance(error, Exception),
        "exit_code": _exit_code(error),
        "metric": isinstance(error, MetricError),
        "lm": {
            "kind": kinds[0],
            **{name: getattr(error, name, None) for name in _OF_LM},
            "retry_after": retry_after(error),
        }
        if isinstance(error, LMError)
        else None,
    }


def _exit_code(error: BaseException) -> int | str | None:
    code = error.code if isinstance(error, SystemExit) else None
    return code if code is None or isinstance(code, int) else str(code)


def restored(told: Mapping[str, Any]) -> BaseException:
    """Return an exception that a worker told of: an LM's as such, any other by name and text."""
    error: BaseException
    if told["lm"] is not None:
        of_lm = {name: told["lm"][name] for name in (*_OF_LM, "retry_after")}
        kind = getattr(exceptions, told["lm"]["kind"], LMError)
        of_lm["message"] = of_lm["message"] or ""
        error = kind(**of_lm)
    elif told["stops"]:
        error = _stop(told)
    elif told["metric"]:
        error = MetricError(told["said"])
    elif told["type"] == UnknownPriceError.__name__:
        error = UnknownPriceError(told["said"])
    else:
        error = type(told["type"], (Exception,), {})(told["said"])
    error.__cause__ = WorkerTraceback("\n" + told["traceback"])
    return error


def _stop(told: Mapping[str, Any]) -> BaseException:
    """Return what is no Exception, and so ends a run: Ctrl-C, `sys.exit()`, a cancellation."""
    if told["type"] == SystemExit.__name__:
        return SystemExit(told["exit_code"])
    kind: type[BaseException] = _STOPS.get(told["type"]) or type(told["type"], (BaseException,), {})
    return kind(told["said"]) if told["said"] else kind()
