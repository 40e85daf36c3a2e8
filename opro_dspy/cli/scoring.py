"""Scores a program for `evaluate`: with a bar, and until too many examples fail."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import dspy

from opro_dspy import OPRO, OPROResult
from opro_dspy.cli.group import Failed
from opro_dspy.cli.logs import silent
from opro_dspy.filters import clipped, sentence
from opro_dspy.loop import INTERRUPTED
from opro_dspy.progress import bar, seen
from opro_dspy.protocols import Event, ExampleScored

OF_A_RUN = ("opro_dspy.failures", "opro_dspy.run", "opro_dspy.diagnostics", "opro_dspy.wiring")
"""Tell of failures, a choice and an optimizer LM; `evaluate` has its own words, or none of them."""


class Stopped(Exception):
    """Ctrl-C ended it; says how far it had come."""


class _Watch:
    """Draws how far it has come, and ends it when more than `max_errors` examples failed."""

    def __init__(self, name: str, *, n: int, max_errors: int) -> None:
        self._name, self._max_errors = name, max_errors
        self.n_scored, self.failed = 0, dict[int, str]()
        self.bar = bar(total=n, desc="scored", unit="ex", disable=not seen())

    def __call__(self, event: Event) -> None:
        if not isinstance(event, ExampleScored):
            return
        self.n_scored += 1
        self.bar.update()
        if event.failed is None:
            return
        self.failed[event.example] = event.failed
        self.bar.set_postfix(failed=len(self.failed))
        if len(self.failed) > self._max_errors:
            raise Failed(
                f"{self._name} failed on {len(self.failed)} of {self.n_scored} examples, and "
                f"{self._max_errors} may fail. {first_of(self.failed)} With a higher --max-errors "
                "such examples count as 0."
            )


def scored(
    program: dspy.Module,
    *,
    name: str,
    examples: Sequence[dspy.Example],
    metric: Callable[..., Any],
    max_errors: int | None,
    **settings: Any,
) -> OPROResult:
    """Return the result of a run that only scores `program`.

    Retries, outages, caps and caches are those of every run, but no rule gives the program up for
    failing on most examples.

    Args:
        program: What to score.
        name: What to call it in errors.
        examples: What to score it on.
        metric: Of (example, prediction).
        max_errors: Examples that may fail; `dspy.settings.max_errors` if None.
        **settings: Further ones of `OPRO`.

    Raises:
        Failed: If more than `max_errors` examples failed, or an LM failed.
        Stopped: If Ctrl-C was pressed.
    """
    most = dspy.settings.max_errors if max_errors is None else max_errors
    watch = _Watch(name, n=len(examples), max_errors=most)
    scorer = OPRO(
        metric=metric, max_steps=0, racing=False, verbose=False, observers=[watch], **settings
    )
    try:
        with ExitStack() as stack:
            stack.enter_context(dspy.context(max_errors=None))
            for logger in OF_A_RUN:
                stack.enter_context(silent(logger))
            compiled = scorer.compile(program, trainset=list(examples))
    finally:
        watch.bar.close()
    result: OPROResult = compiled.detailed_results
    if result.stop_reason == INTERRUPTED:
        raise Stopped(f"{name} had met {watch.n_scored} of {len(examples)} examples.")
    return result


def first_of(failures: dict[int, str]) -> str:
    """Return a sentence on the first of the failures, by example index."""
    row = min(failures)
    return f"The first, on row {row + 1}: {sentence(clipped(failures[row], 300))}"
