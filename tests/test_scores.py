"""Scores of examples are kept by content, and shared by runs."""

from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, CacheDir, ConfigurationError, OPROResult
from opro_dspy.cache import CachedScore, DiskStore, MemoryStore, ScoreCache, score_context
from opro_dspy.cache.scores import ScoreMemory
from opro_dspy.cache.upkeep import cache_info
from opro_dspy.memory import Meeting, Score
from opro_dspy.records import Candidate, ScoreReuse, Usage
from tests.fakes import TRAIN, VAL, exact, field, keyword_scorer, scripted_lm, word_optimizer
from tests.second_process import TwoStages

A, B = Candidate({"self": "a"}), Candidate({"self": "b"})


def one_lm(**options: Any) -> dspy.LM:
    return dspy.LM("openai/m", **options)


def context(
    signature: str = "question -> answer",
    *,
    lm: dspy.LM | None = None,
    metric: Any = exact,
    demos: list[dspy.Example] | None = None,
) -> str:
    program = dspy.Predict(signature)
    program.demos = demos or []
    lm = one_lm() if lm is None else lm
    return score_context(program, free=[program], scorer_lm=lm, metric=metric)


def other_metric(example: Any, prediction: Any, trace: Any = None) -> float:
    return 0.5


def test_each_part_of_a_score_is_in_its_key() -> None:
    contexts = [
        context(),
        context("question -> answer: int"),
        context(demos=[dspy.Example(question="1", answer="1")]),
        context(lm=one_lm(temperature=0.7)),
        context(lm=dspy.LM("openai/n")),
        context(metric=other_metric),
    ]
    with dspy.context(adapter=dspy.JSONAdapter()):
        contexts.append(context())
    assert len(set(contexts)) == len(contexts)
    assert context(lm=one_lm(api_key="sk-other", timeout=7)) == contexts[0]
    scores = ScoreCache(MemoryStore(), contexts[0])
    keys = {scores.key(c, e) for c in (A, B) for e in TRAIN[:3]}
    assert len(keys) == 6
    assert scores.key(A, dspy.Example(**TRAIN[0]).with_inputs("question")) in keys
    assert ScoreCache(MemoryStore(), contexts[1]).key(A, TRAIN[0]) not in keys


def test_scores_are_counted_with_what_they_save() -> None:
    scores = ScoreCache(MemoryStore(), "context")
    key = scores.key(A, TRAIN[0])
    assert scores.get(key) is None
    found = CachedScore(score=0.5, output="x" * 900, input_tokens=7, output_tokens=3, cost_usd=0.25)
    scores.put(key, found)
    kept = scores.get(key)
    assert kept is not None
    assert (kept.score, kept.output) == (0.5, "x" * 500)
    assert scores.get(key) == kept
    assert scores.reuse == ScoreReuse(
        hits=2, misses=1, input_tokens_saved=14, output_tokens_saved=6, cost_usd_saved=0.5
    )


@pytest.mark.parametrize(
    "value",
    [
        None, 1, [], {}, {"format": 1}, {"format": 0, "score": 1.0}, {"format": 1, "score": "1"},
        {"format": 1, "score": True}, {"format": 1, "score": 1.0, "more": 1},
        {"format": 1, "score": 1.0, "output": 3}, {"format": 1, "score": 1.0, "cost_usd": "x"},
        {"format": 1, "score": 10**400}, {"format": 1, "score": -1e200},
        {"format": 1, "score": 1.0, "input_tokens": -1},
        {"format": 1, "score": 1.0, "cost_usd": -1.0},
    ],
)  # fmt: skip
def test_a_damaged_score_counts_as_unknown(value: Any) -> None:
    store = MemoryStore()
    scores = ScoreCache(store, "context")
    key = scores.key(A, TRAIN[0])
    assert key is not None
    store.put(key, value)
    assert scores.get(key) is None


def test_failures_refusals_and_what_hung_are_not_kept() -> None:
    memory = ScoreMemory(ScoreCache(MemoryStore(), "context"), {"trainset": TRAIN, "valset": TRAIN})
    meeting = Meeting(candidate=A, set_name="trainset", example=0, race=1)
    for score in (
        Score(value=0.0, failed="ValueError: no"),
        Score(hung=True),
        Score(refused="max_tokens"),
        Score(calls=0),
    ):
        memory.note(meeting, score)
        assert memory.recall(meeting) is None
    used = Usage(role="scorer", model="m", input_tokens=5, input_tokens_saved=4)
    memory.note(meeting, Score(value=1.0, output="2", usage=(used,)))
    again = Meeting(candidate=A, set_name="valset", example=0, race=7)
    assert memory.recall(again) == Score(value=1.0, output="2")


