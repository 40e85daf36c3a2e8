from typing import Any, Literal

import dspy
import pydantic
import pytest

from opro_dspy.errors import ConfigurationError
from opro_dspy.inputs import initial_candidates
from opro_dspy.program import MAX_FIELD_CHARS, Program, as_exemplar, as_text, example_key
from opro_dspy.records import Candidate


class City(pydantic.BaseModel):
    name: str
    people: int


class Judge(dspy.Signature):  # type: ignore[misc]
    """Judge the city."""

    city: City = dspy.InputField(desc="where it is")
    hints: list[str] = dspy.InputField()
    verdict: Literal["good", "bad"] = dspy.OutputField()


class Nested(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.judge = dspy.ChainOfThought(Judge)
        self.many = [dspy.Predict("a -> b"), dspy.Predict("b -> c")]
        self.by_name = {"x": dspy.Predict("c -> d")}
        self.again = self.many[0]


def test_every_predictor_is_found_once() -> None:
    names = list(Program(Nested()).candidate.texts)
    assert names == ["judge.predict", "many[0]", "many[1]", "by_name['x']"]


def test_a_candidate_is_built_into_a_copy_and_shared_predictors_stay_shared() -> None:
    program = Program(Nested())
    texts = {name: f"Do {name}" for name in program.candidate.texts}
    built = program.build(Candidate(texts))
    assert {n: p.signature.instructions for n, p in built.named_predictors()} == texts
    assert built.again is built.many[0]
    assert program.candidate.texts["judge.predict"] == "Judge the city."
    assert Judge.instructions == "Judge the city."


def test_texts_are_normalised_as_signatures_store_them() -> None:
    program = Program(dspy.Predict("question -> answer"))
    assert program.normalize(Candidate({"self": ""})) == program.candidate
    assert program.normalize(Candidate({"self": "a\n    b"})).texts == {"self": "a\nb"}


def test_old_results_come_off_but_a_predictor_of_that_name_stays() -> None:
    class Odd(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.score = dspy.Predict("question -> answer")
            self.trial_logs = {"old": 1}
            self.candidate_programs = [{"program": dspy.Predict("x -> y")}]

    program = Program(Odd())
    built = program.build(program.candidate)
    assert isinstance(built.score, dspy.Predict)
    assert not hasattr(built, "trial_logs") and not hasattr(built, "candidate_programs")


def test_the_description_names_fields_types_and_the_place_in_the_program() -> None:
    description = Program(Nested()).describe()["judge.predict"]
    assert "`city` (City): where it is" in description
    assert "`hints`" in description and "`verdict`" in description
    assert "predictor 1 of 4" in description
    single = Program(dspy.Predict("question -> answer")).describe()["self"]
    assert single == "The model that follows the instruction reads `question` and writes `answer`."


@pytest.mark.parametrize(
    ("signature", "reads_and_writes"),
    [
        ("passage, question -> answer", "`passage`, `question` and writes `answer`."),
        (
            "passage, question -> reasoning, answer: bool",
            "`passage`, `question` and writes `reasoning`; `answer` (bool).",
        ),
        ("n: int, question -> a, b", "`n` (int); `question` and writes `a`, `b`."),
    ],
)
def test_fields_are_set_apart_by_semicolons_only_where_one_has_a_remark(
    signature: str, reads_and_writes: str
) -> None:
    description = Program(dspy.Predict(signature)).describe()["self"]
    assert description == f"The model that follows the instruction reads {reads_and_writes}"


def test_exemplars_hold_any_typed_fields_as_text() -> None:
    example = dspy.Example(city=City(name="Ulm", people=3), hints=["a", "b"], verdict="good")
    exemplar = as_exemplar(example.with_inputs("city", "hints"))
    assert exemplar.inputs == {"city": '{"name":"Ulm","people":3}', "hints": '["a", "b"]'}
    assert exemplar.outputs == {"verdict": "good"}


def test_long_values_are_cut() -> None:
    assert len(as_text("x" * 10_000)) == MAX_FIELD_CHARS
    assert as_text(3.5) == "3.5"


def test_equal_examples_have_equal_keys() -> None:
    a = dspy.Example(x=1, y=City(name="a", people=1)).with_inputs("x")
    b = dspy.Example(y=City(name="a", people=1), x=1).with_inputs("x")
    assert example_key(a) == example_key(b)
    assert example_key(a) != example_key(dspy.Example(x=2, y=None))


@pytest.mark.parametrize("given", [{"nobody": "text"}, 3])
def test_initial_instructions_must_name_predictors(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="initial_instructions"):
        initial_candidates(Program(dspy.Predict("q -> a")), [given])


def test_a_program_whose_modules_are_all_frozen_is_refused() -> None:
    class Frozen(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = dspy.ChainOfThought("q -> a")
            self.inner._compiled = True

    with pytest.raises(ConfigurationError, match="all its sub-modules are frozen"):
        Program(Frozen())
