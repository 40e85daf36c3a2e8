"""OPRO's state machine: `ask` for candidates, `tell` their evaluations.

No clock, no disk, no network and no dspy in here: the optimizer LM sits behind the proposer's seat.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real

from opro_dspy.asking import Asker, View
from opro_dspy.errors import ConfigurationError, TellError
from opro_dspy.exemplars import random_choice
from opro_dspy.filters import ALREADY_SCORED, Filters, polish
from opro_dspy.meta_prompt import TaggedMetaPrompt
from opro_dspy.protocols import ComponentSelector, ExemplarChoice, MetaPrompt, Proposer, Schedule
from opro_dspy.records import Candidate, Evaluation, Exemplar, Proposal, Step
from opro_dspy.schedules import clamp, constant, temperature_at
from opro_dspy.selectors import round_robin, selected, share
from opro_dspy.stopping import num_empty_steps
from opro_dspy.trajectory import Estimator, Trajectory, plain_means

__all__ = ["Optimizer", "View"]

logger = logging.getLogger(__name__)

EMPTY_STEP_HEAT = 0.2
"""Added to the temperature for each step in a row that brought nothing new."""


class Optimizer:
    """Ask for candidates, score them in any way, tell the result.

    Args:
        proposer: The optimizer LM's seat.
        initial: Starting candidates, one or several; they make up step 0. A plain text is a
            candidate with the single component "instruction".
        num_candidates: Samples per step, ≥ 1 (paper: 8), shared out among the components that it
            optimizes: at least one for each.
        task: Component name to a description of the task and program for the meta-prompt.
        exemplars: Training examples as the meta-prompt may show them.
        meta_prompt: How the meta-prompt is written and its answer read.
        exemplar_choice: Which exemplars a step shows.
        schedule: The sampling temperature by step.
        selector: Which components a step optimizes.
        view: What of the trajectory is shown.
        filters: Which proposals are refused.
        clean: Normalises a proposed text before it is filtered and compared.
        instruction_position: Where the program renders the instruction.
        estimator: How evaluations become comparable estimates.
        seed: Seeds the choice of exemplars.
        shown: Turns a score into the number that the meta-prompt shows.

    Raises:
        ConfigurationError: If `initial` is empty or of mixed components, or `num_candidates` < 1.
    """

    def __init__(
        self,
        proposer: Proposer,
        *,
        initial: Sequence[Candidate | str] | Candidate,
        num_candidates: int = 8,
        task: Mapping[str, str] | None = None,
        exemplars: Sequence[Exemplar] = (),
        meta_prompt: MetaPrompt | None = None,
        exemplar_choice: ExemplarChoice = random_choice,
        schedule: Schedule | None = None,
        selector: ComponentSelector = round_robin,
        view: View | None = None,
        filters: Filters | None = None,
        clean: Callable[[str], str] = polish,
        instruction_position: str = "Q_begin",
        estimator: Estimator = plain_means,
        seed: int = 0,
        shown: Callable[[float], float] = float,
    ) -> None:
        self.trajectory = Trajectory(estimator)
        self._proposer = proposer
        self._initial = _as_candidates(initial)
        self._components = tuple(self._initial[0].texts)
        self._num_candidates = _at_least_one(num_candidates)
        self._asker = Asker(
            meta_prompt or TaggedMetaPrompt(),
            task=task or {},
            exemplars=exemplars,
            exemplar_choice=exemplar_choice,
            view=view or View(),
            instruction_position=instruction_position,
            seed=seed,
            shown=shown,
        )
        self._schedule = schedule or constant(1.0)
        self._selector = selector
        self._reason_to_reject = (filters or Filters()).guarding(
            [(*e.inputs.values(), *e.outputs.values()) for e in exemplars],
            [text for candidate in self._initial for text in candidate.texts.values()],
        )
        self._clean = clean
        self.pending: Step | None = None
        """The step that was asked for and is not told yet."""
        self._told_clamp = False

    def ask(self) -> Sequence[Candidate]:
        """Return the candidates to score next: step 0's are the initial ones.

        An empty sequence means that the step brought nothing new; tell it all the same.

        Raises:
            TellError: If the last ask was not told yet, or nothing told so far holds a score.
            ConfigurationError: If a seat does not keep its contract (see `protocols`); names the
                seat, the step and what came from it.
        """
        if self.pending is not None:
            raise TellError(
                f"step {self.pending.index} waits for its evaluations. Call tell() before ask()."
            )
        index = len(self.trajectory.steps)
        if index and not len(self.trajectory):
            raise TellError(
                "no candidate was scored so far, so there is nothing to propose from. "
                "Tell at least one evaluation with scores."
            )
        step = self._propose(index) if index else Step(index=0, candidates=self._initial)
        self.pending = step
        return step.candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Add the evaluations of the last ask's candidates, in order, to the trajectory.

        Evaluations of earlier candidates that were measured further may follow. An evaluation
        without scores says that its candidate was not scored, e.g. because a budget ended: the
        candidate stays in the step, and may be proposed again.

        Raises:
            TellError: If they do not answer the last ask; nothing is changed then.
        """
        step = self.pending
        if step is None:
            raise TellError("there is nothing to tell. Call ask() first.")
        wanted = len(step.candidates)
        if len(evaluations) < wanted:
            raise TellError(
                f"step {step.index} expects {wanted} evaluations in the order of ask(), "
                f"got {len(evaluations)}."
            )
        for place, evaluation in enumerate(evaluations):
            self._check(step, place, evaluation)
        self.trajectory.append(step, evaluations)
        self.pending = None

    def temperature(self, step: int) -> float:
        """Return the temperature for `step`: the schedule's, raised after steps without news.

        Raises:
            ConfigurationError: If the schedule raises or returns no temperature.
        """
        asked = temperature_at(self._schedule, step, self.trajectory)
        if asked != clamp(asked) and not self._told_clamp:
            self._told_clamp = True
            logger.warning(
                "The temperature schedule returned %s at step %d: %s is used. A temperature lies "
                "in [0, 2].",
                asked,
                step,
                clamp(asked),
            )
        return clamp(clamp(asked) + EMPTY_STEP_HEAT * num_empty_steps(self.trajectory))

    def _check(self, step: Step, place: int, evaluation: Evaluation) -> None:
        """Raise TellError if an evaluation told for `step` does not belong there."""
        wanted, texts = len(step.candidates), evaluation.candidate.texts
        if place < wanted and evaluation.candidate != step.candidates[place]:
            raise TellError(
                f"evaluation {place} of step {step.index} is of another candidate than ask() "
                f"returned there: {texts!r}."
            )
        if place >= wanted and evaluation.candidate not in self.trajectory:
            raise TellError(
                f"evaluation {place} is of a candidate that was never asked for: {texts!r}."
            )
        for example, score in evaluation.scores.items():
            if not isinstance(score, Real) or not math.isfinite(score):
                raise TellError(
                    f"evaluation {place} of step {step.index} holds {score!r} as the score of "
                    f"example {example}. A score must be a finite number."
                )

    def _propose(self, index: int) -> Step:
        components = selected(self._selector, index, self._components, self.trajectory)
        base = self.trajectory.best.candidate
        temperature = self.temperature(index)
        queries = [
            self._asker.query(
                self.trajectory, step=index, component=name, base=base, temperature=temperature
            )
            for name in components
        ]
        n = share(self._num_candidates, len(components))
        answers = self._proposer.propose(
            [self._asker.request(query, step=index, n=n) for query in queries]
        )
        combined = self.trajectory.combination(components)
        candidates = {} if combined is None else {combined.key: combined}
        proposals = []
        for proposal in (p for answer in answers for p in answer):
            kept = self._judge(proposal, base, candidates)
            proposals.append(kept)
            if kept.text is not None:
                candidate = base.with_text(kept.component, kept.text)
                candidates[candidate.key] = candidate
        if not candidates:
            why = "the temperature rises for the next step"
            if proposals and all(p.raw is None for p in proposals):
                why = f"no answer came ({proposals[0].rejected})"
            logger.warning("Step %d brought no new candidate: %s.", index, why)
        return Step(
            index=index,
            base=base,
            queries=tuple(queries),
            proposals=tuple(proposals),
            candidates=tuple(candidates.values()),
        )

    def _judge(
        self, proposal: Proposal, base: Candidate, candidates: Mapping[str, Candidate]
    ) -> Proposal:
        if proposal.text is None:
            return proposal
        text = self._clean(proposal.text)
        candidate = base.with_text(proposal.component, text)
        reason = self._reason_to_reject(text)
        if reason is None and (candidate in self.trajectory or candidate.key in candidates):
            reason = ALREADY_SCORED
        return replace(proposal, text=None if reason else text, rejected=reason)


def _at_least_one(num_candidates: int) -> int:
    if not isinstance(num_candidates, int) or num_candidates < 1:
        raise ConfigurationError(f"`num_candidates` must be at least 1, got {num_candidates!r}.")
    return num_candidates


def _as_candidates(initial: Sequence[Candidate | str] | Candidate) -> tuple[Candidate, ...]:
    given = [initial] if isinstance(initial, (str, Candidate)) else initial
    candidates = [Candidate({"instruction": c}) if isinstance(c, str) else c for c in given]
    if not candidates:
        raise ConfigurationError("`initial` must hold at least one candidate, got none.")
    components = set(candidates[0].texts)
    for candidate in candidates:
        if set(candidate.texts) != components or not components:
            raise ConfigurationError(
                f"all initial candidates must have the same components {sorted(components)}, "
                f"got one with {sorted(candidate.texts)}."
            )
    return tuple({candidate.key: candidate for candidate in candidates}.values())
