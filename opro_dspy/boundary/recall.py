"""One LM call whose answer is kept: found, or waited for, or asked for and kept."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any

from opro_dspy.boundary import steps
from opro_dspy.boundary.answers import Answer, Answers, is_ambiguous
from opro_dspy.boundary.flights import Flight, Owner

POLL_S = 0.05
"""How often to look whether another process has the answer."""


class Recall:
    """A call of which its answers know.

    Args:
        answers: Where answers are kept.
        sending: The call.
        kind: The class of its LM as the user made it.
        owner: On whose behalf it is made.
        check: Raises when the call is no longer wanted; asked while it waits.
        kept: Told of the mark of an answer that the call pays for; see `Payer`.
    """

    def __init__(
        self,
        answers: Answers,
        sending: steps.Sending,
        kind: type,
        *,
        owner: Owner | None = None,
        check: Callable[[], object] = lambda: None,
        kept: Callable[[str], object] = lambda mark: None,
    ) -> None:
        self._answers, self._sending, self._kept = answers, sending, kept
        self._key = answers.key(sending.lm, kind, sending.call)
        self._owner, self._check = owner, check
        self._flight: Flight | None = None
        self._owed: Answer | None = None
        self._over = False

    @contextmanager
    def turn(self) -> Iterator[Answer | None]:
        """Return a context with the answer, or with None when it is this call's turn to ask."""
        try:
            while (found := self._look()) is None and self._flight is None:
                with self._waiting():
                    self._answers.wait(POLL_S)
            yield found
        finally:
            self._land()

    @asynccontextmanager
    async def aturn(self) -> AsyncIterator[Answer | None]:
        """As `turn`, without blocking the event loop."""
        try:
            while (found := await asyncio.to_thread(self._look)) is None and self._flight is None:
                with self._waiting():
                    await asyncio.sleep(POLL_S / 5)
            yield found
        finally:
            self._land()

    def _look(self) -> Answer | None:
        """Return the answer if it is there; if not, take the turn to ask if nobody has it.

        The turn comes first: whoever had it before may have kept the answer meanwhile.
        """
        self._flight = self._answers.claim(self._key, self._owner)
        found = self._answers.find(self._key)
        if found is None:
            self._check()
        if self._over:  # cancelled while this thread looked
            self._land()
        return found

    def _waiting(self) -> AbstractContextManager[None]:
        """Return a context in which the answer of another is waited for.

        That time is not held against whoever waits, unless nobody would give the other one up:
        it may be of another run in this process (a wait for another process has its own end).
        """
        owner, other = self._owner, self._answers.under_way(self._key)
        if owner is None or (other is not None and not owner.runs_with(other.owner)):
            return nullcontext()
        return owner.waiting()

    def _land(self) -> None:
        self._over = True
        flight, self._flight = self._flight, None
        if flight is not None:
            self._answers.land(flight)

    def is_owed(self, answer: Answer) -> bool:
        """Tell whether `answer` has to be counted as `asked` does: it was paid for, but not so."""
        self._owed = answer if self._answers.owes(answer) else None
        return self._owed is not None

    def given(self, answer: Answer) -> Any:
        """Return what the LM returns, with `answer`."""
        return steps.called(self._sending, lambda: answer.result)

    async def agiven(self, answer: Answer) -> Any:
        """As `given`, for an asynchronous call."""

        async def known() -> steps.CallResult:
            return answer.result

        return await steps.acalled(self._sending, known)

    def asked(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the LM returns, and keep its answer; takes the arguments of the call."""

        def ask() -> steps.CallResult:
            if self._owed is not None:
                return self._counted(self._owed)
            lm, call = self._sending.lm, self._sending.call
            result = steps.execute(lm, call)
            if self._is_foreign(result):
                call.cache = False
                result = steps.execute(lm, call)
            self._note(self._answers.keep(self._key, result, self._flight))
            return result

        return steps.called(self._sending, ask)

    async def aasked(self, *args: Any, **kwargs: Any) -> Any:
        """As `asked`, for an asynchronous call."""

        async def ask() -> steps.CallResult:
            if self._owed is not None:
                return self._counted(self._owed)
            lm, call = self._sending.lm, self._sending.call
            result = await steps.aexecute(lm, call)
            if self._is_foreign(result):
                call.cache = False
                result = await steps.aexecute(lm, call)
            keep = self._answers.keep
            self._note(await asyncio.to_thread(keep, self._key, result, self._flight))
            return result

        return await steps.acalled(self._sending, ask)

    def _counted(self, answer: Answer) -> steps.CallResult:
        """Return an answer that is owed, as the LM gave it; a cap may have refused it until now."""
        self._answers.counts(answer)
        self._note(None if answer.paid is None else answer.paid[1])
        return answer.as_asked_now()

    def _note(self, mark: str | None) -> None:
        if mark is not None:
            self._kept(mark)

    def _is_foreign(self, result: steps.CallResult) -> bool:
        """Tell whether DSPy's cache gave an answer that may be another LM's."""
        return bool(result.cache_hit) and is_ambiguous(self._sending.lm, self._sending.kwargs)