# In a run


def compiled(folder: Path | None, scorer: dspy.LM, **options: Any) -> Any:
    trainset, valset = options.pop("trainset", TRAIN), options.pop("valset", VAL)
    student = options.pop("student", None) or dspy.Predict("question -> answer")
    given = {"metric": exact, "max_steps": 2, "num_threads": 4, "verbose": False, **options}
    given.setdefault("prompt_model", word_optimizer())
    with dspy.context(lm=scorer):
        return OPRO(cache_dir=folder, **given).compile(student, trainset=trainset, valset=valset)


def test_runs_share_scores_across_seeds_sets_and_lms_that_want_fresh_answers(
    tmp_path: Path,
) -> None:
    scorer = keyword_scorer()
    assert not scorer.cache
    first = compiled(tmp_path, scorer, max_steps=0).detailed_results
    met = len(TRAIN) + len(VAL)
    assert (first.score_reuse.hits, scorer.engine.calls) == (0, met)
    assert cache_info(CacheDir(path=tmp_path)).scores == met
    sets = {"trainset": [*reversed(VAL), *TRAIN[5:]], "valset": TRAIN[:5]}
    again = compiled(tmp_path, scorer, max_steps=0, seed=7, **sets).detailed_results
    assert scorer.engine.calls == met
    assert again.used("scorer").calls == 0
    assert again.score_reuse.hits == met
    assert again.score_reuse.input_tokens_saved == first.used("scorer").input_tokens
    assert OPROResult.from_json(again.model_dump_json()) == again


@pytest.mark.parametrize(
    "change",
    [{"metric": other_metric}, {"student": dspy.Predict("question -> answer", max_tokens=7)}],
    ids=["metric", "program"],
)
def test_another_metric_or_program_has_scores_of_its_own(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    scorer = keyword_scorer()
    compiled(tmp_path, scorer, max_steps=0)
    assert compiled(tmp_path, scorer, max_steps=0, **change).detailed_results.score_reuse.hits == 0


def test_without_a_cache_nothing_is_kept_or_known(tmp_path: Path) -> None:
    scorer = keyword_scorer()
    found = compiled(None, scorer, max_steps=0).detailed_results
    assert found.score_reuse == ScoreReuse()


def test_a_cache_that_cannot_be_used_is_an_error_before_the_first_call(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    scorer = keyword_scorer()
    with pytest.raises(ConfigurationError, match=r"cannot be used"):
        compiled(tmp_path / "file", scorer)
    assert scorer.engine.calls == 0
    with pytest.raises(ConfigurationError, match="`cache_dir` must be a folder"):
        OPRO(metric=exact, cache_dir=3)  # type: ignore[arg-type]


def test_a_cache_whose_disk_is_full_does_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Any, *args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diskcache.Cache.set", full)
    found = compiled(tmp_path, keyword_scorer(cache=True)).detailed_results
    assert found.best_index is not None
    assert len([r for r in caplog.records if "going on without" in r.getMessage()]) == 1
    assert DiskStore(CacheDir(path=tmp_path)).get("score:1") is None


@pytest.mark.parametrize("cached", [True, False])
def test_no_request_is_sent_twice_in_one_compile(tmp_path: Path, cached: bool) -> None:
    """Candidates share the program's first stage, whose text one of two predictors has."""

    def reply(text: str) -> str:
        name = "draft" if "[[ ## draft ## ]]" in text.rsplit("Respond with", 1)[-1] else "answer"
        return field(name, str(len(text) % 7))

    scorer = scripted_lm(reply, cache=True, temperature=1.0, delay_s=0.001)
    student = TwoStages()
    found = compiled(
        tmp_path if cached else None,
        scorer,
        student=student,
        metric=lambda example, prediction, trace=None: int(prediction.answer) / 7,
        num_threads=8,
        max_steps=4,
    ).detailed_results
    asked = scorer.engine.requests
    assert len(asked) == len(set(asked)) == found.used("scorer").calls
    assert found.used("scorer").cache_hits > 100
