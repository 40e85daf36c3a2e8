import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.records import Candidate, Estimate, Evaluation, Step
from opro_dspy.trajectory import Trajectory


def told(*scored: tuple[dict[str, str], float], trajectory: Trajectory | None = None) -> Trajectory:
    trajectory = trajectory or Trajectory()
    evaluations = [
        Evaluation(candidate=Candidate(texts), scores={0: score}) for texts, score in scored
    ]
    step = Step(index=len(trajectory.steps), candidates=tuple(e.candidate for e in evaluations))
    trajectory.append(step, evaluations)
    return trajectory


def texts(trajectory: Trajectory, **options: int) -> list[str]:
    base = trajectory.best.candidate
    return [e.text for e in trajectory.view("p", base, **{"top_k": 20, **options})]


def test_the_view_shows_the_best_worst_first() -> None:
    trajectory = told(({"p": "a"}, 0.5), ({"p": "b"}, 0.1), ({"p": "c"}, 0.9))
    assert texts(trajectory) == ["b", "a", "c"]
    assert texts(trajectory, top_k=2) == ["a", "c"]


def test_ties_keep_the_order_in_which_they_were_told() -> None:
    trajectory = told(({"p": "a"}, 0.5), ({"p": "b"}, 0.5), ({"p": "c"}, 0.5))
    assert [e.candidate.texts["p"] for e in trajectory.ranked()] == ["a", "b", "c"]
    assert trajectory.best.candidate.texts["p"] == "a"


def test_the_threshold_applies_after_the_cut() -> None:
    trajectory = told(({"p": "a"}, 0.1), ({"p": "b"}, 0.4), ({"p": "c"}, 0.9))
    base = trajectory.best.candidate
    view = trajectory.view("p", base, top_k=2, threshold=0.5)
    assert [e.text for e in view] == ["c"]


def test_entries_measured_beside_other_texts_are_marked() -> None:
    trajectory = told(
        ({"p": "a", "q": "x"}, 0.2), ({"p": "b", "q": "x"}, 0.4), ({"p": "b", "q": "y"}, 0.9)
    )
    view = trajectory.view("p", Candidate({"p": "b", "q": "y"}), top_k=20)
    assert [(e.text, e.other_context) for e in view] == [("a", True), ("b", False)]


def test_what_was_measured_beside_other_texts_is_shown_with_what_these_texts_add() -> None:
    scores = {"ax": 0.3, "bx": 0.4, "ay": 0.6, "cx": 0.2, "cy": 0.5}
    trajectory = told(*(({"p": k[0], "q": k[1]}, score) for k, score in scores.items()))
    shown = {e.text: e for e in trajectory.view("p", Candidate({"p": "a", "q": "y"}), top_k=20)}
    assert shown["b"].other_context
    assert 0.5 < shown["b"].estimate.score <= 0.6  # never more than was ever estimated
    assert (shown["a"].estimate.score, shown["c"].estimate.score) == (0.6, 0.5)


def test_a_dropped_text_is_not_adjusted_and_says_nothing_of_others() -> None:
    trajectory = told(({"p": "a", "q": "x"}, 0.3), ({"p": "a", "q": "y"}, 0.3))
    lost = Evaluation(candidate=Candidate({"p": "b", "q": "x"}), scores={0: 0.0}, dropped="fails")
    trajectory.append(Step(index=1), [lost])
    first, _ = trajectory.view("p", Candidate({"p": "a", "q": "y"}), top_k=20)
    assert (first.text, first.estimate.score, first.other_context) == ("b", 0.0, True)


def test_a_text_measured_beside_the_base_shows_that_score_even_if_it_is_lower() -> None:
    trajectory = told(({"p": "a", "q": "x"}, 0.9), ({"p": "a", "q": "y"}, 0.3))
    (entry,) = trajectory.view("p", Candidate({"p": "z", "q": "y"}), top_k=20)
    assert entry.estimate.score == 0.3
    assert not entry.other_context


