import random
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opro_dspy.errors import ConfigurationError
from opro_dspy.exemplars import (
    EXEMPLAR_CHOICES,
    accumulative_most_frequent,
    chosen,
    constant,
    current_most_frequent,
    random_choice,
    resolve_exemplar_choice,
)
from opro_dspy.protocols import ExemplarChoice
from opro_dspy.records import Candidate, Evaluation, Step
from opro_dspy.trajectory import Trajectory

properties = settings(derandomize=True, deadline=None, max_examples=100)


def trajectory_of(
    scores: dict[str, dict[int, float]], dropped: frozenset[str] = frozenset()
) -> Trajectory:
    trajectory = Trajectory()
    evaluations = [
        Evaluation(
            candidate=Candidate({"predict": text}),
            scores=values,
            dropped="too many failures" if text in dropped else None,
        )
        for text, values in scores.items()
    ]
    step = Step(index=0, candidates=tuple(e.candidate for e in evaluations))
    trajectory.append(step, evaluations)
    return trajectory


def choose(
    choice: ExemplarChoice,
    scores: dict[str, dict[int, float]],
    *,
    n: int = 2,
    n_examples: int = 10,
    shown: str = "",
    seed: object = 0,
    **kwargs: Any,
) -> list[int]:
    keys = [Candidate({"predict": text}).key for text in shown.split()]
    return list(
        choice(
            trajectory_of(scores, **kwargs),
            shown=keys,
            n_examples=n_examples,
            n=n,
            rng=random.Random(str(seed)),
        )
    )


@pytest.mark.parametrize("name", EXEMPLAR_CHOICES)
@given(
    scores=st.dictionaries(
        st.sampled_from("abcd"),
        st.dictionaries(st.integers(0, 12), st.sampled_from([0.0, 0.5, 1.0]), min_size=1),
        max_size=4,
    ),
    n=st.integers(0, 15),
    n_examples=st.integers(0, 10),
    seed=st.integers(0, 5),
)
@properties
def test_every_choice_gives_distinct_examples_and_the_same_for_the_same_seed(
    name: str, scores: dict[str, dict[int, float]], n: int, n_examples: int, seed: int
) -> None:
    choice = EXEMPLAR_CHOICES[name]
    first, again = (
        choose(choice, scores, n=n, n_examples=n_examples, shown="a c", seed=seed) for _ in range(2)
    )
    assert first == again
    assert len(first) == len(set(first)) == min(n, n_examples)
    assert all(0 <= i < n_examples for i in first)


@pytest.mark.parametrize("choice", [random_choice, accumulative_most_frequent])
def test_drawn_examples_change_with_the_step(choice: ExemplarChoice) -> None:
    scores = {"a": dict.fromkeys(range(10), 0.0)}
    assert len({tuple(choose(choice, scores, seed=f"0:{step}")) for step in range(10)}) > 5


def test_constant_gives_the_same_examples_at_every_step() -> None:
    assert {tuple(choose(constant, {}, n=3, seed=step)) for step in range(10)} == {(0, 1, 2)}


def test_accumulative_draws_only_examples_that_were_ever_wrong() -> None:
    scores = {"a": {0: 1.0, 1: 0.0, 2: 1.0, 3: 1.0}, "b": {0: 1.0, 1: 1.0, 2: 0.9, 3: 1.0}}
    for seed in range(20):
        assert set(choose(accumulative_most_frequent, scores, seed=seed)) == {1, 2}


def test_accumulative_draws_often_wrong_examples_more_often() -> None:
    scores = {k: {0: 0.0, 1: float(k != "a")} for k in "abcd"}
    draws = [choose(accumulative_most_frequent, scores, n=1, seed=s)[0] for s in range(400)]
    assert 0.7 < draws.count(0) / 400 < 0.9  # rates 4/5 and 1/5


def test_current_takes_the_most_often_wrong_among_the_shown_most_wrong_first() -> None:
    scores = {
        "a": {0: 0.0, 1: 0.0, 2: 1.0},
        "b": {0: 0.0, 1: 1.0, 2: 1.0},
        "hidden": {0: 1.0, 1: 1.0, 2: 0.0},
    }
    for seed in range(10):
        assert choose(current_most_frequent, scores, shown="a b", seed=seed) == [0, 1]


