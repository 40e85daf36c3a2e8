"""What an LM call may use at most, in tokens and USD, told before it is made."""

import json
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from numbers import Real
from typing import Any, Protocol

import dspy
from pydantic import BaseModel

from opro_dspy.errors import ConfigurationError, UnknownPriceError
from opro_dspy.records import Usage

BYTES_PER_TOKEN = 2
"""Tokenizers in use make a token of 3 to 5 bytes of prose, of 2 to 3 bytes of dense scripts."""

MESSAGE_TOKENS = 16
"""For what a chat template puts around each message, and once for the answer's opening."""

MEDIA_TOKENS = 2000
"""For an image, sound or file, whose bytes say little of its tokens."""

ANSWER_TOKENS = 1024
"""For an answer, as long as none was seen and the LM has no `max_tokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD for a million tokens."""

    input_per_million: float
    output_per_million: float

    def __post_init__(self) -> None:
        for name in ("input_per_million", "output_per_million"):
            value = getattr(self, name)
            known = isinstance(value, Real) and not isinstance(value, bool)
            if not (known and math.isfinite(value) and value >= 0):
                raise ConfigurationError(
                    f"`{name}` must be USD as a number of at least 0, got {value!r}."
                )

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Return the USD of a call."""
        return (
            input_tokens * self.input_per_million + output_tokens * self.output_per_million
        ) / 1e6


def resolve_prices(prices: object) -> dict[str, Price]:
    """Return `prices` if it maps model names to prices; none by default.

    Raises:
        ConfigurationError: If it is something else.
    """
    if prices is None:
        return {}
    if not isinstance(prices, Mapping) or not all(isinstance(p, Price) for p in prices.values()):
        raise ConfigurationError(
            f"`prices` must map model names to prices, got {prices!r}. "
            'Write {"openai/…": Price(input_per_million=…, output_per_million=…)}.'
        )
    return dict(prices)


def known_price(lm: dspy.BaseLM) -> Price | None:
    """Return what DSPy's model metadata says of `lm`, at its dearest rates, or None.

    The dearest: long prompts, cache writes and reasoning may have rates of their own; priority
    and batch tiers, which are asked for, are left aside. An LM with a custom engine has none.
    """
    if not isinstance(getattr(lm, "engine", None), str):
        return None
    from dspy.clients.model_metadata import model_info, rate

    provider, _, name = lm.model.partition("/")
    info = model_info(provider, name) if name else model_info("openai", lm.model)

    def dearest(*starts: str) -> float | None:
        rates = [
            rate(info, key)
            for key in info
            if key.startswith(starts) and not key.endswith(("_priority", "_flex", "_batches"))
        ]
        return max((r for r in rates if r is not None), default=None)

    inputs = dearest("input_cost_per_token", "cache_creation_input_token_cost")
    outputs = dearest("output_cost_per_token", "output_cost_per_reasoning_token")
    if inputs is None or outputs is None:
        return None
    return Price(input_per_million=1e6 * inputs, output_per_million=1e6 * outputs)


def check_prices(lms: Iterable[dspy.BaseLM], prices: Mapping[str, Price]) -> None:
    """Raise ConfigurationError if the price of one of `lms` is not known; for `max_cost`."""
    unknown = {lm.model for lm in lms if lm.model not in prices and known_price(lm) is None}
    if unknown:
        name = min(unknown)
        raise ConfigurationError(
            f"`max_cost` needs the price of every LM, and none is known of "
            f"{', '.join(map(repr, sorted(unknown)))}. {_give_it(name)}"
        )


def unknown_price(model: str) -> UnknownPriceError:
    """Return the error that stops a run with `max_cost` in which `model` answered."""
    return UnknownPriceError(
        f"`max_cost` needs the price of every LM, and none is known of {model!r}, which the "
        f"program or the metric asked by itself. {_give_it(model)}"
    )


def _give_it(model: str) -> str:
    return (
        f"Give it: `prices={{{model!r}: Price(input_per_million=…, output_per_million=…)}}` "
        "(USD; 0 for an LM of your own)."
    )


def priced(row: Usage, prices: Mapping[str, Price]) -> Usage:
    """Return `row` with its cost by `prices`, where none was known when it was written."""
    price = prices.get(row.model) if row.cost_usd is None else None
    if price is None:
        return row
    return replace(row, cost_usd=price.cost(row.input_tokens, row.output_tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a call may use at most, as far as can be told."""

    tokens: int = 0
    cost: float = 0.0
    input_guess: int = 0
    """Input tokens by the rule of thumb alone, before what was learned of the model."""


