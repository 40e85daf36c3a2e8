import json
import re
from pathlib import Path
from typing import Any

import pytest

from opro_dspy import OPROResult
from opro_dspy.filters import shown
from opro_dspy.plots.axes import Unit
from opro_dspy.records import Estimate, Usage
from opro_dspy.report import render
from opro_dspy.report.drawing import nice_ticks
from opro_dspy.report.summary import MIN_EXAMPLES, SIMULATION, certainty
from opro_dspy.report.text import MAX_WORDS, interval, signed, word_diff
from opro_dspy.report.view import rows
from tests.runs import START, a_run, a_step, candidate

PERCENT = Unit(factor=100.0, name="%")
HOSTILE = "</script><img src=x onerror=alert(1)><!-- {{ 7 * 7 }} \x1b[31m\ud800\u202e ]]>"


def hostile_run() -> OPROResult:
    run = a_run()
    found = candidate(HOSTILE, 1, {0: 1.0}, failures={0: HOSTILE})
    return a_run(
        candidates=(run.candidates[0], found),
        best_index=1,
        steps=(run.steps[0], a_step(1, [HOSTILE], prompt=HOSTILE)),
        stop_reason=HOSTILE,
        settings={HOSTILE: HOSTILE, "view": {HOSTILE: HOSTILE}},
        usage=(Usage(role=HOSTILE, model=HOSTILE), Usage(role="scorer", model=HOSTILE)),
        versions={"python": HOSTILE},
    )


def blob(page: str) -> str:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return found[1]


def test_the_page_says_what_came_of_the_run() -> None:
    page = render(a_run(settings={"optimizer_lm": "an-lm", "scorer_lm": "another-lm"}))
    assert SIMULATION not in page
    for said in (
        "25.0</span>",
        "75.0 %</strong>",
        "+50.0, paired by example: 4 examples are too few for an interval",
        "3 better, 1 worse",
        "max_steps: 1 step was done",
        "What is 1 plus 1?",
        "proposed by an-lm, scored on another-lm",
        "price unknown",
    ):
        assert said in page


def test_the_page_names_no_other_host_and_lets_only_its_own_script_run() -> None:
    page = render(a_run())
    assert not re.search(r'(?:src|href)="(?!#)', page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]


def test_hostile_text_cannot_leave_its_place() -> None:
    page = render(hostile_run())
    page.encode("utf-8")
    assert "<img" not in page
    assert "{{ 7 * 7 }}" in page
    assert page.count("</script>") == 2
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "<" not in blob(page)
    assert json.loads(blob(page))["best"] == [HOSTILE]


