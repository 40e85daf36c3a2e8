"""Who is given up for failing where others do not, and when program or metric are broken."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from opro_dspy.errors import ProgramFailedError
from opro_dspy.filters import sentence, shown
from opro_dspy.records import Evaluation

logger = logging.getLogger(__name__)

ALIKE = 3
"""Candidates that must all fail alike before program or metric are taken for broken."""


def all_failed(evaluation: Evaluation) -> bool:
    """Tell whether the candidate failed on every example that it met, and met any."""
    return 0 < len(evaluation.scores) == len(evaluation.failures)


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


class Judge:
    """Judges the failures of a step's candidates, and tells of what it found.

    Args:
        max_errors: Failures at which a candidate is given up, for the error's text.
        failure_score: What a failed example scores.
    """

    def __init__(self, *, max_errors: int | None, failure_score: float) -> None:
        self._max_errors, self._failure_score = max_errors, failure_score
        self._warned = False

    def judge(
        self,
        new: Sequence[Evaluation],
        earlier: Sequence[Evaluation],
        *,
        first_errors: Mapping[str, Exception],
    ) -> list[Evaluation]:
        """Return `new` without the failing.

        Args:
            new: Evaluations of the step's candidates; where there are no earlier ones the first
                is the student, no candidate to give up lightly.
            earlier: Those of all before, oldest first.
            first_errors: Candidate key to the first failure.

        Raises:
            ProgramFailedError: If the student was given up in its race, or program or metric are
                `broken`.
        """
        spared = 0 if earlier else 1
        judged = without_the_failing(new[spared:], [*earlier, *new[:spared]])
        found = [*new[:spared], *judged]
        for before, after in zip(new, found, strict=True):
            if after.dropped != before.dropped:
                texts = " | ".join(after.candidate.texts.values())
                logger.warning(
                    "The instructions %s are %s of the trainset, where others did not fail.",
                    shown(texts[:100]),
                    after.dropped,
                )
        scored = [e for e in found if e.scores]
        student = bool(not earlier and scored and scored[0].dropped is not None)
        if student or broken(scored, earlier):
            who = f"instructions of the last {max(ALIKE, len(scored))} candidates"
            raise self.error(
                scored[0],
                "initial instruction" if student else who,
                set_name="training set",
                cause=first_errors.get(scored[0].candidate.key),
            )
        return found

    def error(
        self, evaluation: Evaluation, who: str, *, set_name: str, cause: BaseException | None
    ) -> ProgramFailedError:
        """Return the error that says that program or metric failed.

        Args:
            evaluation: Of a candidate that failed.
            who: Whose instructions they were.
            set_name: Where it failed.
            cause: Its first failure, if this session saw it.
        """
        errors = evaluation.failures
        first, n = min(errors), len(errors)
        found = evaluation.dropped or f"{n} errors in {n} examples"
        error = ProgramFailedError(
            f"the program or the metric failed on the {set_name} with the {who}: {found} "
            f"(`max_errors` is {self._max_errors}, and most may not fail). "
            f"First error, on example {first}: {sentence(errors[first])} "
            "Let program and metric cope with such examples, leave them out, or raise `max_errors`."
        )
        error.__cause__ = cause
        return error

    def watch(self, evaluations: Sequence[Evaluation]) -> None:
        """Warn, once, where a failure would beat an honest answer on any set."""
        honest = [s for e in evaluations for i, s in e.scores.items() if i not in e.failures]
        if not self._warned and honest and min(honest) < self._failure_score:
            self._warned = True
            logger.warning(
                "The metric gives scores below `failure_score` (%g, lowest %g): an example that "
                "fails would beat an honest answer. Set `failure_score` below the worst score.",
                self._failure_score,
                min(honest),
            )
