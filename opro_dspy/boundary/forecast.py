"""What an LM call may use at most, in tokens and USD, told before it is made."""

import json
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import dspy
from pydantic import BaseModel

from opro_dspy.boundary.prices import Price, known_price
from opro_dspy.foresight import Habits

BYTES_PER_TOKEN = 2
"""Tokenizers in use make a token of 3 to 5 bytes of prose, of 2 to 3 bytes of dense scripts."""

MESSAGE_TOKENS = 16
"""For what a chat template puts around each message, and once for the answer's opening."""

MEDIA_TOKENS = 2000
"""For an image, sound or file, whose bytes say little of its tokens."""

ANSWER_TOKENS = 1024
"""For an answer, as long as none was seen and the LM has no `max_tokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a call may use at most, as far as can be told."""

    tokens: int = 0
    cost: float = 0.0
    input_guess: int = 0
    """Input tokens by the rule of thumb alone, before what was learned of the model."""


class Taken(Protocol):
    """What an answer takes, or took once."""

    @property
    def input_tokens(self) -> int:
        """Tokens to read."""
        ...

    @property
    def output_tokens(self) -> int:
        """Tokens to write."""
        ...

    @property
    def cost(self) -> float | None:
        """USD, as far as DSPy knows."""
        ...


class Used(Taken, Protocol):
    """What is known of a paid call."""

    @property
    def answers(self) -> int:
        """How many came."""
        ...


class Forecast:
    """Bounds the tokens and cost of calls, and learns from what they used.

    Input: a token for every two bytes of text and a constant for each message, scaled by the
    highest ratio of truth to guess seen of the model. Output: the LM's `max_tokens`; without it
    twice the longest answer seen, and 1,024 before the first. A provider that answers longer
    than asked, or an LM without `max_tokens`, can therefore use more than was foretold.

    Args:
        prices: Price by model; where none is given, DSPy's metadata is asked once.
    """

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._given = dict(prices)
        self._lock = threading.Lock()
        self._prices: dict[str, Price | None] = {}
        self._habits: dict[str, Habits] = {}

    def need(self, lm: dspy.BaseLM, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Need:
        """Return what the call `lm(*args, **kwargs)` may use."""
        options = {**getattr(lm, "kwargs", {}), **kwargs}
        guess = _guess([*args, *(options.get(name) for name in _SENT)])
        limit = answer_limit(options)
        request = options.get("request") or next(iter(args), None)
        limit = getattr(getattr(request, "config", None), "max_tokens", None) or limit
        habits, price = self._habits.get(lm.model, Habits()), self._price(lm)
        inputs = math.ceil(guess * habits.ratio)
        outputs = int(limit) if limit else (2 * habits.longest or ANSWER_TOKENS)
        n = options.get("n") or 1
        cost = price.cost(n * inputs, n * outputs) if price else 0.0
        return Need(tokens=n * (inputs + outputs), cost=cost, input_guess=n * guess)

    def learn(self, model: str, need: Need, used: Used) -> None:
        """Note what an answered call took to read, and how long its answers were."""
        ratio = used.input_tokens / need.input_guess if need.input_guess else 1.0
        self.remember(model, Habits(ratio=ratio, longest=-(-used.output_tokens // used.answers)))

    def remember(self, model: str, habits: Habits) -> None:
        """Note what was learned of a model."""
        with self._lock:
            self._habits[model] = self._habits.get(model, Habits()) | habits

    @property
    def habits(self) -> dict[str, Habits]:
        """What was learned so far, by model."""
        with self._lock:
            return dict(self._habits)

    def given(self, model: str) -> Price | None:
        """Return the price that the user gave."""
        return self._given.get(model)

    def cost(self, model: str, used: Taken, *, lm: dspy.BaseLM | None = None) -> float | None:
        """Return the USD of a call: by the given price, else as DSPy told, else None.

        It was paid for, now or when its answer was kept. Where DSPy does not tell, its metadata may
        know the price of `lm`.
        """
        price = self._given.get(model)
        if price is None and used.cost is None:
            price = self._prices.get(model) if lm is None else self._price(lm)
        return used.cost if price is None else price.cost(used.input_tokens, used.output_tokens)

    def _price(self, lm: dspy.BaseLM) -> Price | None:
        if lm.model not in self._prices:
            self._prices[lm.model] = self._given.get(lm.model) or known_price(lm)
        return self._prices[lm.model]


def answer_limit(options: Mapping[str, Any]) -> Any:
    """Return the most tokens of an answer by an LM's or a call's options; None without a limit."""
    return options.get("max_tokens") or options.get("max_completion_tokens") or None


_SENT = ("prompt", "messages", "request", "tools", "response_format")


def _guess(sent: list[Any]) -> int:
    """Return the input tokens of what is sent, by the rule of thumb."""
    n_bytes = n_media = n_messages = 0
    todo = list(sent)
    while todo:
        part = todo.pop()
        if isinstance(part, str):
            n_bytes += len(part.encode("utf-8", "replace"))
        elif isinstance(part, dict) and part.get("type") in _MEDIA:
            n_media += 1
        elif isinstance(part, dict):
            n_messages += "role" in part
            todo += [*part.keys(), *part.values()]
        elif isinstance(part, (list, tuple)):
            todo += part
        elif isinstance(part, type) and issubclass(part, BaseModel):
            n_bytes += len(json.dumps(part.model_json_schema()))
        elif is_dataclass(part) and getattr(part, "type", None) in _MEDIA:
            n_media += 1
        elif is_dataclass(part) and not isinstance(part, type):
            n_messages += hasattr(part, "role")
            todo += [getattr(part, f.name) for f in fields(part)]
    text = math.ceil(n_bytes / BYTES_PER_TOKEN)
    return text + (n_messages + 1) * MESSAGE_TOKENS + n_media * MEDIA_TOKENS


_MEDIA = {"image_url", "input_audio", "file", "image", "audio", "video", "document", "binary"}