def test_an_evaluation_told_again_replaces_the_older_one() -> None:
    trajectory = told(({"p": "a"}, 0.5))
    more = Evaluation(candidate=Candidate({"p": "a"}), scores={0: 0.5, 1: 1.0})
    trajectory.append(Step(index=1), [more])
    assert trajectory.estimate(more.candidate).score == 0.75
    assert len(trajectory) == 1


def test_the_best_after_a_step_is_remembered() -> None:
    trajectory = told(({"p": "a"}, 0.5))
    told(({"p": "b"}, 0.8), trajectory=trajectory)
    first, second = trajectory.best_after(0), trajectory.best_after(1)
    assert first is not None and second is not None
    assert (first.score, second.score) == (0.5, 0.8)


def test_a_metric_beyond_the_unit_range_is_noticed() -> None:
    assert told(({"p": "a"}, 1.0)).in_unit_range()
    trajectory = told(({"p": "a"}, -3.0), ({"p": "b"}, 7.0))
    assert not trajectory.in_unit_range()
    assert trajectory.perfect_score() == 7.0


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=40))
def test_an_estimate_is_the_mean_with_its_standard_error(values: list[float]) -> None:
    estimate = Estimate.of(dict(enumerate(values)))
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    assert estimate.score == pytest.approx(mean, abs=1e-9)
    assert estimate.stderr == pytest.approx((variance / len(values)) ** 0.5, abs=1e-9)


def below_zero(*scored: tuple[str, float, str | None]) -> Trajectory:
    trajectory = Trajectory()
    for text, score, dropped in scored:
        candidate = Candidate({"p": text})
        evaluation = Evaluation(candidate=candidate, scores={0: score}, dropped=dropped)
        step = Step(index=len(trajectory.steps), candidates=(candidate,))
        trajectory.append(step, [evaluation])
    return trajectory


def test_a_dropped_candidate_ranks_below_all_others() -> None:
    trajectory = below_zero(("a", -5.0, None), ("b", 0.0, "given up"), ("c", -3.0, None))
    assert trajectory.best.candidate.texts["p"] == "c"
    assert [e.candidate.texts["p"] for e in trajectory.ranked()] == ["c", "a", "b"]
    best = [trajectory.best_after(step) for step in range(3)]
    assert [estimate and estimate.score for estimate in best] == [-5.0, -5.0, -3.0]


def test_a_dropped_candidate_is_shown_first_and_with_no_higher_score_than_others() -> None:
    trajectory = below_zero(("a", -5.0, None), ("b", 0.0, "given up"), ("c", -3.0, None))
    view = trajectory.view("p", trajectory.best.candidate, top_k=20)
    assert [(e.text, e.estimate.score) for e in view] == [("b", -5.0), ("a", -5.0), ("c", -3.0)]
    assert texts(trajectory, top_k=2) == ["a", "c"]
    assert trajectory.estimate(Candidate({"p": "b"})).score == 0.0


def test_where_all_were_dropped_no_best_estimate_is_known() -> None:
    trajectory = below_zero(("a", 0.0, "given up"))
    assert trajectory.best_after(0) is None
    assert texts(trajectory) == ["a"]


def test_an_evaluation_without_scores_adds_nothing() -> None:
    trajectory = Trajectory()
    a, b = Candidate({"p": "a"}), Candidate({"p": "b"})
    step = Step(index=0, candidates=(a, b))
    trajectory.append(
        step, [Evaluation(candidate=a, scores={}), Evaluation(candidate=b, scores={0: 1.0})]
    )
    assert [e.candidate for e in trajectory] == [b]
    assert a not in trajectory
    assert trajectory.steps == (step,)


def test_the_best_entry_is_shown_whatever_the_threshold() -> None:
    trajectory = told(({"p": "a"}, 0.1), ({"p": "b"}, 0.4))
    view = trajectory.view("p", trajectory.best.candidate, top_k=20, threshold=0.9)
    assert [e.text for e in view] == ["b"]


def test_a_trajectory_without_evaluations_shows_nothing() -> None:
    trajectory = Trajectory()
    trajectory.append(Step(index=0), [])
    assert trajectory.view("p", Candidate({"p": "a"}), top_k=20, threshold=0.5) == []
    assert trajectory.best_after(0) is None
