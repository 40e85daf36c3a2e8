"""The trajectory: every evaluation so far, ranked, and the view of it for a meta-prompt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from opro_dspy.credit import Text, effects
from opro_dspy.records import Candidate, Estimate, Evaluation, Step

Estimator = Callable[[Sequence[Evaluation]], Sequence[Estimate]]
"""Estimates for evaluations, in their order; sees them all, so that it may compare them."""


def plain_means(evaluations: Sequence[Evaluation]) -> list[Estimate]:
    """Estimate each evaluation by its plain mean (OPRO, section 4.2: the training accuracy)."""
    return [evaluation.estimate for evaluation in evaluations]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the trajectory as one component sees it."""

    text: str
    candidate: Candidate
    """The candidate whose score is shown for `text`."""
    estimate: Estimate
    """What is known of `candidate`; in another context, adjusted to that of the base."""
    other_context: bool
    """True when measured beside other texts than the base's."""
    dropped: bool = False
    """Whether the candidate was dropped."""

    @property
    def worth(self) -> tuple[bool, float]:
        """What ranks the entry, higher is better; see `Trajectory.worth`."""
        return not self.dropped, self.estimate.score


class Trajectory:
    """All steps and evaluations of a run, oldest first.

    Args:
        estimator: How evaluations become comparable estimates; plain means by default.
    """

    def __init__(self, estimator: Estimator = plain_means) -> None:
        self._estimator = estimator
        self._steps: list[Step] = []
        self._evaluations: dict[str, Evaluation] = {}
        self._estimates: dict[str, Estimate] = {}
        self._best_by_step: list[Estimate | None] = []
        self._effects: dict[Text, float] | None = None

    @property
    def steps(self) -> Sequence[Step]:
        """The steps that were told, oldest first; step 0 holds the initial instructions."""
        return tuple(self._steps)

    @property
    def evaluations(self) -> Sequence[Evaluation]:
        """All evaluations in the order their candidates were first told."""
        return tuple(self._evaluations.values())

    def __len__(self) -> int:
        return len(self._evaluations)

    def __iter__(self) -> Iterator[Evaluation]:
        return iter(self._evaluations.values())

    def __contains__(self, candidate: Candidate) -> bool:
        return candidate.key in self._evaluations

    def estimate(self, candidate: Candidate) -> Estimate:
        """Return what is known of `candidate`; KeyError if it was never told."""
        return self._estimates[candidate.key]

    def evaluation(self, candidate: Candidate) -> Evaluation:
        """Return the evaluation of `candidate`; KeyError if it was never told."""
        return self._evaluations[candidate.key]

    def append(self, step: Step, evaluations: Sequence[Evaluation]) -> None:
        """Add a step with its evaluations; an evaluation told again replaces the older one.

        An evaluation without scores says that its candidate was not scored: the candidate stays
        in the step, but is not known here, and may be proposed again.
        """
        told = {e.candidate.key: e for e in evaluations if e.scores}
        everything = {**self._evaluations, **told}
        estimates = self._estimator(tuple(everything.values()))
        self._evaluations = everything
        self._estimates = dict(zip(everything, estimates, strict=True))
        self._effects = None
        self._steps.append(step)
        best = self.best if everything else None
        known = best is not None and best.dropped is None
        self._best_by_step.append(self.estimate(best.candidate) if best and known else None)

    def worth(self, candidate: Candidate) -> tuple[bool, float]:
        """Return what ranks `candidate`, higher is better; KeyError if it was never told.

        A dropped one ranks below all others: its failure score says nothing, and is a high one
        where the metric goes below 0.
        """
        return self.evaluation(candidate).dropped is None, self.estimate(candidate).score

    def ranked(self) -> list[Evaluation]:
        """Return all evaluations, best first; ties keep the order in which they were told."""
        return sorted(self, key=lambda e: self.worth(e.candidate), reverse=True)

    @property
    def best(self) -> Evaluation:
        """The evaluation that ranks highest; the oldest of them on a tie.

        Raises:
            ValueError: If nothing was told yet.
        """
        return max(self, key=lambda e: self.worth(e.candidate))

    def best_after(self, step: int) -> Estimate | None:
        """Return the best estimate as it stood after `step`; None if all were dropped by then."""
        return self._best_by_step[step]

    def in_unit_range(self) -> bool:
        """Tell whether every score ever seen lies in [0, 1]."""
        return all(0.0 <= score <= 1.0 for e in self for score in e.scores.values())

    def perfect_score(self) -> float:
        """Return the score from which an example counts as right: 1.0, or the highest ever seen."""
        if self.in_unit_range():
            return 1.0
        return max(score for e in self for score in e.scores.values())

    def view(
        self, component: str, base: Candidate, *, top_k: int, threshold: float | None = None
    ) -> list[Entry]:
        """Return the best `top_k` texts of `component`, worst first, so that the best stand last.

        A text measured several times is shown as measured beside the texts of `base`, or else
        where it is known best: with what the texts of `base` add more than those that it was
        measured with (`credit.effects`), and then marked. Ties keep the order in which they were
        told. Dropped ones come first, with no higher score than the lowest of the others.

        Args:
            component: The component whose texts are shown.
            base: The candidate that says which texts the other components have now.
            top_k: Entries at most, at least 1.
            threshold: Entries below this score are left out after the cut to `top_k`; the best
                one always stays.

        Source:
            OPRO (arXiv:2309.03409), section 4.2, "optimization trajectory"; the threshold as in
            the reference code.
        """
        context, entries = base.context_of(component), dict[str, Entry]()
        scores = [estimate.score for estimate in self._estimates.values()]
        span = min(scores, default=0.0), max(scores, default=0.0)
        for evaluation in self.ranked():
            entry = self._entry(evaluation, component, context, span=span)
            known = entries.get(entry.text)
            if known is None or _closer(entry) > _closer(known):
                entries[entry.text] = entry
        ranked = sorted(entries.values(), key=lambda entry: entry.worth, reverse=True)
        view = _falling(ranked[:top_k])
        least = float("-inf") if threshold is None else threshold
        return [e for e in reversed(view) if e is view[0] or e.estimate.score >= least]

    def _entry(
        self,
        evaluation: Evaluation,
        component: str,
        here: Mapping[str, str],
        *,
        span: tuple[float, float],
    ) -> Entry:
        """Return what `evaluation` says of its text of `component` beside the texts `here`.

        An adjusted score stays in `span`, the range of all that were estimated.
        """
        candidate, estimate = evaluation.candidate, self.estimate(evaluation.candidate)
        there = candidate.context_of(component)
        dropped = evaluation.dropped is not None
        if here != there and not dropped:
            added = self._added()
            better = sum(added.get(t, 0.0) for t in here.items()) - sum(
                added.get(t, 0.0) for t in there.items()
            )
            low, high = span
            estimate = replace(estimate, score=min(high, max(low, estimate.score + better)))
        return Entry(
            text=candidate.texts[component],
            candidate=candidate,
            estimate=estimate,
            other_context=here != there,
            dropped=dropped,
        )

    def _added(self) -> dict[Text, float]:
        """Return what each text adds to a score; dropped candidates say nothing of it."""
        if self._effects is None:
            sound = [e.candidate for e in self if e.dropped is None]
            self._effects = effects([c.texts for c in sound], [self.estimate(c) for c in sound])
        return self._effects

    def combination(self, components: Sequence[str]) -> Candidate | None:
        """Return the last step's improvements of `components`, put together, if that is new.

        Each was measured by itself beside the step's base; whether they go together is not known
        before the combination is scored. None for a single component, or before step 1.
        """
        last = self._steps[-1]
        if len(components) < 2 or last.base is None:
            return None
        combined = last.base
        for component in components:
            context = last.base.context_of(component)
            scored = (c for c in last.candidates if c in self)
            changed = [c for c in scored if c.context_of(component) == context]
            best = max([last.base, *changed], key=self.worth)
            combined = combined.with_text(component, best.texts[component])
        return None if combined in self else combined


def _closer(entry: Entry) -> tuple[bool, bool, float]:
    """Return what decides between two measurements of one text, higher is better."""
    return not entry.other_context, not entry.dropped, -entry.estimate.stderr


def _falling(ranked: Sequence[Entry]) -> list[Entry]:
    """Return `ranked` with no score above one before it, as a dropped entry's could be."""
    scores = accumulate((entry.estimate.score for entry in ranked), min)
    return [
        replace(entry, estimate=replace(entry.estimate, score=score))
        for entry, score in zip(ranked, scores, strict=True)
    ]
