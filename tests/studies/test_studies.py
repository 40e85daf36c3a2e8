"""Every study in a small size, on simulated LMs."""

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import dspy
import pytest
from typer.testing import CliRunner

from opro_dspy.cli import app
from opro_dspy.errors import ConfigurationError
from opro_dspy.protocols import Event, RunEnded
from opro_dspy.simulation import exact_match
from opro_dspy.studies import STUDIES, Cap, real_subject, run_study, simulated_subject
from opro_dspy.studies.study import best_and_worst
from opro_dspy.studies.table import Figure, Row
from tests.fakes import keyword_scorer, questions, word_optimizer

SMALL = simulated_subject("arithmetic", n_train=8, n_val=8)
OTHER = simulated_subject("object_counting", n_train=8, n_val=8)

VARIANTS = {
    "temperature": 7,
    "context": 5,
    "initialization": 12,
    "candidates": 5,
    "order": 3,
    "scores": 3,
    "exemplars": 3,
    "transfer": 2,
}


def test_every_study_is_tested() -> None:
    assert set(VARIANTS) == set(STUDIES)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_study_measures_all_its_variants_and_says_what_it_saw(name: str) -> None:
    table = run_study(STUDIES[name], SMALL, other_of=OTHER, seeds=1, max_steps=2)
    assert table.complete and len(table.rows) == VARIANTS[name]
    for row in table.rows:
        score = row.figures["score"].mean
        assert score is not None and 0.0 <= score <= 1.0
    assert table.paragraph.startswith(STUDIES[name].question)
    assert table.paragraph.endswith("numbers of the simulation, not of a real model.")


def rows(means: dict[str, float | None]) -> list[Row]:
    """Rows of one seed with these scores."""
    return [
        Row(variant=name, num_seeds=1, figures={"score": Figure.of([mean])}, curve=())
        for name, mean in means.items()
    ]


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ({"a": 0.5, "b": 0.7, "c": 0.7}, "is 0.7 (b) and 0.7 (c), the lowest 0.5 (a): 0.2 apart."),
        ({"a": 0.5, "b": 0.5}, "All variants have the same score, 0.5."),
        ({"a": 0.5, "b": None}, "is 0.5 (a); there is no other variant to compare."),
        ({"a": None}, "No variant has a score."),
    ],
)
def test_all_that_share_the_highest_score_are_named(
    means: dict[str, float | None], said: str
) -> None:
    assert best_and_worst(rows(means)).endswith(said)


def test_the_context_study_says_in_words_how_late_candidates_are() -> None:
    paragraph = run_study(STUDIES["context"], SMALL, seeds=1, max_steps=4).paragraph
    assert re.search(
        r"unlimited(; [\d,]+ tokens)*: 0 of the entries left out, best not shown in 0 of the "
        r"meta-prompts, candidates of the last quarter of the steps score [\d.]+ (higher|lower) "
        r"than those of the second quarter\.",
        paragraph,
    )
    short = run_study(STUDIES["context"], SMALL, seeds=1, max_steps=2).paragraph
    assert "no late candidates to compare with early ones." in short


def test_candidates_are_compared_at_an_equal_number_of_them() -> None:
    for variant in STUDIES["candidates"].variants(4):
        assert variant.settings["num_candidates"] * variant.settings["max_steps"] == 32


def test_a_small_window_leaves_entries_out_but_never_the_best() -> None:
    table = run_study(STUDIES["context"], SMALL, seeds=1, max_steps=8)
    unlimited, small = table.row("unlimited"), table.row("1,000 tokens")
    assert unlimited is not None and small is not None
    assert unlimited.figures["left out"].mean == 0.0
    left_out = small.figures["left out"].mean
    assert left_out is not None and left_out > 0.3
    assert small.figures["best not shown"].mean == 0.0


def test_a_budget_that_ends_keeps_whole_cells_only() -> None:
    table = run_study(STUDIES["order"], SMALL, seeds=2, max_steps=1, cap=Cap(max_tokens=60_000))
    assert not table.complete
    assert table.rows and sum(row.num_seeds for row in table.rows) < 6
    assert "The budget ended" in table.paragraph


@pytest.mark.parametrize("how", ["signal", "raised"])
def test_ctrl_c_ends_the_study_and_stores_no_half_cell(how: str, tmp_path: Path) -> None:
    calls = 0

    def metric(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
        nonlocal calls
        calls += 1
        if calls == 60 and how == "raised":
            raise KeyboardInterrupt
        if calls == 60:
            os.kill(os.getpid(), signal.SIGINT)
        return exact_match(example, prediction)

    subject = real_subject(
        questions(24), name="mine", prompt_model=word_optimizer(), task_model=keyword_scorer(),
        metric=metric,
    )  # fmt: skip
    path, study = tmp_path / "exemplars.jsonl", STUDIES["exemplars"]
    with pytest.raises(KeyboardInterrupt):
        run_study(study, subject, seeds=1, max_steps=2, path=path)
    stored = path.read_text().count("\n") if path.exists() else 0
    assert stored < 3 and calls < 100
    assert run_study(study, subject, seeds=1, max_steps=2, path=path).complete


def test_ctrl_c_in_the_last_calls_of_a_run_ends_the_study(tmp_path: Path) -> None:
    def choose_then_stop(event: Event) -> None:
        if isinstance(event, RunEnded):
            signal.raise_signal(signal.SIGINT)

    subject = replace(SMALL(0), settings={"cache_dir": None, "observers": [choose_then_stop]})
    path = tmp_path / "order.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_study(STUDIES["order"], lambda seed: subject, seeds=1, max_steps=1, path=path)
    assert not path.exists()


def test_a_study_runs_on_an_lm_and_a_task_of_your_own() -> None:
    subject = real_subject(
        questions(24),
        name="mine",
        prompt_model=word_optimizer(),
        task_model=keyword_scorer(),
        program=dspy.Predict("question -> answer"),
    )
    table = run_study(STUDIES["exemplars"], subject, seeds=2, max_steps=1)
    assert table.complete and not table.simulated
    assert "simulation" not in table.paragraph


def test_what_a_study_needs_is_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="needs a second task"):
        run_study(STUDIES["transfer"], SMALL)
    with pytest.raises(ConfigurationError, match="seeds and steps"):
        run_study(STUDIES["order"], SMALL, seeds=0)
    with pytest.raises(ConfigurationError, match="at least 3 examples"):
        real_subject(questions(2), name="few", prompt_model=word_optimizer())


def test_the_command_writes_table_plot_and_paragraph(tmp_path: Path) -> None:
    arguments = ["study", "scores", "--seeds", "1", "--steps", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"scores.{e}" for e in ("jsonl", "json", "csv", "txt", "png")}
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0 and again.output == result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chess"], "the study is one of"),
        (["order", "--task", "chess"], "--task is one of"),
        (["order", "--data", __file__], "pass --lm"),
    ],
)
def test_a_wrong_command_is_refused(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["study", *arguments])
    assert result.exit_code == 2
    assert said in " ".join(re.sub(r"[\u2500-\u257f]", " ", result.output).split())


def test_a_data_file_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "1?", "answer": "1"}\n{"question": "2?"}\n')
    result = CliRunner().invoke(app, ["study", "order", "--lm", "x/y", "--data", str(path)])
    assert result.exit_code == 2
    assert "line 2" in result.output
