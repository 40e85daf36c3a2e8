"""The final choice: the best race, and the last of them and the student meet the whole set."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import fsum

import dspy

from opro_dspy.diagnostics import Diagnostic, cut_choice
from opro_dspy.errors import ProgramFailedError, RunError
from opro_dspy.evaluator import ProgramEvaluator
from opro_dspy.failing import all_failed
from opro_dspy.racing import Racing, estimates, rounds_of_choice
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
        racing: How the best of all steps race for those places; None takes the best as they are.
    """

    def __init__(
        self,
        student: Candidate,
        *,
        trainset: Sequence[dspy.Example],
        valset: Sequence[dspy.Example],
        num_finalists: int,
        racing: Racing | None,
    ) -> None:
        self._student = student
        self._trainset, self._valset = trainset, valset
        self._num_finalists, self._racing = num_finalists, racing
        self.selection: dict[str, Evaluation] = {}
        """Candidate key to its evaluation on the selection set."""
        self.completed: dict[str, Evaluation] = {}
        """Candidate key to its evaluation on the training set, the choice's scores among them."""
        self.given_up: dict[str, Evaluation] = {}
        """Candidate key to its evaluation on the selection set, of those given up there."""
        self.cut: Diagnostic | None = None
        """What a cap of the budget left undone, if one did."""

    @property
    def set_name(self) -> str:
        """The selection set: "valset" or "trainset"."""
        return "valset" if self._valset else "trainset"

    def best_so_far(self, trajectory: Trajectory) -> Candidate | None:
        """Return the best by the training estimates alone, when a run was cut short.

        The student stays unless that one also scored more by the plain mean: estimates from a few
        examples lie higher where nobody is right.
        """
        self.selection = {}
        if not len(trajectory):
            return None
        best = trajectory.best
        if self._student not in trajectory:
            return best.candidate
        student = trajectory.evaluation(self._student)
        stays = student.dropped is None and student.estimate.score >= best.estimate.score
        return self._student if stays else best.candidate

    def choose(self, trajectory: Trajectory, evaluator: ProgramEvaluator) -> Candidate:
        """Return the best on the selection set, of those that are not given up there.

        Where all are given up, it is the best by what is known of them on both sets; then
        nobody's score on the selection set is reported.

        Raises:
            ProgramFailedError: If all are, and none did anything but fail there, or there is none
                but the student.

        Source:
            OPRO (arXiv:2309.03409), section 5.2, evaluates the best few of a run on held-out data.
        """
        examples = self._valset or self._trainset
        known = {} if self._valset else {e.candidate.key: e for e in trajectory}
        finalists = self._finalists(trajectory, evaluator, known)
        if not self._valset:
            self.completed = known
        contenders = [self._student, *finalists]
        found = evaluator.complete(contenders, examples, known, set_name=self.set_name)
        self._note_given_up([*known.values(), *found], trajectory)
        given_up = found[0].dropped is not None
        if given_up and all(e.dropped is not None for e in found):
            known.update((e.candidate.key, e) for e in found)
            error = evaluator.failed(found[0], "initial instruction", set_name=self.set_name)
            return self._best_of_the_failing(trajectory, known, error)
        if evaluator.refused:  # whoever the budget left no time for does not compete
            whole = [e for e in found if len(e.scores) == len(examples)]
            self.cut = cut_choice(
                evaluator.refused,
                n_whole=len(whole),
                n=len(found),
                on=f"{len(examples)} examples of the {self.set_name}",
            )
            found = whole if given_up or found[0] in whole else found[:1]
        known.update((e.candidate.key, e) for e in found if e.scores)
        competing = [e for e in found if e.scores and e.dropped is None]
        if not competing or not (given_up or competing[0].candidate == self._student):
            return self._student
        self.selection = {e.candidate.key: e for e in competing}
        met = set.intersection(*(set(e.scores) for e in competing))
        return max(competing, key=lambda e: fsum(e.scores[i] for i in met)).candidate

    def _best_of_the_failing(
        self,
        trajectory: Trajectory,
        known: Mapping[str, Evaluation],
        error: ProgramFailedError,
    ) -> Candidate:
        others = [e.candidate for e in trajectory.ranked() if e.dropped is None]
        others = [candidate for candidate in others if candidate != self._student]
        if not others or all(map(all_failed, known.values())):
            raise error
        logger.warning(
            "Nobody could be compared on the whole %s, for all were given up there; the best by "
            "what is known comes back: %s",
            self.set_name,
            error,
        )
        return self._ranked([self._student, *others], trajectory, known)[0]

    def _note_given_up(self, found: Sequence[Evaluation], trajectory: Trajectory) -> None:
        """Keep who was given up on the selection set, and say where it was."""
        for e in found:
            before = e.candidate in trajectory and trajectory.evaluation(e.candidate).dropped
            if e.dropped is not None and not before:
                said = f"{e.dropped} of the {self.set_name}"
                self.given_up[e.candidate.key] = replace(e, dropped=said)

    def _finalists(
        self,
        trajectory: Trajectory,
        evaluator: ProgramEvaluator,
        known: dict[str, Evaluation],
    ) -> list[Candidate]:
        """Return who meets the whole selection set beside the student, the most promising first.

        The race for their places takes no more examples than the search did: on a large set it
        would else be the greater part of the run.

        Args:
            trajectory: All candidates.
            evaluator: Scores them on parts of the selection set.
            known: Candidate key to what it scored there; added to.
        """
        ranked = [e.candidate for e in trajectory.ranked() if e.dropped is None]
        pool = [candidate for candidate in ranked if candidate != self._student]
        if self._racing is None:
            return pool[: self._num_finalists]
        examples = self._valset or self._trainset
        places = self._places(pool, evaluator, known, n=len(examples))
        pool = pool[: self._racing.num_contenders]
        left = sum(len(e.scores) for e in trajectory)
        while len(pool) > places:
            spare = self._to_spare(pool[:places], evaluator, known, n=len(examples))
            rounds = rounds_of_choice(
                len(pool),
                n_finalists=places,
                n_examples=len(examples),
                budget=left if spare is None else min(left, spare),
            )
            if not rounds:
                break
            size, further = rounds[0]
            left -= (size - places) * further
            found = evaluator.complete(
                pool[:size], examples, known, set_name=self.set_name, further=further
            )
            known.update((e.candidate.key, e) for e in found if e.scores)
            if evaluator.refused:
                break
            running = [e.candidate for e in found if e.dropped is None]
            pool = self._ranked(running, trajectory, known)[: max(places, (size + 1) // 2)]
        return pool[:places]

    def _places(
        self,
        pool: Sequence[Candidate],
        evaluator: ProgramEvaluator,
        known: Mapping[str, Evaluation],
        *,
        n: int,
    ) -> int:
        """Return how many finalists the budget has room for: one at least."""
        spare = self._to_spare(pool[: self._num_finalists], evaluator, known, n=n)
        return 1 if spare is not None and spare < 0 else self._num_finalists

    def _to_spare(
        self,
        finalists: Sequence[Candidate],
        evaluator: ProgramEvaluator,
        known: Mapping[str, Evaluation],
        *,
        n: int,
    ) -> int | None:
        """Return the examples left once `finalists` and the student have met all `n`."""
        left = evaluator.examples_left
        if left is None:
            return None
        keys = [candidate.key for candidate in (self._student, *finalists)]
        return left - sum(n - len(known[key].scores) if key in known else n for key in keys)

    def _ranked(
        self, pool: Sequence[Candidate], trajectory: Trajectory, known: Mapping[str, Evaluation]
    ) -> list[Candidate]:
        """Return `pool`, the best first, by all that is known of all candidates on both sets."""
        n_train = len(self._trainset) if self._valset else 0
        n = n_train + len(self._valset or self._trainset)
        everything = []
        for e in trajectory:
            on_set = known[e.candidate.key].scores if e.candidate.key in known else {}
            before = e.scores if n_train else {}
            scores = {**before, **{n_train + i: score for i, score in on_set.items()}}
            everything.append(replace(e, scores=scores))
        found = estimates(everything, n_examples=n, among=range(n_train, n))
        worth = {e.candidate.key: x.score for e, x in zip(everything, found, strict=True)}
        return sorted(pool, key=lambda candidate: -worth[candidate.key])

    def meet_the_rest(
        self, best: Candidate, trajectory: Trajectory, evaluator: ProgramEvaluator
    ) -> None:
        """Let the chosen one meet all training examples, so that all its answers are kept.

        The choice stands whatever comes of it.
        """
        if not self._valset or best not in trajectory:
            return
        known = {best.key: trajectory.evaluation(best)}
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
