"""Who is given up for failing where others do not, and when program or metric are broken. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from opro_dspy.records import Evaluation

ALIKE = 3
"""Candidates that must all fail alike before program or metric are taken for broken."""


def all_failed(evaluation: Evaluation) -> bool:
    """Tell whether the candidate failed on every example that it met."""
    return len(evaluation.failures) == len(evaluation.scores)


def without_the_failing(
    new: Sequence[Evaluation], earlier: Sequence[Evaluation]
) -> list[Evaluation]:
    """Return `new`, in which those are given up that failed on more than half of what they met.

    Two examples are enough for that, but an example on which everybody fails blames nobody: a
    failure counts where some other candidate did not fail.

    Args:
        new: Evaluations of candidates that met the same examples, one without scores among them.
        earlier: What is known of others.
    """
    passed = _passed([*earlier, *new])
    return [_judged(e, len(passed & e.failures.keys())) for e in new]


def broken(new: Sequence[Evaluation], earlier: Sequence[Evaluation] = ()) -> bool:
    """Tell whether program or metric must be broken: all that were proposed last failed alike.

    That is when all candidates of a step (three at least, the latest of the steps before counted
    in) were given up or failed on all that they met, with the same kind of error. An example on
    which a candidate failed that is none of those, and nobody did not, says nothing.

    Args:
        new: Evaluations of the step's candidates, each with scores.
        earlier: Those of all before, oldest first.
    """
    n = max(ALIKE, len(new))
    everybody = [*earlier, *new]
    last, others = everybody[-n:], [e for e in everybody[:-n] if not _hopeless(e)]
    if not new or len(last) < n:
        return False
    hard = {i for e in others for i in e.failures} - _passed(others)
    kinds = {said.split(":")[0] for e in last for said in e.failures.values()}
    return len(kinds) == 1 and all(_hopeless(e) and e.failures.keys() - hard for e in last)


def _hopeless(evaluation: Evaluation) -> bool:
    return evaluation.dropped is not None or all_failed(evaluation)


def _passed(evaluations: Sequence[Evaluation]) -> set[int]:
    """Return the examples on which somebody did not fail."""
    whole = (e for e in evaluations if e.dropped is None)  # others may not have met all scores
    return {i for e in whole for i in e.scores if i not in e.failures}


def _judged(evaluation: Evaluation, n_blamed: int) -> Evaluation:
    n = len(evaluation.scores)
    if evaluation.dropped is not None or 2 * n_blamed <= n:
        return evaluation
    n_failed = len(evaluation.failures)
    return replace(evaluation, dropped=f"given up after {n_failed} errors in {n} examples")
