"""What a study runs on: a program, its examples, a metric and the LMs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError
from opro_dspy.interrupt import Interrupt
from opro_dspy.loop import INTERRUPTED
from opro_dspy.program import Program
from opro_dspy.records import Candidate
from opro_dspy.result import OPROResult
from opro_dspy.simulation import (
    exact_match,
    landscape,
    make_examples,
    optimizer_lm,
    scorer_lm,
)
from opro_dspy.teleprompter import OPRO


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A task and the LMs that work on it."""

    name: str
    program: dspy.Module
    trainset: Sequence[dspy.Example]
    valset: Sequence[dspy.Example]
    """Examples that the search never sees; the scores of a study are measured on them."""
    metric: Callable[..., Any]
    prompt_model: dspy.LM
    """The optimizer LM."""
    task_model: dspy.LM
    """The scorer LM."""
    simulated: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of `OPRO`, for every run."""

    def starting_from(self, instructions: str | Mapping[str, str]) -> Subject:
        """Return the subject with a program that starts from a text, or one for each predictor."""
        program = Program(self.program)
        texts = dict(instructions) if isinstance(instructions, Mapping) else {}
        if isinstance(instructions, str):
            texts = dict.fromkeys(program.predictors, instructions)
        return replace(self, program=program.compiled(program.normalize(Candidate(texts))))

    def run(self, *, seed: int, **settings: Any) -> OPROResult:
        """Compile the program and return what was found; one finalist meets the `valset`.

        Raises:
            KeyboardInterrupt: If Ctrl-C was pressed, whatever the run made of it.
        """
        everything = {"num_finalists": 1, "verbose": False, **self.settings, **settings}
        optimizer = OPRO(
            metric=self.metric,
            prompt_model=self.prompt_model,
            task_model=self.task_model,
            seed=seed,
            **everything,
        )
        interrupt, context = Interrupt.prevailing(), copy_context()
        context.run(interrupt.prevail)
        compiled = context.run(
            partial(optimizer.compile, self.program, trainset=self.trainset, valset=self.valset)
        )
        result: OPROResult = compiled.detailed_results
        if interrupt.pressed or result.stop_reason == INTERRUPTED:
            raise KeyboardInterrupt  # half a run measures nothing that others could be held against
        return result


SubjectOf = Callable[[int], Subject]
"""Makes the subject for a seed; for LMs that are not simulated mostly the same one."""


def simulated_subject(
    task: str = "arithmetic",
    land: str = "many_small_effects",
    *,
    n_train: int = 50,
    n_val: int = 100,
) -> SubjectOf:
    """Return subjects on simulated LMs, with other questions and another landscape for each seed.

    Args:
        task: One of `simulation.TASK_NAMES`.
        land: One of `simulation.LANDSCAPE_NAMES`.
        n_train: Training examples.
        n_val: Examples that scores are measured on.
    """

    def subject(seed: int) -> Subject:
        examples = make_examples(task, n=n_train + n_val, seed=seed)
        return Subject(
            name=f"{task} on {land} (simulated LMs)",
            program=dspy.Predict("question -> answer"),
            trainset=examples[:n_train],
            valset=examples[n_train:],
            metric=exact_match,
            prompt_model=optimizer_lm(seed=seed, cache=False),
            task_model=scorer_lm(
                answer_key=examples, landscape=landscape(land, seed=seed), cache=False
            ),
            simulated=True,
            settings={"cache_dir": None},
        )

    return subject


def real_subject(
    examples: Sequence[dspy.Example],
    *,
    name: str,
    prompt_model: dspy.LM,
    task_model: dspy.LM | None = None,
    program: dspy.Module | None = None,
    metric: Callable[..., Any] = exact_match,
) -> SubjectOf:
    """Return the subject of your own LM and examples, the same for every seed.

    Args:
        examples: A third is for training, the rest for measuring.
        name: What to call it.
        prompt_model: The optimizer LM.
        task_model: The scorer LM; `prompt_model` if not given.
        program: `dspy.Predict("question -> answer")` if not given.
        metric: Of (example, prediction), higher is better.

    Raises:
        ConfigurationError: If there are fewer than three examples.
    """
    if len(examples) < 3:
        raise ConfigurationError(f"a study needs at least 3 examples, got {len(examples)}.")
    third = len(examples) // 3
    subject = Subject(
        name=name,
        program=program or dspy.Predict("question -> answer"),
        trainset=list(examples[:third]),
        valset=list(examples[third:]),
        metric=metric,
        prompt_model=prompt_model,
        task_model=task_model or prompt_model,
    )
    return lambda seed: subject
