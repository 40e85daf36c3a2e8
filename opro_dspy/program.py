"""Reading and writing a program's instructions; the student itself is never changed."""

import copy
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError
from opro_dspy.fields import as_key, as_text, field_list, field_names
from opro_dspy.records import Candidate, Exemplar
from opro_dspy.scaffolds import scaffolds_of
from opro_dspy.sharing import check_copy, lms_of, old_results, shared_parts

logger = logging.getLogger(__name__)

_MAKE_VISIBLE = "make the inner one a dspy.Module, or an attribute of its own"


class Program:
    """A student program as a set of instructions that can be exchanged.

    Predictors in frozen sub-modules, and frozen predictors, keep their instruction and LM. Of an
    instruction that a module such as ReAct wrote around the user's, only the user's part counts.

    Args:
        student: The program; kept as it is.

    Raises:
        ConfigurationError: If `student` is no `dspy.Module`, has no predictor to optimize, has two
            of one name, cannot be copied, or has copies that would ask its own predictors.
    """

    def __init__(self, student: dspy.Module) -> None:
        if not isinstance(student, dspy.Module):
            raise ConfigurationError(
                f"`student` must be a dspy.Module, got {type(student).__name__}. "
                "Pass an instance of your program, not its class."
            )
        self.student = student
        self.predictors = _unfrozen(student)
        unseen = _unseen(student)
        if not self.predictors:
            raise ConfigurationError(
                f"the program {type(student).__name__} has no predictor to optimize: it holds no "
                "dspy.Predict, or all its sub-modules are frozen (`_compiled=True`). Nor has a "
                "dspy.Flex one, which is code for dspy.GEPA, or a dspy.ProgramOfThought, whose "
                "instructions DSPy writes itself."
                + (f" DSPy does not see {', '.join(unseen)}: {_MAKE_VISIBLE}." if unseen else "")
            )
        self.scaffolds = scaffolds_of(student, self.predictors)
        self._shared = shared_parts(student)
        self._template = self._copy_of_student()
        check_copy(self._template, student, self.predictors.values())
        self._working = self._shared
        everyone = _by_name(self._template.named_sub_modules(dspy.Predict))
        self.lms: dict[str, dspy.BaseLM | None] = {name: p.lm for name, p in everyone.items()}
        """The own LM of each predictor, the frozen ones' included; None for the default LM."""
        own = set(map(id, self.lms.values()))
        self.other_lms = {at: lm for at, lm in lms_of(self._template) if id(lm) not in own}
        """LMs that modules hold beside those of predictors, e.g. RLM's `sub_lm`, by their place."""
        self.output_names = frozenset(
            n for p in everyone.values() for n in p.signature.output_fields
        )
        """The names of all fields that some predictor writes, the frozen ones included."""
        if unseen:
            logger.warning(
                "DSPy does not see the predictors %s: they are not optimized, and DSPy neither "
                "saves nor loads them. They lie in a list or dict inside another one: %s.",
                ", ".join(unseen),
                _MAKE_VISIBLE,
            )

    @property
    def candidate(self) -> Candidate:
        """The student's own instructions, as they are stored in its copies."""
        return self.normalize(
            Candidate(
                {
                    name: self.scaffolds[name].text(predictor.signature.instructions)
                    for name, predictor in self.predictors.items()
                }
            )
        )

    def normalize(self, candidate: Candidate) -> Candidate:
        """Return `candidate` with its texts as the signatures store them. Idempotent.

        A signature dedents its instructions, and gives empty ones its default text.
        """
        return Candidate(
            {name: s.normalized(candidate.texts[name]) for name, s in self.scaffolds.items()}
        )

    @property
    def modules(self) -> list[dspy.Module]:
        """The student and all modules in it."""
        return [module for _, module in self.student.named_sub_modules(dspy.Module)]

    def watch_lms(self, watch: Callable[[dspy.BaseLM], dspy.BaseLM]) -> None:
        """Let working copies use `watch(lm)` in the place of each LM that the program holds."""
        lms = [*self.lms.values(), *self.other_lms.values()]
        watched = {id(lm): watch(lm) for lm in lms if lm is not None}
        self._working = {**self._shared, **watched}

    def build(self, candidate: Candidate) -> dspy.Module:
        """Return a working copy with the candidate's instructions, demos and LMs kept."""
        return self._with_texts(copy.deepcopy(self._template, dict(self._working)), candidate)

    def skeleton(self) -> tuple[dspy.Module, list[dspy.Predict]]:
        """Return a working copy, and those predictors in it whose whole instruction is the user's.

        The user's parts of the other ones are blank: what is left says who the program is.
        """
        program = self.build(Candidate(dict.fromkeys(self.predictors, "")))
        free = _unfrozen(program).items()
        return program, [predictor for name, predictor in free if self.scaffolds[name].is_bare]

    def compiled(self, candidate: Candidate) -> dspy.Module:
        """Return the copy that a user gets: callbacks kept as well, old results taken off."""
        return self._with_texts(self._copy_of_student(callbacks=True), candidate)

    def _with_texts(self, program: dspy.Module, candidate: Candidate) -> dspy.Module:
        for name, predictor in _unfrozen(program).items():
            instructions = self.scaffolds[name].full(candidate.texts[name])
            if predictor.signature.instructions != instructions:
                predictor.signature = predictor.signature.with_instructions(instructions)
        return program

    def _copy_of_student(self, *, callbacks: bool = False) -> dspy.Module:
        """Copy the student without results of earlier optimizers."""
        copies = dict(self._shared)
        program = copy.deepcopy(self.student, copies)
        for name in old_results(program):
            delattr(program, name)
        if callbacks:
            for _, module in self.student.named_sub_modules(dspy.Module):
                if id(module) in copies:
                    copies[id(module)].callbacks = list(module.callbacks)
        return program

    def needs_default_lm(self) -> bool:
        """Tell whether a predictor has no LM of its own, and no module one that it may set."""
        return None in self.lms.values() and not self.other_lms

    def describe(self) -> dict[str, str]:
        """Return, for each predictor, what an author of its instruction has to know."""
        signatures = {name: predictor.signature for name, predictor in self.predictors.items()}
        outlines = {
            name: f"{field_names(s.input_fields)} → {field_names(s.output_fields)}"
            for name, s in signatures.items()
        }
        return {
            name: _description(name, s, outlines, around=not self.scaffolds[name].is_bare)
            for name, s in signatures.items()
        }


