"""Hard caps: over any threads none is passed, and every run ends with a program."""

import random
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, ConfigurationError
from opro_dspy.boundary.prices import Price
from opro_dspy.simulation import exact_match, landscape, make_examples, optimizer_lm, scorer_lm

EXAMPLES = make_examples("arithmetic", n=40, seed=0)
TRAIN, VAL = EXAMPLES[:24], EXAMPLES[24:]
PRICE = Price(input_per_million=1.0, output_per_million=4.0)


def run(**options: Any) -> tuple[Any, Any, Any]:
    scorer = scorer_lm(
        answer_key=EXAMPLES, landscape=landscape("many_small_effects", seed=0), cache=False
    )
    optimizer = optimizer_lm(seed=0, cache=False)
    options = {"max_steps": 4, "num_candidates": 4, "valset": VAL, **options}
    valset, trainset = options.pop("valset"), options.pop("trainset", TRAIN)
    if "max_cost" in options:
        options["prices"] = {scorer.model: PRICE, optimizer.model: PRICE}
    with dspy.context(lm=scorer):
        program = OPRO(
            metric=exact_match, prompt_model=optimizer, verbose=False, **options
        ).compile(dspy.Predict("question -> answer"), trainset=trainset, valset=valset)
    return program, scorer, optimizer


def never_worse(program: Any) -> bool:
    result = program.detailed_results
    if result.best_index in (None, 0):
        return True
    return bool(result.best.selection.score >= result.baseline.selection.score)


@pytest.mark.parametrize("part", range(8))
def test_random_caps_over_random_threads_are_never_passed(part: int) -> None:
    rng = random.Random(part)
    for _ in range(25):
        # 8 parts of 25 are 200 budgets
        threads, kind = rng.choice([1, 2, 5, 16]), rng.choice(["calls", "tokens", "cost"])
        options: dict[str, Any] = {"num_threads": threads, "seed": rng.randrange(100)}
        options |= {"max_steps": 2, "num_candidates": 3, "trainset": TRAIN[:14]}
        options["racing"] = rng.random() < 0.7
        options["valset"] = VAL[:8] if rng.random() < 0.5 else None
        if kind == "calls":
            options["max_metric_calls"] = cap = rng.randrange(1, 150)
            program, scorer, _ = run(**options)
            assert scorer.engine.calls <= cap
        else:
            tokens = rng.randrange(200, 60_000)
            options |= {"max_tokens": tokens} if kind == "tokens" else {"max_cost": tokens / 5e5}
            program, _, _ = run(**options)
            usage = program.detailed_results.usage
            spent_tokens = sum(u.input_tokens + u.output_tokens for u in usage)
            spent = sum(PRICE.cost(u.input_tokens, u.output_tokens) for u in usage)
            assert spent_tokens <= tokens if kind == "tokens" else spent <= tokens / 5e5
        assert never_worse(program)


def test_a_cap_is_a_normal_end_with_its_reason() -> None:
    program, _, _ = run(max_metric_calls=100)
    assert program.detailed_results.stop_reason.startswith("max_metric_calls:")
    assert program.detailed_results.best_index is not None


def test_what_is_kept_lets_the_best_meet_the_selection_set() -> None:
    program, scorer, _ = run(max_metric_calls=180, num_threads=8)
    assert program.detailed_results.best.selection.n_examples == len(VAL)
    assert scorer.engine.calls <= 180


def test_a_cap_with_room_for_one_comparison_keeps_room_for_it() -> None:
    # 12 for the start, 4 x 2 for a first rung, and 2 x 16 for the student and one other
    program, scorer, _ = run(max_metric_calls=52)
    assert program.detailed_results.best.selection.n_examples == len(VAL)
    assert scorer.engine.calls <= 52


def test_a_cap_without_room_for_a_comparison_is_told_before_the_first_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    program, _, _ = run(max_metric_calls=51)
    assert program.detailed_results.best_index == 0
    assert "16 examples of the valset" in caplog.text
    assert "Set it to 52 at least" in caplog.text
    caplog.clear()
    run(max_metric_calls=52)
    assert "too small" not in caplog.text


