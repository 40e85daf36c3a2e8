"""What LMs cost: prices that are given, and those that DSPy knows."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Real

import dspy

from opro_dspy.errors import ConfigurationError, UnknownPriceError
from opro_dspy.records import Usage


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
    price = prices.get(row.model)
    if price is None:
        return row
    cost, saved = row.cost_usd, row.cost_usd_saved
    if cost is None:
        cost = price.cost(row.input_tokens, row.output_tokens)
    if saved is None and (row.input_tokens_saved or row.output_tokens_saved):
        saved = price.cost(row.input_tokens_saved, row.output_tokens_saved)
    return replace(row, cost_usd=cost, cost_usd_saved=saved)
