"""The contract of `compile` with every kind of program."""

import re
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy.calling import call
from opro_dspy.errors import ConfigurationError
from opro_dspy.program import Program
from tests.compat.kinds import KINDS, all_right
from tests.compat.running import Run, asked, students


def everything(program: dspy.Module) -> dict[str, tuple[str, list[Any], Any]]:
    """Instruction, demos and LM of each predictor, the frozen ones included."""
    predictors = program.named_sub_modules(dspy.Predict)
    return {
        name: (p.signature.instructions, [dict(demo) for demo in p.demos], p.lm)
        for name, p in predictors
        if "candidate_programs" not in name  # DSPy looks for modules there too
    }


def test_the_instructions_get_better_and_the_student_stays(run: Run) -> None:
    student, program = run.student, run.program
    fresh, result = everything(students(run.kind)), program.detailed_results
    assert result.best.score > result.baseline.score
    assert len(result.baseline.instructions) == run.kind.predictors
    assert type(program) is type(student)

    before, after = everything(student), everything(program)
    assert [v[:2] for v in before.values()] == [v[:2] for v in fresh.values()]
    assert list(after) == list(before)
    assert [v[1:] for v in after.values()] == [v[1:] for v in before.values()]
    assert any(after[name][0] != before[name][0] for name in before)


def test_it_scores_the_same_when_it_runs_without_us(run: Run) -> None:
    examples = [run.kind.example(n) for n in range(30, 42)]
    with dspy.context(lm=run.lm, trace=[]):
        found = [all_right(example, call(run.program, example)) for example in examples]
    assert sum(found) / len(found) == pytest.approx(run.program.detailed_results.best.score)


@pytest.mark.parametrize("kind", [dspy.ProgramOfThought, dspy.Flex])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ProgramOfThought goes with DSPy 3.5
def test_what_is_left_alone_is_no_program_by_itself(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"no predictor.* dspy.{kind.__name__}[ ,].*w"):
        Program(kind("question -> answer"))


bringing = [kind for kind in KINDS if kind.reaches(0)]


@pytest.mark.parametrize("run", bringing, ids=lambda kind: kind.title, indirect=True)
def test_what_an_example_brings_beside_its_question_stands_in_every_prompt(run: Run) -> None:
    found = [(int(re.findall(r"What is (\d+) plus", p)[-1]), p) for p in run.lm.engine.prompts]
    assert {n for n, _ in found} == {*range(10, 20), *range(30, 42)}
    for n, prompt in found:
        assert all(text in prompt for text in run.kind.reaches(n))


def test_it_is_saved_and_loaded_and_asks_and_answers_as_before(run: Run, tmp_path: Path) -> None:
    program = run.program
    program.save(tmp_path / "program.json")
    loaded = students(run.kind)
    loaded.load(tmp_path / "program.json", allow_unsafe_lm_state=True)
    program.save(tmp_path / "whole", save_program=True)
    whole = dspy.load(tmp_path / "whole", allow_pickle=True)
    for copy in (loaded, whole):
        found, kept = everything(copy), everything(program)
        assert {name: told[:2] for name, told in found.items()} == {
            name: told[:2] for name, told in kept.items()
        }
        assert [lm and lm.model for *_, lm in found.values()] == [
            lm and lm.model for *_, lm in kept.values()
        ]
        example = run.kind.example(30)
        assert asked(copy, example) == asked(program, example)