def test_current_goes_by_rate_where_candidates_met_different_examples() -> None:
    scores = {k: {0: float(k in "abcd"), 1: 1.0} for k in "abcdefgh"}  # 0: wrong 4 of 8
    scores |= {k: {1: 1.0, 2: 0.0} for k in "xyz"}  # 2: wrong 3 of 3
    assert choose(current_most_frequent, scores, shown="a b c d e f g h x y z") == [2, 0]


def test_one_wrong_answer_weighs_less_than_many() -> None:
    scores = {k: {0: float(k == "a")} for k in "abcdefghij"}  # wrong 9 of 10
    scores["z"] = {1: 0.0}  # wrong 1 of 1
    assert choose(current_most_frequent, scores, shown=" ".join(scores)) == [0, 1]


def test_ties_are_broken_by_chance() -> None:
    scores = {"a": dict.fromkeys(range(10), 0.0)}
    firsts = {choose(current_most_frequent, scores, shown="a", seed=s)[0] for s in range(50)}
    assert len(firsts) > 5


@pytest.mark.parametrize("choice", [accumulative_most_frequent, current_most_frequent])
def test_too_few_wrong_ones_are_filled_up_at_random(choice: ExemplarChoice) -> None:
    scores = {"a": {**dict.fromkeys(range(10), 1.0), 7: 0.0}}
    draws = [choose(choice, scores, shown="a", n=3, seed=seed) for seed in range(20)]
    assert {draw[0] for draw in draws} == {7}
    assert len({tuple(draw) for draw in draws}) > 5


def test_the_filling_of_an_evaluation_that_ended_early_is_no_wrong_answer() -> None:
    scores = {"a": {0: 1.0, 1: 0.0, 2: 1.0}, "b": {0: 0.0, 1: 1.0, 2: 0.0}}
    for seed in range(10):
        chosen = choose(
            current_most_frequent, scores, shown="a b", n=1, seed=seed, dropped=frozenset("b")
        )
        assert chosen == [1]


def test_outside_the_unit_range_right_is_the_highest_score_ever_seen() -> None:
    scores = {"a": {0: 5.0, 1: 4.0}, "b": {0: 5.0, 1: 5.0}}
    assert choose(accumulative_most_frequent, scores, n=1) == [1]


@pytest.mark.parametrize("name", EXEMPLAR_CHOICES)
def test_a_choice_is_found_by_name(name: str) -> None:
    assert resolve_exemplar_choice(name) is EXEMPLAR_CHOICES[name]


def test_a_choice_of_ones_own_is_kept() -> None:
    def mine(trajectory: Trajectory, **_: object) -> list[int]:
        return [0]

    assert resolve_exemplar_choice(mine) is mine


def test_an_unknown_name_is_refused_with_the_names_and_the_nearest() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'random', 'constant', 'acc.*'randm'.*mean 'random'\?"
    ):
        resolve_exemplar_choice("randm")


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"or a callable, got 3"):
        resolve_exemplar_choice(cast(ExemplarChoice, 3))


def picked(choice: Any, n: int = 2) -> tuple[int, ...]:
    return chosen(choice, 3, Trajectory(), shown=[], n_examples=4, n=n, rng=random.Random("0"))


@pytest.mark.parametrize("answer", [[1, 0], (3,), [], np.array([2, 1])])
def test_a_choice_of_ones_own_may_return_any_indices_there_are(answer: Any) -> None:
    found = picked(lambda *_, **__: answer)
    assert found == tuple(answer)
    assert all(type(index) is int for index in found)


@pytest.mark.parametrize(
    "answer", [[4], [-1], [1, 1], [0, 1, 2], None, "01", 1, [False], [1.0], ["1"]]
)
def test_what_is_no_choice_is_refused_with_the_seat_and_the_step(answer: Any) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"exemplar choice .*<lambda> returned .* at step 3\. It must return at most 2 diff",
    ):
        picked(lambda *_, **__: answer)


def test_a_choice_that_raises_is_named_with_the_step() -> None:
    with pytest.raises(ConfigurationError, match=r"choice .* raised ZeroDivisionError at step 3"):
        picked(lambda *_, **__: 1 // 0)
