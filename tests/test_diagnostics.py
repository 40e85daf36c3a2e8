from collections.abc import Sequence

import pytest

from opro_dspy.diagnostics import Diagnostic, diagnose
from opro_dspy.filters import ALREADY_SCORED
from opro_dspy.records import Candidate, Evaluation, Proposal, Query, Step
from opro_dspy.trajectory import Trajectory

START = Candidate({"instruction": "Start"})


def proposal(
    text: str | None, *, rejected: str | None = None, invalid: tuple[str, ...] = ()
) -> Proposal:
    return Proposal(
        component="instruction",
        raw=text or "?",
        text=None if rejected else text,
        rejected=rejected,
        invalid=invalid,
        attempts=max(1, len(invalid)),
    )


def run(
    scores: Sequence[Sequence[float]],
    *,
    texts: Sequence[str] = (),
    extra: Sequence[Proposal] = (),
    omitted: int = 0,
) -> Trajectory:
    """A run that starts at 0.1 and scores `scores` step by step; `texts` name the steps."""
    trajectory = Trajectory()
    start = Evaluation(candidate=START, scores={0: 0.1})
    trajectory.append(Step(index=0, candidates=(START,)), [start])
    for index, row in enumerate(scores, start=1):
        name = texts[index - 1] if texts else "Text"
        found = [Candidate({"instruction": f"{name} {index}.{i}"}) for i in range(len(row))]
        query = Query(
            component="instruction", meta_prompt="", temperature=1.0, omitted_entries=omitted
        )
        step = Step(
            index=index,
            base=START,
            queries=(query,),
            proposals=(*(proposal(c.texts["instruction"]) for c in found), *extra),
            candidates=tuple(found),
        )
        trajectory.append(
            step,
            [
                Evaluation(candidate=c, scores={0: score})
                for c, score in zip(found, row, strict=True)
            ],
        )
    return trajectory


def names(found: Sequence[Diagnostic]) -> set[str]:
    return {diagnostic.name for diagnostic in found}


RISING = [[0.1 + 0.05 * step + 0.01 * i for i in range(4)] for step in range(10)]


def test_a_run_that_goes_well_shows_no_signature() -> None:
    assert diagnose(run(RISING), task="Text about anything") == ()


def test_nothing_is_said_of_a_run_without_steps() -> None:
    assert diagnose(Trajectory()) == () == diagnose(run([]))


def test_a_best_that_stands_for_half_of_the_run_is_an_early_plateau() -> None:
    flat = [*RISING[:4], *([[0.2, 0.21]] * 6)]
    (found,) = [d for d in diagnose(run(flat)) if d.name == "early plateau"]
    assert found.value == pytest.approx(0.6)
    assert "since step 4 of 10" in found.seen
    assert "adaptive" in found.advice
    assert "early plateau" not in names(diagnose(run(RISING[:4])))


def test_a_perfect_score_is_no_plateau() -> None:
    assert "early plateau" not in names(diagnose(run([[1.0], *([[0.2]] * 9)])))


def test_steps_that_differ_inside_but_do_not_rise_show_spread() -> None:
    bumpy = [[0.1, 0.5, 0.3, 0.7] for _ in range(8)]
    (found,) = [d for d in diagnose(run(bumpy)) if d.name == "spread within steps"]
    assert found.value == 0.0 < found.threshold
    assert "spread within steps" not in names(diagnose(run(RISING)))


def test_words_of_the_task_that_vanish_are_drift() -> None:
    task = "Count the objects in the question and answer with the number."
    texts = ["Count objects with numbers"] * 3 + ["Sing about distant mountains"] * 6
    (found,) = [d for d in diagnose(run(RISING[:9], texts=texts), task=task) if "drift" in d.name]
    assert found.value == 0.0
    same = run(RISING[:9], texts=["Count objects with numbers"] * 9)
    assert "drift from the task" not in names(diagnose(same, task=task))
    assert "drift from the task" not in names(diagnose(run(RISING[:9], texts=texts)))


def test_proposals_that_are_known_already_are_repeats() -> None:
    again = [proposal("Start", rejected=ALREADY_SCORED)] * 4
    (found,) = [d for d in diagnose(run(RISING, extra=again)) if d.name == "repeats"]
    assert found.value == 0.5
    assert "40 of 80" in found.seen


def test_answers_without_anything_to_score_are_counted_by_their_commonest_reason() -> None:
    bad = [
        proposal(None, rejected="a point twice", invalid=("a point twice", "a point twice")),
        proposal("Long", rejected="too long: 900 characters, at most 500"),
    ]
    (found,) = [d for d in diagnose(run(RISING, extra=bad)) if d.name == "invalid answers"]
    assert found.value == pytest.approx(3 / 7)
    assert "30 of 70" in found.seen and "mostly: a point twice" in found.seen


def test_a_meta_prompt_that_left_something_out_is_a_window_overflow() -> None:
    (found,) = [d for d in diagnose(run(RISING, omitted=7)) if d.name == "window overflow"]
    assert found.value == 1.0
    assert "up to 7 of the lower entries" in found.seen
