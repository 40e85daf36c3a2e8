"""Hard caps on what a run may spend: reserve before a call, settle after it, over any threads."""

import math
import threading
import time
from collections.abc import Callable, Sequence

from opro_dspy.boundary.pace import Outlook, Tell
from opro_dspy.boundary.spending import NOTHING, Spending
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import dollars
from opro_dspy.records import Usage


class Budget:
    """Caps that no number of threads can pass: a call is admitted or it does not happen.

    What is spent, reserved for calls in flight and kept for later stays within each cap. A call
    that uses more than was reserved for it, or that was never admitted, is counted in full: calls
    in flight can pass the cap by their excess, and nothing may begin after them (`used_up`).

    Args:
        max_metric_calls: Scored examples.
        max_tokens: Input and output tokens of all LM calls.
        max_cost: USD of all LM calls.
        max_seconds: Time from now; nothing is admitted later, calls in flight may end later.
        pace: Tells what a scored example takes, by those of which `scored` told.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        *,
        max_metric_calls: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        max_seconds: float | None = None,
        pace: Tell = lambda used, n_examples, seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.caps: dict[str, float | None] = {
            "max_metric_calls": max_metric_calls,
            "max_tokens": max_tokens,
            "max_cost": max_cost,
            "max_seconds": max_seconds,
        }
        for name, cap in self.caps.items():
            if cap is not None and (math.isnan(cap) or cap < 0):
                raise ConfigurationError(
                    f"`{name}` must be a number of at least 0, got {cap!r}; None is no cap."
                )
        self.has_caps = any(cap is not None for cap in self.caps.values())
        """Whether anything is capped at all."""
        self._lock = threading.Lock()
        self._clock, self._started = clock, clock()
        self._spent = self._reserved = NOTHING
        self._in_flight = 0
        self._kept: list[Kept] = []
        self._outlook = Outlook(pace)
        self._refused: str | None = None
        self.outage = ""
        """What to add where time runs out: how LMs failed meanwhile."""

    @property
    def spent(self) -> Spending:
        """What is spent; calls in flight are not among it."""
        with self._lock:
            return self._spent

    @property
    def seconds_left(self) -> float:
        """Seconds until `max_seconds`, without what is kept; infinite without that cap."""
        with self._lock:
            cap = self._cap("max_seconds")
            return math.inf if cap is None else cap - (self._clock() - self._started)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began, as `advance` was told of it."""
        with self._lock:
            return self._clock() - self._started

    def advance(self, elapsed: float) -> None:
        """Say that the run has taken at least `elapsed` seconds by now, earlier sessions too."""
        with self._lock:
            self._started = min(self._started, self._clock() - elapsed)

    @property
    def widest(self) -> Spending:
        """The most that was reserved for an LM call of an example."""
        with self._lock:
            return self._outlook.widest

    def widen(self, need: Spending) -> None:
        """Say that so much was reserved for an LM call of an example in an earlier session."""
        with self._lock:
            self._outlook.widen(need)

    def scored(self, used: Sequence[Usage]) -> None:
        """Say what the LM calls of an example took that has come to a score; nothing is charged."""
        with self._lock:
            self._outlook.scored(used, self._clock() - self._started)

    @property
    def counts_lm_calls(self) -> bool:
        """Whether tokens or cost are capped, so that LM calls need reservations of them."""
        return any(self.caps[name] is not None for name in _OF_LMS)

    @property
    def caps_metric_calls(self) -> bool:
        """Whether metric calls are capped."""
        return self.caps["max_metric_calls"] is not None

    @property
    def metric_calls_left(self) -> int | None:
        """Metric calls that will still fit, as far as can be told; None without a cap.

        Tokens, USD and seconds tell by what examples took so far, with some room.
        """
        with self._lock:
            caps = {name: cap for name in self.caps if (cap := self._cap(name)) is not None}
            left = [
                cap - self._spent.metric_calls
                if name == "max_metric_calls"
                else self._outlook.fitting(cap - self._used(name), of=_PACED[name])
                for name, cap in caps.items()
            ]
        found = min((n for n in left if n is not None), default=math.inf)
        return None if math.isinf(found) else max(0, int(found))

    @property
    def exhausted(self) -> str | None:
        """The cap of which nothing is left, or too little for a call, with its numbers, or None.

        What is kept for later counts as used until it is released.
        """
        with self._lock:
            return self._refused or self._reached(NOTHING, at_cap=tuple(_FIELDS))

    @property
    def used_up(self) -> str | None:
        """Why nothing may begin that has to be paid for, whatever it needs, or None.

        That is a cap on tokens, USD or seconds of which nothing is left, whatever LM it went to.
        """
        with self._lock:
            reason = self._reached(NOTHING, at_cap=_OF_LMS) if self.has_caps else None
            self._refused = reason or self._refused
            return reason

    def admit(
        self, *, metric_calls: int = 0, tokens: int = 0, cost: float = 0.0
    ) -> "Reservation | None":
        """Reserve for one call, or return None if it does not fit beside the calls in flight."""
        need = Spending(metric_calls=metric_calls, tokens=tokens, cost=cost)
        with self._lock:
            if self.has_caps and self._reached(need, reserved=self._reserved) is not None:
                return None
            if self._reserved.metric_calls:  # an LM call for an example
                self._outlook.widen(need)
            self._reserved += need
            self._in_flight += 1
            return Reservation(self, need)

    def refusal(self, *, metric_calls: int = 0, tokens: int = 0, cost: float = 0.0) -> str | None:
        """Return why a call can never be admitted, or None if it can once others come back."""
        need = Spending(metric_calls=metric_calls, tokens=tokens, cost=cost)
        with self._lock:
            reason = self._reached(need)
            self._refused = reason or self._refused
            return reason

    def refuse(self, reason: str) -> None:
        """Be exhausted for `reason`, until what is kept for later is released."""
        with self._lock:
            self._refused = reason

    def charge(self, *, tokens: int = 0, cost: float = 0.0) -> None:
        """Count what was used without being admitted."""
        with self._lock:
            self._spent += Spending(tokens=tokens, cost=cost)

    def keep(self, *, metric_calls: int) -> "Kept":
        """Hold a part of the caps back until the returned object is released.

        Of tokens, USD and seconds that is what so many examples take by what they took so far,
        with some room; at most `MOST_KEPT` of the cap, and nothing before an example was scored.

        Args:
            metric_calls: Metric calls to keep; at most the cap.
        """
        kept = Kept(self, metric_calls=metric_calls)
        with self._lock:
            self._kept.append(kept)
        return kept

    def _release(self, kept: "Kept") -> None:
        with self._lock:
            self._refused = None if kept in self._kept else self._refused
            self._kept = [other for other in self._kept if other is not kept]

    def _book(self, held: Spending, change: Spending, *, closing: bool) -> None:
        with self._lock:
            self._spent += change
            if closing:
                self._in_flight -= 1
                # With nothing in flight nothing is reserved: no float dust stays behind.
                self._reserved = self._reserved + -held if self._in_flight else NOTHING

    def _cap(self, name: str) -> float | None:
        """Return what of a cap is not kept; the caller holds the lock."""
        cap = self.caps[name]
        if cap is None:
            return None
        if name == "max_metric_calls":
            return max(0, cap - sum(kept.metric_calls for kept in self._kept))
        held = (
            self._outlook.kept(kept.metric_calls, cap=cap, of=_PACED[name]) for kept in self._kept
        )
        return max(0.0, cap - sum(held))

    def _used(self, name: str) -> float:
        if name == "max_seconds":
            return self._clock() - self._started
        return float(getattr(self._spent, _FIELDS[name]))

    def _reached(
        self, need: Spending, *, reserved: Spending = NOTHING, at_cap: tuple[str, ...] = ()
    ) -> str | None:
        """Return the cap that `need` would pass, or that is one of `at_cap` and used up."""
        for name, field in _FIELDS.items():
            cap, used, more = self._cap(name), getattr(self._spent, field), getattr(need, field)
            if cap is None:
                continue
            passed = more and _over(used + getattr(reserved, field) + more - cap) > 0
            if passed or (name in at_cap and _over(used - cap) >= 0):
                return self._said(name, used, cap, more)
        cap, elapsed = self._cap("max_seconds"), self._clock() - self._started
        late = cap is not None and elapsed >= cap
        return self._said("max_seconds", elapsed, cap or 0.0, 0.0) if late else None

    def _said(self, name: str, used: float, cap: float, more: float) -> str:
        whole = self.caps[name] or 0.0
        notes = f" ({_figure(name, whole - cap)} kept for the final choice)" if whole > cap else ""
        short = f"; the next call may need {_figure(name, more)}" if used < cap else ""
        said = f"{name}: {_figure(name, used)} of {_figure(name, whole)} used{notes}{short}"
        return said + self.outage if name == "max_seconds" else said


