import math
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opro_dspy.asking import View
from opro_dspy.errors import ConfigurationError, UnknownArgumentError
from opro_dspy.likeness import factors
from opro_dspy.racing import (
    Racing,
    draw_order,
    estimates,
    hopeless_against,
    leaders,
    resolve_racing,
    rounds_of_choice,
)
from opro_dspy.rasch import LastFit, fit
from opro_dspy.records import Candidate, Estimate, Evaluation


def evaluation(name: str, scores: dict[int, float]) -> Evaluation:
    return Evaluation(candidate=Candidate({"p": name}), scores=scores)


def drawn(
    seed: int, *, n_examples: int = 60, fractions: bool = False
) -> tuple[list[Evaluation], list[float]]:
    """Evaluations of a logistic world, and the true means of their candidates."""
    rng = random.Random(seed)
    hard = [rng.gauss(0, 1.5) for _ in range(n_examples)]
    found, truth = [], []
    for name in range(40):
        good = rng.gauss(0, 0.5)
        chances = [1 / (1 + math.exp(-(good - h))) for h in hard]
        met = rng.sample(range(n_examples), rng.choice([4, 8, 16, n_examples]))
        scores = {
            j: sum(rng.random() < chances[j] for _ in range(5)) / 5
            if fractions
            else float(rng.random() < chances[j])
            for j in met
        }
        found.append(evaluation(str(name), scores))
        truth.append(sum(chances) / n_examples)
    return found, truth


def rms(values: list[float]) -> float:
    return math.sqrt(sum(v * v for v in values) / len(values))


@given(st.lists(st.lists(st.floats(-10, 10), min_size=5, max_size=5), min_size=1, max_size=5))
def test_with_all_examples_seen_the_estimate_is_the_plain_mean(table: list[list[float]]) -> None:
    found = [evaluation(str(i), dict(enumerate(row))) for i, row in enumerate(table)]
    for row, estimate in zip(table, estimates(found, n_examples=5), strict=True):
        assert estimate.score == pytest.approx(sum(row) / 5)


@pytest.mark.parametrize("fractions", [False, True])
@pytest.mark.parametrize("n_examples", [20, 60, 2000])
def test_estimates_are_closer_to_the_truth_than_plain_means(
    fractions: bool, n_examples: int
) -> None:
    ours, plain = [], []
    for seed in range(8):
        found, truth = drawn(seed, n_examples=n_examples, fractions=fractions)
        for e, estimate, true in zip(
            found, estimates(found, n_examples=n_examples), truth, strict=True
        ):
            if len(e.scores) <= 16:
                ours.append(estimate.score - true)
                plain.append(e.estimate.score - true)
    assert rms(ours) < 0.75 * rms(plain)


def test_the_standard_error_says_how_far_off_an_estimate_is() -> None:
    scaled = []
    for seed in range(12):
        found, truth = drawn(seed)
        for estimate, true in zip(estimates(found, n_examples=60), truth, strict=True):
            scaled.append((estimate.score - true) / estimate.stderr)
    assert 0.7 < rms(scaled) < 1.4


def test_a_lucky_four_of_four_does_not_lead() -> None:
    found, _ = drawn(3)
    steady = evaluation("steady", {j: float(j % 5 != 0) for j in range(60)})
    lucky = evaluation("lucky", {j: 1.0 for j in range(4)})
    *_, first, second = estimates([*found, steady, lucky], n_examples=60)
    assert first.score == pytest.approx(0.8)
    assert second.score < first.score
    assert second.stderr > first.stderr


def test_estimates_are_adjusted_for_how_hard_the_examples_were() -> None:
    everybody = [
        evaluation(str(i), {j: float(j < 30 or (j + i) % 10 == 0) for j in range(60)})
        for i in range(6)
    ]
    on_easy = evaluation("easy", {j: 1.0 for j in range(8)})
    on_hard = evaluation("hard", {j: 1.0 for j in range(31, 39)})
    *_, easy, hard = estimates([*everybody, on_easy, on_hard], n_examples=60)
    assert hard.score > easy.score + 0.05


