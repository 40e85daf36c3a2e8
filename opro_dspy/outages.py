"""Examples whose LM failed in a way that may pass: tried again in rounds, ever fewer and later."""

from opro_dspy.boundary.faults import is_unreachable
from opro_dspy.errors import LMCallError
from opro_dspy.filters import sentence
from opro_dspy.race import Cell

MAX_ROUNDS = 5
"""Rounds in a row without an answer after which an LM is taken to stay away."""

MAX_UNREACHABLE = 2
"""Examples, each with the LM's own retries, for which nobody listens at an address that never once
answered: it is taken for wrong."""

PAUSE_S = 1.0
"""The pause after a round without an answer; each further one is twice as long."""


class Outages:
    """The cells of one race that were put off, and how long nothing was answered."""

    def __init__(self) -> None:
        self._causes: dict[Cell, BaseException] = {}
        self._answered = False
        self._idle_rounds = 0
        self.n_unreachable = 0
        """How often in a row nobody listened at the LM's address."""

    def __bool__(self) -> bool:
        return bool(self._causes)

    def put_off(self, cell: Cell, cause: BaseException) -> None:
        """Keep `cell`, whose LM failed with `cause`, for a later round."""
        self._causes[cell] = cause
        self.n_unreachable += is_unreachable(cause)

    def __contains__(self, cell: Cell) -> bool:
        return cell in self._causes

    def answered(self) -> None:
        """Note that an example came through."""
        self._answered, self.n_unreachable = True, 0

    def next_round(self) -> tuple[float, list[Cell]]:
        """Begin a round; call it when nothing is left to do and nothing in flight.

        Returns:
            Seconds to wait, and the cells to try then: all of them, or after rounds without an
            answer ever smaller shares, at least one.

        Raises:
            LMCallError: If there were `MAX_ROUNDS` such rounds in a row.
        """
        self._idle_rounds = 0 if self._answered else self._idle_rounds + 1
        self._answered = False
        cells = sorted(self._causes, key=lambda cell: (cell.candidate, cell.place))
        if self._idle_rounds >= MAX_ROUNDS:
            n = len(cells)
            raise scorer_failed(
                self._causes[cells[0]],
                f" {n} example{'s wait' if n > 1 else ' waits'} for it, and {MAX_ROUNDS} rounds in "
                "a row brought no answer.",
            )
        if not self._idle_rounds:
            self._causes.clear()
            return 0.0, cells
        cells = cells[: max(1, len(cells) >> self._idle_rounds)]
        for cell in cells:
            del self._causes[cell]
        return PAUSE_S * 2 ** (self._idle_rounds - 1), cells


def scorer_failed(cause: BaseException, tried: str = "") -> LMCallError:
    """Return the error that stops a run for the failure of a scorer LM."""
    said = sentence(f"{type(cause).__name__}: {cause}")
    if is_unreachable(cause):
        said += " Nobody listens at its address: check `api_base`, and whether the server runs."
    stop = LMCallError(f"a scorer LM failed, which says nothing about the candidate: {said}{tried}")
    stop.__cause__ = cause
    return stop


def all_refused(cause: BaseException, n: int, *, as_before: str = "") -> LMCallError:
    """Return the error that stops a run in which all requests are refused.

    Args:
        cause: The first refusal.
        n: Examples whose requests were refused.
        as_before: What the LM says to a request that it answered before; empty if there is none.
    """
    refused = f" The requests for {n} example{'s were' if n != 1 else ' was'} refused, "
    why = "and none was ever answered."
    if as_before:
        why = (
            f"and so is one that was answered before ({as_before}): something changed at the "
            "provider. None of them was scored."
        )
    return scorer_failed(cause, refused + why)
