"""When things go wrong while examples are scored: whose fault it is decides what happens."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy.lm15 import AuthError, RateLimitError, ServerError

from opro_dspy import OPRO, LMCallError
from opro_dspy.simulation import optimizer_lm
from tests.fakes import exact, keyword_scorer, questions, scripted_lm

TRAIN, VAL = questions(20), questions(12, start=100)
GOOD: Callable[[str], str] = keyword_scorer().engine._reply


def question_of(text: str) -> str:
    return text.rsplit("What is ", 1)[-1].split("?")[0]


def compiled(scorer: dspy.LM, student: dspy.Module | None = None, **options: Any) -> Any:
    options = {"metric": exact, "max_steps": 1, "num_threads": 4, **options}
    with dspy.context(lm=scorer):
        return OPRO(
            prompt_model=optimizer_lm(seed=0, cache=False),
            num_candidates=3,
            verbose=False,
            **options,
        ).compile(student or dspy.Predict("question -> answer"), trainset=TRAIN, valset=VAL)


def outcome(program: Any) -> Any:
    result = program.detailed_results
    return [(c.instructions, c.scores, c.failures) for c in result.candidates], result.best_index


@pytest.mark.parametrize("racing", [True, False])
def test_an_outage_that_passes_changes_nothing_but_the_calls(racing: bool) -> None:
    tries: Counter[str] = Counter()
    lock = threading.Lock()

    def reply(text: str) -> str | Exception:
        with lock:
            tries[text] += 1
            n = tries[text]
        error: Exception = ServerError("down") if hash(text) % 2 else RateLimitError("slow down")
        return error if n <= 2 and "What is 1" in text else GOOD(text)

    undisturbed = outcome(compiled(keyword_scorer(), racing=racing))
    scorer = scripted_lm(reply)
    program = compiled(scorer, racing=racing)
    assert outcome(program) == undisturbed
    used = program.detailed_results.used("scorer")
    assert used.calls == scorer.engine.calls
    assert used.failures > 0


def test_an_outage_that_stays_stops_the_run_and_blames_nobody() -> None:
    scorer = scripted_lm(
        lambda text: ServerError("down") if "What is 103 plus" in text else GOOD(text)
    )
    with pytest.raises(LMCallError, match="5 rounds in a row brought no answer") as caught:
        compiled(scorer)
    result: Any = caught.value.result
    assert all(not c.failures and not c.selection_failures for c in result.candidates)
    assert isinstance(caught.value.program, dspy.Predict)


def test_an_lm_that_refuses_for_good_is_asked_no_more() -> None:
    scorer = scripted_lm(lambda text: AuthError("no such key"), delay_s=0.02)
    with pytest.raises(LMCallError, match="no such key"):
        compiled(scorer, num_threads=4)
    assert scorer.engine.calls <= 4


class Careless(dspy.Module):  # type: ignore[misc]
    """Swallows every error and answers something."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        try:
            prediction: dspy.Prediction = self.answer(question=question)
        except Exception:  # noqa: BLE001
            return dspy.Prediction(answer="sorry")
        return prediction


def test_an_outage_that_the_program_swallows_is_no_score_either() -> None:
    tries: Counter[str] = Counter()

    def reply(text: str) -> str | Exception:
        tries[text] += 1
        error: Exception = ServerError("down")
        return error if tries[text] == 1 and "What is 1" in text else GOOD(text)

    undisturbed = outcome(compiled(keyword_scorer(), Careless()))
    assert outcome(compiled(scripted_lm(reply), Careless(), num_threads=1)) == undisturbed


def hanging(*, times: int, seconds: float) -> tuple[dspy.LM, Counter[str], list[int]]:
    """A scorer whose calls for one question hang; counts them, and how many hang at once."""
    hung: Counter[str] = Counter()
    now, most, lock = [0], [0], threading.Lock()

    def reply(text: str) -> str | Exception:
        if question_of(text) != "3 plus 1":
            return GOOD(text)
        with lock:
            hung[text] += 1
            wait = hung[text] <= times
            now[0] += 1
            most[0] = max(most[0], now[0])
        if wait:
            time.sleep(seconds)
        with lock:
            now[0] -= 1
        return GOOD(text)

    return scripted_lm(reply), hung, most


