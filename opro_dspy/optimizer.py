"""OPRO's state machine: `ask` for candidates, `tell` their evaluations.

No clock, no disk, no network and no dspy in here: the optimizer LM sits behind the proposer's seat.
"""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from opro_dspy.errors import ConfigurationError, TellError
from opro_dspy.exemplars import random_choice
from opro_dspy.filters import ALREADY_SCORED, Filters, polish
from opro_dspy.fitting import fit
from opro_dspy.meta_prompt import TaggedMetaPrompt, shown_score
from opro_dspy.protocols import (
    ComponentSelector,
    ExemplarChoice,
    MetaPrompt,
    MetaPromptContext,
    ProposalRequest,
    Proposer,
    Schedule,
)
from opro_dspy.records import Candidate, Evaluation, Exemplar, Proposal, Query, ShownEntry, Step
from opro_dspy.schedules import clamp, constant
from opro_dspy.selectors import round_robin
from opro_dspy.stopping import num_empty_steps
from opro_dspy.trajectory import Entry, Estimator, Trajectory, plain_means

logger = logging.getLogger(__name__)

EMPTY_STEP_HEAT = 0.2
"""Added to the temperature for each step in a row that brought nothing new."""


class View(BaseModel):
    """What the meta-prompt shows of the trajectory and of the training examples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_entries: int = Field(default=20, ge=1)
    """Best instructions shown, worst first (paper: 20)."""
    score_buckets: int | None = Field(default=100, ge=1)
    """Scores in [0, 1] are shown as integers up to this number; None shows them raw."""
    score_threshold: float | None = None
    """Instructions scoring below are not shown; applied after the cut to `num_entries`."""
    num_exemplars: int = Field(default=3, ge=0)
    """Training examples shown (paper: 3)."""
    max_meta_prompt_tokens: int | None = Field(default=None, ge=1)
    """The meta-prompt's token budget; None is the optimizer LM's window where it is known."""


class Optimizer:
    """Ask for candidates, score them in any way, tell the result.

    Args:
        proposer: The optimizer LM's seat.
        initial: Starting candidates, at least one; they make up step 0. A plain text is a
            candidate with the single component "instruction".
        num_candidates: Samples of one meta-prompt per step, ≥ 1 (paper: 8).
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

    Raises:
        ConfigurationError: If `initial` is empty, holds duplicates only by name, or its candidates
            do not all have the same components.
    """

    def __init__(
        self,
        proposer: Proposer,
        *,
        initial: Sequence[Candidate | str],
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
    ) -> None:
        self.trajectory = Trajectory(estimator)
        self._proposer = proposer
        self._initial = _as_candidates(initial)
        self._components = tuple(self._initial[0].texts)
        self._num_candidates = num_candidates
        self._task = dict(task or {})
        self._exemplars = tuple(exemplars)
        self._meta_prompt = meta_prompt or TaggedMetaPrompt()
        self._exemplar_choice = exemplar_choice
        self._schedule = schedule or constant(1.0)
        self._selector = selector
        self._view = view or View()
        self._filters = filters or Filters()
        self._clean = clean
        self._instruction_position = instruction_position
        self._seed = seed
        self._pending: Step | None = None
        self._omission_logged = False

    def ask(self) -> Sequence[Candidate]:
        """Return the candidates to score next: step 0's are the initial ones.

        An empty sequence means that the step brought nothing new; tell it all the same.

        Raises:
            TellError: If the last ask was not told yet.
        """
        if self._pending is not None:
            raise TellError(
                f"step {self._pending.index} waits for its evaluations. Call tell() before ask()."
            )
        index = len(self.trajectory.steps)
        step = self._propose(index) if index else Step(index=0, candidates=self._initial)
        self._pending = step
        return step.candidates

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Add the evaluations of the last ask's candidates, in order, to the trajectory.

        Evaluations of earlier candidates that were measured further may follow.

        Raises:
            TellError: If they do not answer the last ask; nothing is changed then.
        """
        step = self._pending
        if step is None:
            raise TellError("there is nothing to tell. Call ask() first.")
        wanted = len(step.candidates)
        if len(evaluations) < wanted:
            raise TellError(
                f"step {step.index} expects {wanted} evaluations in the order of ask(), "
                f"got {len(evaluations)}."
            )
        for place, evaluation in enumerate(evaluations):
            known = evaluation.candidate in self.trajectory
            if place < wanted and evaluation.candidate != step.candidates[place]:
                raise TellError(
                    f"evaluation {place} of step {step.index} is of another candidate than ask() "
                    f"returned there: {evaluation.candidate.texts!r}."
                )
            if place >= wanted and not known:
                raise TellError(
                    f"evaluation {place} is of a candidate that was never asked for: "
                    f"{evaluation.candidate.texts!r}."
                )
            if not evaluation.scores:
                raise TellError(f"evaluation {place} of step {step.index} holds no score.")
        self.trajectory.append(step, evaluations)
        self._pending = None

    def temperature(self, step: int) -> float:
        """Return the temperature for `step`: the schedule's, raised after steps without news."""
        heat = EMPTY_STEP_HEAT * num_empty_steps(self.trajectory)
        return clamp(self._schedule(step, self.trajectory) + heat)

    def _propose(self, index: int) -> Step:
        components = tuple(self._selector(index, self._components, self.trajectory))
        base = self.trajectory.best.candidate
        temperature = self.temperature(index)
        queries = [self._query(index, name, base, temperature) for name in components]
        answers = self._proposer.propose(
            [
                ProposalRequest(
                    component=query.component,
                    meta_prompt=query.meta_prompt,
                    parse=self._meta_prompt.parse,
                    n=self._num_candidates,
                    temperature=temperature,
                    step=index,
                )
                for query in queries
            ]
        )
        candidates = {c.key: c for c in self._combination(components)}
        proposals = []
        for proposal in (p for answer in answers for p in answer):
            kept = self._judge(proposal, base, candidates)
            proposals.append(kept)
            if kept.text is not None:
                candidate = base.with_text(kept.component, kept.text)
                candidates[candidate.key] = candidate
        if not candidates:
            logger.warning(
                "Step %d brought no new candidate; the temperature rises for the next step.", index
            )
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
        reason = self._filters.reason_to_reject(text)
        if reason is None and (candidate in self.trajectory or candidate.key in candidates):
            reason = ALREADY_SCORED
        return replace(proposal, text=None if reason else text, rejected=reason)

    def _combination(self, components: Sequence[str]) -> list[Candidate]:
        """Return the last step's improvements of several components, put together.

        Each was measured by itself beside the last step's base; whether they go together is not
        known before the combination is scored.
        """
        last = self.trajectory.steps[-1]
        if len(components) < 2 or last.base is None:
            return []

        def score(candidate: Candidate) -> float:
            return self.trajectory.estimate(candidate).score

        combined = last.base
        for component in components:
            context = last.base.context_of(component)
            changed = [c for c in last.candidates if c.context_of(component) == context]
            best = max([last.base, *changed], key=score)
            combined = combined.with_text(component, best.texts[component])
        return [] if combined in self.trajectory else [combined]

    def _query(self, index: int, component: str, base: Candidate, temperature: float) -> Query:
        view = self.trajectory.view(
            component,
            base,
            top_k=self._view.num_entries,
            threshold=self._view.score_threshold,
        )
        chosen = self._choose_exemplars(index, view)
        context = MetaPromptContext(
            component=component,
            task=self._task.get(component, ""),
            entries=self._shown(view),
            exemplars=tuple(self._exemplars[i] for i in chosen),
            instruction_position=self._instruction_position,
        )
        buckets = self._view.score_buckets
        if buckets is not None and self.trajectory.in_unit_range():
            note = f"A score is an integer from 0 to {buckets}; higher is better."
            context = replace(context, score_note=note)
        fitted = fit(self._meta_prompt, context, max_tokens=self._view.max_meta_prompt_tokens)
        if (fitted.omitted_entries or fitted.omitted_exemplars) and not self._omission_logged:
            self._omission_logged = True
            logger.warning(
                "The meta-prompt of step %d would pass %s tokens: %d entries with the lowest "
                "scores and %d exemplars were left out. Later steps record theirs in the result.",
                index,
                self._view.max_meta_prompt_tokens,
                fitted.omitted_entries,
                fitted.omitted_exemplars,
            )
        return Query(
            component=component,
            meta_prompt=fitted.text,
            temperature=temperature,
            exemplars=chosen[: len(chosen) - fitted.omitted_exemplars],
            n_entries=fitted.n_entries,
            omitted_entries=fitted.omitted_entries,
            omitted_exemplars=fitted.omitted_exemplars,
        )

    def _shown(self, view: Sequence[Entry]) -> tuple[ShownEntry, ...]:
        unit_range = self.trajectory.in_unit_range()
        buckets = self._view.score_buckets
        return tuple(
            ShownEntry(
                text=entry.text,
                score=shown_score(entry.estimate.score, n_buckets=buckets, unit_range=unit_range),
                other_context=entry.other_context,
            )
            for entry in view
        )

    def _choose_exemplars(self, index: int, view: Sequence[Entry]) -> tuple[int, ...]:
        n = min(self._view.num_exemplars, len(self._exemplars))
        if n == 0:
            return ()
        return tuple(
            self._exemplar_choice(
                self.trajectory,
                shown=[entry.candidate.key for entry in view],
                n_examples=len(self._exemplars),
                n=n,
                rng=random.Random(f"{self._seed}:{index}:exemplars"),
            )
        )


def _as_candidates(initial: Sequence[Candidate | str]) -> tuple[Candidate, ...]:
    candidates = [Candidate({"instruction": c}) if isinstance(c, str) else c for c in initial]
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
