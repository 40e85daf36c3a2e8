"""A run that starts from what an earlier one found."""

import re
from pathlib import Path
from typing import Any

import dspy
import pytest

import opro_dspy
from opro_dspy import OPRO, ConfigurationError, OPROResult, ResumeError
from opro_dspy.journal.file import NAME as JOURNAL
from tests.fakes import TRAIN, compiled, exact, keyword_scorer, word_optimizer


def earlier(**options: Any) -> Any:
    options = {"num_candidates": 4, "max_steps": 2, "num_threads": 1, **options}
    return compiled(**options).detailed_results


def started(warm_start: Any, student: Any = None, **options: Any) -> Any:
    options = {"num_candidates": 4, "max_steps": 0, "num_threads": 1, **options}
    return compiled(student, warm_start=warm_start, **options).detailed_results


def initial_texts(result: OPROResult) -> list[str]:
    return [c.texts["self"] for c in result.steps[0].candidates]


@pytest.fixture(scope="module")
def result() -> OPROResult:
    found = earlier()
    assert isinstance(found, OPROResult) and found.best_index
    return found


def test_a_result_brings_its_best_instructions_best_first(result: OPROResult) -> None:
    student, *texts = initial_texts(started(result))
    best = [c.instructions["self"] for c in result.ranked][:4]
    assert texts == [text for text in best if text != student]
    assert texts[0] == result.best.instructions["self"]


def test_a_saved_result_is_as_good_as_the_result(result: OPROResult, tmp_path: Path) -> None:
    result.save(tmp_path / "found.json")
    assert initial_texts(started(str(tmp_path / "found.json"))) == initial_texts(started(result))


def test_a_run_goes_on_from_where_another_ended(result: OPROResult) -> None:
    again = started(result, max_steps=1)
    assert again.best.score >= result.best.score


def test_the_users_own_texts_come_before_those_of_the_earlier_run(result: OPROResult) -> None:
    texts = initial_texts(started(result, initial_instructions=["Mine."]))
    assert texts[1] == "Mine." and texts[2] == result.best.instructions["self"]


def test_num_candidates_bounds_what_an_earlier_run_brings(result: OPROResult) -> None:
    assert len(initial_texts(started(result, num_candidates=2))) == 3


@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_brings_the_best_of_its_run_finished_or_killed(
    finished: bool, tmp_path: Path
) -> None:
    before = earlier(log_dir=tmp_path / "run")
    if not finished:  # as a kill while a line was written leaves it
        (tmp_path / "run" / "result.json").unlink()
        journal = tmp_path / "run" / JOURNAL
        lines = journal.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if b'"choice"' not in line and b'"end"' not in line]
        journal.write_bytes(b"".join(whole)[:-20])
    texts = initial_texts(started(tmp_path / "run", log_dir=tmp_path / "next"))
    ranked = [c.instructions["self"] for c in before.ranked]
    assert len(texts) in (4, 5)  # the student may be among the best four
    assert set(texts) <= set(ranked)
    assert ranked[0] in texts[:2] if finished else ranked[0] in texts


def test_a_folder_is_only_read(tmp_path: Path) -> None:
    earlier(log_dir=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    started(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


class Chain(dspy.Module):  # type: ignore[misc]
    """Has the earlier program's predictor, if `name` is its, and another."""

    def __init__(self, name: str) -> None:
        super().__init__()
        setattr(self, name, dspy.Predict("question -> answer"))
        self.other = dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        return self.other(question=question)


def test_predictors_that_the_earlier_program_lacked_keep_the_students_text() -> None:
    before = compiled(Chain("first"), initial_instructions=[{"first": "Go."}], max_steps=0)
    result = before.detailed_results
    only = OPROResult.model_validate(
        {
            **result.model_dump(),
            "candidates": [
                {**c.model_dump(), "instructions": {"first": c.instructions["first"]}}
                for c in result.candidates
            ],
        }
    )
    texts = [c.texts for c in started(only, Chain("first")).steps[0].candidates]
    assert [each["first"] for each in texts][1] == "Go."
    assert texts[1]["other"] == texts[0]["other"]


def test_predictors_that_do_not_match_are_refused_before_any_call(result: OPROResult) -> None:
    scorer = keyword_scorer()
    with pytest.raises(ConfigurationError, match=r"predictors \['self'\], but this one has \['f"):
        started(result, Chain("first"), scorer=scorer)
    assert scorer.engine.calls == 0


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (["Go."], "Texts of your own go to `initial_instructions`"),
        (dspy.Predict("q -> a"), "a compiled program's `detailed_results`"),
        ("", "must be an OPROResult"),
        (3, "got int"),
        ("no/such/place", "where there is nothing"),
        (".", "there is no run in"),
    ],
)
def test_what_is_no_earlier_run_is_refused_at_the_door(
    source: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=said):
        OPRO(metric=exact, warm_start=source)


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="no OPRO result"):
        OPRO(metric=exact, warm_start=tmp_path / "x.json")


