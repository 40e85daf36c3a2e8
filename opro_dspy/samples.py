"""One sample of the optimizer LM on its way: its attempts, and what became of them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dspy.utils.exceptions import LMError

from opro_dspy.boundary.faults import is_fatal
from opro_dspy.boundary.task import Task
from opro_dspy.errors import InvalidSolution
from opro_dspy.memory import Answer, Sample
from opro_dspy.records import Proposal
from opro_dspy.temperatures import Tried

FAILED = "the optimizer LM failed"
UNPARSABLE = "no text found in the answer"
STOPPED = "stopped by Ctrl-C"
HUNG = "the optimizer LM took too long"


@dataclass(slots=True, kw_only=True)
class Attempts:
    """The attempts at one sample so far."""

    place: Sample | None = None
    """The last one."""
    answer: Answer = field(default_factory=Answer)
    """What came of it."""
    noted: bool = True
    """Whether the memory knows that."""
    raw: str | None = None
    """The last text that came."""
    text: str | None = None
    """What it proposes."""
    invalid: list[str] = field(default_factory=list)
    """Why texts were no valid solution."""
    stopped: bool = False
    """Whether no request is sent any more: because of Ctrl-C, or because the last one hangs."""
    tried: list[Tried] = field(default_factory=list)
    task: Task | None = None
    """The last attempt's LM calls."""

    @property
    def over(self) -> bool:
        """Whether there is a text, or no use in asking again."""
        unsent = self.stopped or self.answer.refused is not None or self.answer.hung
        return self.text is not None or unsent or self.fatal

    @property
    def fatal(self) -> bool:
        """Whether the LM failed in a way that would meet every other request too."""
        error = self.answer.error
        if self.answer.refused is not None:
            return isinstance(error, LMError)
        return error is not None and is_fatal(error, answered=True)

    @property
    def failed(self) -> bool:
        """Whether the LM gave no answer, and not for want of a request."""
        unsent = self.stopped or self.answer.refused is not None
        failed = self.answer.failed is not None and self.raw is None
        return failed and (self.fatal or not unsent)

    def read(self, raw: str, parse: Callable[[str], str | None]) -> None:
        """Find what the text proposes, or note why it is no solution."""
        self.raw = raw
        try:
            self.text = parse(raw)
        except InvalidSolution as refused:
            self.invalid.append(str(refused))

    def given_up(self, time_is_up: str | None) -> "Attempts":
        """Return the sample as it is when its last attempt is waited for no more.

        Args:
            time_is_up: The cap of the budget that is the reason; None if it took too long.
        """
        answer = Answer(hung=True) if time_is_up is None else Answer(refused=time_is_up)
        found = replace(self, answer=answer, noted=False, text=None, tried=[])
        self.stopped = True
        return found

    def proposal(self, component: str) -> Proposal:
        """Return the sample as a proposal for `component`."""
        return Proposal(
            component=component,
            raw=self.raw,
            text=self.text,
            rejected=self._reason(),
            attempts=self.place.attempt if self.place is not None else 1,
            invalid=tuple(self.invalid),
        )

    def _reason(self) -> str | None:
        if self.text is not None:
            return None
        if self.answer.refused is not None:
            return self.answer.refused
        if self.answer.hung:
            return HUNG
        if self.stopped:
            return STOPPED
        if self.raw is not None:
            return self.invalid[-1] if self.invalid else UNPARSABLE
        return f"{FAILED}: {(self.answer.failed or '').split(':')[0]}"
