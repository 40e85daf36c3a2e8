"""When things go wrong while examples are scored: whose fault it is decides what happens."""

import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy.lm15 import AuthError, InvalidRequestError, RateLimitError, ServerError

from opro_dspy import OPRO, LMCallError, ProgramFailedError, Racing
from opro_dspy.outages import MAX_UNREACHABLE
from opro_dspy.simulation import optimizer_lm
from tests.fakes import exact, keyword_scorer, questions, scripted_lm

TRAIN, VAL = questions(20), questions(12, start=100)
GOOD: Callable[[str], str] = keyword_scorer().engine._reply


def question_of(text: str) -> str:
    return text.rsplit("What is ", 1)[-1].split("?")[0]


def compiled(scorer: dspy.LM, student: dspy.Module | None = None, **options: Any) -> Any:
    options = {"metric": exact, "max_steps": 1, "num_threads": 4, **options}
    sets = {name: options.pop(name) for name in ("trainset", "valset") if name in options}
    with dspy.context(lm=scorer):
        return OPRO(
            prompt_model=optimizer_lm(seed=0, cache=False),
            num_candidates=3,
            verbose=False,
            **options,
        ).compile(
            student or dspy.Predict("question -> answer"),
            **{"trainset": TRAIN, "valset": VAL, **sets},
        )


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


def refused() -> Exception:
    error: Exception = ServerError("Connection error")
    error.__cause__ = ConnectionRefusedError("[Errno 111] Connection refused")
    return error


