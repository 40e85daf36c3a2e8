"""Hard caps: over any threads none is passed, and every run ends with a program."""

import math
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
        # 8 parts of 25 are 200 budgets, most of them less than a run takes
        threads, kind = rng.choice([1, 2, 5, 16]), rng.choice(["calls", "tokens", "cost"])
        options: dict[str, Any] = {"num_threads": threads, "seed": rng.randrange(100)}
        options |= {"max_steps": 2, "num_candidates": 3, "trainset": TRAIN[:8]}
        options["racing"] = rng.random() < 0.7
        options["valset"] = VAL[:4] if rng.random() < 0.5 else None
        if kind == "calls":
            options["max_metric_calls"] = cap = rng.randrange(1, 80)
            program, scorer, _ = run(**options)
            assert scorer.engine.calls <= cap
        else:
            tokens = rng.randrange(200, 20_000)
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


@pytest.mark.parametrize("cap", [{"max_tokens": 60_000}, {"max_cost": 0.09}])
def test_a_choice_that_scores_nothing_has_nothing_kept(cap: dict[str, float]) -> None:
    program, _, _ = run(racing=False, valset=None, max_steps=100, max_empty_steps=50, **cap)
    result = program.detailed_results
    assert result.stop_reason.startswith(next(iter(cap))) and "kept" not in result.stop_reason
    assert result.spent[-1].tokens > 0 and result.best.scores
    assert spent(result, **cap) > 0.95


@pytest.mark.parametrize(
    ("valset", "cap"), [(VAL, {"max_tokens": 150_000}), (None, {"max_cost": 0.22})]
)
def test_what_is_kept_of_tokens_and_usd_is_what_a_whole_choice_takes(
    valset: Any, cap: dict[str, float]
) -> None:
    program, _, _ = run(valset=valset, max_steps=200, max_empty_steps=50, **cap)
    result = program.detailed_results
    assert "kept for the final choice" in result.stop_reason
    assert not [d for d in result.diagnostics if d.name == "cut choice"]
    assert sum(c.selection is not None for c in result.candidates) == 3
    assert 0.85 < spent(result, **cap) <= 1.0


def spent(result: Any, max_tokens: float = math.inf, max_cost: float = math.inf) -> float:
    """The share of the cap that was used."""
    tokens = sum(u.input_tokens + u.output_tokens for u in result.usage)
    cost = sum(PRICE.cost(u.input_tokens, u.output_tokens) for u in result.usage)
    return max(float(tokens / max_tokens), float(cost / max_cost))


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


@pytest.mark.parametrize(
    ("small", "large"),
    [
        ({"max_tokens": 10_000}, {"max_tokens": 25_000}),
        ({"max_cost": 0.01}, {"max_cost": 0.03}),
        ({"max_seconds": 1.0, "requests_per_minute": 20}, {"max_seconds": 60}),
    ],
)
def test_every_cap_without_room_for_a_comparison_is_told_as_far_as_can_be_known(
    small: dict[str, float], large: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    program, _, _ = run(**small)
    assert program.detailed_results.best_index == 0
    told = (
        "too small to compare the student with another candidate on all 16 examples of the valset"
    )
    assert f"`{next(iter(small))}`" in caplog.text and told in caplog.text
    caplog.clear()
    program, _, _ = run(**large)
    assert sum(c.selection is not None for c in program.detailed_results.candidates) > 1
    assert "too small" not in caplog.text


def test_a_rate_that_leaves_the_choice_no_time_is_told(caplog: pytest.LogCaptureFixture) -> None:
    program, _, _ = run(max_seconds=5, requests_per_minute=30)
    (found,) = program.detailed_results.diagnostics
    assert found.name == "cut choice" and "requests_per_minute" in found.advice
    assert "Set it to 120 at least" in caplog.text


def test_proposals_that_a_cap_refuses_are_told_with_the_cap(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(max_cost=0.012)
    assert "brought no new candidate: no answer came (max_cost: " in caplog.text
    assert "the temperature rises" not in caplog.text


@pytest.mark.parametrize("price", ["1", -1.0, math.nan, None, True])
def test_a_price_is_a_number(price: Any) -> None:
    with pytest.raises(ConfigurationError, match="`output_per_million` must be USD as a number"):
        Price(input_per_million=1, output_per_million=price)


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


@pytest.mark.parametrize(
    "caps",
    [
        {},
        {"max_metric_calls": 5},
        {"max_metric_calls": 60},
        {"max_metric_calls": 110},
        {"max_tokens": 3_000},
        {"max_tokens": 30_000},
        {"max_cost": 0.002},
        {"max_cost": 0.02},
        {"max_cost": 0.05, "max_metric_calls": 70},
    ],
)
@pytest.mark.parametrize("racing", [True, False])
def test_an_estimate_calls_no_lm_and_holds_within_every_cap(
    caps: dict[str, Any], racing: bool
) -> None:
    scorer = scorer_lm(
        answer_key=EXAMPLES, landscape=landscape("wording_noise", seed=0), cache=False
    )
    optimizer = optimizer_lm(seed=0, cache=False)
    opro = OPRO(
        metric=exact_match,
        prompt_model=optimizer,
        max_steps=3,
        num_candidates=4,
        racing=racing,
        prices={scorer.model: PRICE, optimizer.model: PRICE},
        **caps,
    )
    student = dspy.Predict("question -> answer")
    with dspy.context(lm=scorer):
        told = opro.estimate(student, trainset=TRAIN, valset=VAL)
        assert (scorer.engine.calls, optimizer.engine.calls) == (0, 0)
        result = opro.compile(student, trainset=TRAIN, valset=VAL).detailed_results
    assert told.metric_calls[0] <= scorer.engine.calls <= told.metric_calls[1]
    assert told.metric_calls[1] <= caps.get("max_metric_calls", math.inf)
    for role in ("optimizer", "scorer"):
        used, part = result.used(role), getattr(told, role)
        tokens = used.input_tokens + used.output_tokens
        assert part.calls[0] <= used.calls <= part.calls[1]
        assert part.input_tokens[0] <= used.input_tokens <= part.input_tokens[1]
        assert part.output_tokens[0] <= used.output_tokens <= part.output_tokens[1]
        assert part.tokens[0] <= tokens <= part.tokens[1] <= caps.get("max_tokens", math.inf)
        cost = PRICE.cost(used.input_tokens, used.output_tokens)
        assert part.cost_usd[0] <= cost <= part.cost_usd[1] <= caps.get("max_cost", math.inf)


def test_an_estimate_knows_how_many_requests_there_is_time_for() -> None:
    opro = OPRO(metric=exact_match, max_seconds=90, requests_per_minute=30)
    with dspy.context(lm=optimizer_lm(seed=0)):
        told = opro.estimate(dspy.Predict("question -> answer"), trainset=TRAIN, valset=VAL)
    assert told.metric_calls[1] == told.optimizer.calls[1] == 60
