"""What DSPy tells of LM calls while they run: the places where it can be heard."""

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import dspy
from dspy.utils.usage_tracker import UsageTracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What an answer took when it was paid for, as far as it is known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    """USD."""

    @staticmethod
    def of(usage: dict[str, Any], cost: float | None) -> "Worth":
        """Return the worth of an answer whose usage and cost DSPy told."""
        inputs = _tokens(usage, "prompt_tokens", "input_tokens")
        outputs = _tokens(usage, "completion_tokens", "output_tokens")
        return Worth(input_tokens=inputs, output_tokens=outputs, cost=cost)


@dataclass(slots=True, kw_only=True)
class Call:
    """One attempt at an LM, and what DSPy tells of it while it runs."""

    model: str
    retry: bool = False
    """Whether it repeats a failed one."""
    n: int = 1
    """Answers asked for."""
    answers: int = 0
    """Answers paid for; 0 for a cache hit."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    """USD as DSPy told it; None when it does not know."""
    mark: str | None = None
    """Under which mark its run keeps the answer, if it does; see `Payer`."""
    saved: Worth = Worth()
    """What a cache hit did not take."""
    started: float = field(default_factory=time.perf_counter)

    @property
    def tokens(self) -> int:
        """Input and output tokens together; 0 when nobody told."""
        return self.input_tokens + self.output_tokens

    def hear(self, usage: dict[str, Any]) -> None:
        """Note the usage of a paid answer."""
        told = Worth.of(usage, None)
        self.answers += 1
        self.input_tokens += told.input_tokens
        self.output_tokens += told.output_tokens


class Ledger(Protocol):
    """Who is told."""

    def underway(self, model: str) -> Call | None:
        """Return the attempt at `model` that this thread or task is in, if one was announced."""
        ...

    def answered_past(self, entry: dict[str, Any]) -> None:
        """Note what DSPy writes to a history of a call that nobody announced."""
        ...

    def bypass(self, call: Call, *, again: bool = False, costs_follow: bool = False) -> None:
        """Count a call that nobody announced.

        Args:
            call: What is known of it.
            again: Whether it adds to one counted before.
            costs_follow: Whether its cost is told later, if anybody knows it.
        """
        ...


class History:
    """Stands among DSPy's caller modules, to whose `history` every answered LM call is written."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.history = self

    def __deepcopy__(self, memo: dict[int, Any]) -> "History":
        return self

    def __len__(self) -> int:
        return 0

    def append(self, entry: dict[str, Any]) -> None:
        """Note cost and answers of the call that is being recorded; a hit repeats old ones."""
        usage, model = dict(entry["usage"] or {}), str(entry["model"])
        call = self._ledger.underway(model)
        responses = entry["response"] if isinstance(entry["response"], tuple) else (None,)
        if call is not None:
            if call.answers:
                call.cost, call.answers = entry["cost"], len(responses)
            return
        self._ledger.answered_past(entry)
        if not usage or not isinstance(dspy.settings.usage_tracker, Tracker):
            call = Call(model=model)
            if usage:
                call.hear(usage)
                call.cost, call.answers = entry["cost"], len(responses)
            self._ledger.bypass(call)
        else:  # Our tracker has counted the call already, as one and without its cost.
            more = Call(model=model, answers=len(responses) - 1, cost=entry["cost"])
            self._ledger.bypass(more, again=True)


class Tracker(UsageTracker):  # type: ignore[misc]
    """Hears of every paid call, also when history is off; tells the user's tracker of it."""

    def __init__(self, ledger: Ledger, outer: UsageTracker | None) -> None:
        super().__init__()
        self._ledger = ledger
        self._outer = outer

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tracker":
        return self

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Note a paid call and its tokens."""
        call = self._ledger.underway(lm)
        if call is not None:
            call.hear(usage_entry)
        else:  # an LM that nobody watches
            call = Call(model=lm)
            call.hear(usage_entry)
            self._ledger.bypass(call, costs_follow=_has_history())
        if self._outer is not None:
            self._outer.add_usage(lm, usage_entry)


def _has_history() -> bool:
    """Tell whether DSPy writes calls to a history, and so tells their cost."""
    return not dspy.settings.disable_history and dspy.settings.max_history_size != 0


def _tokens(usage: dict[str, Any], *names: str) -> int:
    return next((int(usage[name]) for name in names if usage.get(name)), 0)
