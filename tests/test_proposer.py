import itertools
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import dspy
import pytest
from dspy.lm15 import (
    AuthError,
    BillingError,
    ConfigurationError,
    ContextLengthError,
    InvalidRequestError,
    NotConfiguredError,
    RateLimitError,
    UnsupportedFeatureError,
    UnsupportedModelError,
)
from dspy.utils import DummyLM
from dspy.utils.exceptions import LMInvalidRequestError, LMServerError
from hypothesis import given
from hypothesis import strategies as st

import opro_dspy.errors
from opro_dspy.boundary.budget import Budget
from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import Meter
from opro_dspy.errors import LMCallError, OproError
from opro_dspy.interrupt import Interrupt
from opro_dspy.outages import MAX_ROUNDS
from opro_dspy.pool import DaemonExecutor
from opro_dspy.proposer import LMProposer, context_window, takes_temperature
from opro_dspy.protocols import ProposalRequest
from opro_dspy.records import Proposal
from opro_dspy.samples import FAILED, UNPARSABLE
from opro_dspy.temperatures import Temperatures, Tried
from tests.fakes import ScriptedEngine, scripted_lm

Reply = Callable[[float | None], str | Exception]


class TemperatureEngine(ScriptedEngine):
    """Answers by the temperature of the request."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(lambda text: "")
        self._by_temperature = reply

    def complete(self, request: Any) -> Any:
        temperature = request.config.temperature
        engine = ScriptedEngine(lambda text: self._by_temperature(temperature))
        with self._lock:
            self.calls += 1
            self.temperatures.append(temperature)
        return engine.complete(request)


def refuses(
    taken: Callable[[float | None], bool], error: Callable[[str], Exception] = InvalidRequestError
) -> dspy.LM:
    """An LM that takes only such temperatures."""

    def reply(temperature: float | None) -> str | Exception:
        return "A text" if taken(temperature) else error(f"temperature: {temperature}")

    engine = TemperatureEngine(reply)
    return dspy.LM("picky/lm", engine=engine, cache=False, num_retries=0)


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def parse(answer: str) -> str | None:
    return answer.strip() or None


def request(*, n: int = 8, temperature: float = 1.0, step: int = 1) -> ProposalRequest:
    return ProposalRequest(
        component="p", meta_prompt="Write.", parse=parse, n=n, temperature=temperature, step=step
    )


def proposer(lm: dspy.BaseLM, executor: Executor, **options: Any) -> LMProposer:
    return LMProposer(lm, executor=executor, context=nullcontext, seed=0, **options)


def propose(lm: dspy.BaseLM, executor: Executor, **options: Any) -> Sequence[Proposal]:
    (proposals,) = proposer(lm, executor, **options).propose([request()])
    return proposals


def one_bad_sample(error: Exception, *, lasting: bool) -> Callable[[str], str | Exception]:
    """Let one of 8 samples fail: once, or (`lasting`) whenever it is asked.

    All have asked before one is answered, so whoever asks later is the one that failed.
    """
    lock, seen, met = threading.Lock(), iter(range(1000)), threading.Barrier(8)

    def reply(text: str) -> str | Exception:
        with lock:
            n = next(seen)
        if n < 8:
            met.wait(timeout=30)
        return error if n == 0 or (lasting and n >= 8) else f"Text {n}"

    return reply


PASSING = [
    InvalidRequestError("content filter"),
    ContextLengthError("too long"),
    UnsupportedFeatureError("no such thing", feature="x"),
    ValueError("a bug in the engine"),
    TimeoutError(),
    ConnectionError("reset"),
]
FATAL = [
    AuthError("no key"),
    BillingError("no money"),
    ConfigurationError("wrong"),
    NotConfiguredError("no provider"),
    UnsupportedModelError("what?"),
]


def name(error: Exception) -> str:
    return type(error).__name__


# --- one sample fails ------------------------------------------------------------------------


@pytest.mark.parametrize("error", PASSING, ids=name)
def test_a_sample_that_fails_once_is_asked_again(error: Exception, executor: Executor) -> None:
    lm = scripted_lm(one_bad_sample(error, lasting=False))
    proposals = propose(lm, executor, send_temperature=False)
    assert all(p.text is not None for p in proposals)
    assert sorted(p.attempts for p in proposals) == [1] * 7 + [2]


@pytest.mark.parametrize("error", PASSING, ids=name)
def test_a_sample_that_fails_for_good_costs_only_itself(
    error: Exception, executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    lm = scripted_lm(one_bad_sample(error, lasting=True))
    proposals = propose(lm, executor, send_temperature=False)
    (bad,) = [p for p in proposals if p.text is None]
    assert bad.rejected is not None and bad.rejected.startswith(FAILED)
    assert (bad.raw, bad.attempts) == (None, 3)
    assert "1 of 8 samples of the optimizer LM failed and are left out" in caplog.text


@pytest.mark.parametrize("error", PASSING, ids=name)
def test_a_step_in_which_all_samples_fail_stops_the_run(
    error: Exception, executor: Executor
) -> None:
    lm = scripted_lm(lambda text: error)
    with pytest.raises(LMCallError, match=r"failed at step 1 \(8 of 8 samples\)"):
        propose(lm, executor, send_temperature=False)
    first = type(error) in (InvalidRequestError, UnsupportedFeatureError)
    assert lm.engine.calls <= 8 if first else lm.engine.calls == 24


def test_a_bad_request_before_any_answer_is_not_sent_again_for_each_sample() -> None:
    lm = scripted_lm(lambda text: InvalidRequestError("bad request"))
    with pytest.raises(LMCallError, match=r"8 of 8 samples\): LMInvalidRequestError: .*bad"):
        propose(lm, DaemonExecutor(1, name="test"))
    assert lm.engine.temperatures == [1.0, None]


def test_a_bad_request_is_in_doubt_as_long_as_other_samples_are_in_flight(
    executor: Executor,
) -> None:
    refused, lock, seen = threading.Event(), threading.Lock(), iter(range(100))
    filtered: Exception = InvalidRequestError("content filter")

    def reply(text: str) -> str | Exception:
        with lock:
            n = next(seen)
        if n == 0:
            return filtered
        if n == 1:
            refused.set()
        refused.wait(30)
        return f"Text {n}"

    proposals = propose(scripted_lm(reply), executor)
    assert all(p.text is not None for p in proposals)


def hanging_samples(n: int, release: threading.Event) -> dspy.LM:
    """An optimizer LM whose first `n` calls hang until they are released."""
    lock, seen = threading.Lock(), iter(range(1000))

    def reply(text: str) -> str | Exception:
        with lock:
            i = next(seen)
        if i < n:
            release.wait(30)
        return f"Text {i}"

    return scripted_lm(reply)


def test_a_retry_after_longer_than_the_timeout_leaves_no_sample_out() -> None:
    seen = itertools.count()
    slow_down: Exception = RateLimitError("slow down", retry_after=1.5)
    lm = scripted_lm(lambda text: slow_down if next(seen) < 4 else "A text", num_retries=3)
    gate = Gate(Meter(), max_in_flight=8)
    asking = proposer(
        gate.watch(lm), DaemonExecutor(8, name="test"), gate=gate, timeout_s=1.0, max_attempts=1
    )
    (proposals,) = asking.propose([request()])
    assert [p.text for p in proposals] == ["A text"] * 8


def test_samples_that_all_hang_are_asked_once_more_before_the_run_stops() -> None:
    release, executor = threading.Event(), DaemonExecutor(8, name="test")
    said = r"failed at step 1 \(8 of 8 samples\): it hangs, also when .* `timeout` \(0.1 s\)"
    try:
        lm = hanging_samples(99, release)
        with pytest.raises(LMCallError, match=said):
            propose(lm, executor, timeout_s=0.1)
        assert lm.engine.calls == lm.engine.most_in_flight == 16
        lm = hanging_samples(8, release)
        proposals = propose(lm, DaemonExecutor(8, name="test"), timeout_s=1.5)
        assert {(p.text is not None, p.attempts) for p in proposals} == {(True, 2)}
    finally:
        release.set()


@pytest.mark.parametrize("error", FATAL, ids=name)
def test_a_refusal_for_good_stops_the_run_at_once(error: Exception, executor: Executor) -> None:
    lm = scripted_lm(one_bad_sample(error, lasting=False))
    with pytest.raises(LMCallError, match=rf"step 1 .*{re.escape(str(error))}"):
        propose(lm, executor)
    assert lm.engine.calls == 8


def test_a_refusal_for_good_after_an_answer_that_does_not_parse_is_not_lost(
    executor: Executor,
) -> None:
    lock, seen = threading.Lock(), iter(range(100))

    def reply(text: str) -> str | Exception:
        with lock:
            return " " if next(seen) < 8 else AuthError("expired")

    with pytest.raises(LMCallError, match="expired"):
        propose(scripted_lm(reply), executor)


def test_a_legacy_lm_that_raises_anything_costs_only_the_sample(executor: Executor) -> None:
    class Legacy(dspy.BaseLM):  # type: ignore[misc]
        calls = 0

        def __call__(self, prompt: Any = None, **options: Any) -> list[Any]:
            type(self).calls += 1
            if Legacy.calls == 1:
                raise ConnectionError("reset")
            return [] if Legacy.calls == 2 else [{"text": "A text"}]

    (proposals,) = proposer(Legacy("legacy"), executor).propose([request(n=1)])
    assert (proposals[0].text, proposals[0].attempts) == ("A text", 3)


def test_an_answer_that_does_not_parse_is_asked_again_under_another_rollout(
    executor: Executor,
) -> None:
    lm = scripted_lm(lambda text: " ")
    proposals = propose(lm, executor)
    assert {(p.rejected, p.attempts) for p in proposals} == {(UNPARSABLE, 3)}
    assert len({entry["kwargs"]["rollout_id"] for entry in lm.history}) == 24


def test_a_request_that_was_not_let_through_is_not_asked_again(executor: Executor) -> None:
    class Capped(dspy.BaseLM):  # type: ignore[misc]
        calls = 0

        def __call__(self, prompt: Any = None, **options: Any) -> list[str]:
            type(self).calls += 1
            raise OproError("max_cost: the budget is spent")

    proposals = propose(Capped("capped"), executor)
    assert {p.rejected for p in proposals} == {"max_cost: the budget is spent"}
    assert Capped.calls == 8


def test_a_request_that_was_not_let_through_for_an_lm_error_stops_the_run(
    executor: Executor,
) -> None:
    class Closed(dspy.BaseLM):  # type: ignore[misc]
        def __call__(self, prompt: Any = None, **options: Any) -> list[str]:
            raise OproError("an LM refused for good before") from dspy.LMAuthError("no key")

    with pytest.raises(LMCallError, match="LMAuthError: no key"):
        propose(Closed("closed"), executor)


def test_a_meta_prompt_that_cannot_parse_is_no_failure_of_the_lm(executor: Executor) -> None:
    def broken(answer: str) -> str | None:
        raise opro_dspy.errors.ConfigurationError("the meta_prompt Mine.parse returned 3")

    asked = ProposalRequest(
        component="p", meta_prompt="Write.", parse=broken, n=2, temperature=1.0, step=1
    )
    with pytest.raises(opro_dspy.errors.ConfigurationError, match=r"Mine\.parse returned 3"):
        proposer(scripted_lm(lambda text: "A text"), executor).propose([asked])


# --- an outage --------------------------------------------------------------------------------


class Sampled(dspy.BaseLM):  # type: ignore[misc]
    """Answers each sample with a text of its own; `fails(rollout, n)` spoils its nth request."""

    def __init__(self, fails: Callable[[int, int], Exception | None]) -> None:
        super().__init__("sampled")
        self.fails = fails
        self.requests: Counter[int] = Counter()
        self._lock = threading.Lock()

    def __call__(self, prompt: Any = None, **options: Any) -> list[str]:
        rollout = options["rollout_id"]
        with self._lock:
            self.requests[rollout] += 1
            n = self.requests[rollout]
        error = self.fails(rollout, n)
        if error is not None:
            raise error
        return [f"Text {rollout}" if rollout % 3 else " "]


def out_at_times(rollout: int, n: int) -> Exception | None:
    """Fail up to three times in a row, by sample."""
    return LMServerError("down") if n <= rollout % 4 else None


CLEAN = Sampled(lambda rollout, n: None)


@pytest.mark.parametrize("n_threads", [1, 3, 16])
def test_an_outage_that_passes_changes_no_sample(n_threads: int) -> None:
    with ThreadPoolExecutor(n_threads) as executor:
        clean, lm = propose(CLEAN, executor), Sampled(out_at_times)
        assert list(propose(lm, executor, max_attempts=2)) == list(
            propose(CLEAN, executor, max_attempts=2)
        )
        assert list(propose(Sampled(out_at_times), executor)) == list(clean)
    assert any(p.attempts > 1 for p in clean)  # some answers were no text
    assert max(lm.requests.values()) == 4


def test_a_bad_request_in_an_outage_changes_no_sample(executor: Executor) -> None:
    options = {"send_temperature": False, "max_attempts": 1}
    known = Sampled(lambda rollout, n: None)
    propose(known, executor, **options)
    found = []
    for n_out in (0, 2):
        met = threading.Barrier(8)

        def fails(rollout: int, n: int, met: Any = met, n_out: int = n_out) -> Any:
            if n == 1:
                met.wait(timeout=30)  # all have asked before one is answered
            if rollout == min(known.requests):
                return LMInvalidRequestError("content filter")
            return LMServerError("down") if n <= n_out else None

        found.append(list(propose(Sampled(fails), executor, **options)))
    assert found[0] == found[1]
    assert sum(p.raw is None for p in found[0]) == 1


@pytest.mark.parametrize("n_out", [1, 8])
def test_an_outage_that_lasts_stops_the_run(n_out: int, executor: Executor) -> None:
    out: set[int] = set()

    def fails(rollout: int, n: int) -> Exception | None:
        if len(out) < n_out:
            out.add(rollout)
        return LMServerError("down") if rollout in out else None

    lm = Sampled(fails)
    waiting = f"{n_out} sample.* for it, and {MAX_ROUNDS} rounds in a row brought no answer"
    said = rf"failed at step 1 \({n_out} of 8 samples\): LMServerError: .*down.* {waiting}"
    with pytest.raises(LMCallError, match=said) as caught:
        propose(lm, executor)
    assert isinstance(caught.value.__cause__, LMServerError)
    assert n_out + MAX_ROUNDS - 1 <= sum(lm.requests[r] for r in out) <= n_out + 16


def test_a_refusal_for_good_ends_an_outage_at_once(executor: Executor) -> None:
    lm = Sampled(lambda rollout, n: LMServerError("down") if n == 1 else dspy.LMAuthError("no key"))
    with pytest.raises(LMCallError, match="no key"):
        propose(lm, executor)
    assert lm.requests.total() <= 8 + 4


def test_an_address_of_the_optimizer_lm_that_never_answered_is_given_up_soon() -> None:
    def refused(rollout: int, n: int) -> Exception:
        error: Exception = LMServerError("Connection error")
        error.__cause__ = ConnectionRefusedError("[Errno 111] Connection refused")
        return error

    lm = Sampled(refused)
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(LMCallError, match="Nobody listens at its address"),
    ):
        propose(lm, executor)
    assert lm.requests.total() == 8


def test_max_seconds_ends_a_pause_and_the_step_goes_on_with_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opro_dspy.outages.PAUSE_S", 3600.0)
    gate = Gate(Meter(), max_in_flight=8, budget=Budget(max_seconds=600.0))
    down: Exception = RateLimitError("down")
    lm = gate.watch(scripted_lm(lambda text: down))
    with ThreadPoolExecutor(8) as executor:
        proposals = propose(lm, executor, gate=gate)
    assert len(proposals) == 8
    assert all(p.text is None and str(p.rejected).startswith("max_seconds: ") for p in proposals)
    assert gate.budget.exhausted


def test_ctrl_c_ends_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opro_dspy.outages.PAUSE_S", 3600.0)
    interrupt = Interrupt()
    gate = Gate(Meter(), max_in_flight=8, interrupt=interrupt)
    lm = scripted_lm(one_bad_sample(RateLimitError("down"), lasting=True))
    monkeypatch.setattr(
        "opro_dspy.outages.Rounds.answered", lambda rounds: None
    )  # so that the first round waits

    def press() -> None:
        while lm.engine.calls < 8 or lm.engine.in_flight:
            time.sleep(0.001)
        time.sleep(0.05)
        interrupt.pressed = True

    presser = threading.Thread(target=press, daemon=True)
    presser.start()
    with ThreadPoolExecutor(8) as executor, pytest.raises(KeyboardInterrupt):
        propose(gate.watch(lm), executor, gate=gate, interrupt=interrupt)
    presser.join()
    assert lm.engine.calls == 8


# --- Ctrl-C ----------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [" ", RateLimitError("slow down")])
def test_after_ctrl_c_no_new_request_is_sent(answer: str | Exception, executor: Executor) -> None:
    interrupt, met = Interrupt(), threading.Barrier(8)

    def reply(text: str) -> str | Exception:
        met.wait(timeout=30)  # all are in flight when it is pressed
        interrupt.pressed = True
        return answer

    lm = scripted_lm(reply)
    with pytest.raises(KeyboardInterrupt):
        propose(lm, executor, interrupt=interrupt)
    assert lm.engine.calls == 8


# --- temperatures ----------------------------------------------------------------------------


def run(
    lm: dspy.LM, executor: Executor, wanted: Sequence[float]
) -> list[tuple[list[str | None], list[float | None]]]:
    """Return, by step, the texts and the temperatures sent (sorted, none last)."""
    asking, outcome = proposer(lm, executor), []
    for step, temperature in enumerate(wanted, start=1):
        before = len(lm.engine.temperatures)
        (proposals,) = asking.propose([request(n=4, temperature=temperature, step=step)])
        sent = sorted(lm.engine.temperatures[before:], key=lambda t: (t is None, t))
        outcome.append(([p.text for p in proposals], sent))
    return outcome


@pytest.mark.parametrize("error", [InvalidRequestError, UnsupportedFeatureError])
def test_a_temperature_that_is_too_high_is_lowered_to_the_last_one_taken(
    error: Any, executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    kind = (
        (lambda m: error(m, feature="temperature")) if error is UnsupportedFeatureError else error
    )
    lm = refuses(lambda t: t is None or t <= 1.0, kind)
    steps = run(lm, executor, [1.0, 1.2, 1.4, 1.2, 0.7, 2.0])
    assert all(text == "A text" for texts, _ in steps for text in texts)
    assert [sent for _, sent in steps] == [
        [1.0] * 4,
        [1.0] * 4 + [1.2] * 4,
        [1.0] * 4,
        [1.0] * 4,
        [0.7] * 4,
        [1.0] * 4,
    ]
    assert len(caplog.records) == 1
    assert "picky/lm refused the temperature 1.2 at step 2" in caplog.text
    assert "from there up, 1 is sent" in caplog.text


def test_a_model_that_takes_one_temperature_only_gets_that_one(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    lm = refuses(lambda t: t is None or t == 1.0)
    steps = run(lm, executor, [1.0, 0.9, 0.8, 0.1, 1.2, 1.0])
    assert all(text == "A text" for texts, _ in steps for text in texts)
    assert [len(sent) for _, sent in steps] == [4, 8, 4, 4, 8, 4]
    assert steps[3][1] == [1.0] * 4
    assert "0.9 at step 2: from now on, from there down, 1 is sent" in caplog.text


def test_a_model_that_takes_no_temperature_gets_none(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    lm = refuses(lambda t: t is None)
    steps = run(lm, executor, [1.0, 0.5, 1.0])
    assert [sent for _, sent in steps] == [[1.0] * 4 + [None] * 4, [None] * 4, [None] * 4]
    assert len(caplog.records) == 1
    assert "refused the temperature 1 at step 1: from now on, none is sent" in caplog.text


def test_the_request_without_the_refused_temperature_is_one_more_than_max_attempts(
    executor: Executor,
) -> None:
    lm = refuses(lambda t: t is None)
    proposals = propose(lm, executor, max_attempts=1)
    assert {(p.text, p.attempts) for p in proposals} == {("A text", 2)}


def test_a_content_filter_says_nothing_about_the_temperature(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    lock, seen = threading.Lock(), iter(range(100))

    def reply(temperature: float | None) -> str | Exception:
        with lock:
            return InvalidRequestError("content filter") if next(seen) == 0 else "A text"

    lm = dspy.LM("filtered/lm", engine=TemperatureEngine(reply), cache=False, num_retries=0)
    steps = run(lm, executor, [1.0, 1.0])
    assert steps[0][1] == [1.0] * 4 + [None]
    assert steps[1][1] == [1.0] * 4
    assert caplog.text == ""


def test_no_temperature_is_sent_where_none_is_wanted(executor: Executor) -> None:
    lm = refuses(lambda t: t is None)
    propose(lm, executor, send_temperature=False)
    assert lm.engine.temperatures == [None] * 8


@given(
    st.lists(st.floats(0.0, 2.0), max_size=6),
    st.floats(0.0, 2.0),
    st.lists(st.floats(0.0, 2.0), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_what_is_learned_does_not_depend_on_the_order_of_answers(
    taken: list[float], bound: float, wanted: list[float], rng: Any
) -> None:
    tried = [Tried(t, taken=t <= bound) for t in taken] + [Tried(None, taken=True)]
    shuffled = rng.sample(tried, len(tried))
    one, other = Temperatures("lm"), Temperatures("lm")
    one.learn(tried, step=1)
    other.learn(shuffled, step=1)
    assert [one.to_send(t) for t in wanted] == [other.to_send(t) for t in wanted]
    refused = [t for t in taken if t > bound]
    for sent in map(one.to_send, wanted):
        assert sent is None or not refused or sent < min(refused)


# --- any LM of DSPy --------------------------------------------------------------------------


def test_any_base_lm_can_be_the_optimizer_lm(executor: Executor) -> None:
    lm = DummyLM([{"answer": "A text"}] * 8)
    assert takes_temperature(lm)
    assert context_window(lm) is None
    assert all(p.text and "A text" in p.text for p in propose(lm, executor))


def test_a_window_that_an_engine_tells_is_used() -> None:
    lm = scripted_lm(lambda text: "")
    assert context_window(lm) is None
    lm.engine.context_window = 4096
    assert context_window(lm) == 4096
    assert takes_temperature(lm)


def test_a_models_window_and_temperature_are_known_to_dspy() -> None:
    assert (context_window(dspy.LM("openai/gpt-4o-mini")) or 0) > 100_000
    assert takes_temperature(dspy.LM("openai/gpt-4o-mini"))
    assert not takes_temperature(dspy.LM("openai/gpt-5"))
