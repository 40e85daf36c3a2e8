"""What a step asks of the optimizer LM: its meta-prompts, and how to read the answers."""

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from pydantic import Field

from opro_dspy.exemplars import chosen, feedback_by_example, with_feedback
from opro_dspy.fitting import Fitted, fit
from opro_dspy.meta_prompt import shown_score
from opro_dspy.options import Options
from opro_dspy.protocols import ExemplarChoice, MetaPrompt, MetaPromptContext, ProposalRequest
from opro_dspy.records import Candidate, Exemplar, Query, ShownEntry
from opro_dspy.seats import called, name_of, wrong
from opro_dspy.trajectory import Entry, Trajectory

logger = logging.getLogger(__name__)


class View(Options):
    """What the meta-prompt shows of the trajectory and of the training examples."""

    num_entries: int = Field(default=20, ge=1)
    """Best instructions shown, worst first (paper: 20)."""
    score_buckets: int | None = Field(default=100, ge=1)
    """Scores in [0, 1] are shown as integers up to this number; None shows them raw."""
    score_decimals: int | None = Field(default=None, ge=0, le=12)
    """Decimals of scores that are shown raw; None gives four significant digits."""
    show_scores: bool = True
    """False shows instructions without their scores (the paper's ablation)."""
    order: Literal["ascending", "descending", "random"] = "ascending"
    """How the shown instructions are sorted; the best stand last in the paper."""
    score_threshold: float | None = None
    """Instructions scoring below are not shown, but for the best one; applied after the cut to
    `num_entries`."""
    num_exemplars: int = Field(default=3, ge=0)
    """Training examples shown (paper: 3)."""
    max_meta_prompt_tokens: int | None = Field(default=None, ge=1)
    """The meta-prompt's token budget; None is the optimizer LM's window where it is known."""


