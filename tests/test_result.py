from pathlib import Path

import pytest

from opro_dspy.errors import ConfigurationError
from opro_dspy.records import Estimate, Usage
from opro_dspy.result import CandidateResult, OPROResult


def result(**changes: object) -> OPROResult:
    candidate = CandidateResult(
        instructions={"self": "a"},
        step=0,
        train=Estimate(score=0.5, stderr=0.1, n_examples=2),
        scores={0: 0.0, 1: 1.0},
    )
    settings = {
        "candidates": (candidate,),
        "best_index": 0,
        "selection_set": "trainset",
        "steps": (),
        "stop_reason": "max_steps",
        "usage": (Usage(role="scorer", model="a", calls=2), Usage(role="scorer", model="b")),
        "num_train": 2,
        "num_val": 0,
        "settings": {},
        "versions": {},
        "seed": 0,
        **changes,
    }
    return OPROResult(**settings)


def test_a_result_without_candidates_says_why_there_is_no_best() -> None:
    with pytest.raises(ConfigurationError, match="before the run ended"):
        result(candidates=(), best_index=None).best  # noqa: B018
    assert result(candidates=(), best_index=None).baseline is None


def test_usage_adds_up_by_role() -> None:
    assert result().used("scorer").calls == 2
    assert result().used("scorer").model == "a, b"
    assert result().used("optimizer").calls == 0
    assert result().total_calls == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "format 1: its `format` is None"),
        ('{"format": 99}', "its `format` is 99"),
        ('{"format": 1}', "no OPRO result: `steps`: Field required"),
    ],
)
def test_what_is_no_result_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OPROResult.from_json(text)


def test_unknown_keys_are_refused() -> None:
    text = result().model_dump_json().replace('"seed"', '"more": 1, "seed"')
    with pytest.raises(ConfigurationError, match="`more`"):
        OPROResult.from_json(text)


def test_a_result_is_printed_in_one_line() -> None:
    said = repr(result())
    assert said == str(result())
    assert said == (
        "OPROResult(score 0.5 → 0.5 on 2 examples; 1 candidate in 0 steps; 2 LM calls; "
        "stopped: max_steps)"
    )
    assert "nothing to compare" in repr(result(candidates=(), best_index=None))
    met = Estimate(score=0.375, stderr=0.1, n_examples=8)
    (candidate,) = result().candidates
    chosen = candidate.model_copy(update={"selection": met, "selection_scores": {0: 0.375}})
    on_others = result(candidates=(chosen,), selection_set="valset")
    assert " on 1 example, optimism +0.12;" in repr(on_others)
    assert result(candidates=(chosen,)).optimism is None  # found and chosen on the same examples


def test_student_and_best_are_compared_where_both_were_scored() -> None:
    best = result().candidates[0].model_copy(update={"scores": {1: 0.0, 2: 1.0}})
    found = result(candidates=(*result().candidates, best), best_index=1)
    assert found.compared == {1: (1.0, 0.0)}
    assert found.gain == Estimate(score=-1.0, stderr=0.0, n_examples=1)
    assert result(candidates=(), best_index=None).gain is None


def test_results_of_older_versions_are_read() -> None:
    told = result().model_dump_json(exclude={"spent", "examples"})
    assert OPROResult.from_json(told) == result()


def test_a_file_that_holds_no_result_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text("{}")
    with pytest.raises(ConfigurationError, match=r"mine\.json cannot be read as a result: this"):
        OPROResult.load(path)


def test_what_is_printed_of_a_result_has_no_control_characters() -> None:
    assert "stopped: \\x1b[31m" in repr(result(stop_reason="\x1b[31m"))
    told = result().model_dump_json()[:-1] + ', "\\u001b[31m": 1}'
    with pytest.raises(ConfigurationError, match=r"\\x1b\[31m") as caught:
        OPROResult.from_json(told)
    assert "\x1b" not in str(caught.value)
