"""The door: what a user hands to `compile` is checked before the first call of an LM."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError
from opro_dspy.program import Program, example_key
from opro_dspy.records import Candidate

logger = logging.getLogger(__name__)


def check_sets(trainset: Any, valset: Any) -> None:
    """Refuse sets that cannot be scored; warn when they share examples.

    Raises:
        ConfigurationError: If a set is no sequence of examples with inputs, or `trainset` is empty.
    """
    _check_set("trainset", trainset)
    if not len(trainset):
        raise ConfigurationError("`trainset` is empty. Pass at least one example.")
    if valset is None:
        return
    _check_set("valset", valset)
    train_keys = {example_key(example) for example in trainset}
    shared = sum(example_key(example) in train_keys for example in valset)
    if shared:
        logger.warning(
            "%d of %d validation examples are training examples too: the validation score will "
            "flatter the result.",
            shared,
            len(valset),
        )


def _check_set(name: str, examples: Any) -> None:
    if isinstance(examples, str) or not isinstance(examples, Sequence):
        raise ConfigurationError(
            f"`{name}` must be a list of dspy.Example, got {type(examples).__name__}."
        )
    for index, example in enumerate(examples):
        if not isinstance(example, dspy.Example):
            raise ConfigurationError(
                f"`{name}[{index}]` must be a dspy.Example, got {type(example).__name__}. "
                "Make one with dspy.Example(**row).with_inputs('question')."
            )
        # The only way to ask whether with_inputs was called: `inputs()` raises ValueError.
        try:
            example.inputs()
        except ValueError:
            raise ConfigurationError(
                f"`{name}[{index}]` does not say which fields are inputs. "
                "Call .with_inputs('question', ...) on each example."
            ) from None


def initial_candidates(
    program: Program, instructions: Sequence[str | Mapping[str, str]]
) -> list[Candidate]:
    """Return the student's instructions and those of the user, without repeats.

    Raises:
        ConfigurationError: If a text is given for a program with several predictors, or a mapping
            names a predictor that is not there.
    """
    student = program.candidate
    candidates = {student.key: student}
    names = list(student.texts)
    for given in instructions:
        if isinstance(given, str):
            if len(names) > 1:
                raise ConfigurationError(
                    f"`initial_instructions` holds a text, but the program has {len(names)} "
                    f"predictors. Pass a mapping of predictor name to text; the names are {names}."
                )
            given = {names[0]: given}
        elif not isinstance(given, Mapping) or not set(given) <= set(names):
            raise ConfigurationError(
                f"`initial_instructions` must hold texts or mappings with keys among {names}, "
                f"got {given!r}."
            )
        candidate = program.normalize(Candidate({**student.texts, **given}))
        candidates[candidate.key] = candidate
    return list(candidates.values())


def check_lm(name: str, lm: Any) -> Any:
    """Return `lm` if it is a `dspy.LM` or None, else raise ConfigurationError."""
    if lm is not None and not isinstance(lm, dspy.BaseLM):
        raise ConfigurationError(
            f"`{name}` must be a dspy.LM, got {lm!r}. Write dspy.LM({lm!r})."
            if isinstance(lm, str)
            else f"`{name}` must be a dspy.LM, got {type(lm).__name__}."
        )
    return lm
