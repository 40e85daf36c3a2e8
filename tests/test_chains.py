"""OPRO beside, before, behind and inside DSPy's other optimizers."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, OPROResult
from opro_dspy.simulation import exact_match, landscape, make_examples, optimizer_lm, scorer_lm

EXAMPLES = make_examples("arithmetic", n=40, seed=3)
TRAIN, VAL = EXAMPLES[:24], EXAMPLES[24:]
SHAPE = landscape("many_small_effects", seed=3)
START = dspy.Predict("question -> answer").signature.instructions


def scorer() -> dspy.LM:
    return scorer_lm(answer_key=EXAMPLES, landscape=SHAPE, cache=False, temperature=0.0)


def opro(**options: Any) -> OPRO:
    options = {"max_steps": 2, "num_candidates": 4, "num_threads": 2, **options}
    return OPRO(metric=exact_match, prompt_model=optimizer_lm(seed=3, cache=False), **options)


def mipro() -> Any:
    return dspy.MIPROv2(
        metric=exact_match,
        prompt_model=optimizer_lm(seed=4, cache=False),
        auto=None,
        num_candidates=3,
        max_bootstrapped_demos=0,
        max_labeled_demos=0,
        num_threads=2,
    )


def gepa() -> Any:
    def metric(gold: Any, pred: Any, trace: Any = None, name: Any = None, part: Any = None) -> Any:
        return dspy.Prediction(score=float(exact_match(gold, pred)), feedback="Read again.")

    return dspy.GEPA(
        metric=metric,
        reflection_lm=optimizer_lm(seed=5, cache=False),
        max_metric_calls=60,
        num_threads=2,
    )


def bootstrap() -> Any:
    return dspy.BootstrapFewShot(
        metric=exact_match, max_bootstrapped_demos=2, max_labeled_demos=0, max_rounds=1
    )


OPTIMIZERS = {"o": opro, "m": mipro, "g": gepa, "b": bootstrap}
STRATEGIES = ["o", "o -> m", "m -> o", "o -> g", "g -> o", "b -> o -> b"]
MIPRO = {"num_trials": 2, "minibatch": False}


def program(lm: dspy.LM) -> Any:
    made = dspy.ChainOfThought("question -> answer")
    made.set_lm(lm)
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_opro_has_every_place_in_a_chain_of_better_together(strategy: str) -> None:
    keys = set(strategy.split(" -> "))
    lm = scorer()
    with dspy.context(lm=lm, num_threads=2):
        optimizers = {key: OPTIMIZERS[key]() for key in keys}
        better = dspy.BetterTogether(metric=exact_match, **optimizers).compile(
            program(lm),
            trainset=TRAIN,
            valset=VAL,
            strategy=strategy,
            seed=0,
            num_threads=2,
            optimizer_compile_args={"m": MIPRO} if "m" in keys else None,
        )
    assert not better.flag_compilation_error_occurred
    steps = strategy.split(" -> ")
    places = [" -> ".join(steps[: i + 1]) for i in range(len(steps))]
    assert {c["strategy"] for c in better.candidate_programs} == {"", *places}
    through = places[steps.index("o")]
    (own,) = [c["program"] for c in better.candidate_programs if c["strategy"] == through]
    assert isinstance(own.detailed_results, OPROResult)
    assert own.predictors()[0].lm.model == lm.model
    assert bool(own.predictors()[0].demos) == strategy.startswith("b")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shared", [True, False])
def test_a_log_dir_is_for_one_place_in_a_chain(shared: bool, tmp_path: Path) -> None:
    lm = scorer()
    first = opro(max_steps=1, log_dir=tmp_path / "first")
    second = first if shared else opro(max_steps=1, log_dir=tmp_path / "second")
    chain = dspy.BetterTogether(metric=exact_match, o=first, p=second, b=bootstrap())
    with dspy.context(lm=lm, num_threads=2):
        better = chain.compile(
            program(lm), trainset=TRAIN, valset=VAL, strategy="o -> b -> p", num_threads=2
        )
    assert better.flag_compilation_error_occurred == shared
    places = ["", "o", "o -> b"] if shared else ["", "o", "o -> b", "o -> b -> p"]
    assert {found["strategy"] for found in better.candidate_programs} == set(places)


def compiled(student: Any, lm: dspy.LM, **options: Any) -> Any:
    with dspy.context(lm=lm):
        return opro(**options).compile(student, trainset=TRAIN, valset=VAL)


def instruction(module: Any) -> str:
    return str(module.predictors()[0].signature.instructions)


def test_few_shot_demos_are_added_to_what_opro_found() -> None:
    lm = scorer()
    found = compiled(dspy.ChainOfThought("question -> answer"), lm)
    assert instruction(found) != START
    with dspy.context(lm=lm):
        with_demos = bootstrap().compile(found, trainset=TRAIN)
    assert instruction(with_demos) == instruction(found)
    assert with_demos.predictors()[0].demos
    assert not found.predictors()[0].demos


def test_a_program_that_bootstrap_compiled_is_optimized_and_keeps_its_demos() -> None:
    lm = scorer()
    with dspy.context(lm=lm):
        student = bootstrap().compile(dspy.ChainOfThought("question -> answer"), trainset=TRAIN)
    found = compiled(student, lm)
    assert found.predictors()[0].demos == student.predictors()[0].demos != []
    assert instruction(found) != instruction(student)
    assert found.score >= 100 * found.detailed_results.baseline.score


class SelfTuning(dspy.Module):  # type: ignore[misc]
    """Compiles its own part before the first answer, as some agents do."""

    def __init__(self, optimizer: OPRO) -> None:
        super().__init__()
        self.outer = dspy.Predict("question -> answer")
        self.optimizer = optimizer

    def forward(self, question: str) -> Any:
        inner = self.optimizer.compile(
            dspy.Predict("question -> answer"), trainset=TRAIN[:4], valset=VAL[:4]
        )
        return dspy.Prediction(answer=self.outer(question=question).answer, inner=inner.score)


def test_a_compile_inside_a_compile_runs_and_is_counted_by_both() -> None:
    lm = scorer()
    inner = opro(max_steps=1, num_candidates=2, num_threads=1)
    with dspy.context(lm=lm):
        found = opro(max_steps=1, num_candidates=2, racing=False).compile(
            SelfTuning(inner), trainset=TRAIN[:3], valset=VAL[:3]
        )
        answer = found(question=VAL[0].question)
    assert answer.inner >= 0.0
    assert found.detailed_results.used("scorer").calls > 3 * 3


def test_a_compile_that_meets_the_cap_of_the_one_around_it_leaves_its_example_unscored() -> None:
    lm = scorer().copy(max_tokens=60)
    asked = optimizer_lm(seed=3, cache=False).copy(max_tokens=200)
    options: Any = {"max_steps": 1, "num_candidates": 2, "num_threads": 1, "verbose": False}
    inner = OPRO(metric=exact_match, prompt_model=asked, **options)
    outer = OPRO(metric=exact_match, prompt_model=asked, max_tokens=20_000, **options)
    with dspy.context(lm=lm):
        found = outer.compile(SelfTuning(inner), trainset=TRAIN[:4], valset=VAL[:4])
    result = found.detailed_results
    assert "max_tokens" in result.stop_reason
    assert not any(candidate.failures for candidate in result.candidates)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda program: program.deepcopy()])
def test_a_deep_copy_keeps_instructions_and_results_and_is_a_student(copied: Any) -> None:
    lm = scorer()
    found = compiled(program(lm), lm)
    twin = copied(found)
    assert instruction(twin) == instruction(found)
    assert twin.detailed_results == found.detailed_results
    assert [name for name, _ in twin.named_predictors()] == ["predict"]
    twin.predictors()[0].signature = twin.predictors()[0].signature.with_instructions("Other.")
    assert instruction(found) != "Other."
    again = compiled(twin, lm, max_steps=1)
    assert again.detailed_results.candidates[0].instructions == {"predict": "Other."}


def test_json_and_whole_program_are_read_back_with_the_same_answers(tmp_path: Path) -> None:
    lm = scorer()
    found = compiled(dspy.ChainOfThought("question -> answer"), lm)
    found.save(tmp_path / "program.json")
    found.save(tmp_path / "whole", save_program=True)
    fresh = dspy.ChainOfThought("question -> answer")
    fresh.load(tmp_path / "program.json")
    whole = dspy.load(tmp_path / "whole", allow_pickle=True)
    assert instruction(found) == instruction(fresh) == instruction(whole) != START
    assert whole.detailed_results == found.detailed_results
    with dspy.context(lm=lm):
        answers = [[p(question=e.question).answer for e in VAL] for p in (found, fresh, whole)]
    assert answers[0] == answers[1] == answers[2]


WITHOUT_OPRO = """
import sys
sys.modules["opro_dspy"] = None
import dspy
fresh = dspy.ChainOfThought("question -> answer")
fresh.load(sys.argv[1])
print(fresh.predictors()[0].signature.instructions)
whole = dspy.load(sys.argv[2], allow_pickle=True)
print(whole.predictors()[0].signature.instructions)
"""


@pytest.mark.parametrize("track_stats", [True, False])
def test_a_saved_program_needs_opro_only_for_its_results(track_stats: bool, tmp_path: Path) -> None:
    student = dspy.ChainOfThought("question -> answer")
    found = compiled(student, scorer(), max_steps=1, track_stats=track_stats)
    found.save(tmp_path / "program.json")
    found.save(tmp_path / "whole", save_program=True)
    paths = [str(tmp_path / name) for name in ("program.json", "whole")]
    command = [sys.executable, "-c", WITHOUT_OPRO, *paths]
    loaded = subprocess.run(command, capture_output=True, text=True)
    answered = 1 if track_stats else 2
    assert loaded.stdout.splitlines() == [instruction(found)] * answered
    assert ("No module named 'opro_dspy" in loaded.stderr) == track_stats
