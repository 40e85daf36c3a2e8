"""Where calls of watched LMs come in: what is kept is given at once, the rest goes on its way."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

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
        call = self._passage
        sending = prepared(call.lm, call.args, call.kwargs) if self._is_kept() else None
        recall = self._recall(sending)
        if recall is None:
            return self._passage.go(forward)
        with recall.turn() as answer:
            if answer is None:
                return self._passage.go(recall.asked)
            with self._passage.hit(answer.worth):
                return recall.given(answer)

    async def ago(self, forward: Callable[..., Awaitable[Any]]) -> Any:
        """As `go`, without blocking the event loop."""
        call, sending = self._passage, None
        if self._is_kept():
            sending = await asyncio.to_thread(
                prepared, call.lm, call.args, call.kwargs, asynchronous=True
            )
        recall = self._recall(sending)
        if recall is None:
            return await self._passage.ago(forward)
        async with recall.aturn() as answer:
            if answer is None:
                return await self._passage.ago(recall.aasked)
            with self._passage.hit(answer.worth):
                return await recall.agiven(answer)

    def _is_kept(self) -> bool:
        """Tell whether answers to this call are kept."""
        call = self._passage
        wanted = current_role() == OPTIMIZER or call.kwargs.get("cache", call.lm.cache)
        return self._desk.answers is not None and bool(wanted) and calls_as_dspy(call.kind)

    def _recall(self, sending: Sending | None) -> Recall | None:
        call, desk = self._passage, self._desk
        if sending is None or desk.answers is None:
            return None
        check = partial(desk.admission.check_waiting, call.visit)
        return Recall(desk.answers, sending, call.kind, owner=call.visit.task, check=check)
