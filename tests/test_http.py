"""Our LM boundary against a real server over HTTP, with every fault, on both engines of DSPy."""

import asyncio
import logging
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import LMError, LMServerError

from opro_dspy import OPRO
from opro_dspy.boundary.answers import Answers
from opro_dspy.boundary.budget import Budget
from opro_dspy.boundary.faults import (
    bad_request,
    is_fatal,
    is_retryable,
    is_unreachable,
    may_be_billed,
    may_be_load,
    retry_after,
)
from opro_dspy.boundary.gate import BudgetRefused, Gate
from opro_dspy.boundary.meter import SCORER, Meter, lm_failure
from opro_dspy.cache import MemoryStore
from tests.fakes import WORDS, exact, field, keyword_score, questions
from tests.http_server import (
    CONFLICT,
    DROP,
    EMPTY_CHOICES,
    FAULTS,
    GARBLED,
    MALFORM,
    NO_OBJECT,
    RATE_LIMIT,
    SERVER_ERROR,
    STALL,
    TRUNCATE,
    ChatServer,
    Faults,
)

ENGINES = ("lm15", "litellm")

TIMEOUT_S = 1.5

ALL_FAULTS = {
    SERVER_ERROR: 0.10,
    RATE_LIMIT: 0.05,
    STALL: 0.03,
    DROP: 0.05,
    TRUNCATE: 0.05,
    CONFLICT: 0.05,
    **dict.fromkeys(GARBLED, 0.03),
}

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own, e.g. of pydantic


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="LiteLLM")


def server_lm(
    server: ChatServer, engine: str, *, kind: type[dspy.LM] = dspy.LM, **options: Any
) -> dspy.LM:
    return kind(
        "openai/some-model",
        api_base=server.url,
        api_key="not-a-key",
        engine=engine,
        **{"cache": False, "num_retries": 4, "timeout": TIMEOUT_S, **options},
    )


def quick_gate(**options: Any) -> Gate:
    """A gate whose waits are a hundredth of what they should be."""
    return Gate(
        Meter(),
        clock=lambda: 100 * time.monotonic(),
        wait=lambda condition, seconds: condition.wait(seconds / 100),
        **{"max_in_flight": 8, **options},
    )


def answer(text: str) -> str:
    number = int(re.findall(r"number (\d+)", text)[-1])
    return f"{number + 1} is the answer"