@settings(max_examples=20)
@given(st.randoms(use_true_random=False))
def test_estimates_do_not_depend_on_the_order_of_the_scores(shuffle: random.Random) -> None:
    found, _ = drawn(1)
    mixed = []
    for e in found:
        items = list(e.scores.items())
        shuffle.shuffle(items)
        mixed.append(evaluation(e.candidate.texts["p"], dict(items)))
    ours = [e.score for e in estimates(found, n_examples=60)]
    assert [e.score for e in estimates(mixed, n_examples=60)] == pytest.approx(ours, abs=1e-12)


@given(st.floats(2, 50), st.floats(0.1, 100))
def test_estimates_move_with_the_metrics_scale(shift: float, scale: float) -> None:
    found, _ = drawn(2)
    moved = [
        evaluation(e.candidate.texts["p"], {j: shift + scale * s for j, s in e.scores.items()})
        for e in found
    ]
    before = [shift + scale * e.score for e in estimates(found, n_examples=60)]
    after = [e.score for e in estimates(moved, n_examples=60)]
    assert after == pytest.approx(before, abs=1e-6 * scale + 1e-9)


def test_equal_scores_everywhere_are_no_trouble() -> None:
    found = [evaluation("a", {0: 0.5, 1: 0.5}), evaluation("b", {2: 0.5})]
    for value in (0.0, 0.5, 1.0, -3.0):
        same = [evaluation(e.candidate.texts["p"], {j: value for j in e.scores}) for e in found]
        for estimate in estimates(same, n_examples=9):
            assert math.isfinite(estimate.score) and math.isfinite(estimate.stderr)
    assert estimates([], n_examples=3) == []


def test_examples_that_tell_candidates_apart_come_early() -> None:
    found = [
        evaluation(str(i), {j: 1.0 if j < 20 else float((i + j) % 2) for j in range(40)})
        for i in range(10)
    ]
    model = fit(found, n_examples=40)
    early = [
        j
        for seed in range(50)
        for j in draw_order(model, n_examples=40, rng=random.Random(seed))[:8]
    ]
    telling = sum(j >= 20 for j in early)
    assert 0.65 < telling / len(early) < 1.0


@given(st.integers(0, 1000))
def test_an_order_holds_every_example_once(seed: int) -> None:
    model = fit([evaluation("a", {0: 1.0, 3: 0.0})], n_examples=9)
    for given_model in (None, model):
        order = draw_order(given_model, n_examples=9, rng=random.Random(seed))
        assert sorted(order) == list(range(9))


@given(st.integers(0, 100), st.integers(1, 16))
def test_hopeless_never_turns_against_a_growing_total(seed: int, n: int) -> None:
    found, _ = drawn(seed % 5)
    rule = hopeless_against(fit(found, n_examples=60), seed % 40, range(60), z=1.645)
    verdicts = [rule(float(total), n) for total in range(n + 1)]
    assert verdicts == sorted(verdicts, reverse=True)


def test_leaders_are_measured_until_their_lead_is_real() -> None:
    def known(score: float, stderr: float, n: int) -> Estimate:
        return Estimate(score=score, stderr=stderr, n_examples=n)

    close = [known(0.5, 0.1, 8), known(0.7, 0.1, 8), known(0.65, 0.1, 60)]
    assert leaders(close, n_examples=60, k=2, z=1.645) == [1]
    clear = [known(0.5, 0.05, 8), known(0.9, 0.05, 8)]
    assert leaders(clear, n_examples=60, k=2, z=1.645) == []
    assert leaders([known(0.5, 0.1, 8)], n_examples=60, k=2, z=1.645) == [0]


def test_racing_settings_are_checked() -> None:
    assert resolve_racing(False) is None
    assert resolve_racing(True) == Racing()
    with pytest.raises(ConfigurationError, match="`racing`"):
        resolve_racing("yes")
    with pytest.raises(
        ConfigurationError, match=r"^`rungs`: must rise from at least 1, got \(8, 4\)\.$"
    ):
        Racing(rungs=(8, 4))


