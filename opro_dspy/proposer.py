"""The optimizer LM's seat: samples of one meta-prompt, concurrently, each its own request."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import dspy
from dspy.utils.exceptions import LMError, is_retryable_lm_error

from opro_dspy.errors import LMCallError
from opro_dspy.interrupt import Interrupt
from opro_dspy.pool import completed
from opro_dspy.protocols import ProposalRequest
from opro_dspy.records import Proposal

logger = logging.getLogger(__name__)

FAILED = "the optimizer LM failed"
UNPARSABLE = "no text found in the answer"


class LMProposer:
    """Asks a `dspy.LM` for `n` independent samples of a meta-prompt.

    A sample that fails or does not parse is asked again by itself, under another `rollout_id`.

    Args:
        lm: The optimizer LM.
        executor: Where the requests run.
        context: Makes the context in which the LM is called, e.g. a meter's.
        seed: Part of every `rollout_id`.
        max_attempts: Requests for one sample at most, at least 1.
        send_temperature: False for a model that takes its default temperature only.
        interrupt: Tells of Ctrl-C.
    """

    def __init__(
        self,
        lm: dspy.LM,
        *,
        executor: Executor,
        context: Callable[[], AbstractContextManager[None]],
        seed: int,
        max_attempts: int = 3,
        send_temperature: bool = True,
        interrupt: Interrupt | None = None,
    ) -> None:
        self._lm = lm
        self._executor = executor
        self._context = context
        self._seed = seed
        self._max_attempts = max_attempts
        self._send_temperature = send_temperature
        self._interrupt = interrupt

    def propose(self, requests: Sequence[ProposalRequest]) -> Sequence[Sequence[Proposal]]:
        """Return each request's samples in order; see `Proposer`.

        Raises:
            LMCallError: If no sample of the step could be had, or the LM refused for good (auth,
                unknown model).
        """
        calls = [
            ((r, i), partial(self._sample, request, i))
            for r, request in enumerate(requests)
            for i in range(request.n)
        ]
        proposals: dict[tuple[int, int], Proposal] = {}
        errors: dict[tuple[int, int], LMError] = {}
        with self._context():
            results = completed(
                self._executor, calls, window=max(1, len(calls)), interrupt=self._interrupt
            )
            for key, future in results:
                proposals[key], error = future.result()
                if error is not None:
                    errors[key] = error
        if errors:
            self._judge([errors[key] for key in sorted(errors)], requests, n_samples=len(calls))
        return [[proposals[r, i] for i in range(request.n)] for r, request in enumerate(requests)]

    def _sample(self, request: ProposalRequest, index: int) -> tuple[Proposal, LMError | None]:
        raw: str | None = None
        error: LMError | None = None
        for attempt in range(1, self._max_attempts + 1):
            try:
                raw = self._ask(request, self._rollout_id(request, index, attempt))
            except LMError as caught:
                error = caught
                if not is_retryable_lm_error(caught):
                    break
                continue
            text = request.parse(raw)
            if text is not None:
                proposal = Proposal(
                    component=request.component, raw=raw, text=text, attempts=attempt
                )
                return proposal, None
        reason = UNPARSABLE if raw is not None else f"{FAILED}: {type(error).__name__}"
        rejected = Proposal(component=request.component, raw=raw, rejected=reason, attempts=attempt)
        return rejected, error if raw is None else None

    def _ask(self, request: ProposalRequest, rollout_id: int) -> str:
        options: dict[str, Any] = {"rollout_id": rollout_id}
        if self._send_temperature:
            options["temperature"] = request.temperature
        output = self._lm(request.meta_prompt, **options)[0]
        text = output if isinstance(output, str) else str(output.get("text") or "")
        # A lone surrogate can be written to no file and sent to no provider.
        return text.encode("utf-8", "replace").decode("utf-8")

    def _rollout_id(self, request: ProposalRequest, index: int, attempt: int) -> int:
        name = f"{self._seed}:{request.step}:{request.component}:{index}:{attempt}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")

    def _judge(
        self, errors: Sequence[LMError], requests: Sequence[ProposalRequest], *, n_samples: int
    ) -> None:
        fatal = next((e for e in errors if not is_retryable_lm_error(e)), None)
        if fatal is not None or len(errors) == n_samples:
            error = fatal or errors[0]
            raise LMCallError(
                f"the optimizer LM {self._lm.model!r} failed at step {requests[0].step} "
                f"({len(errors)} of {n_samples} samples): {type(error).__name__}: {error}"
            ) from error
        logger.warning(
            "Step %d: %d of %d samples of the optimizer LM failed and are left out (%s).",
            requests[0].step,
            len(errors),
            n_samples,
            type(errors[0]).__name__,
        )


def takes_temperature(lm: dspy.LM) -> bool:
    """Tell whether `lm`'s model takes a sampling temperature of our choice.

    DSPy refuses to construct a reasoning model with one; asking it costs no call.
    """
    if not isinstance(lm.engine, str):
        return True
    try:
        dspy.LM(lm.model, model_type=lm.model_type, temperature=0.5)
    except LMError:
        return False
    return True


def context_window(lm: dspy.LM) -> int | None:
    """Return the input tokens that `lm` can read, or None when nobody knows."""
    if not isinstance(lm.engine, str):
        return getattr(lm.engine, "context_window", None)
    from dspy.clients.model_metadata import model_info

    provider, _, name = lm.model.rpartition("/")
    info = model_info(provider or "openai", name) or {}
    window = info.get("max_input_tokens") or info.get("max_tokens")
    return int(window) if window else None
