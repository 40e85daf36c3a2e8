"""The optimizer LM's seat: samples of one meta-prompt, concurrently, each its own request."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import dspy
from dspy.utils.exceptions import LMError

from opro_dspy.boundary.gate import Gate
from opro_dspy.errors import LMCallError, OproError
from opro_dspy.filters import printable
from opro_dspy.interrupt import Interrupt
from opro_dspy.memory import Answer, InOrder, Sample
from opro_dspy.outages import MAX_UNREACHABLE, Rounds, what_failed
from opro_dspy.pool import DaemonExecutor, completed
from opro_dspy.protocols import Memory, ProposalRequest
from opro_dspy.records import Proposal, Usage, summed
from opro_dspy.samples import Attempts, FirstAnswer, check, proposer_failed
from opro_dspy.temperatures import Temperatures, Tried, may_be_the_temperature

logger = logging.getLogger(__name__)

Key = tuple[int, int]
"""A sample of a step: number of the request, and of the sample in it."""


class LMProposer:
    """Asks an LM for `n` independent samples of a meta-prompt.

    A sample that fails or does not parse is asked again by itself, under another `rollout_id`.
    After a failure that may pass it is the same request that is sent again, later (`Rounds`): an
    outage changes no sample, and is no attempt.
    A model that refuses a temperature is asked again at once with one that it took before (or
    without any), and is not sent such a temperature in later steps; see `Temperatures`. A sample
    that hangs is left out; if the LM answered none at all, those that hung are asked once more.

    Args:
        lm: The optimizer LM.
        executor: Where the requests run.
        context: Makes the context in which the LM is called, e.g. a meter's.
        seed: Part of every `rollout_id`.
        max_attempts: Requests for one sample at most, at least 1; one more if a temperature was
            refused.
        send_temperature: False for a model that takes its default temperature only.
        timeout_s: Seconds after which a sample is taken for hung; what it waits at the gate is
            not counted.
        gate: What the LM's calls go through: there a sample that hangs gives its place back, and
            an outage is sat out. Without one nobody pauses.
        interrupt: Tells of Ctrl-C.
        memory: Answers of earlier sessions.
    """

    def __init__(
        self,
        lm: dspy.BaseLM,
        *,
        executor: Executor,
        context: Callable[[], AbstractContextManager[None]],
        seed: int,
        max_attempts: int = 3,
        send_temperature: bool = True,
        timeout_s: float | None = None,
        gate: Gate | None = None,
        interrupt: Interrupt | None = None,
        memory: Memory[Sample, Answer] | None = None,
    ) -> None:
        self._lm = lm
        self._executor = executor
        self._context = context
        self._seed = seed
        self._max_attempts = max_attempts
        self._temperatures = Temperatures(lm.model, never=not send_temperature)
        self._timeout_s = timeout_s
        self._gate = gate
        self._interrupt = interrupt or Interrupt()
        self._memory = memory or InOrder()
        self._first = FirstAnswer()

    def propose(self, requests: Sequence[ProposalRequest]) -> Sequence[Sequence[Proposal]]:
        """Return each request's samples in order; see `Proposer`.

        Raises:
            LMCallError: If the LM stays away, if no sample of the step could be had, or if it
                refused for good (auth, billing, configuration, unknown model, a bad request before
                it answered any).
            KeyboardInterrupt: If Ctrl-C was pressed; the requests in flight are waited for.
        """
        keys = [(r, i) for r, request in enumerate(requests) for i in range(request.n)]
        found = {(r, i): self._fresh(requests[r]) for r, i in keys}
        if requests:
            try:
                self._ask_for(requests, found, keys)
                self._ask_for(requests, found, self._asked_again(found))
                samples = [found[key] for key in keys]
                check(samples, lm=self._lm.model, step=requests[0].step, timeout_s=self._timeout_s)
            except (LMCallError, KeyboardInterrupt):
                self._note_vain(found.values())
                raise
            # Only now, so that the order in which answers came changes nothing.
            self._temperatures.learn([t for s in samples for t in s.tried], step=requests[0].step)
            for sample in samples:  # Only now, so that a run that stops here asks again.
                self._note(sample)
        return [
            [found[r, i].proposal(request.component) for i in range(request.n)]
            for r, request in enumerate(requests)
        ]

    def _fresh(self, request: ProposalRequest) -> Attempts:
        temperature = self._temperatures.to_send(request.temperature)
        return Attempts(left=self._max_attempts, temperature=temperature)

    def _ask_for(
        self, requests: Sequence[ProposalRequest], found: dict[Key, Attempts], keys: Sequence[Key]
    ) -> None:
        """Ask for the samples `keys`, again and again for those that an outage puts off."""
        rounds = Rounds[Key](partial(self._stays_away, found, requests[0].step), "sample")
        while keys:
            self._run(requests, found, keys)
            for key in keys:
                sample = found[key]
                if (cause := sample.outage) is not None:
                    rounds.put_off(key, cause)
                    if rounds.n_unreachable >= MAX_UNREACHABLE and not self._first.came:
                        raise self._stays_away(found, requests[0].step, cause, "")
                elif sample.raw is not None or sample.failed:
                    rounds.answered()
            keys = () if any(s.fatal for s in found.values()) else self._next_round(found, rounds)

    def _next_round(self, found: dict[Key, Attempts], rounds: Rounds[Key]) -> Sequence[Key]:
        """Return the samples to ask for now, after a pause; none if a cap cuts that short."""
        if not rounds:
            return ()
        seconds, keys = rounds.next_round()
        reason = None if self._gate is None else self._gate.pause(seconds)
        self._interrupt.check()
        if reason is None:
            return keys
        for sample in found.values():
            if sample.outage is not None:
                sample.answer = Answer(refused=reason, usage=sample.answer.usage)
        return ()

    def _stays_away(
        self, found: dict[Key, Attempts], step: int, cause: BaseException, tried: str
    ) -> LMCallError:
        samples = list(found.values())
        lost = [sample for sample in samples if sample.outage is not None]
        said = what_failed(cause) + tried
        return proposer_failed(cause, said, lm=self._lm.model, step=step, lost=lost, all=samples)

    def _run(
        self, requests: Sequence[ProposalRequest], found: dict[Key, Attempts], keys: Sequence[Key]
    ) -> None:
        """Ask for the samples `keys`; `found` holds them."""
        for key in keys:
            found[key].tasks.clear()  # what they waited before does not count now
        calls = ((key, partial(self._sample, requests[key[0]], key[1], found[key])) for key in keys)
        with self._context():
            results = completed(
                self._executor,
                lambda: next(calls, None),
                window=max(1, len(keys)),
                timeout_s=self._timeout_s,
                waited=lambda key: found[key].waited,
                seconds_left=self._seconds_left,
                interrupt=self._interrupt,
            )
            for key, future in results:
                if future.done():
                    future.result()
                else:
                    found[key] = self._hung(found[key])

    def _asked_again(self, found: dict[Key, Attempts]) -> list[Key]:
        """Return the samples that get a second chance: whoever waited, or hung as all did."""
        waiting = [key for key, sample in found.items() if sample.put_off and self._first.came]
        for key in waiting:
            found[key].put_off = False
        all_lost = all(sample.lost for sample in found.values())
        hung = [key for key, sample in found.items() if all_lost and sample.answer.hung]
        for key in hung:
            self._note(found[key])  # so that a run that is resumed asks what comes now
            found[key] = found[key].once_more(left=self._max_attempts)
        return waiting + hung

    def _seconds_left(self) -> float:
        return inf if self._gate is None else self._gate.budget.seconds_left

    def _sample(self, request: ProposalRequest, index: int, sample: Attempts) -> None:
        """Ask until an answer parses, `max_attempts` are used up, or it is of no use now."""
        again = sample.outage is not None
        while (sample.left or again) and not sample.over:
            if self._interrupt.pressed:
                sample.stopped = True
                break
            if self._first.puts_off(sample):
                sample.put_off = True
                break
            before = sample.answer.usage if again else ()
            if not again:
                self._note(sample)
                sample.left -= 1
            sample.place = place = Sample(
                step=request.step,
                component=request.component,
                index=index,
                attempt=1 if sample.place is None else sample.place.attempt + (not again),
                meta_prompt=request.meta_prompt,
                temperature=sample.temperature,
            )
            answer = self._memory.recall(place)
            sample.noted = answer is not None
            sample.answer = answer or self._ask(sample, place, before)
            if sample.outage is not None:
                break
            again = False
            self._first.note(sample)
            self._read(sample, place, request.parse)

    def _read(self, sample: Attempts, place: Sample, parse: Callable[[str], str | None]) -> None:
        """Take what came of an attempt, and learn from it what the next one should send."""
        answer = sample.answer
        if answer.raw is not None:
            if not sample.stopped:
                self._note(sample)  # at once: what is paid for waits for nobody
            sample.tried.append(Tried(place.temperature, taken=True))
            sample.read(answer.raw, parse)
        elif place.temperature is not None and answer.temperature_refused:
            other = self._temperatures.instead_of(place.temperature)
            if other != place.temperature:
                sample.tried.append(Tried(place.temperature, taken=False))
                sample.temperature, sample.left = other, sample.left + 1

    def _note(self, sample: Attempts) -> None:
        if not sample.noted and sample.place is not None:
            self._memory.note(sample.place, sample.answer)
            sample.noted = True

    def _note_vain(self, samples: Iterable[Attempts]) -> None:
        """Note what was spent on what is to be asked again when the run is resumed."""
        for sample in samples:
            if sample.place is not None and not sample.noted and sample.answer.usage:
                self._memory.note(sample.place, Answer(usage=sample.answer.usage))

    def _ask(self, sample: Attempts, place: Sample, before: Sequence[Usage]) -> Answer:
        """Send the request; `before` is what it took in vain until now."""
        options: dict[str, Any] = {"rollout_id": self._rollout_id(place)}
        if place.temperature is not None:
            options["temperature"] = place.temperature
        with nullcontext() if self._gate is None else self._gate.task() as task:
            if task is not None:
                sample.tasks.append(task)
            try:
                output = self._lm(place.meta_prompt, **options)[0]
                text = output if isinstance(output, str) else str(output.get("text") or "")
                answer = Answer(raw=printable(text))
            except OproError as refusal:  # not sent: a budget, or an LM that refused for good
                cause = refusal.__cause__
                error = cause if isinstance(cause, Exception) else None
                said = None if error is None else _said(error)
                answer = Answer(refused=str(refusal), failed=said, error=error)
            except Exception as raised:  # noqa: BLE001  (whatever an LM raises costs its sample)
                error = raised if self._gate is None else self._gate.redact(raised)
                refused = may_be_the_temperature(error)
                answer = Answer(failed=_said(error), temperature_refused=refused, error=error)
        return replace(answer, usage=summed([*before, *(() if task is None else task.used)]))

    def _rollout_id(self, place: Sample) -> int:
        where = f"{place.step}:{place.component}:{place.index}:{place.attempt}"
        name = f"{self._seed}:{where}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")

    def _hung(self, sample: Attempts) -> Attempts:
        """Let go of a sample that takes too long."""
        logger.warning("A sample of the optimizer LM took too long.")
        if sample.tasks:
            sample.tasks[-1].abandon()
        if isinstance(self._executor, DaemonExecutor):
            self._executor.let_go()
        time_is_up = None if self._gate is None else self._gate.budget.refusal()
        return sample.given_up(time_is_up)


def _said(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}")


def takes_temperature(lm: dspy.BaseLM) -> bool:
    """Tell whether `lm`'s model takes a sampling temperature of our choice.

    DSPy refuses to construct a reasoning model with one; asking it costs no call.
    """
    if not isinstance(getattr(lm, "engine", None), str):
        return True
    try:
        dspy.LM(lm.model, model_type=lm.model_type, temperature=0.5)
    except LMError:
        return False
    return True


def context_window(lm: dspy.BaseLM) -> int | None:
    """Return the input tokens that `lm` can read, or None when nobody knows."""
    engine = getattr(lm, "engine", None)
    if not isinstance(engine, str):
        window = getattr(engine, "context_window", None)
        return window if isinstance(window, int) else None
    from dspy.clients.model_metadata import model_info

    provider, _, name = lm.model.rpartition("/")
    info = model_info(provider or "openai", name) or {}
    window = info.get("max_input_tokens") or info.get("max_tokens")
    return int(window) if window else None