class Used(Protocol):
    """What is known of a paid call."""

    input_tokens: int
    output_tokens: int
    cost: float | None


@dataclass(slots=True)
class _Learned:
    price: Price | None
    ratio: float = 1.0
    """Highest input tokens seen over the rule of thumb's, at least 1."""


class Forecast:
    """Bounds the tokens and cost of calls, and learns from what they used.

    Input: a token for every two bytes of text and a constant for each message, scaled by the
    highest ratio of truth to guess seen of the model. Output: the LM's `max_tokens`; without it
    twice the longest answer seen (in an example or sample with several: their mean), and 1,024
    before the first. That is learned from what is in a run's log, too, so that a run that goes on
    foretells as one that was never cut short. A provider that answers longer
    than asked, or an LM without `max_tokens`, can therefore use more than was foretold.

    Args:
        prices: Price by model; where none is given, DSPy's metadata is asked once.
    """

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = dict(prices)
        self._lock = threading.Lock()
        self._models: dict[str, _Learned] = {}
        self._longest: dict[str, int] = {}
        """Model to the most output tokens of an answer."""

    def need(self, lm: dspy.BaseLM, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Need:
        """Return what the call `lm(*args, **kwargs)` may use."""
        options = {**getattr(lm, "kwargs", {}), **kwargs}
        guess = _guess([*args, *(options.get(name) for name in _SENT)])
        limit = answer_limit(options)
        request = options.get("request") or next(iter(args), None)
        limit = getattr(getattr(request, "config", None), "max_tokens", None) or limit
        learned = self._learned(lm)
        inputs = math.ceil(guess * learned.ratio)
        outputs = int(limit) if limit else (2 * self._longest.get(lm.model, 0) or ANSWER_TOKENS)
        n = options.get("n") or 1
        cost = learned.price.cost(n * inputs, n * outputs) if learned.price else 0.0
        return Need(tokens=n * (inputs + outputs), cost=cost, input_guess=n * guess)

    def learn(self, lm: dspy.BaseLM, need: Need, used: Used) -> None:
        """Note what an answered call took to read."""
        learned = self._learned(lm)
        with self._lock:
            if need.input_guess:
                learned.ratio = max(learned.ratio, used.input_tokens / need.input_guess)

    def learn_lengths(self, usage: Sequence[Usage]) -> None:
        """Note how long answers were that one example or sample took."""
        with self._lock:
            for row in usage:
                length = -(-row.output_tokens // max(1, row.calls - row.failures))
                self._longest[row.model] = max(length, self._longest.get(row.model, 0))

    def given(self, model: str) -> Price | None:
        """Return the price that the user gave."""
        return self._prices.get(model)

    def cost(self, model: str, used: Used) -> float | None:
        """Return the USD of a paid call: by the given price, else as DSPy told, else None."""
        price = self._prices.get(model)
        if price is None and used.cost is None and model in self._models:
            price = self._models[model].price
        return used.cost if price is None else price.cost(used.input_tokens, used.output_tokens)

    def _learned(self, lm: dspy.BaseLM) -> _Learned:
        learned = self._models.get(lm.model)
        if learned is None:
            price = self._prices.get(lm.model) or known_price(lm)
            with self._lock:
                learned = self._models.setdefault(lm.model, _Learned(price))
        return learned


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