def test_a_meta_prompt_stands_in_the_page_once() -> None:
    texts = [f"Candidate number {i} of a large run." for i in range(500)]
    prompts = [f"{i} " + "word " * 4000 for i in range(10)]
    steps = [a_step(i + 1, list(texts[50 * i : 50 * i + 50]), prompt=prompts[i]) for i in range(10)]
    found = [candidate(t, 1 + i // 50, {0: 1.0}) for i, t in enumerate(texts)]
    start = a_run()
    page = render(
        a_run(
            candidates=(start.candidates[0], *found),
            best_index=1,
            steps=(start.steps[0], *steps),
        )
    )
    told = json.loads(blob(page))
    assert told["metaPrompts"] == [shown(p) for p in prompts]
    assert told["candidates"][500]["queries"][0]["prompt"] == 9
    assert len(page) < sum(map(len, prompts)) + 500 * 3000


def test_a_run_that_scored_nothing_has_a_page() -> None:
    page = render(a_run(candidates=(), best_index=None, steps=(), spent=()))
    assert "No candidate was scored and chosen." in page


def test_several_predictors_are_told_apart() -> None:
    both = {"plan.predict": "Plan.", "write.predict": "Write well."}
    start = candidate(dict.fromkeys(both, START), 0, {0: 0.0})
    page = render(
        a_run(
            candidates=(start, candidate(both, 1, {0: 1.0})),
            best_index=1,
            steps=(a_run().steps[0], a_step(1, [both])),
        )
    )
    assert "<h3>plan.predict</h3>" in page
    assert len(json.loads(blob(page))["candidates"][1]["queries"]) == 2


def test_an_estimate_stands_beside_the_examples_that_it_rests_on() -> None:
    start, *others = a_run().candidates
    searched = Estimate.of({0: 1.0, 1: 0.0})
    best = others[1].model_copy(update={"train": searched})  # and met four in the end
    run = a_run(candidates=(start, others[0], best))
    row = next(row for row in rows(run, PERCENT) if row.index == 2)
    assert (row.score, row.seen) == ("50.0 ± 50.0", 2)
    told = json.loads(blob(render(run)))["candidates"]
    assert told[2]["whole"] == "75.0 ± 25.0 % on all 4 examples."
    assert told[1]["whole"] is None


def test_a_candidate_that_met_no_training_example_has_no_training_estimate() -> None:
    start = a_run().candidates[0].model_copy(update={"scores": {}})
    (row,) = rows(a_run(candidates=(start,), best_index=0), PERCENT)
    assert (row.score, row.seen, row.selection) == ("", 0, "25.0 ± 25.0")


def test_report_writes_the_page(tmp_path: Path) -> None:
    path = a_run().report(tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == render(a_run())


def test_what_cannot_be_seen_is_spelt_out() -> None:
    assert shown("a\x1b[1m\tb\r\nc\u202ed\ud800") == "a\\x1b[1m\tb\nc\\x202ed\ufffd"


@pytest.mark.parametrize(
    ("old", "new", "pieces"),
    [
        ("a", "a", [("same", "a")]),
        ("", "", []),
        ("", "new", [("new", "new")]),
        ("old", "", [("gone", "old")]),
        (
            "Answer the question now.",
            "Answer the question later.",
            [("same", "Answer the question "), ("gone", "now"), ("new", "later"), ("same", ".")],
        ),
        (
            "Give the fields.",
            "Use the words!",
            [("gone", "Give the fields."), ("new", "Use the words!")],
        ),
    ],
)
def test_a_difference_is_told_word_by_word(
    old: str, new: str, pieces: list[tuple[str, str]]
) -> None:
    assert word_diff(old, new) == pieces


def test_long_texts_are_told_as_a_whole() -> None:
    old, new = "a " * MAX_WORDS, "b " * MAX_WORDS
    assert word_diff(old, new) == [("gone", old), ("new", new)]


def test_an_interval_has_signs_and_stays_within_what_a_difference_can_be() -> None:
    assert interval(Estimate(score=0.1, stderr=0.1, n_examples=9), PERCENT) == "−9.6 to +29.6"
    wide = Estimate(score=0.667, stderr=0.333, n_examples=9)
    assert interval(wide, PERCENT) == "+1.4 to +100.0"
    assert interval(wide, Unit(factor=1.0, name="")) == "+0.01432 to +1.32"
    assert signed(0.0001, PERCENT) == "0.0"


@pytest.mark.parametrize(
    ("n", "stderr", "said"),
    [
        (1, 0.0, "1 example is too few for an interval"),
        (MIN_EXAMPLES - 1, 0.3, "9 examples are too few for an interval"),
        (MIN_EXAMPLES, 0.0, "the same on every example"),
        (MIN_EXAMPLES, 0.1, "95 % interval −9.6 to +29.6 (normal approximation)"),
    ],
)
def test_a_handful_of_examples_has_no_interval(n: int, stderr: float, said: str) -> None:
    assert certainty(Estimate(score=0.1, stderr=stderr, n_examples=n), PERCENT) == said


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"scorer_lm": "openai/a, simulated/scorer-1"}},
        {"settings": {"optimizer_lm": "simulated/optimizer-1"}},
        {"usage": (Usage(role="scorer", model="simulated/scorer-1"),)},
    ],
)
def test_a_page_says_that_an_lm_is_simulated(changes: dict[str, Any]) -> None:
    assert SIMULATION in render(a_run(**changes))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (31.0, 87.0, [20.0, 40.0, 60.0, 80.0, 100.0]),
        (5.0, 5.0, [4.4, 4.6, 4.8, 5.0, 5.2, 5.4, 5.6]),
    ],
)
def test_ticks_are_round_and_span_the_values(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high, most=6) == ticks


def test_a_notebook_shows_a_result_escaped() -> None:
    html = hostile_run()._repr_html_()
    assert "<img" not in html
    assert "&lt;/script&gt;" in html
    assert "25.0 → 75.0 % (+50.0; 4 examples are too few" in a_run()._repr_html_()
