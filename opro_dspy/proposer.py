"""The optimizer LM's seat: samples of one meta-prompt, concurrently, each its own request."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dspy
from dspy.utils.exceptions import LMError

from opro_dspy.boundary.faults import is_fatal
from opro_dspy.errors import InvalidSolution, LMCallError, OproError
from opro_dspy.filters import printable
from opro_dspy.interrupt import Interrupt
from opro_dspy.pool import DaemonExecutor, completed
from opro_dspy.protocols import ProposalRequest
from opro_dspy.records import Proposal
from opro_dspy.temperatures import Temperatures, Tried, may_be_the_temperature

logger = logging.getLogger(__name__)

FAILED = "the optimizer LM failed"
UNPARSABLE = "no text found in the answer"
STOPPED = "stopped by Ctrl-C"
HUNG = "the optimizer LM took too long"


@dataclass(slots=True, kw_only=True)
class _Sample:
    """What became of one sample."""

    attempts: int = 0
    raw: str | None = None
    text: str | None = None
    refusal: str | None = None
    """Why no request was sent any more, if that is how it ended."""
    error: Exception | None = None
    """The last failure."""
    fatal: bool = False
    """Whether `error` would meet every other request too."""
    invalid: list[str] = field(default_factory=list)
    """Why answers were no valid solution."""
    tried: list[Tried] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether the LM gave no answer, and not for want of a request."""
        return self.error is not None and self.raw is None and (self.fatal or not self.refusal)

    def read(self, parse: Callable[[str], str | None]) -> None:
        """Find the text in the answer, or note why there is none."""
        try:
            self.text = parse(self.raw or "")
        except InvalidSolution as refused:
            self.invalid.append(str(refused))

    def proposal(self, component: str) -> Proposal:
        """Return the sample as a proposal for `component`."""
        reason = None
        if self.text is None:
            failed = f"{FAILED}: {type(self.error).__name__}"
            said = self.invalid[-1] if self.invalid else UNPARSABLE
            reason = self.refusal or (failed if self.raw is None else said)
        return Proposal(
            component=component,
            raw=self.raw,
            text=self.text,
            rejected=reason,
            attempts=max(1, self.attempts),
            invalid=tuple(self.invalid),
        )


class LMProposer:
    """Asks an LM for `n` independent samples of a meta-prompt.

    A sample that fails or does not parse is asked again by itself, under another `rollout_id`.
    A model that refuses a temperature is asked again at once with one that it took before (or
    without any), and is not sent such a temperature in later steps; see `Temperatures`.

    Args:
        lm: The optimizer LM.
        executor: Where the requests run.
        context: Makes the context in which the LM is called, e.g. a meter's.
        seed: Part of every `rollout_id`.
        max_attempts: Requests for one sample at most, at least 1; one more if a temperature was
            refused.
        send_temperature: False for a model that takes its default temperature only.
        timeout_s: Seconds after which a sample is taken for hung and left out.
        interrupt: Tells of Ctrl-C.
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
        interrupt: Interrupt | None = None,
    ) -> None:
        self._lm = lm
        self._executor = executor
        self._context = context
        self._seed = seed
        self._max_attempts = max_attempts
        self._temperatures = Temperatures(lm.model, never=not send_temperature)
        self._timeout_s = timeout_s
        self._interrupt = interrupt or Interrupt()

    def propose(self, requests: Sequence[ProposalRequest]) -> Sequence[Sequence[Proposal]]:
        """Return each request's samples in order; see `Proposer`.

        Raises:
            LMCallError: If no sample of the step could be had, or the LM refused for good (auth,
                billing, configuration, unknown model).
            KeyboardInterrupt: If Ctrl-C was pressed; the requests in flight are waited for.
        """
        calls = [
            ((r, i), partial(self._sample, request, i))
            for r, request in enumerate(requests)
            for i in range(request.n)
        ]
        to_draw = iter(calls)
        found: dict[tuple[int, int], _Sample] = {}
        with self._context():
            results = completed(
                self._executor,
                lambda: next(to_draw, None),
                window=max(1, len(calls)),
                timeout_s=self._timeout_s,
                interrupt=self._interrupt,
            )
            for key, future in results:
                found[key] = future.result() if future.done() else self._hung()
        if requests:
            samples = [found[key] for key, _ in calls]
            self._judge(samples, step=requests[0].step)
            # Only now, so that the order in which answers came changes nothing.
            self._temperatures.learn([t for s in samples for t in s.tried], step=requests[0].step)
        return [
            [found[r, i].proposal(request.component) for i in range(request.n)]
            for r, request in enumerate(requests)
        ]

    def _sample(self, request: ProposalRequest, index: int) -> _Sample:
        """Ask until an answer parses, `max_attempts` are used up, or it is of no use."""
        sample = _Sample()
        temperature = self._temperatures.to_send(request.temperature)
        left = self._max_attempts
        while left and sample.text is None and not sample.fatal and sample.refusal is None:
            if self._interrupt.pressed:
                sample.refusal = STOPPED
                break
            left -= 1
            sample.attempts += 1
            try:
                sample.raw = self._ask(request, index, sample.attempts, temperature)
            except OproError as refusal:  # not sent: a budget, or an LM that refused for good
                sample.refusal = str(refusal)
                cause = refusal.__cause__
                if isinstance(cause, Exception):
                    sample.error, sample.fatal = cause, isinstance(cause, LMError)
            except Exception as error:  # noqa: BLE001  (whatever an LM raises costs its sample)
                sample.error, sample.fatal = error, is_fatal(error, answered=True)
                if temperature is not None and may_be_the_temperature(error):
                    other = self._temperatures.instead_of(temperature)
                    if other != temperature:
                        sample.tried.append(Tried(temperature, taken=False))
                        temperature, left = other, left + 1
            else:
                sample.tried.append(Tried(temperature, taken=True))
                sample.read(request.parse)
        return sample

    def _ask(
        self, request: ProposalRequest, index: int, attempt: int, temperature: float | None
    ) -> str:
        options: dict[str, Any] = {"rollout_id": self._rollout_id(request, index, attempt)}
        if temperature is not None:
            options["temperature"] = temperature
        output = self._lm(request.meta_prompt, **options)[0]
        return printable(output if isinstance(output, str) else str(output.get("text") or ""))

    def _rollout_id(self, request: ProposalRequest, index: int, attempt: int) -> int:
        name = f"{self._seed}:{request.step}:{request.component}:{index}:{attempt}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")

    def _hung(self) -> _Sample:
        """Let go of a sample that takes too long."""
        logger.warning("A sample of the optimizer LM took too long and is left out.")
        if isinstance(self._executor, DaemonExecutor):
            self._executor.let_go()
        return _Sample(attempts=1, refusal=HUNG)

    def _judge(self, samples: Sequence[_Sample], *, step: int) -> None:
        """Stop the run if the LM refused for good or failed for all, else say what is left out."""
        failed = [s for s in samples if s.failed]
        last = next((s for s in samples if s.fatal), None)
        if last is None and failed and len(failed) == len(samples):
            last = failed[0]
        if last is not None:
            error = last.error
            raise LMCallError(
                f"the optimizer LM {self._lm.model!r} failed at step {step} ({len(failed)} of "
                f"{len(samples)} samples): {type(error).__name__}: {error}"
            ) from error
        if failed:
            logger.warning(
                "Step %d: %d of %d samples of the optimizer LM failed and are left out (%s).",
                step,
                len(failed),
                len(samples),
                type(failed[0].error).__name__,
            )


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
