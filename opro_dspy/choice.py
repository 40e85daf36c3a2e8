"""The final choice: the best few and the student meet the whole selection set."""

import logging
from collections.abc import Sequence
from math import fsum

import dspy

from opro_dspy.errors import ProgramFailedError, RunError
from opro_dspy.evaluator import ProgramEvaluator
from opro_dspy.racing import Racing
from opro_dspy.records import Candidate, Evaluation
from opro_dspy.trajectory import Trajectory

logger = logging.getLogger(__name__)


class Choice:
    """Chooses what is returned, and keeps what that was based on.

    Args:
        student: The student's own instructions, which always compete and win ties.
        trainset: The selection set where there is no other.
        valset: The selection set if not empty.
        num_finalists: Candidates that meet it beside the student.
    """

    def __init__(
        self,
        student: Candidate,
        *,
        trainset: Sequence[dspy.Example],
        valset: Sequence[dspy.Example],
        num_finalists: int,
    ) -> None:
        self._student = student
        self._trainset, self._valset = trainset, valset
        self._num_finalists = num_finalists
        self.selection: dict[str, Evaluation] = {}
        """Candidate key to its evaluation on the selection set."""
        self.completed: dict[str, Evaluation] = {}
        """Candidate key to its evaluation on the whole training set, if that is the set."""

    @property
    def set_name(self) -> str:
        """The selection set: "valset" or "trainset"."""
        return "valset" if self._valset else "trainset"

    def n_needed(self, racing: Racing | None) -> int:
        """Return how many examples the choice has to score as a rule, at most."""
        n = len(self._valset or self._trainset)
        if self._valset:
            return (1 + self._num_finalists) * n
        if racing is None:  # everybody has met the training set
            return 0
        student = n - min(n, racing.start)
        return student + self._num_finalists * (n - min(n, racing.rungs[-1]))

    def best_so_far(self, trajectory: Trajectory) -> Candidate | None:
        """Return the best by the training estimates alone, when a run was cut short."""
        self.selection = {}
        return trajectory.best.candidate if len(trajectory) else None

    def choose(self, trajectory: Trajectory, evaluator: ProgramEvaluator) -> Candidate:
        """Return the best on the selection set.

        Raises:
            ProgramFailedError: If the student fails there on `max_errors` examples.

        Source:
            OPRO (arXiv:2309.03409), section 5.2, evaluates the best few of a run on held-out data.
        """
        if self._student not in trajectory:  # a budget that ended before the first score
            return self._student
        contenders = self._contenders(trajectory)
        examples = self._valset or self._trainset
        known = [] if self._valset else [trajectory.evaluation(c) for c in contenders]
        found = evaluator.complete(contenders, examples, known, set_name=self.set_name)
        if found[0].dropped:
            raise ProgramFailedError(
                f"the student failed on the {self.set_name}: {found[0].dropped}."
            )
        if evaluator.refused:  # whoever the budget left no time for does not compete
            found = [e for e in found if len(e.scores) == len(examples)]
            if not found or found[0].candidate != self._student:
                return self._student
        self.selection = {e.candidate.key: e for e in found}
        if not self._valset:
            self.completed = self.selection
        met = set.intersection(*(set(e.scores) for e in found))
        competing = (e for e in found if e.dropped is None)
        return max(competing, key=lambda e: fsum(e.scores[i] for i in met)).candidate

    def meet_the_rest(
        self, best: Candidate, trajectory: Trajectory, evaluator: ProgramEvaluator
    ) -> None:
        """Let the chosen one meet all training examples, so that all its answers are kept.

        The choice stands whatever comes of it.
        """
        if not self._valset or best not in trajectory:
            return
        known = [trajectory.evaluation(best)]
        try:
            (found,) = evaluator.complete([best], self._trainset, known, set_name="trainset")
        except (RunError, KeyboardInterrupt) as error:
            evaluator.unfinished = ()
            logger.warning(
                "The chosen program did not meet all training examples: %s: %s",
                type(error).__name__,
                error,
            )
            return
        if found.dropped is None:
            self.completed = {best.key: found}

    def _contenders(self, trajectory: Trajectory) -> list[Candidate]:
        ranked = [e.candidate for e in trajectory.ranked() if e.dropped is None]
        finalists = ranked[: self._num_finalists]
        return [self._student, *(c for c in finalists if c != self._student)]
