"""Where calls of watched LMs come in: what is kept is given at once, the rest goes on its way."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from opro_dspy.boundary import steps
from opro_dspy.boundary.meter import OPTIMIZER, current_role
from opro_dspy.boundary.passage import Passage
from opro_dspy.boundary.recall import Recall
from opro_dspy.boundary.steps import Sending, calls_as_dspy, prepared


class Entrance:
    """One call of a watched LM.

    An answer that is kept is given at once, and one that another call is asking for is waited
    for: neither needs a place, a request or a budget. An LM whose user switched DSPy's cache off
    wants fresh answers; proposals, each with a `rollout_id` of its own, are kept all the same.

    Args:
        passage: The way of the call to the LM.
    """

    def __init__(self, passage: Passage) -> None:
        self._passage, self._desk = passage, passage.desk

    def go(self, forward: Callable[..., Any]) -> Any:
        """Return a kept answer, or call the LM."""
        call, sending = self._passage, None
        if calls_as_dspy(call.kind):
            sending = prepared(call.lm, call.args, call.kwargs)
        if sending is None:
            return self._passage.go(forward)
        recall = self._recall(sending)
        if recall is None:
            return self._passage.go(partial(steps.asked, sending))
        with recall.turn() as answer:
            if answer is None or recall.is_owed(answer):
                return self._passage.go(recall.asked)
            with self._passage.hit(answer.worth):
                return recall.given(answer)

    async def ago(self, forward: Callable[..., Awaitable[Any]]) -> Any:
        """As `go`, without blocking the event loop."""
        call, sending = self._passage, None
        if calls_as_dspy(call.kind):
            sending = await asyncio.to_thread(
                prepared, call.lm, call.args, call.kwargs, asynchronous=True
            )
        if sending is None:
            return await self._passage.ago(forward)
        recall = self._recall(sending)
        if recall is None:
            return await self._passage.ago(partial(steps.aasked, sending))
        async with recall.aturn() as answer:
            if answer is None or recall.is_owed(answer):
                return await self._passage.ago(recall.aasked)
            with self._passage.hit(answer.worth):
                return await recall.agiven(answer)

    def _recall(self, sending: Sending) -> Recall | None:
        """Return the call as one whose answer is kept; None if it is not."""
        call, desk = self._passage, self._desk
        wanted = current_role() == OPTIMIZER or call.kwargs.get("cache", call.lm.cache)
        if desk.answers is None or not wanted:
            return None
        check = partial(desk.admission.check_waiting, call.visit)
        owner = call.visit.task
        return Recall(
            desk.answers, sending, call.kind, owner=owner, check=check, kept=call.note_kept
        )
