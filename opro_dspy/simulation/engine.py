"""The frame both simulated engines share: counting, sampling, latency, faults, usage."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dspy.lm15 import Message, Request, Response, Usage, response_to_events

from opro_dspy.simulation.conditions import Faults, Latency, spoil
from opro_dspy.simulation.hashing import fingerprint
from opro_dspy.simulation.rollouts import current_rollout


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as simulated engines see it."""

    system: str
    """The system text, "" if there is none."""
    user: str
    """The text of the last message."""
    temperature: float
    """0.0 when the request names none."""
    json_wanted: bool
    """True if the request's settings ask for JSON."""
    content: str
    """Fingerprint of everything the request holds."""
    n_chars: int
    """Characters in the system text and all messages."""


def read_request(request: Request) -> Asked:
    """Return what simulated engines need of a request."""
    system = request.system or ""
    if not isinstance(system, str):
        system = "\n".join(getattr(part, "text", "") or "" for part in system)
    texts = [
        "\n".join(getattr(part, "text", "") or "" for part in message.parts)
        for message in request.messages
    ]
    config = request.config
    temperature = float(config.temperature or 0.0)
    form = config.response_format
    told = (temperature, form, getattr(config, "seed", None))
    return Asked(
        system=system,
        user=texts[-1],
        temperature=temperature,
        json_wanted=bool(form),
        content=fingerprint(system, *texts, *told),
        n_chars=len(system) + sum(map(len, texts)),
    )


class SimulatedEngine:
    """Base of the simulated engines; a subclass says what to answer in `answer`.

    `calls` counts attempts, failed ones included. Thread-safe. Copying (also deeply) gives the
    same engine, as DSPy treats engines as borrowed.
    """

    def __init__(self, *, latency: Latency | None, faults: Faults | None) -> None:
        """Set the simulated conditions; None means none."""
        self.latency = latency
        self.faults = faults
        self._lock = threading.Lock()
        self._calls = 0
        self._attempts: Counter[str] = Counter()
        self._samples: Counter[str] = Counter()

    @property
    def calls(self) -> int:
        """Number of requests that reached this simulated engine so far."""
        return self._calls

    def answer(self, asked: Asked, sample: str) -> str:
        """Return the simulated answer.

        Args:
            asked: The request.
            sample: Tells samples of one request apart; "" at temperature 0.
        """
        raise NotImplementedError

    def complete(self, request: Request) -> Response:
        """Return the simulated response to a request, after the simulated latency.

        Raises:
            dspy.lm15.LM15Error: When a simulated fault strikes.
        """
        asked, sample, fault = self._begin(request)
        if self.latency is not None:
            time.sleep(self.latency.seconds(asked.content + sample))
        return self._end(request, asked, sample, fault)

    def stream(self, request: Request) -> Iterator[Any]:
        """Return the simulated response as stream events."""
        events: Iterator[Any] = iter(response_to_events(self.complete(request)))
        return events

    def close(self) -> None:
        """Do nothing: a simulated engine holds no connection."""

    def dump_state(self) -> dict[str, Any]:
        """Return the simulated conditions as JSON data; subclasses add their own."""
        return {
            "latency": None if self.latency is None else asdict(self.latency),
            "faults": None if self.faults is None else self.faults.dump_state(),
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> SimulatedEngine:
        return self

    def __copy__(self) -> SimulatedEngine:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        load: Any = type(self).load_state  # type: ignore[attr-defined]
        return load, (self.dump_state(),)

    def _begin(self, request: Request) -> tuple[Asked, str, str | None]:
        asked = read_request(request)
        sample = ""
        fault = None
        rollout = current_rollout() if asked.temperature > 0 else None
        with self._lock:
            self._calls += 1
            if self.faults is not None:
                rollout_name = "" if rollout is None else str(rollout.rollout_id)
                trying = asked.content + rollout_name
                fault = self.faults.draw(trying, self._attempts[trying])
                self._attempts[trying] += 1
            error = None if self.faults is None or fault is None else self.faults.error(fault)
            if rollout is not None:
                sample = f"rollout:{rollout.rollout_id}:{rollout.n_answers}"
                rollout.n_answers += error is None
            elif asked.temperature > 0:
                sample = f"sample:{self._samples[asked.content]}"
                self._samples[asked.content] += error is None
        return asked, sample, fault

    def _end(self, request: Request, asked: Asked, sample: str, fault: str | None) -> Response:
        text = None
        if self.faults is not None and fault is not None:
            error = self.faults.error(fault)
            if error is not None:
                raise error
            text = spoil(self.answer(asked, sample), fault)
        if text is None:
            text = self.answer(asked, sample)
        n_in, n_out = asked.n_chars // 4 + 1, len(text) // 4 + 1
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant(text),
            finish_reason="stop",
            usage=Usage(input_tokens=n_in, output_tokens=n_out, total_tokens=n_in + n_out),
        )


class AsyncSimulatedEngine:
    """The asynchronous face of a simulated engine; calls are counted there."""

    def __init__(self, engine: SimulatedEngine) -> None:
        """Wrap `engine`; both faces share its simulated state."""
        self.engine = engine

    async def complete(self, request: Request) -> Response:
        """Return the simulated response, awaiting the simulated latency."""
        asked, sample, fault = self.engine._begin(request)
        if self.engine.latency is not None:
            await asyncio.sleep(self.engine.latency.seconds(asked.content + sample))
        return self.engine._end(request, asked, sample, fault)

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        """Yield the simulated response as stream events."""
        for event in response_to_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """Do nothing: a simulated engine holds no connection."""

    def __deepcopy__(self, memo: dict[int, Any]) -> AsyncSimulatedEngine:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.engine,)


def load_conditions(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments `latency` and `faults` from an engine's simulated state."""
    latency, faults = state.get("latency"), state.get("faults")
    return {
        "latency": None if latency is None else Latency(**latency),
        "faults": None if faults is None else Faults.load_state(faults),
    }
