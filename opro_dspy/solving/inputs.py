"""What `optimize` was handed is checked before the first call of an LM."""

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any, TypeVar

import dspy
import numpy as np

from opro_dspy.boundary.prices import Price, check_prices
from opro_dspy.config import OproConfig
from opro_dspy.errors import ConfigurationError
from opro_dspy.inputs import check_lm
from opro_dspy.protocols import Problem
from opro_dspy.records import Candidate
from opro_dspy.solving.frame import COMPONENT, UNFIT

S = TypeVar("S")


def check_problem(problem: Problem[S]) -> Problem[S]:
    """Return `problem` if it has what a problem needs.

    Raises:
        ConfigurationError: If not; names what is missing.
    """
    parts = ("describe", "initial", "format", "parse", "score")
    missing = [part for part in parts if not callable(getattr(problem, part, None))]
    missing += [part for part in ("higher_is_better", "tag") if not hasattr(problem, part)]
    if missing or isinstance(problem, type):
        raise ConfigurationError(
            f"`problem` must have {', '.join(parts)}, higher_is_better and tag, got {problem!r}"
            + (f" without {', '.join(missing)}." if missing else ". Pass an instance of it.")
        )
    if not isinstance(problem.tag, str) or not problem.tag.isidentifier():
        raise ConfigurationError(f"`tag` of the problem must be a word, got {problem.tag!r}.")
    if not isinstance(problem.higher_is_better, (bool, np.bool_)):
        raise ConfigurationError(
            "`higher_is_better` of the problem must be True, or False to minimise, got "
            f"{problem.higher_is_better!r}."
        )
    described: object = problem.describe()
    if not isinstance(described, str):
        raise ConfigurationError(
            f"describe() of the problem must return a text, got {described!r}."
        )
    return problem


def initial_candidates(
    problem: Problem[S], solutions: Sequence[S], *, seed: int
) -> list[Candidate]:
    """Return the candidates of step 0: `solutions`, then the problem's own, without repeats.

    Raises:
        ConfigurationError: If there is none, or `parse` and `format` do not go together.
    """
    name = type(problem).__name__
    own: object = problem.initial(Random(f"{seed}:initial"))
    if not isinstance(own, Iterable):
        raise ConfigurationError(f"initial() of {name} must return a list, got {own!r}.")
    texts = []
    for solution in [*solutions, *own]:
        try:
            text: object = problem.format(solution)
        except UNFIT as error:
            raise ConfigurationError(
                f"format() of {name} cannot write the initial solution {solution!r}: {error!r}. "
                "Pass solutions as the problem knows them, not their text."
            ) from error
        try:
            again: object = problem.format(problem.parse(text)) if isinstance(text, str) else None
        except UNFIT as error:
            again = error
        if again != text or not isinstance(text, str):
            raise ConfigurationError(
                f"format() and parse() of {name} do not go together: {solution!r} is written as "
                f"{text!r} and read back as {again!r}."
            )
        texts.append(text)
    if not texts:
        raise ConfigurationError(
            f"initial() of {name} returned no solution. Return at least one, or pass "
            "`initial_solutions`."
        )
    return [Candidate({COMPONENT: text}) for text in dict.fromkeys(texts)]


def find_lm(prompt_model: Any, config: OproConfig, prices: Mapping[str, Price]) -> dspy.BaseLM:
    """Return the optimizer LM.

    Raises:
        ConfigurationError: If there is none, or `max_cost` is set and its price is not known.
    """
    lm = check_lm("prompt_model", prompt_model) or check_lm("dspy.settings.lm", dspy.settings.lm)
    if lm is None:
        raise ConfigurationError(
            "there is no optimizer LM: pass `prompt_model`, or dspy.configure(lm=dspy.LM(...))."
        )
    if config.max_cost is not None:
        check_prices([lm], prices)
    return lm
