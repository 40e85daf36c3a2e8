"""The method: ask, evaluate, tell, until a rule says stop."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from opro_dspy.boundary.admission import LM_OUT
from opro_dspy.optimizer import Optimizer
from opro_dspy.protocols import (
    Evaluator,
    Observer,
    ResultKnown,
    RunEnded,
    StepEnded,
    StopRule,
)
from opro_dspy.records import Usage
from opro_dspy.result import RunResult

logger = logging.getLogger(__name__)

T = TypeVar("T")

INTERRUPTED = "interrupted: stopped by the user (Ctrl-C, or cancelled)"


def optimize(
    optimizer: Optimizer,
    evaluator: Evaluator,
    *,
    stop: StopRule,
    observers: Sequence[Observer] = (),
    usage: Callable[[], tuple[Usage, ...]] = tuple,
) -> str:
    """Run OPRO until `stop` gives a reason; return the reason.

    Step 0 scores the initial candidates. Ctrl-C ends the run after the calls in flight with the
    reason "interrupted: …"; what the trajectory holds by then stays.

    Args:
        optimizer: Proposes candidates from the trajectory.
        evaluator: Scores them.
        stop: Asked before each step but step 0.
        observers: Told after each step.
        usage: Tells what the run took so far.

    Source:
        OPRO (arXiv:2309.03409), section 2 and figure 2.
    """
    trajectory = optimizer.trajectory
    reason: str | None = None
    try:
        while reason is None:
            candidates = optimizer.ask()
            evaluations = evaluator.evaluate(candidates, trajectory)
            optimizer.tell(evaluations)
            for observe in observers:
                observe(StepEnded(trajectory=trajectory, usage=usage()))
            reason = stop(trajectory)
    except KeyboardInterrupt:
        reason = INTERRUPTED
    level = logging.WARNING if LM_OUT in reason else logging.INFO
    logger.log(level, "The run ends: %s.", reason)
    for observe in observers:
        observe(RunEnded(trajectory=trajectory, stop_reason=reason))
    return reason


def redacted(
    work: Callable[[], T],
    redact: Callable[[Exception], Exception],
    note: Callable[[Exception], object] = lambda error: None,
) -> T:
    """Return what `work` returns; what it raises is raised without credentials.

    Args:
        work: What to do.
        redact: Returns the error itself once it is clean, or what stands in for it.
        note: Told of what will be raised.
    """
    try:
        return work()
    except Exception as error:
        found = redact(error)
        note(found)
        if found is error:
            raise
    raise found  # only here: within the clause above it would come from the error itself


def conclude(observers: Sequence[Observer], result: RunResult, *, failed: bool = False) -> None:
    """Tell all observers of the result, also those behind one that fails; then raise its error.

    Args:
        observers: Those of the run.
        result: What it found.
        failed: Whether an error ends the run: those of observers are then logged only, so that
            none stands in the place of the first.
    """
    first: Exception | None = None
    for observe in observers:
        try:
            observe(ResultKnown(result=result))
        except Exception as error:
            if not failed and first is None:
                first = error
            else:
                logger.warning("An observer failed at the end of a failed run.", exc_info=True)
    if first is not None:
        raise first


@contextmanager
def carrying(**found: object) -> Iterator[None]:
    """Return a context whose errors carry what was found, as attributes of these names."""
    try:
        yield
    except Exception as error:
        carry(error, found)
        raise


def carry(error: Exception, found: Mapping[str, object]) -> None:
    """Hang what was found on an error, as attributes of these names."""
    for name, value in found.items():
        setattr(error, name, value)