def _by_name(predictors: Iterable[tuple[str, dspy.Predict]]) -> dict[str, dspy.Predict]:
    """Return the predictors by name; refuse two of one name, as of the keys 1 and "1" of a dict."""
    found: dict[str, dspy.Predict] = {}
    for name, predictor in predictors:
        if found.setdefault(name, predictor) is not predictor:
            raise ConfigurationError(
                f"two predictors of the program have the name `{name}`, for DSPy writes the keys "
                "of a dict as text: 1 and '1' are one. One of the two would be neither optimized "
                "nor saved. Give them keys that differ as text."
            )
    return found


def _unseen(program: dspy.Module) -> list[str]:
    """Return the names of predictors that lie where DSPy looks for none, frozen ones apart."""
    modules = list(program.named_sub_modules(dspy.Module))
    results = tuple(f"{at}.{name}[" for at, module in modules for name in old_results(module))
    inner = [module for _, module in modules if module is not program]
    frozen = {id(p) for m in inner if m._compiled for _, p in m.named_sub_modules(dspy.Predict)}
    known = {id(predictor) for predictor in program.predictors()} | frozen
    return [
        name.removeprefix("self.")
        for name, module in modules
        if isinstance(module, dspy.Predict)
        and id(module) not in known
        and not name.startswith(results)
    ]


def _unfrozen(program: dspy.Module) -> dict[str, dspy.Predict]:
    """Return the predictors to optimize, by name. A root that is frozen itself counts as free.

    Those of ProgramOfThought are none of them: DSPy writes their instructions, all of it protocol,
    and the user's stands in none.
    """
    modules = [module for _, module in program.named_sub_modules(dspy.ProgramOfThought)]
    thoughts = [module for module in modules if not isinstance(module, dspy.CodeAct)]
    fixed = {id(predictor) for module in thoughts for predictor in module.predictors()}
    predictors = program.named_predictors()
    free = {name: p for name, p in predictors if p is program or not p._compiled}
    return {name: p for name, p in free.items() if id(p) not in fixed}


def _description(
    name: str, signature: Any, outlines: Mapping[str, str], *, around: bool = False
) -> str:
    reads, writes = field_list(signature.input_fields), field_list(signature.output_fields)
    lines = [f"The model that follows the instruction reads {reads} and writes {writes}."]
    if around:
        lines.append(
            "A fixed text beside the instruction tells the model its tools and how it must answer."
        )
    if len(outlines) > 1:
        place = list(outlines).index(name) + 1
        lines.append(
            f"It is predictor {place} of {len(outlines)} in a larger program: "
            + "; ".join(f"{n}: {outline}" for n, outline in outlines.items())
            + f". The instruction is for {name}; scores are those of the whole program."
        )
    return "\n".join(lines)


def as_exemplar(example: dspy.Example, outputs: Collection[str] = ()) -> Exemplar:
    """Return `example` as text by field: its inputs, and what the program is to write.

    Args:
        example: A training example with inputs set.
        outputs: Fields that the program writes (`Program.output_names`); labels of other names
            (an id, a reference chain of thought) are left out. If no label has such a name, the
            metric reads labels of its own, and all are shown.
    """
    labels = dict(example.labels().items())
    expected = {name: value for name, value in labels.items() if name in outputs} or labels
    return Exemplar(
        inputs={name: as_text(value) for name, value in example.inputs().items()},
        outputs={name: as_text(value) for name, value in expected.items()},
    )


def example_key(example: dspy.Example) -> str:
    """Return the example's content, DSPy's notes (`dspy_uuid`, ...) apart, as canonical JSON."""
    return as_key(dict(example.items()))