@pytest.mark.parametrize("racing", [True, False])
@pytest.mark.parametrize("valset", [VAL, None])
@pytest.mark.parametrize(
    "cap", [{"max_metric_calls": 1}, {"max_metric_calls": 7}, {"max_tokens": 1_500}]
)
def test_a_cap_below_the_first_examples_leaves_the_student_with_what_was_measured(
    cap: dict[str, int], valset: Any, racing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    program, scorer, _ = run(racing=racing, valset=valset, **cap)
    result = program.detailed_results
    assert result.best_index == 0 and result.best is result.baseline
    measured = set(result.best.scores) | {-1 - i for i in result.best.selection_scores}
    if valset is None:
        measured = set(result.best.scores)
    assert len(measured) == scorer.engine.calls > 0
    told = result.best.selection or result.best.train
    assert told.n_examples == len(result.best.selection_scores or result.best.scores)
    assert program.score == 100 * told.score
    assert result.gain.score == 0.0
    assert [d.name for d in result.diagnostics] == ["cut choice"]
    assert "then a cap ended the choice (max_" in caplog.text
    assert type(result).from_json(result.model_dump_json()) == result


def test_a_run_that_measured_nothing_has_no_score_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    program, scorer, _ = run(max_tokens=100)
    assert scorer.engine.calls == 0
    assert program.score is None and program.detailed_results.baseline is None
    assert "Nothing was measured before the run ended (max_tokens: 0 of 100 used" in caplog.text


def test_a_choice_that_a_cap_cuts_says_so(caplog: pytest.LogCaptureFixture) -> None:
    program, _, _ = run(max_metric_calls=40)
    (found,) = program.detailed_results.diagnostics
    assert found.name == "cut choice" and found.value == 0.5
    assert "1 of 2 contenders met all 16 examples of the valset" in caplog.text


def test_time_is_a_cap() -> None:
    program, _, _ = run(max_seconds=0.05, max_steps=500)
    assert program.detailed_results.stop_reason.startswith("max_seconds:")


def test_a_cap_falls_at_the_same_place_over_any_threads() -> None:
    runs = []
    for threads in (1, 3, 16):
        program, _, _ = run(max_metric_calls=150, num_threads=threads)
        result = program.detailed_results
        runs.append([(c.instructions, c.scores) for c in result.candidates])
    assert runs[0] == runs[1] == runs[2]


def test_max_cost_needs_prices() -> None:
    with pytest.raises(ConfigurationError, match="price"):
        scorer = scorer_lm(answer_key=TRAIN, landscape=landscape("wording_noise", seed=0))
        with dspy.context(lm=scorer):
            OPRO(metric=exact_match, max_cost=1.0).compile(
                dspy.Predict("question -> answer"), trainset=TRAIN
            )


@pytest.mark.parametrize("cap", ["max_metric_calls", "max_tokens", "max_cost", "max_seconds"])
def test_caps_must_be_positive(cap: str) -> None:
    with pytest.raises(ConfigurationError, match=f"`{cap}`"):
        OPRO(metric=exact_match, **{cap: 0})  # type: ignore[arg-type]


def test_auto_sizes_the_run() -> None:
    light, _, _ = run(auto="light", max_steps=None)
    heavy, _, _ = run(auto="heavy", max_steps=None)
    n_light, n_heavy = (p.detailed_results.used("scorer").calls for p in (light, heavy))
    assert n_light < n_heavy / 2
    with pytest.raises(ConfigurationError, match="`auto`"):
        OPRO(metric=exact_match, auto="huge")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="one of the two"):
        OPRO(metric=exact_match, auto="light", max_steps=3)


def test_an_estimate_calls_no_lm_and_holds() -> None:
    scorer = scorer_lm(
        answer_key=EXAMPLES, landscape=landscape("wording_noise", seed=0), cache=False
    )
    optimizer = optimizer_lm(seed=0, cache=False)
    opro = OPRO(
        metric=exact_match,
        prompt_model=optimizer,
        max_steps=4,
        prices={scorer.model: PRICE, optimizer.model: PRICE},
    )
    student = dspy.Predict("question -> answer")
    with dspy.context(lm=scorer):
        estimate = opro.estimate(student, trainset=TRAIN, valset=VAL)
        assert (scorer.engine.calls, optimizer.engine.calls) == (0, 0)
        result = opro.compile(student, trainset=TRAIN, valset=VAL).detailed_results
    for role in ("optimizer", "scorer"):
        used, told = result.used(role), getattr(estimate, role)
        assert told.calls[0] <= used.calls <= told.calls[1]
        assert told.input_tokens[0] <= used.input_tokens <= told.input_tokens[1]
        assert told.output_tokens[0] <= used.output_tokens <= told.output_tokens[1]
        assert told.cost_usd[0] < told.cost_usd[1]