@pytest.mark.parametrize(
    ("options", "given", "nearest"),
    [(Racing, "rung", "rungs"), (View, "num_entrys", "num_entries"), (Racing, "foo", None)],
)
def test_an_unknown_setting_names_the_nearest(
    options: Any, given: str, nearest: str | None
) -> None:
    hint = rf" \(did you mean `{nearest}`\?\)" if nearest else ""
    said = f"^{options.__name__} has no argument `{given}`{hint}\\. It takes: "
    with pytest.raises(UnknownArgumentError, match=said):
        options(**{given: 1})


def test_whoever_can_hardly_be_the_best_is_measured_no_further() -> None:
    found = [
        Estimate(score=0.8, stderr=0.2, n_examples=8),
        Estimate(score=0.5, stderr=0.1, n_examples=4),
        Estimate(score=0.7, stderr=0.1, n_examples=4),
    ]
    assert leaders(found, n_examples=60, k=3, z=1.645) == [0, 2]


@given(
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(1, 2000),
    st.none() | st.integers(0, 5000),
)
def test_rounds_of_the_choice_halve_the_field_within_the_budget(
    n_contenders: int, n_finalists: int, n_examples: int, budget: int | None
) -> None:
    rounds = rounds_of_choice(
        n_contenders, n_finalists=n_finalists, n_examples=n_examples, budget=budget
    )
    pools = [pool for pool, _ in rounds]
    assert pools == sorted(pools, reverse=True) and all(p > n_finalists for p in pools)
    assert all(1 <= further <= n_examples for _, further in rounds)
    assert all(after == max(n_finalists, (p + 1) // 2) for p, after in pairwise(pools))
    if budget is not None:  # what finalists meet in a round they need not meet later
        assert sum((pool - n_finalists) * further for pool, further in rounds) <= budget
    elif n_contenders > n_finalists:
        assert pools


def test_likeness_tells_the_better_of_two_that_nobody_measured_much() -> None:
    """Texts with "slowly" do well; of two new ones with one score each, alike, one has the word."""
    rng = random.Random(5)
    words = ["red", "green", "blue", "north", "south", "east", "west"]
    found = []
    for i in range(40):
        good = i % 2 == 0
        text = " ".join([*rng.sample(words, 4), "slowly" if good else "quickly"])
        met, chance = rng.sample(range(40), 6), 0.8 if good else 0.3
        scores = {j: float(rng.random() < chance) for j in met}
        found.append(evaluation(f"{text} {i}", scores))
    *_, first, second = estimates(
        [*found, evaluation("work slowly", {0: 1.0}), evaluation("work quickly", {0: 1.0})],
        n_examples=40,
    )
    assert first.score > second.score + 0.1


def test_texts_that_share_nothing_leave_every_candidate_to_itself() -> None:
    assert factors([{"p": "one two"}, {"p": "three four"}]).shape == (2, 0)
    assert factors([{"p": "same text"}, {"p": "same text"}, {"p": "same text"}]).shape == (3, 0)


@given(st.lists(st.text(alphabet="ab c", max_size=12), min_size=1, max_size=9))
def test_factors_have_rows_of_mean_squared_length_one(texts: list[str]) -> None:
    found = factors([{"p": text} for text in texts])
    assert found.shape[0] == len(texts)
    if found.shape[1]:
        assert (found**2).sum() == pytest.approx(len(texts))


def test_the_last_fit_is_made_again_only_for_other_scores() -> None:
    last, found = LastFit(), drawn(0, n_examples=20)[0]
    model = last(found, n_examples=20)
    assert last(list(found), n_examples=20) is model
    grown = [*found, evaluation("another", {0: 1.0})]
    assert last(grown, n_examples=20) is not model
    assert last(grown, n_examples=20).ability == pytest.approx(fit(grown, n_examples=20).ability)
