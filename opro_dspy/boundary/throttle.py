"""How many calls at once, and how many a minute: pure bookkeeping, no waiting in here."""

from collections.abc import Callable

SOFT_CUT = 0.75

MOST_PATIENCE = 32
"""Round trips before a limit is tried again that did not work, at most."""


class AdaptiveLimit:
    """A limit on calls in flight that shrinks when the provider pushes back, and recovers.

    Additive increase, multiplicative decrease: a refusal for load halves it, at most once per
    round trip (calls that set out before a cut do not cut again); two server errors or timeouts
    in a row take a quarter off; as many successes as the limit (a round trip) raise it by one.
    It settles: if one more than what worked is pushed back, that much is gone back to, and twice
    as many round trips (`MOST_PATIENCE` at most) pass before it is tried again; once more works,
    each raises it again. Successes count while all places are taken: others say nothing about
    the limit. The caller holds a lock.

    Args:
        most: The limit at the start and at most, at least 1.

    Source:
        Chiu & Jain, "Analysis of the increase and decrease algorithms for congestion avoidance"
        (1989); once per round trip as TCP Reno does. The growing pauses are those of binary
        exponential backoff: Metcalfe & Boggs, "Ethernet" (1976).
    """

    def __init__(self, most: int) -> None:
        self.most = self.limit = most
        self.in_flight = 0
        self.held_until = float("-inf")
        """Clock time before which no call sets out, as the provider asked."""
        self._cuts = 0
        self._successes = 0
        self._soft_in_a_row = 0
        self._worked = 0
        """The limit that a whole round trip went well with."""
        self._patience = 1
        """Round trips to wait before a higher one is tried."""

    def enter(self) -> int:
        """Note that a call sets out; return the number of cuts by then, for `pushed_back`."""
        self.in_flight += 1
        return self._cuts

    def leave(self) -> None:
        """Note that a call is over, however it went."""
        self.in_flight -= 1

    def succeeded(self) -> None:
        """Note an answer."""
        self._soft_in_a_row = 0
        if self.in_flight < self.limit:
            return
        self._successes += 1
        if self.limit > self._worked and self._successes >= self.limit:
            self._worked, self._patience = self.limit, 1
        if self._successes >= self.limit * self._patience:
            self._successes = 0
            self.limit = min(self.most, self.limit + 1)

    def pushed_back(self, entered: int, *, soft: bool, until: float | None = None) -> None:
        """Note a refusal for load, or (`soft`) a failure that may come from load.

        Args:
            entered: What `enter` returned for the call.
            soft: True for a server error or timeout.
            until: Clock time before which the provider wants no call, if it said so.
        """
        if until is not None:
            self.held_until = max(self.held_until, until)
        self._soft_in_a_row += 1
        if entered < self._cuts or (soft and self._soft_in_a_row < 2):
            return
        self._cuts += 1
        self._successes = 0
        self._soft_in_a_row = 0
        if self.limit == self._worked + 1 > 1:
            self.limit, self._patience = self._worked, min(MOST_PATIENCE, 2 * self._patience)
        else:
            self.limit = max(1, int(self.limit * (SOFT_CUT if soft else 0.5)))
            self._worked = min(self._worked, self.limit)


class RequestRate:
    """At most so many requests in any minute.

    Args:
        per_minute: Requests in 60 seconds, at least 1.
        clock: Seconds, never going back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        from pyrate_limiter import Duration, InMemoryBucket, Rate

        self._clock = clock
        self._bucket = InMemoryBucket([Rate(per_minute, Duration.MINUTE)])

    def take(self) -> float:
        """Take one request and return 0.0, or return the seconds until one may be had."""
        from pyrate_limiter import RateItem

        now = int(self._clock() * 1000)
        self._bucket.leak(now)
        item = RateItem("lm", now)
        if self._bucket.put(item):
            return 0.0
        waiting = self._bucket.waiting(item)
        return max(0.001, waiting / 1000) if isinstance(waiting, int) else 1.0
