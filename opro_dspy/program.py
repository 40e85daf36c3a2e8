"""Reading and writing a program's instructions; the student itself is never changed."""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import dspy
from pydantic import BaseModel

from opro_dspy.errors import ConfigurationError
from opro_dspy.records import Candidate, Exemplar

RESULT_ATTRIBUTES = (
    "candidate_programs",
    "detailed_results",
    "mb_candidate_programs",
    "results_best",
    "results_latest",
    "trial_logs",
)
"""What optimizers attach to the program they return; working copies go without."""

MAX_FIELD_CHARS = 2000
"""Longest value of an exemplar's field in the meta-prompt, in characters."""


class Program:
    """A student program as a set of instructions that can be exchanged.

    Args:
        student: The program; kept as it is.

    Raises:
        ConfigurationError: If `student` is no `dspy.Module` or has no predictor to optimize.
    """

    def __init__(self, student: dspy.Module) -> None:
        if not isinstance(student, dspy.Module):
            raise ConfigurationError(
                f"`student` must be a dspy.Module, got {type(student).__name__}. "
                "Pass an instance of your program, not its class."
            )
        predictors = dict(student.named_predictors())
        if not predictors:
            raise ConfigurationError(
                f"the program {type(student).__name__} has no predictor to optimize: it holds no "
                "dspy.Predict, or all its sub-modules are frozen (`_compiled=True`)."
            )
        self.student = student
        self.predictors = predictors
        self._lms = {name: predictor.lm for name, predictor in predictors.items()}
        self._working_lms = dict(self._lms)
        self._template = _stripped_copy(student)
        for _, predictor in self._template.named_predictors():
            predictor.lm = None  # set again on each copy, so that no LM is copied with it

    @property
    def candidate(self) -> Candidate:
        """The student's own instructions."""
        return Candidate({n: p.signature.instructions for n, p in self.predictors.items()})

    def normalize(self, candidate: Candidate) -> Candidate:
        """Return `candidate` with its texts as the signatures store them.

        A signature dedents its instructions, and gives an empty one its default text.
        """
        return Candidate(
            {
                name: predictor.signature.with_instructions(candidate.texts[name]).instructions
                for name, predictor in self.predictors.items()
            }
        )

    def watch_lms(self, watch: Callable[[dspy.BaseLM], dspy.BaseLM]) -> None:
        """Let working copies use `watch(lm)` in the place of each predictor's own `lm`."""
        self._working_lms = {n: lm and watch(lm) for n, lm in self._lms.items()}

    def build(self, candidate: Candidate) -> dspy.Module:
        """Return a working copy with the candidate's instructions, demos and LMs kept."""
        return _with_texts(self._template.deepcopy(), candidate, self._working_lms)

    def compiled(self, candidate: Candidate) -> dspy.Module:
        """Return the copy that a user gets: callbacks kept as well, old results taken off."""
        program = _with_texts(_stripped_copy(self.student), candidate, self._lms)
        for (_, old), (_, new) in zip(
            self.student.named_sub_modules(dspy.Module),
            program.named_sub_modules(dspy.Module),
            strict=False,
        ):
            new.callbacks = list(old.callbacks)
        return program

    def uses_default_lm(self) -> bool:
        """Tell whether a predictor has no LM of its own."""
        return any(lm is None for lm in self._lms.values())

    def describe(self) -> dict[str, str]:
        """Return, for each predictor, what an author of its instruction has to know."""
        outlines = {
            name: f"{_names(p.signature.input_fields)} → {_names(p.signature.output_fields)}"
            for name, p in self.predictors.items()
        }
        return {
            name: _description(name, predictor.signature, outlines)
            for name, predictor in self.predictors.items()
        }


def _with_texts(
    program: dspy.Module, candidate: Candidate, lms: Mapping[str, dspy.BaseLM | None]
) -> dspy.Module:
    for name, predictor in program.named_predictors():
        predictor.signature = predictor.signature.with_instructions(candidate.texts[name])
        predictor.lm = lms[name]
    return program


def _stripped_copy(student: dspy.Module) -> dspy.Module:
    """Copy `student` without results of earlier optimizers; predictors' LMs are not copied."""
    lms = [predictor.lm for _, predictor in student.named_predictors()]
    copy = student.deepcopy()
    for attribute in RESULT_ATTRIBUTES:
        if not isinstance(getattr(copy, attribute, None), dspy.Module):
            vars(copy).pop(attribute, None)
    for (_, predictor), lm in zip(copy.named_predictors(), lms, strict=True):
        predictor.lm = lm
    return copy


def _names(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in fields)


def _field_line(name: str, field: Any) -> str:
    annotation = field.annotation
    kind = "" if annotation is str else f" ({getattr(annotation, '__name__', annotation)})"
    desc = (field.json_schema_extra or {}).get("desc") or ""
    says = "" if desc == f"${{{name}}}" or not desc else f": {desc}"
    return f"`{name}`{kind}{says}"


def _field_list(fields: Mapping[str, Any]) -> str:
    """Return the fields, set apart by semicolons if one has a remark, else by commas."""
    lines = [_field_line(name, field) for name, field in fields.items()]
    bare = _names(fields)
    return bare if ", ".join(lines) == bare else "; ".join(lines)


def _description(name: str, signature: Any, outlines: Mapping[str, str]) -> str:
    reads, writes = _field_list(signature.input_fields), _field_list(signature.output_fields)
    lines = [f"The model that follows the instruction reads {reads} and writes {writes}."]
    if len(outlines) > 1:
        place = list(outlines).index(name) + 1
        lines.append(
            f"It is predictor {place} of {len(outlines)} in a larger program: "
            + "; ".join(f"{n}: {outline}" for n, outline in outlines.items())
            + f". The instruction is for {name}; scores are those of the whole program."
        )
    return "\n".join(lines)


def as_exemplar(example: dspy.Example) -> Exemplar:
    """Return `example` as text by field: its inputs and its labels."""
    return Exemplar(
        inputs={name: as_text(value) for name, value in example.inputs().items()},
        outputs={name: as_text(value) for name, value in example.labels().items()},
    )


def as_text(value: Any) -> str:
    """Return a field's value as text, at most `MAX_FIELD_CHARS` long."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, BaseModel):
        text = value.model_dump_json()
    elif isinstance(value, (list, tuple, dict)):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    text = inspect.cleandoc(text)
    return text if len(text) <= MAX_FIELD_CHARS else text[: MAX_FIELD_CHARS - 1] + "…"


def example_key(example: dspy.Example) -> str:
    """Return the example's content as canonical JSON: equal examples have equal keys."""
    return json.dumps(example.toDict(), sort_keys=True, default=str)
