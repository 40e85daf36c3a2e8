"""What the driver tells a worker, and what it makes of what a worker tells."""

import pickle
import threading
from collections import Counter
from typing import Any
from uuid import uuid4

import cloudpickle
import dspy
import pytest
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMInvalidRequestError,
    LMRateLimitError,
    LMServerError,
)

from opro_dspy import LMCallError
from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import Meter
from opro_dspy.executing import Workers
from opro_dspy.packing import packed_kit
from opro_dspy.records import Candidate
from opro_dspy.remote import Remote
from opro_dspy.worker import Job, work
from tests.executors import Elsewhere, shared, simulated
from tests.fakes import VAL, compiled, exact, keyword_scorer, scripted_lm

TEXTS = {"self": "Answer."}


def kit_of(lm: dspy.LM) -> bytes:
    return packed_kit(
        program=dspy.Predict("question -> answer"), metric=exact, lm=shared(lm), prices={}
    )


def job(**options: Any) -> Job:
    example = cloudpickle.dumps(VAL[0])
    return Job(texts=TEXTS, example=example, where="example 0", number=uuid4().hex, **options)


def jobs_of(executor: Elsewhere) -> list[Job]:
    """The jobs that were sent."""
    sent = [pickle.loads(content)[1][-1] for content in executor.sent]
    return [part for part in sent if isinstance(part, Job)]


def test_a_worker_begins_nothing_that_the_time_left_does_not_allow() -> None:
    lm = keyword_scorer()
    name, kit = uuid4().hex, kit_of(lm)
    assert work(name, kit, job(max_seconds=60.0))["scored"] is not None
    late = work(name, kit, job(max_seconds=0.0))
    assert late["scored"] is None and late["refused"].startswith("max_seconds")
    assert lm.engine.calls == 1


def test_a_worker_is_told_the_time_that_is_left() -> None:
    executor = Elsewhere()
    simulated(executor=executor, max_steps=1, max_seconds=600.0)
    left = [sent.max_seconds for sent in jobs_of(executor)]
    assert len(left) > 10 and all(seconds is not None and 0 < seconds < 600 for seconds in left)
    executor = Elsewhere()
    simulated(executor=executor, max_steps=0)
    assert {sent.max_seconds for sent in jobs_of(executor)} == {None}


def test_a_worker_asks_past_all_caches_if_it_is_told_to() -> None:
    lm = keyword_scorer(cache=True)
    name, kit = uuid4().hex, kit_of(lm)
    for fresh, calls in ((False, 1), (False, 1), (True, 2), (True, 3), (False, 3)):
        assert work(name, kit, job(fresh=fresh))["scored"] is not None
        assert lm.engine.calls == calls


def test_what_is_asked_again_in_doubt_is_asked_past_the_workers_caches() -> None:
    answer, lock, asked = keyword_scorer().engine._reply, threading.Lock(), Counter[str]()

    def reply(text: str) -> Any:
        with lock:
            asked["n"] += 1
            refused = asked["n"] > 12
        return LMInvalidRequestError("no such option", status=400) if refused else answer(text)

    executor = Elsewhere()
    with pytest.raises(LMCallError, match="something changed at the provider"):
        compiled(scorer=shared(scripted_lm(reply)), executor=executor)
    fresh = [sent for sent in jobs_of(executor) if sent.fresh]
    assert len(fresh) == 1
    assert fresh[0].example in [sent.example for sent in jobs_of(executor) if not sent.fresh]


@pytest.mark.parametrize(
    ("error", "n", "limit", "holds"),
    [
        (LMRateLimitError("slow down", status=429, retry_after=60.0), 1, 4, True),
        (LMRateLimitError("slow down", status=429), 1, 4, False),
        (LMServerError("oh", status=500), 1, 8, False),
        (LMServerError("oh", status=500), 2, 6, False),
        (ContextWindowExceededError(), 2, 8, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fewer_jobs_are_sent_when_a_provider_pushes_back_on_a_worker(
    error: Exception, n: int, limit: int, holds: bool
) -> None:
    lm = scripted_lm(lambda text: error)
    gate = Gate(Meter(), max_in_flight=8)
    remote = Remote(Workers(Elsewhere()), kit_of(lm), gate=gate, model=lm.model)
    for example in VAL[:n]:
        with gate.task(), pytest.raises(type(error)):
            remote(Candidate(TEXTS), example, where="example 0")
    found = gate.admission.limit(lm.model)
    assert found.limit == limit
    assert (found.held_until > gate.admission.clock() + 30) == holds
