"""What caps leave of a run, and from where on they are large enough. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil

from opro_dspy.boundary.pace import MOST_KEPT, ROOM
from opro_dspy.boundary.prices import Price
from opro_dspy.config import OproConfig
from opro_dspy.filters import dollars
from opro_dspy.plan import Course

Range = tuple[int, int]
Span = tuple[float, float]
"""Both: at least and at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A cap, and what takes how much of it."""

    name: str
    cap: float
    """Of `max_seconds`: the requests that can be sent by then."""
    kept: Span
    """What of it is kept for the final choice."""
    scored: Span
    """What a scored example takes."""
    asked: Span = (0.0, 0.0)
    """What a request to the optimizer LM takes."""

    def smallest(self, course: Course) -> float:
        """Return the cap with room for a first step and one comparison on the selection set.

        By what calls take at least; the choice has what is kept, or what the search left.
        """
        if self.name == "max_metric_calls":  # of them, enough for a comparison is kept
            return course.first + min(course.choice, max(course.compared, course.first))
        each, requests = self.scored[0], course.samples[0] * self.asked[0]
        first = course.first * each + requests
        compared = course.compared * each
        scored = course.start + sum(low for low, _, _ in course.steps)
        whole = scored * each + len(course.steps) * requests + compared
        kept = min(ROOM * course.choice * each, first * MOST_KEPT / (1.0 - MOST_KEPT))
        return max(first + kept, min(compared / MOST_KEPT, whole))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one LM call of a role takes, from at least to at most."""

    prompt: Range
    answer: Range
    price: Price | None

    @property
    def tokens(self) -> Range:
        """Input and output tokens together."""
        return self.prompt[0] + self.answer[0], self.prompt[1] + self.answer[1]

    @property
    def cost(self) -> Span:
        """USD; 0 where the price is not known."""
        if self.price is None:
            return 0.0, 0.0
        low, high = zip(self.prompt, self.answer, strict=True)
        return self.price.cost(*low), self.price.cost(*high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What calls of both roles take, and how many of the scorer's an example takes."""

    optimizer: Rate
    scorer: Rate
    calls: Range


def limits_of(config: OproConfig, *, kept: int, rates: Callable[[], Rates]) -> list[Limit]:
    """Return the caps of `config`, as far as is known what takes how much of them.

    Args:
        config: The settings, `auto` resolved.
        kept: Metric calls that are kept for the final choice.
        rates: Tells what calls take; asked only where that matters.
    """
    found = []
    if config.max_metric_calls is not None:
        whole = config.max_metric_calls
        found.append(Limit(name="max_metric_calls", cap=whole, kept=(kept, kept), scored=(1, 1)))
    caps = {"max_tokens": config.max_tokens, "max_cost": config.max_cost}
    caps["max_seconds"] = _requests(config)
    if any(caps.values()):
        known = rates()
        takes: dict[str, tuple[Span, Span]] = {
            "max_tokens": (known.scorer.tokens, known.optimizer.tokens),
            "max_cost": (known.scorer.cost, known.optimizer.cost),
            "max_seconds": ((1, 1), (1, 1)),
        }
        for name, cap in caps.items():
            call, asked = takes[name]
            scored = (known.calls[0] * call[0], known.calls[1] * call[1])
            if cap is not None:
                most = MOST_KEPT * cap if kept else 0.0
                held = min(most, ROOM * kept * scored[0]), most
                found.append(Limit(name=name, cap=cap, kept=held, scored=scored, asked=asked))
    return found


def too_small(
    config: OproConfig, limits: Iterable[Limit], course: Course
) -> list[tuple[str, str, str]]:
    """Return the caps that leave no choice: the name, the cap, and the least one that does."""
    found = []
    for limit in limits:
        least = limit.smallest(course)
        if limit.cap >= least:
            continue
        if limit.name == "max_seconds":
            minutes = ceil(least / (config.requests_per_minute or 1)) - 1
            found.append((limit.name, f"{config.max_seconds:g}", f"{60 * minutes:,}"))
        elif limit.name == "max_cost":
            found.append((limit.name, dollars(limit.cap), dollars(ceil(1e4 * least) / 1e4)))
        else:
            found.append((limit.name, f"{limit.cap:,}", f"{ceil(least):,}"))
    return found


def _requests(config: OproConfig) -> int | None:
    """Return how many requests can be sent before `max_seconds`; None if that is not known."""
    if config.requests_per_minute is None or config.max_seconds is None:
        return None
    return config.requests_per_minute * (1 + int(config.max_seconds // 60))


def metric_calls_within(course: Course, limits: Iterable[Limit]) -> tuple[int, int]:
    """Return how many examples a run scores under all `limits`: at least, and at most."""
    low, _, high = course.metric_calls
    for limit in limits:
        low = min(low, _certain(course, limit)[0])
        if limit.scored[0]:
            high = min(high, int(limit.cap / limit.scored[0]))
    return min(low, high), high


def requests_within(course: Course, limits: Iterable[Limit]) -> tuple[int, int]:
    """Return how often a run asks the optimizer LM under all `limits`: at least, and at most."""
    low, high = (n * len(course.steps) for n in course.samples)
    for limit in limits:
        low = min(low, _certain(course, limit)[1])
        if limit.asked[0]:
            high = min(high, int(limit.cap / limit.asked[0]))
    return min(low, high), high


def _certain(course: Course, limit: Limit) -> tuple[int, int]:
    """Return the scored examples and the requests for which there is room in any case."""
    room, requests = limit.cap - limit.kept[1], course.samples[0]
    spent = course.start * limit.scored[1]
    scored, asked = course.start, 0
    if spent > room:
        scored = int(room / limit.scored[1])
    for low, _, high in course.steps:
        spent += requests * limit.asked[1]
        if spent >= room:
            break
        asked += requests
        spent += (course.samples[1] - requests) * limit.asked[1] + high * limit.scored[1]
        scored += low if spent <= room else 0
    if not limit.asked[1]:  # all of it goes into scoring
        scored = max(scored, min(int(room), course.metric_calls[0] - course.final[0]))
    if limit.scored[1]:
        scored += min(course.final[0], int(limit.kept[0] / limit.scored[1]))
    return scored, asked
