"""Where calls of watched LMs come in: what is kept is given at once, the rest goes on its way."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import dspy

from opro_dspy.boundary.meter import OPTIMIZER, current_role
from opro_dspy.boundary.passage import Desk, Passage
from opro_dspy.boundary.recall import Recall
from opro_dspy.boundary.steps import Sending, calls_as_dspy, prepared


class Entrance:
    """One call of a watched LM.

    An answer that is kept is given at once, and one that another call is asking for is waited
    for: neither needs a place, a request or a budget. An LM whose user switched DSPy's cache off
    wants fresh answers; proposals, each with a `rollout_id` of its own, are kept all the same.
    """

    def __init__(
        self,
        desk: Desk,
        lm: dspy.BaseLM,
        kind: type,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._desk, self._lm, self._kind = desk, lm, kind
        self._args, self._kwargs = args, kwargs
        self._passage = Passage(desk, lm, kind, args, kwargs)

    def go(self, forward: Callable[..., Any]) -> Any:
        """Return a kept answer, or call the LM."""
        sending = prepared(self._lm, self._args, self._kwargs) if self._is_kept() else None
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
        sending = None
        if self._is_kept():
            sending = await asyncio.to_thread(
                prepared, self._lm, self._args, self._kwargs, asynchronous=True
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
        wanted = current_role() == OPTIMIZER or self._kwargs.get("cache", self._lm.cache)
        return self._desk.answers is not None and bool(wanted) and calls_as_dspy(self._kind)

    def _recall(self, sending: Sending | None) -> Recall | None:
        if sending is None or self._desk.answers is None:
            return None
        visit = self._passage.visit
        check = partial(self._desk.admission.check_waiting, visit)
        return Recall(self._desk.answers, sending, self._kind, owner=visit.task, check=check)
