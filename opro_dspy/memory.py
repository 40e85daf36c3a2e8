"""What a run pays for and may remember: scores of examples, answers of the optimizer LM."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from opro_dspy.protocols import Memory
from opro_dspy.records import Candidate, Usage

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """A candidate meets an example in a race."""

    candidate: Candidate
    set_name: str
    """"trainset" or "valset"."""
    example: int
    """Index of the example in its set."""
    race: int
    """Which race of the run it is, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What came of a meeting: a value, or else why there is none.

    With nothing but `usage` it says what was spent in vain, e.g. before the LM failed for good.
    """

    value: float | None = None
    failed: str | None = None
    """The error of program or metric behind `value`, which then is the failure score."""
    hung: bool = False
    """Whether the race went on without it, because it took too long."""
    refused: str | None = None
    """The cap of the budget that did not let it happen, and so ended the race."""
    calls: int = 1
    """Metric calls that it counts for."""
    usage: tuple[Usage, ...] = ()
    """What the LM calls behind it took."""
    output: str = ""
    """What the program answered, in short."""
    feedback: str = ""
    """What the metric said in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One attempt at one sample of a meta-prompt."""

    step: int
    component: str
    index: int
    """Which sample of the meta-prompt, from 0."""
    attempt: int
    """From 1."""
    meta_prompt: str
    temperature: float | None
    """As it is sent; None for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of an attempt: the LM's text, or else why there is none.

    With nothing but `usage` it says what was spent in vain, e.g. before the LM stayed away.
    """

    raw: str | None = None
    failed: str | None = None
    """What the LM raised, its class first."""
    temperature_refused: bool = False
    """Whether it may have failed for its temperature."""
    refused: str | None = None
    """Why no request was sent: a cap of the budget."""
    hung: bool = False
    """Whether it was left out, because it took too long."""
    usage: tuple[Usage, ...] = ()
    error: Exception | None = field(default=None, compare=False)
    """What was raised, in the session that asked."""


class InOrder(Generic[K, V]):
    """Several memories as one: the first that knows is believed, and all are told.

    Args:
        *memories: Those that are asked first come first; they are told what later ones knew. With
            none, nothing is kept.
    """

    def __init__(self, *memories: Memory[K, V]) -> None:
        self.memories = list(memories)

    def recall(self, place: K, /) -> V | None:
        """Return what the first memory that knows `place` knows of it."""
        for i, memory in enumerate(self.memories):
            outcome = memory.recall(place)
            if outcome is not None:
                for earlier in self.memories[:i]:
                    earlier.note(place, outcome)
                return outcome
        return None

    def note(self, place: K, outcome: V, /) -> None:
        """Tell all of them."""
        for memory in self.memories:
            memory.note(place, outcome)
