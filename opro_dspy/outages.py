"""What an LM failed at in a way that may pass: tried again in rounds, ever fewer and later."""

from collections.abc import Callable
from typing import Generic, TypeVar

from opro_dspy.boundary.faults import is_unreachable
from opro_dspy.errors import LMCallError
from opro_dspy.filters import counted, sentence
from opro_dspy.race import Cell

K = TypeVar("K", Cell, tuple[int, int])

MAX_ROUNDS = 5
"""Rounds in a row without an answer after which an LM is taken to stay away."""

MAX_UNREACHABLE = 2
"""Examples or samples, each with the LM's own retries, for which nobody listens at an address that
never once answered: it is taken for wrong."""

PAUSE_S = 1.0
"""The pause after a round without an answer; each further one is twice as long."""


class Rounds(Generic[K]):
    """What was put off because of an LM, and how long nothing was answered.

    Args:
        stop: Makes the error that ends the run, of a failure and of what was tried.
        one: What waits, in the singular.
    """

    def __init__(self, stop: Callable[[BaseException, str], LMCallError], one: str) -> None:
        self._stop, self._one = stop, one
        self._causes: dict[K, BaseException] = {}
        self._answered = False
        self._idle_rounds = 0
        self.n_unreachable = 0
        """How often in a row nobody listened at the LM's address."""

    def __bool__(self) -> bool:
        return bool(self._causes)

    def put_off(self, key: K, cause: BaseException) -> None:
        """Keep `key`, whose LM failed with `cause`, for a later round."""
        self._causes[key] = cause
        self.n_unreachable += is_unreachable(cause)

    def __contains__(self, key: K) -> bool:
        return key in self._causes

    def answered(self) -> None:
        """Note that one came through."""
        self._answered, self.n_unreachable = True, 0

    def next_round(self) -> tuple[float, list[K]]:
        """Begin a round; call it when nothing is left to do and nothing in flight.

        Returns:
            Seconds to wait, and what to try then: all, or after rounds without an answer ever
            smaller shares, at least one.

        Raises:
            LMCallError: If there were `MAX_ROUNDS` such rounds in a row.
        """
        self._idle_rounds = 0 if self._answered else self._idle_rounds + 1
        self._answered = False
        keys = sorted(self._causes)
        if self._idle_rounds >= MAX_ROUNDS:
            n = len(keys)
            raise self._stop(
                self._causes[keys[0]],
                f" {n} {self._one}{'s wait' if n > 1 else ' waits'} for it, and {MAX_ROUNDS} "
                "rounds in a row brought no answer.",
            )
        if not self._idle_rounds:
            self._causes.clear()
            return 0.0, keys
        keys = keys[: max(1, len(keys) >> self._idle_rounds)]
        for key in keys:
            del self._causes[key]
        return PAUSE_S * 2 ** (self._idle_rounds - 1), keys


class Outages(Rounds[Cell]):
    """The cells of one race that were put off."""

    def __init__(self) -> None:
        super().__init__(scorer_failed, "example")


def what_failed(cause: BaseException) -> str:
    """Return the failure of an LM as sentences."""
    said = sentence(f"{type(cause).__name__}: {cause}")
    if is_unreachable(cause):
        said += " Nobody listens at its address: check `api_base`, and whether the server runs."
    return said


def scorer_failed(cause: BaseException, tried: str = "") -> LMCallError:
    """Return the error that stops a run for the failure of a scorer LM."""
    said = what_failed(cause) + tried
    stop = LMCallError(f"a scorer LM failed, which says nothing about the candidate: {said}")
    stop.__cause__ = cause
    return stop


def all_refused(cause: BaseException, n: int, *, as_before: str = "") -> LMCallError:
    """Return the error that stops a run in which all requests are refused.

    Args:
        cause: The first refusal.
        n: Examples whose requests were refused.
        as_before: What the LM says to a request that it answered before; empty if there is none.
    """
    refused = f" The requests for {counted(n, 'example')} were refused, "
    why = "and none was ever answered."
    if as_before:
        why = (
            f"and so is one that was answered before ({as_before}): something changed at the "
            "provider. None of them was scored."
        )
    return scorer_failed(cause, refused + why)