def test_an_example_that_hangs_once_is_tried_once_more() -> None:
    undisturbed = outcome(compiled(keyword_scorer(), racing=False, max_steps=0))
    scorer, hung, most = hanging(times=1, seconds=0.5)
    program = compiled(scorer, timeout=0.2, racing=False, max_steps=0)
    n_calls = set(hung.values())
    assert most == [1] and n_calls <= {1, 2}
    result = program.detailed_results
    assert {3} >= set(range(20)) - set(result.candidates[0].scores)
    if n_calls == {2}:
        assert outcome(program) == undisturbed


def test_an_example_that_hangs_for_ever_blocks_nobody_and_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scorer, hung, most = hanging(times=99, seconds=6.0)
    start = time.monotonic()
    program = compiled(scorer, timeout=0.3, racing=False, max_steps=0)
    assert time.monotonic() - start < 5.0
    student = program.detailed_results.candidates[0]
    assert set(student.scores) == set(range(20)) - {3}
    assert student.failures == {}
    assert most == [1] and max(hung.values()) == 1
    assert "it hung" in caplog.text


def test_an_example_that_hangs_is_never_run_twice_at_the_same_time() -> None:
    scorer, hung, _ = hanging(times=99, seconds=4.0)
    with dspy.context(lm=scorer):
        OPRO(
            metric=exact,
            prompt_model=optimizer_lm(seed=0, cache=False),
            max_steps=1,
            num_candidates=2,
            timeout=0.2,
            verbose=False,
        ).compile(dspy.Predict("question -> answer"), trainset=TRAIN)
    assert max(hung.values()) == 1


def test_a_sample_of_the_optimizer_lm_that_hangs_is_left_out() -> None:
    calls: Counter[str] = Counter()

    def reply(text: str) -> str | Exception:
        calls["n"] += 1
        n = calls["n"]
        if n == 2:
            time.sleep(5.0)
        return f"<INS>Try way {n}</INS>"

    start = time.monotonic()
    with dspy.context(lm=keyword_scorer()):
        program = OPRO(
            metric=exact, prompt_model=scripted_lm(reply), max_steps=1, timeout=0.5, verbose=False
        ).compile(dspy.Predict("question -> answer"), trainset=TRAIN, valset=VAL)
    assert time.monotonic() - start < 4.0
    rejected = [p.rejected for p in program.detailed_results.steps[1].proposals]
    assert rejected.count("the optimizer LM took too long") == 1
    assert len(program.detailed_results.candidates) == 8


def failing_with(word: str) -> Any:
    """A metric that raises when the answer says that the instruction held `word`."""

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if word in prediction.answer:
            raise ValueError("cannot judge")
        return float(exact(example, prediction))

    return metric


def telling(text: str) -> str:
    answer = GOOD(text)
    return answer.replace("\n\n", " BAD\n\n", 1) if "BAD" in text else answer


def test_a_start_of_the_users_that_fails_does_not_stop_the_run() -> None:
    program = compiled(
        scripted_lm(telling),
        metric=failing_with("BAD"),
        initial_instructions=["Be BAD"],
        max_errors=5,
    )
    bad = program.detailed_results.candidates[1]
    assert bad.dropped is not None or len(bad.failures) == len(bad.scores)
    assert "BAD" not in program.signature.instructions


def test_a_metric_below_the_failure_score_is_told(caplog: pytest.LogCaptureFixture) -> None:
    compiled(keyword_scorer(), metric=lambda e, p: float(exact(e, p)) - 2.0)
    assert caplog.text.count("Set `failure_score`") == 1