class Asker:
    """Puts a step's meta-prompts together.

    Args:
        meta_prompt: How the meta-prompt is written and its answer read.
        task: Component name to a description of the task and program.
        exemplars: Training examples as the meta-prompt may show them.
        exemplar_choice: Which exemplars a step shows.
        view: What of the trajectory is shown.
        instruction_position: Where the program renders the instruction.
        seed: Seeds the choice of exemplars.
        shown: Turns a score into the number that is shown.
    """

    def __init__(
        self,
        meta_prompt: MetaPrompt,
        *,
        task: Mapping[str, str],
        exemplars: Sequence[Exemplar],
        exemplar_choice: ExemplarChoice,
        view: View,
        instruction_position: str,
        seed: int,
        shown: Callable[[float], float] = float,
    ) -> None:
        self._meta_prompt = meta_prompt
        self._task = dict(task)
        self._exemplars = tuple(exemplars)
        self._exemplar_choice = exemplar_choice
        self._view = view
        self._instruction_position = instruction_position
        self._seed = seed
        self._shown = shown
        self._told_omission = self._told_overflow = False

    def query(
        self,
        trajectory: Trajectory,
        *,
        step: int,
        component: str,
        base: Candidate,
        temperature: float,
    ) -> Query:
        """Return the meta-prompt that asks for texts of `component` beside those of `base`.

        Raises:
            ConfigurationError: If exemplar choice or meta-prompt do not keep their contracts.
        """
        view = trajectory.view(
            component,
            base,
            top_k=self._view.num_entries,
            threshold=self._view.score_threshold,
        )
        exemplars = self._choose_exemplars(trajectory, view, step)
        context = self._context(trajectory, view, component, exemplars)
        limit = self._view.max_meta_prompt_tokens
        shown = _Checked(self._meta_prompt, step, arrange=partial(self._arranged, step=step))
        fitted = fit(shown, context, max_tokens=limit)
        self._tell_of_size(fitted, step)
        return Query(
            component=component,
            meta_prompt=fitted.text,
            temperature=temperature,
            exemplars=exemplars[: len(exemplars) - fitted.omitted_exemplars],
            n_entries=fitted.n_entries,
            omitted_entries=fitted.omitted_entries,
            omitted_exemplars=fitted.omitted_exemplars,
        )

    def request(self, query: Query, *, step: int, n: int) -> ProposalRequest:
        """Return what the proposer needs to know to sample `query` `n` times."""
        return ProposalRequest(
            component=query.component,
            meta_prompt=query.meta_prompt,
            parse=_Checked(self._meta_prompt, step).parse,
            n=n,
            temperature=query.temperature,
            step=step,
        )

    def _context(
        self,
        trajectory: Trajectory,
        view: Sequence[Entry],
        component: str,
        exemplars: Sequence[int],
    ) -> MetaPromptContext:
        unit_range, buckets = trajectory.in_unit_range(), self._view.score_buckets
        said: dict[int, str] = {}
        if self._exemplar_choice is with_feedback:
            said = feedback_by_example(trajectory, [entry.candidate.key for entry in view])

        def shown(score: float) -> str:
            if not self._view.show_scores:
                return ""
            return shown_score(
                self._shown(score),
                n_buckets=buckets,
                unit_range=unit_range,
                decimals=self._view.score_decimals,
            )

        context = MetaPromptContext(
            component=component,
            task=self._task.get(component, ""),
            entries=tuple(
                ShownEntry(
                    text=e.text,
                    score=shown(e.estimate.score),
                    other_context=e.other_context,
                )
                for e in view
            ),
            exemplars=tuple(
                replace(self._exemplars[i], feedback=said.get(i, "")) for i in exemplars
            ),
            instruction_position=self._instruction_position,
        )
        if buckets is None or not unit_range:
            return context
        note = f"A score is an integer from 0 to {buckets}; higher is better."
        return replace(context, score_note=note)

    def _arranged(self, context: MetaPromptContext, *, step: int) -> MetaPromptContext:
        """Return `context` with its entries, worst first, in the order to be shown."""
        order, entries = self._view.order, list(context.entries)
        if order == "ascending":
            return context
        if order == "descending":
            entries.reverse()
        else:
            random.Random(f"{self._seed}:{step}:order").shuffle(entries)
        return replace(context, entries=tuple(entries), order=order)

    def _choose_exemplars(
        self, trajectory: Trajectory, view: Sequence[Entry], step: int
    ) -> tuple[int, ...]:
        n = min(self._view.num_exemplars, len(self._exemplars))
        if n == 0:
            return ()
        return chosen(
            self._exemplar_choice,
            step,
            trajectory,
            shown=[entry.candidate.key for entry in view],
            n_examples=len(self._exemplars),
            n=n,
            rng=random.Random(f"{self._seed}:{step}:exemplars"),
        )

    def _tell_of_size(self, fitted: Fitted, step: int) -> None:
        """Warn once of what is left out, and once of what is too long all the same."""
        limit = self._view.max_meta_prompt_tokens
        if (fitted.omitted_entries or fitted.omitted_exemplars) and not self._told_omission:
            self._told_omission = True
            logger.warning(
                "The meta-prompt of step %d would pass %s tokens: %d entries with the lowest "
                "scores and %d exemplars were left out. Later steps record theirs in the result.",
                step,
                limit,
                fitted.omitted_entries,
                fitted.omitted_exemplars,
            )
        if limit is not None and fitted.n_tokens > limit and not self._told_overflow:
            self._told_overflow = True
            logger.warning(
                "The meta-prompt of step %d still has about %d tokens, more than its %d: the "
                "task, the best instruction and the request always stay. Raise "
                "`max_meta_prompt_tokens`, or take an optimizer LM with a larger window.",
                step,
                fitted.n_tokens,
                limit,
            )


class _Checked:
    """A meta-prompt that is held to its contract."""

    def __init__(
        self,
        meta_prompt: MetaPrompt,
        step: int,
        *,
        arrange: Callable[[MetaPromptContext], MetaPromptContext] = lambda context: context,
    ) -> None:
        self._meta_prompt = meta_prompt
        self._arrange = arrange
        self._step = step
        self._seat = f"meta_prompt {name_of(meta_prompt)}"

    def render(self, context: MetaPromptContext) -> str:
        seat = f"{self._seat}.render"
        arranged = self._arrange(context)
        text: object = called(seat, self._step, lambda: self._meta_prompt.render(arranged))
        if not isinstance(text, str):
            raise wrong(seat, self._step, text, "a text")
        return text

    def parse(self, answer: str) -> str | None:
        seat = f"{self._seat}.parse"
        text: object = called(seat, self._step, lambda: self._meta_prompt.parse(answer))
        if text is not None and not isinstance(text, str):
            raise wrong(seat, self._step, text, "the proposed text, or None when there is none")
        return text