_FIELDS = {"max_metric_calls": "metric_calls", "max_tokens": "tokens", "max_cost": "cost"}
_OF_LMS = ("max_tokens", "max_cost")
_PACED = {"max_tokens": "tokens", "max_cost": "cost", "max_seconds": "seconds"}


def _over(amount: float) -> float:
    """Return by how much a cap is passed; the order of a sum shows in its last digits."""
    return round(amount, 12)


def _figure(name: str, value: float) -> str:
    if name == "max_cost":
        return dollars(value)
    return f"{value:,.1f} s" if name == "max_seconds" else f"{round(value):,}"


class Reservation:
    """What is set aside for one call in flight."""

    def __init__(self, budget: Budget, need: Spending) -> None:
        self._budget, self.need = budget, need
        self._booked: Spending | None = None

    def settle(
        self,
        *,
        metric_calls: int | None = None,
        tokens: int | None = None,
        cost: float | None = None,
    ) -> None:
        """Say what the call used; what is left out counts as reserved. The last word counts."""
        need, before = self.need, self._booked
        used = Spending(
            metric_calls=need.metric_calls if metric_calls is None else metric_calls,
            tokens=need.tokens if tokens is None else tokens,
            cost=need.cost if cost is None else cost,
        )
        self._booked = used
        self._budget._book(need, used + -(before or NOTHING), closing=before is None)

    def release(self) -> None:
        """Say that the call used nothing."""
        self.settle(metric_calls=0, tokens=0, cost=0.0)


class Kept:
    """A part of a budget that is held back; also a context that releases it when left."""

    def __init__(self, budget: Budget, *, metric_calls: int) -> None:
        self._budget, self.metric_calls = budget, metric_calls

    def release(self) -> None:
        """Give it back."""
        self._budget._release(self)

    def __enter__(self) -> "Kept":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