def test_a_run_that_scored_nothing_is_refused(result: OPROResult, tmp_path: Path) -> None:
    empty = result.model_copy(update={"candidates": (), "best_index": None})
    empty.save(tmp_path / "empty.json")
    for source in (empty, tmp_path / "empty.json"):
        with pytest.raises(ConfigurationError, match="no scored instruction"):
            OPRO(metric=exact, warm_start=source)


def test_the_folder_of_the_run_itself_is_refused(tmp_path: Path) -> None:
    earlier(log_dir=tmp_path)
    with pytest.raises(ConfigurationError, match="`log_dir` alone to go on"):
        OPRO(metric=exact, warm_start=str(tmp_path), log_dir=tmp_path)


def test_a_warm_start_is_part_of_what_a_run_is(result: OPROResult, tmp_path: Path) -> None:
    same: dict[str, Any] = {"scorer": keyword_scorer(), "prompt_model": word_optimizer()}
    first = started(result, log_dir=tmp_path, **same)
    assert started(result, log_dir=tmp_path, **same).candidates == first.candidates
    with pytest.raises(ResumeError, match="what has changed since: instructions"):
        started(None, log_dir=tmp_path, **same)


def test_a_run_whose_warm_start_went_on_says_so_and_goes_on_with_what_it_brought_then(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    same: dict[str, Any] = {"scorer": keyword_scorer(), "prompt_model": word_optimizer()}
    earlier(log_dir=first, max_steps=0, **same)
    begun = started(first, log_dir=second, **same)
    earlier(log_dir=first, max_steps=2, **same)
    with pytest.raises(ResumeError, match=r"start anew\. If `warm_start` names .* then:") as told:
        started(first, log_dir=second, **same)
    advised = re.search(r"`initial_instructions=(.+?)`", str(told.value))
    assert advised and str(second) in advised[1]
    texts = eval(advised[1], {"opro_dspy": opro_dspy})
    calls = same["scorer"].engine.calls
    again = started(None, log_dir=second, initial_instructions=texts, **same)
    assert again.candidates == begun.candidates and same["scorer"].engine.calls == calls


def test_a_run_without_a_warm_start_hears_nothing_of_one(tmp_path: Path) -> None:
    same: dict[str, Any] = {"scorer": keyword_scorer(), "prompt_model": word_optimizer()}
    started(None, log_dir=tmp_path, **same)
    with pytest.raises(ResumeError, match="since: instructions") as told:
        started(None, log_dir=tmp_path, initial_instructions=["Go."], **same)
    assert "warm_start" not in str(told.value)


def test_estimates_count_what_a_warm_start_adds(result: OPROResult) -> None:
    with dspy.context(lm=keyword_scorer()):
        cold, warm = (
            OPRO(metric=exact, warm_start=source).estimate(
                dspy.Predict("question -> answer"), trainset=TRAIN
            )
            for source in (None, result)
        )
    assert str(cold) != str(warm)


@pytest.mark.parametrize("name", ["best.json", JOURNAL, "manifest.json"])
def test_another_file_of_a_run_is_named_and_what_would_do(name: str, tmp_path: Path) -> None:
    earlier(log_dir=tmp_path, max_steps=0)
    with pytest.raises(ConfigurationError, match=rf"`warm_start` is '.*{name}', .*log_dir") as told:
        OPRO(metric=exact, warm_start=tmp_path / name)
    assert str(tmp_path / name) in str(told.value)