def test_an_address_that_never_answered_is_given_up_soon(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("opro_dspy.outages.PAUSE_S", 3600.0)
    scorer = scripted_lm(lambda text: refused())
    with pytest.raises(LMCallError, match="Nobody listens at its address"):
        compiled(scorer, num_threads=1)
    assert MAX_UNREACHABLE <= scorer.engine.calls <= MAX_UNREACHABLE + 3  # some were handed over
    (said,) = [r.getMessage() for r in caplog.records if "trying again" in r.getMessage()]
    assert re.fullmatch(r"No answer from \S+ yet \(LMServerError: .*\); trying again\.", said)


def test_an_address_that_answered_before_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    scorer = scripted_lm(lambda text: GOOD(text) if scorer.engine.calls < 5 else refused())
    with pytest.raises(LMCallError, match="5 rounds in a row brought no answer"):
        compiled(scorer, num_threads=1)
    said = [r.getMessage() for r in caplog.records if "trying again" in r.getMessage()]
    assert len(said) == 1 and " at the moment (LMServerError" in said[0]


def test_a_pause_that_max_seconds_leaves_no_time_for_ends_the_run_and_names_the_outage(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("opro_dspy.outages.PAUSE_S", 3600.0)
    scorer = scripted_lm(lambda text: ServerError("down"))
    program = compiled(scorer, max_seconds=600.0)
    result = program.detailed_results
    assert result.stop_reason.startswith("max_seconds: ")
    assert re.search(
        r"; an LM was out: the last 12 calls failed \(LMServerError: .*down\)$", result.stop_reason
    )
    assert f"The run ends: {result.stop_reason}." in caplog.text
    assert result.candidates == ()
    assert isinstance(program, dspy.Predict)


def test_an_outage_that_cuts_the_final_choice_short_is_named_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opro_dspy.outages.PAUSE_S", 3600.0)
    numbers = tuple(f"What is {i} plus" for i in range(100, 112))
    scorer = scripted_lm(
        lambda text: ServerError("down") if any(n in text for n in numbers) else GOOD(text)
    )
    result = compiled(scorer, max_seconds=600.0).detailed_results
    assert result.stop_reason.startswith("max_steps: 1 step was done")
    (cut,) = [d for d in result.diagnostics if d.name == "cut choice"]
    assert "; an LM was out: the last " in cut.seen


def test_ctrl_c_ends_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opro_dspy.outages.PAUSE_S", 3600.0)
    scorer = scripted_lm(lambda text: ServerError("down"))

    def press() -> None:
        while scorer.engine.calls < Racing().start or scorer.engine.in_flight:
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)

    presser = threading.Thread(target=press, daemon=True)
    presser.start()
    result = compiled(scorer).detailed_results
    presser.join()
    assert result.stop_reason.startswith("interrupted: ")


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


class WithFallback(dspy.Module):  # type: ignore[misc]
    """Asks another LM when the first one fails."""

    def __init__(self, spare: dspy.LM) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")
        self.spare = [{"lm": spare}]  # DSPy looks for no LM in here

    def forward(self, question: str) -> dspy.Prediction:
        try:
            prediction: dspy.Prediction = self.answer(question=question)
        except Exception:  # noqa: BLE001
            with dspy.context(lm=self.spare[0]["lm"]):
                return self.answer(question=question)
        return prediction


def test_a_program_with_a_fallback_of_its_own_is_not_stopped_by_the_first_lms_outage() -> None:
    undisturbed = outcome(compiled(keyword_scorer(), WithFallback(keyword_scorer())))
    down = scripted_lm(lambda text: ServerError("down"))
    assert outcome(compiled(down, WithFallback(keyword_scorer()))) == undisturbed
    assert down.engine.calls > 0


def test_a_sample_that_best_of_n_lost_to_an_outage_is_no_score() -> None:
    tries: Counter[str] = Counter()
    lock = threading.Lock()

    def reply(text: str) -> str | Exception:
        with lock:
            tries[text] += 1
            first = tries[text] == 1
        return ServerError("down") if first and "What is 1" in text else GOOD(text)

    def best_of_n() -> dspy.Module:
        predict = dspy.Predict("question -> answer")
        return dspy.BestOfN(predict, N=2, reward_fn=lambda args, pred: 0.0, threshold=1.0)

    undisturbed = outcome(compiled(keyword_scorer(), best_of_n(), max_steps=0))
    scorer = scripted_lm(reply)
    assert outcome(compiled(scorer, best_of_n(), max_steps=0)) == undisturbed
    assert max(tries.values()) > 2


@pytest.mark.parametrize("seed", range(3))
def test_random_failures_that_pass_stop_no_run_even_without_retries(seed: int) -> None:
    tries: Counter[str] = Counter()
    lock = threading.Lock()

    def reply(text: str) -> str | Exception:
        with lock:
            tries[text] += 1
            chance = random.Random(f"{seed}:{text}:{tries[text]}").random()
        return ServerError("down") if chance < 0.15 else GOOD(text)

    assert outcome(compiled(scripted_lm(reply), max_steps=3)) == outcome(
        compiled(keyword_scorer(), max_steps=3)
    )


@pytest.mark.parametrize("racing", [True, False])
@pytest.mark.parametrize("num_threads", [1, 4])
def test_a_broken_metric_stops_the_run_at_the_first_few_examples(
    racing: bool, num_threads: int, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(example: dspy.Example, prediction: dspy.Prediction) -> float:
        return float(example.no_such_field)

    scorer = keyword_scorer()
    with pytest.raises(ProgramFailedError, match=r"5 errors in 5 .*no_such_field") as caught:
        compiled(scorer, metric=broken, racing=racing, num_threads=num_threads)
    # With several threads others may come in while the first few are still out.
    assert scorer.engine.calls <= (5 + 3 if num_threads == 1 else len(TRAIN))
    assert isinstance(caught.value.__cause__, AttributeError)
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert sum("no_such_field" in line for line in warned) == 1


def test_a_broken_metric_stops_the_run_on_a_handful_of_examples_too() -> None:
    def broken(example: dspy.Example, prediction: dspy.Prediction) -> float:
        raise KeyError("gone")

    with pytest.raises(ProgramFailedError, match=r"2 errors in 2 examples.*KeyError"):
        compiled(keyword_scorer(), metric=broken, trainset=TRAIN[:2])


def test_a_candidate_on_which_most_examples_fail_is_dropped_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", logger="opro_dspy")
    found, lines = [], []
    for num_threads in (1, 8):
        caplog.clear()
        program = compiled(
            scripted_lm(telling),
            metric=failing_with("BAD"),
            initial_instructions=["Be BAD"],
            racing=False,
            max_steps=0,
            num_threads=num_threads,
        )
        bad = program.detailed_results.candidates[1]
        found.append((bad.dropped, bad.failures))
        told = [r for r in caplog.records if "failed and scores" in r.getMessage()]
        traced = {r.levelname: "Traceback" in r.getMessage() for r in told}
        assert traced == {"WARNING": False, "DEBUG": True}
        warned = [
            r.getMessage()
            for r in caplog.records
            if (r.name, r.levelname) == ("opro_dspy.failures", "WARNING")
        ]
        lines.append([re.sub(r"xample \d+", "xample N", line) for line in warned])
    for warned in lines:
        assert warned == [
            "Example N of the trainset failed and scores 0 with the instructions 'Be BAD'. "
            "ValueError: cannot judge.",
            "The instructions 'Be BAD' are given up after 5 errors in 5 examples of the trainset. "
            "The result's `failures` tell why.",
        ]
    assert found[0] == found[1]
    assert found[0][0] == "given up after 5 errors in 5 examples"


def test_failures_are_counted_over_all_measurements_on_a_set() -> None:
    """4 of the 20 examples fail: neither the race's start nor the choice's rest alone has 4."""
    order: list[int] = []

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        number = int(example.answer) - 1
        if number not in order:
            order.append(number)
        if order.index(number) in (2, 9, 15, 17):
            raise ValueError("cannot judge")
        return 1.0

    options: dict[str, Any] = {"metric": metric, "valset": None, "max_steps": 0, "num_threads": 1}
    with pytest.raises(ProgramFailedError, match="given up after 4 errors in 18 examples"):
        compiled(keyword_scorer(), max_errors=4, **options)
    assert len(order) >= 18
    assert len(compiled(keyword_scorer(), max_errors=5, **options).detailed_results.best.failures)


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


def test_a_call_that_ends_within_one_more_timeout_counts_and_is_paid_for_once() -> None:
    undisturbed = outcome(compiled(keyword_scorer(), racing=False, max_steps=0))
    scorer, hung, _ = hanging(times=1, seconds=1.2)
    program = compiled(scorer, timeout=1.0, racing=False, max_steps=0, cache_dir=None)
    assert outcome(program) == undisturbed
    used = program.detailed_results.used("scorer")
    assert used.calls == scorer.engine.calls
    assert max(hung.values()) == 1


@pytest.mark.parametrize("first", [InvalidRequestError("content filter."), ServerError("down")])
def test_an_answer_that_comes_late_says_that_the_lm_is_there(
    first: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opro_dspy.outages.PAUSE_S", 0.01)
    lock, asked = threading.Lock(), Counter[str]()
    refused = isinstance(first, InvalidRequestError)

    def reply(text: str) -> str | Exception:
        number = question_of(text)
        with lock:
            asked[number] += 1
            again = next(iter(asked)) != number if refused else asked[number] > 1
        if not again:
            return first
        time.sleep(1.3)
        return GOOD(text)

    options: dict[str, Any] = {"trainset": questions(7), "valset": None, "cache_dir": None}
    program = compiled(scripted_lm(reply), timeout=1.0, num_threads=3, max_steps=0, **options)
    (student,) = program.detailed_results.candidates
    assert len(student.scores) == 7
    assert len(student.failures) == refused


class Twice(dspy.Module):  # type: ignore[misc]
    """Asks twice, and makes do without the second answer."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        self.answer(question=question)
        try:
            prediction: dspy.Prediction = self.answer(question=question)
        except Exception:  # noqa: BLE001
            return dspy.Prediction(answer="sorry")
        return prediction


def test_what_a_program_makes_of_being_given_up_is_no_score() -> None:
    undisturbed = outcome(compiled(keyword_scorer(), Twice(), racing=False, max_steps=0))
    scorer, hung, _ = hanging(times=1, seconds=1.2)
    program = compiled(scorer, Twice(), timeout=1.0, racing=False, max_steps=0, cache_dir=None)
    assert outcome(program) == undisturbed
    assert max(hung.values()) >= 3


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


def test_a_sample_that_hangs_gives_its_place_back_and_is_counted() -> None:
    release, calls = threading.Event(), Counter[str]()
    lock = threading.Lock()

    def reply(text: str) -> str | Exception:
        with lock:
            calls["n"] += 1
            n = calls["n"]
        if n <= 2:
            release.wait(30)
        return f"<INS>Try way {n}</INS>"

    optimizer = scripted_lm(reply)
    with dspy.context(lm=keyword_scorer()):
        program = OPRO(
            metric=exact,
            prompt_model=optimizer,
            max_steps=1,
            num_threads=2,
            timeout=0.5,
            verbose=False,
        ).compile(dspy.Predict("question -> answer"), trainset=TRAIN, valset=VAL)
    used = program.detailed_results.used("optimizer")
    release.set()
    assert (used.calls, used.failures) == (optimizer.engine.calls, 2)
    rejected = [p.rejected for p in program.detailed_results.steps[1].proposals]
    assert rejected.count("the optimizer LM took too long") == 2


def test_a_call_that_hangs_does_not_carry_the_run_past_max_seconds() -> None:
    release = threading.Event()

    def reply(text: str) -> str | Exception:
        if question_of(text) == "3 plus 1":
            release.wait(60)
        return GOOD(text)

    scorer = scripted_lm(reply)
    start = time.monotonic()
    program = compiled(scorer, max_seconds=1.5, timeout=None)
    assert time.monotonic() - start < 30
    release.set()
    result = program.detailed_results
    assert result.stop_reason.startswith("max_seconds")
    assert result.used("scorer").failures >= 1  # under load also calls that are slow by themselves
    assert result.used("scorer").calls == scorer.engine.calls


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


def test_a_key_in_what_a_metric_raises_is_told_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "sk-planted-0123456789")

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if example.answer == "1":
            raise ValueError(f"the judge refused {os.environ['JUDGE_API_KEY']}")
        return 1.0

    with caplog.at_level("DEBUG"):
        result = compiled(keyword_scorer(), metric=metric, max_errors=100).detailed_results
    assert "the judge refused [redacted]" in result.model_dump_json()
    assert "sk-planted" not in result.model_dump_json() + caplog.text