def ask_all(gate: Gate, lm: dspy.LM, n: int) -> list[str]:
    watched = gate.watch(lm)

    def ask(i: int) -> str:
        with gate.meter.role(SCORER), gate.task() as task:
            said = watched(f"number {i}")[0]
        assert task.lm_error is None
        return str(said)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(ask, range(n)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_known_as_one_that_passes(engine: str, fault: str) -> None:
    faults = Faults(rates={fault: 1.0}, burst=1, stall_s=2 * TIMEOUT_S)
    with ChatServer(answer, faults).running() as server:
        lm = server_lm(server, engine, num_retries=0)
        with pytest.raises(LMError) as caught:
            quick_gate().watch(lm)("number 1")
    assert is_retryable(caught.value) and bad_request(caught.value) is None
    assert not is_fatal(caught.value, answered=False)
    assert may_be_billed(caught.value) == (fault not in (SERVER_ERROR, RATE_LIMIT, CONFLICT))
    assert may_be_load(caught.value) == (fault != RATE_LIMIT)
    assert retry_after(caught.value) == (0.05 if fault == RATE_LIMIT else None)
    assert server.requests == 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("content", ["", None])
def test_a_message_without_content_is_the_answer(engine: str, content: str | None) -> None:
    gate = quick_gate()
    with ChatServer(lambda text: content).running() as server:
        said = gate.watch(server_lm(server, engine))("number 1")
    assert [text or "" for text in said] == [""]
    row = gate.meter.total(SCORER)
    assert (row.calls, row.failures) == (server.requests, 0) == (1, 0)
    assert row.output_tokens == server.output_tokens == 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_garbled_answer_is_paid_for_asked_again_and_kept_nowhere(
    engine: str, way: str, kept: bool
) -> None:
    gate = quick_gate(answers=Answers(MemoryStore()) if kept else None)
    faults = Faults(rates={EMPTY_CHOICES: 1.0}, most=2)
    rollout = f"{engine} {way} {kept}"  # of its own in DSPy's cache

    def ask(lm: dspy.LM) -> Any:
        if way == "sync":
            return lm("number 1", rollout_id=rollout)
        return asyncio.run(lm.acall("number 1", rollout_id=rollout))

    with ChatServer(answer, faults).running() as server:
        lm = server_lm(server, engine, cache=True)
        ask(lm)  # DSPy takes it for an empty answer, and keeps it
        with gate.meter.role(SCORER):
            assert ask(gate.watch(lm)) == ["2 is the answer"]
        assert ask(lm) == ["2 is the answer"]
        n_asked, inputs = server.requests - 1, server.input_tokens * 2 // 3
    row = gate.meter.total(SCORER)
    assert (row.calls, row.failures, row.retries, row.cache_hits) == (n_asked, 1, 1, 0)
    assert n_asked == 2 and row.input_tokens == inputs


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fault", [CONFLICT, MALFORM, NO_OBJECT])
def test_a_fault_of_an_lm_that_nobody_watches_is_no_fault_of_the_example(
    engine: str, fault: str
) -> None:
    faults = Faults(rates={fault: 1.0})
    with ChatServer(answer, faults).running() as server, pytest.raises(LMError) as caught:
        server_lm(server, engine, num_retries=0)("number 1")
    cause = lm_failure(caught.value)
    assert cause is not None and is_retryable(cause)
    assert bad_request(caught.value) is None


@pytest.mark.parametrize("engine", ENGINES)
def test_with_all_faults_on_every_answer_comes_and_the_meter_equals_the_server(
    engine: str,
) -> None:
    gate, faults = quick_gate(), Faults(rates=ALL_FAULTS, stall_s=2 * TIMEOUT_S)
    with ChatServer(answer, faults).running() as server:
        answers = ask_all(gate, server_lm(server, engine), 120)
    assert answers == [f"{i + 1} is the answer" for i in range(120)]
    assert set(server.fates) == {"ok", *FAULTS}
    (row,) = gate.meter.usage()
    assert row.calls == server.requests
    assert row.calls - row.failures == server.fates["ok"] == 120
    assert row.retries == row.failures
    assert (row.input_tokens, row.output_tokens) == (server.input_tokens, server.output_tokens)
    assert gate.limit("openai/some-model").in_flight == 0
    assert server.most_in_flight <= 8 + server.fates[STALL]


@pytest.mark.parametrize("engine", ENGINES)
def test_after_a_refusal_nothing_arrives_before_the_provider_allows_it(engine: str) -> None:
    faults = Faults(rates={RATE_LIMIT: 1.0}, most=1, burst=1, retry_after_s=0.25)
    gate = Gate(Meter(), max_in_flight=1)
    with ChatServer(answer, faults).running() as server:
        ask_all(gate, server_lm(server, engine), 1)
    first, second = server.arrivals
    assert 0.24 <= second - first < 2.0
    assert gate.meter.total(SCORER).calls == server.requests == 2


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("allowed", [1, 3])
def test_a_provider_that_serves_few_at_once_refuses_few(engine: str, allowed: int) -> None:
    gate, n = Gate(Meter(), max_in_flight=8), 80
    faults = Faults(retry_after_s=0.05, serve_s=0.02)
    with ChatServer(answer, faults, allowed=allowed).running() as server:
        answers = ask_all(gate, server_lm(server, engine, num_retries=10), n)
    assert answers == [f"{i + 1} is the answer" for i in range(n)]
    assert server.fates[RATE_LIMIT] <= n / 4


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cap_on_tokens_holds_by_the_servers_own_count(engine: str) -> None:
    gate = quick_gate(budget=Budget(max_tokens=600))
    faults = Faults(rates={SERVER_ERROR: 0.2})
    with (
        ChatServer(answer, faults).running() as server,
        pytest.raises(BudgetRefused, match=r"max_tokens: \d+ of 600 used"),
    ):
        ask_all(gate, server_lm(server, engine, max_tokens=20), 200)
    spent = server.input_tokens + server.output_tokens
    assert 500 < gate.budget.spent.tokens == spent <= 600


@pytest.mark.parametrize("engine", ENGINES)
def test_cached_answers_do_not_reach_the_server(engine: str) -> None:
    gate = quick_gate(max_in_flight=2)
    with ChatServer(answer).running() as server:
        lm = server_lm(server, engine, cache=True)
        watched = gate.watch(lm)
        with gate.meter.role(SCORER):
            answers = [watched(f"number {i % 5}", rollout_id=engine)[0] for i in range(20)]
    assert answers[:5] == answers[15:]
    row = gate.meter.total(SCORER)
    assert (row.calls, row.cache_hits) == (server.requests, 15) == (5, 15)
    assert row.input_tokens == server.input_tokens


@pytest.mark.parametrize("engine", ENGINES)
def test_no_message_of_ours_holds_the_key(engine: str) -> None:
    gate = quick_gate(budget=Budget(max_tokens=10))
    with ChatServer(answer).running() as server:
        lm = server_lm(server, engine)
        with gate.task() as task, pytest.raises(BudgetRefused) as caught:
            gate.watch(lm)("number 1")
    assert "not-a-key" not in str(caught.value) + str(task.refused)
    assert server.requests == 0


def solve(text: str) -> str:
    """Answer as scorer LM or as optimizer LM, by the text alone, which tells samples apart."""
    if "[[ ## question ## ]]" not in text or "\nscore:" in text:
        known = re.findall(r"text:\n(.+?)\nscore:", text, flags=re.S)
        base = known[-1].strip() if known else "Answer"
        sample = text.rsplit("\n", 1)[-1]
        return f"<INS>{base} {random.Random(sample).choice(WORDS)}</INS>"
    instruction = text.rsplit("your objective is:", 1)[-1].split("[[ ##")[0]
    number = int(re.findall(r"What is (\d+) plus 1", text)[-1])
    right = random.Random(number).random() < keyword_score(instruction)
    return field("answer", str(number + 1 if right else number - 1))


class Sampled(dspy.LM):  # type: ignore[misc]
    """Adds its rollout id to what it sends: what it is answered depends on the sample.

    With a `__call__` of its own it has to see for itself that a reply holds no answer.
    """

    def __call__(self, prompt: str, **kwargs: Any) -> Any:
        found = super().__call__(f"{prompt}\n{kwargs['rollout_id']}", **kwargs)
        if not any(found):
            raise LMServerError("the reply holds no answer")
        return found


def compiled_over(server: ChatServer, engine: str, trainset: Any = None, **options: Any) -> Any:
    asked = server_lm(server, engine, kind=Sampled, num_retries=0)  # each fault is an outage
    optimizer = OPRO(
        metric=exact,
        prompt_model=asked,
        task_model=server_lm(server, engine),
        num_candidates=3,
        max_steps=3,
        num_threads=8,
        verbose=False,
        **options,
    )
    student = dspy.Predict("question -> answer")
    return optimizer.compile(student, trainset=trainset or questions(16))


def test_without_a_key_no_call_is_ever_sent_nor_tried_again() -> None:
    lm = dspy.LM("openai/x", api_base="http://127.0.0.1:9/v1", engine="litellm", num_retries=4)
    gate = quick_gate()
    with pytest.raises(LMError, match="Missing credentials") as caught:
        gate.watch(lm)("number 1")
    assert not is_retryable(caught.value) and not may_be_load(caught.value)
    assert gate.fatal is caught.value and gate.meter.total(SCORER).calls == 1


def test_a_port_where_nobody_listens_is_known_as_such() -> None:
    lm = dspy.LM("openai/x", api_base="http://127.0.0.1:9/v1", api_key="not-a-key", num_retries=0)
    with pytest.raises(LMError) as caught:
        lm("number 1")
    assert is_unreachable(caught.value) and is_retryable(caught.value)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("bad", [0, 3])
def test_an_example_that_cannot_be_encoded_is_a_failure_of_its_own(engine: str, bad: int) -> None:
    rows = questions(8)
    rows[bad].question += "\ud800"
    with ChatServer(solve).running() as server:
        compiled = compiled_over(server, engine, trainset=rows, failure_score=-1.0)
    baseline = compiled.detailed_results.candidates[0]
    assert list(baseline.failures) == [bad]
    assert "not valid Unicode" in baseline.failures[bad]
    assert compiled.detailed_results.used("scorer").failures >= 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_compile_ends_with_the_same_result_with_and_without_faults(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opro_dspy.boundary.passage.MAX_BACKOFF_S", 0.01)
    found = []
    for faults in (Faults(), Faults(rates=ALL_FAULTS, stall_s=2 * TIMEOUT_S, seed=2)):
        with ChatServer(solve, faults).running() as server:
            compiled = compiled_over(server, engine)
        result = compiled.detailed_results
        assert sum(row.calls for row in result.usage) == server.requests
        assert sum(row.input_tokens for row in result.usage) == server.input_tokens
        assert sum(row.output_tokens for row in result.usage) == server.output_tokens
        assert not any(c.failures for c in result.candidates)
        proposed = [(p.raw, p.attempts) for step in result.steps for p in step.proposals]
        found.append((proposed, [(c.instructions, c.scores) for c in result.candidates]))
        assert compiled.score == 100 * result.best.score
    assert found[0] == found[1]
    assert len(found[0][0]) == 9 and len(set(found[0][0])) >= 6
    assert len(found[0][1]) >= 6
    assert result.used("optimizer").failures >= 2
    assert set(server.fates) == {"ok", *FAULTS}
