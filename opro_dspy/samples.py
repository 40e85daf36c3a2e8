"""One sample of the optimizer LM on its way: its attempts, and what became of them."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dspy.utils.exceptions import LMError

from opro_dspy.boundary.faults import is_fatal
from opro_dspy.boundary.task import Task
from opro_dspy.errors import InvalidSolution, LMCallError
from opro_dspy.memory import Answer, Sample
from opro_dspy.records import Proposal
from opro_dspy.temperatures import Tried

logger = logging.getLogger(__name__)

FAILED = "the optimizer LM failed"
UNPARSABLE = "no text found in the answer"
STOPPED = "stopped by Ctrl-C"
HUNG = "the optimizer LM took too long"


@dataclass(slots=True, kw_only=True)
class Attempts:
    """The attempts at one sample so far."""

    left: int
    """How many more there may be."""
    temperature: float | None = None
    """As the next one sends it; None for none."""
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
    tasks: list[Task] = field(default_factory=list)
    """Each attempt's LM calls."""
    put_off: bool = False
    """Whether it waits for another sample to show that the LM takes requests at all."""

    @property
    def waited(self) -> float:
        """Seconds in which its calls only waited to be let in."""
        return sum(task.waited for task in self.tasks)

    @property
    def lost(self) -> bool:
        """Whether the LM never answered it, and not for want of a request."""
        return self.failed or (self.answer.hung and self.raw is None)

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

    def once_more(self, *, left: int) -> "Attempts":
        """Return the sample to be asked again, in attempts of its own, after it hung."""
        return Attempts(left=left, temperature=self.temperature, place=self.place)

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


class FirstAnswer:
    """Whether the LM takes requests at all.

    Until it has answered one, a bad request may mean all of them. So the first sample that is
    refused is tried once more without its temperature, if it had one, and the others wait.
    """

    def __init__(self) -> None:
        self.came = False
        self._lock = threading.Lock()
        self._refused: Attempts | None = None

    def note(self, sample: Attempts) -> None:
        """Take note of what came of a sample's last attempt."""
        error = sample.answer.error
        with self._lock:
            if sample.answer.raw is not None:
                self.came = True
            elif error is not None and is_fatal(error, answered=False):
                self._refused = self._refused or sample

    def puts_off(self, sample: Attempts) -> bool:
        """Tell whether a sample should not be asked now."""
        if self.came or self._refused is None:
            return False
        place = sample.place
        retuned = place is not None and place.temperature != sample.temperature
        return not (retuned and self._refused is sample)


def check(samples: Sequence[Attempts], *, lm: str, step: int, timeout_s: float | None) -> None:
    """Say which samples of a step are left out.

    Args:
        samples: All of the step.
        lm: The optimizer LM's name.
        step: Number of the step.
        timeout_s: Seconds after which a sample was taken for hung.

    Raises:
        LMCallError: If the LM refused for good, or gave no sample at all.
    """
    lost = [sample for sample in samples if sample.lost or sample.put_off]
    last = next((s for s in lost if s.fatal or (s.put_off and s.failed)), None)
    if last is None and lost and len(lost) == len(samples):
        last = next((sample for sample in lost if sample.failed), lost[0])
    if last is not None:
        hangs = (
            f"it hangs, also when it is asked once more: no answer within `timeout` "
            f"({timeout_s or 0.0:g} s). If it is only slow, set a longer one."
        )
        raise LMCallError(
            f"the optimizer LM {lm!r} failed at step {step} ({len(lost)} of "
            f"{len(samples)} samples): {last.answer.failed or hangs}"
        ) from last.answer.error
    if lost:
        logger.warning(
            "Step %d: %d of %d samples of the optimizer LM failed and are left out (%s).",
            *(step, len(lost), len(samples)),
            (lost[0].answer.failed or HUNG).split(":")[0],
        )
