from __future__ import annotations

import asyncio
import statistics
import threading
import time
from typing import Any

import dspy
import pytest
from dspy.lm15 import Message, Request
from dspy.utils.exceptions import LMAuthError, LMRateLimitError

from opro_dspy.simulation import Faults, Latency, landscape, optimizer_lm, scorer_lm
from opro_dspy.simulation.conditions import FAULT_KINDS


def a_scorer(examples: list[dspy.Example], **options: Any) -> Any:
    shape = landscape("many_small_effects")
    return scorer_lm(answer_key=examples, landscape=shape, cache=False, **options)


def test_latency_is_lognormal_with_the_given_mean() -> None:
    seconds = [Latency(mean_s=0.1, sigma=0.5).seconds(str(i)) for i in range(4000)]
    assert statistics.mean(seconds) == pytest.approx(0.1, rel=0.05)
    assert min(seconds) < 0.03 < 0.3 < max(seconds)
    assert seconds[0] == Latency(mean_s=0.1, sigma=0.5).seconds("0")


def test_no_jitter_and_no_latency_are_exact() -> None:
    assert Latency(mean_s=0.2, sigma=0.0).seconds("any") == pytest.approx(0.2)
    assert Latency(mean_s=0.0).seconds("any") == 0.0


def test_engines_take_their_latency(examples: list[dspy.Example]) -> None:
    lm = a_scorer(examples, latency=Latency(mean_s=0.05, sigma=0.0))
    start = time.perf_counter()
    lm("Hello")
    assert time.perf_counter() - start >= 0.05


def test_async_calls_wait_side_by_side(examples: list[dspy.Example]) -> None:
    lm = a_scorer(examples, latency=Latency(mean_s=0.2, sigma=0.0))
    program = dspy.Predict("question -> answer")

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*(program.acall(question=e.question) for e in examples[:10]))

    start = time.perf_counter()
    with dspy.context(lm=lm):
        answers = [one.answer for one in asyncio.run(ask_all())]
        assert time.perf_counter() - start < 1.5
        assert answers == [program(question=e.question).answer for e in examples[:10]]
    assert lm.engine.calls == 20


def test_async_rollouts_are_told_apart() -> None:
    lm = optimizer_lm(cache=False, temperature=1.0)

    async def sample(rollout_id: int) -> str:
        return str((await lm.acall("text:\na\nscore:\n5", rollout_id=rollout_id))[0])

    async def both() -> list[str]:
        return list(await asyncio.gather(*(sample(i) for i in range(6))))

    texts = asyncio.run(both())
    assert len(set(texts)) == 6
    assert texts == [lm("text:\na\nscore:\n5", rollout_id=i)[0] for i in range(6)]


def test_retries_pass_faults(examples: list[dspy.Example]) -> None:
    faults = Faults(rate=0.4, retry_after_s=0.0)
    lm, plain = a_scorer(examples, faults=faults, num_retries=20), a_scorer(examples)
    program = dspy.Predict("question -> answer")
    with dspy.context(lm=lm):
        faulty = [program(question=e.question).answer for e in examples]
    with dspy.context(lm=plain):
        assert faulty == [program(question=e.question).answer for e in examples]
    assert lm.engine.calls > 1.3 * len(examples)


def test_faults_do_not_change_what_is_sampled() -> None:
    faults = Faults(rate=0.5, retry_after_s=0.0)
    lm = optimizer_lm(cache=False, temperature=1.0, faults=faults, num_retries=50)
    plain = optimizer_lm(cache=False, temperature=1.0)
    assert [lm("Write.")[0] for _ in range(8)] == [plain("Write.")[0] for _ in range(8)]
    asked = {"rollout_id": 3, "n": 4}
    assert lm("Write.", **asked) == plain("Write.", **asked)


@pytest.mark.parametrize(
    ("kind", "error"), [("rate_limit", LMRateLimitError), ("auth", LMAuthError)]
)
def test_a_fault_is_raised_as_its_own_error(
    kind: str, error: type[Exception], examples: list[dspy.Example]
) -> None:
    lm = a_scorer(examples, faults=Faults(rate=1.0, kinds=(kind,)), num_retries=0)
    with pytest.raises(error, match=f"simulated {kind}"):
        lm("Hello")
    assert lm.engine.calls == 1


def test_a_rate_limit_says_how_long_to_wait(examples: list[dspy.Example]) -> None:
    lm = a_scorer(examples, faults=Faults(rate=1.0, kinds=("rate_limit",)), num_retries=0)
    with pytest.raises(LMRateLimitError) as caught:
        lm("Hello")
    assert caught.value.retry_after == 0.02


@pytest.mark.parametrize("kind", ["malformed", "truncated"])
def test_spoilt_text_cannot_be_parsed(kind: str, examples: list[dspy.Example]) -> None:
    lm = a_scorer(examples, faults=Faults(rate=1.0, kinds=(kind,)))
    with (
        dspy.context(lm=lm),
        pytest.raises(dspy.utils.exceptions.AdapterParseError),
    ):
        dspy.ChainOfThought("question -> answer: int")(question=examples[0].question)


def test_faults_are_as_frequent_as_told_and_repeatable() -> None:
    faults = Faults(rate=0.1, kinds=FAULT_KINDS, seed=4)
    drawn = [faults.draw(str(i), 0) for i in range(3000)]
    assert drawn == [faults.draw(str(i), 0) for i in range(3000)]
    assert sum(kind is not None for kind in drawn) == pytest.approx(300, abs=60)
    assert set(drawn) == {None, *FAULT_KINDS}


def test_calls_are_counted_over_threads(examples: list[dspy.Example]) -> None:
    engine = a_scorer(examples).engine
    request = Request(model="m", messages=(Message.user("Hello"),))
    threads = [
        threading.Thread(target=lambda: [engine.complete(request) for _ in range(200)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.calls == 1600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 1.5}, r"fraction in \[0, 1\], got 1.5"),
        ({"rate": 0.1, "kinds": ("x",)}, "some of"),
    ],
)
def test_impossible_faults_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults(**options)


def test_negative_latency_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1"):
        Latency(mean_s=-1)
