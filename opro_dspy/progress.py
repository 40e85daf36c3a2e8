"""Progress bars: one over the steps, one over the running step."""

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from tqdm import TqdmWarning

from opro_dspy.protocols import Event, ExampleScored, RunEnded, StepEnded, StepStarted

with warnings.catch_warnings():  # a notebook without ipywidgets has no bars, and need not be told
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm


WIDTH = 80
"""Characters of a bar where the terminal tells no width."""


class ProgressBars:
    """Draws on stderr while it is a terminal, or in a notebook; leaves other bars alone.

    Args:
        num_steps: Steps the run may take, step 0 not counted.
        enabled: False draws nothing.
        shown: Turns a score into the number that is drawn.
    """

    def __init__(
        self, *, num_steps: int, enabled: bool = True, shown: Callable[[float], float] = float
    ) -> None:
        self._shown = shown
        self._disable = not (enabled and seen())
        self._steps = self._bar(total=num_steps, desc="OPRO", unit="step")
        self._scores: tqdm[Any] | None = None

    def _bar(self, **options: Any) -> "tqdm[Any]":
        return bar(disable=self._disable, **options)

    def __call__(self, event: Event) -> None:
        """Move the bars."""
        if self._disable:
            return
        if isinstance(event, StepStarted):
            self._close_scores()
            self._scores = self._bar(total=event.n_scores, desc=f"step {event.step}", unit="ex")
        elif isinstance(event, ExampleScored) and self._scores is not None:
            self._scores.update()
        elif isinstance(event, StepEnded):
            self._close_scores()
            best = event.trajectory.estimate(event.trajectory.best.candidate)
            self._steps.set_postfix(best=f"{self._shown(best.score):.3g}", refresh=False)
            self._steps.update(1 if len(event.trajectory.steps) > 1 else 0)
        elif isinstance(event, RunEnded):
            self._close_scores()

    def _close_scores(self) -> None:
        if self._scores is not None:
            self._scores.close()
            self._scores = None

    def close(self) -> None:
        """Take the bars off the screen."""
        self._close_scores()
        self._steps.close()


def bar(**options: Any) -> "tqdm[Any]":
    """Return a bar on stderr that goes when it is closed; see `tqdm` for `options`."""
    width: dict[str, Any] = {"dynamic_ncols": True}
    if not _tells_its_width():
        width = {"ncols": WIDTH}
    return tqdm(file=sys.stderr, leave=False, **width, **options)


def seen() -> bool:
    """Tell whether somebody sees bars: on a terminal, or in a notebook."""
    return sys.stderr.isatty() or _has_widgets()


def _tells_its_width() -> bool:
    """Tell whether stderr is no terminal of width 0, as some that programs make are."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError, AttributeError):
        return True


def _has_widgets() -> bool:
    """Tell whether `tqdm.auto` found a notebook with ipywidgets."""
    return any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
