"""Every seat that a user may fill, on one page."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from opro_dspy.records import (
    Candidate,
    Estimate,
    Evaluation,
    Exemplar,
    Proposal,
    ShownEntry,
    Step,
    Usage,
)
from opro_dspy.result import RunResult
from opro_dspy.trajectory import Trajectory

S = TypeVar("S")
C = TypeVar("C", contravariant=True)
Place = TypeVar("Place", contravariant=True)
Outcome = TypeVar("Outcome")


class Problem(Protocol[S]):
    """What `optimize` solves: anything whose solutions can be written as text.

    Caches and resumed runs tell it by its code and public attributes, a dataclass by its fields.
    """

    @property
    def higher_is_better(self) -> bool:
        """Which way is better: False to minimise."""

    @property
    def tag(self) -> str:
        """Name of the tag in which the optimizer LM writes a solution, e.g. "solution"."""

    def describe(self) -> str:
        """Return the task as the optimizer LM reads it: what is sought, how it is written."""

    def initial(self, rng: random.Random) -> Sequence[S]:
        """Return the solutions of step 0, at least one; `rng` is the only source of chance."""

    def format(self, solution: S) -> str:
        """Return `solution` as text; equal solutions give equal texts."""

    def parse(self, text: str) -> S:
        """Return the solution in `text`, what the optimizer LM wrote in the tag.

        `parse(format(solution))` is `solution`. Raise `InvalidSolution("reason")`, which is counted
        by its reason, when none is certain; a ValueError, KeyError or the like counts too.
        """
        ...

    def score(self, solution: S) -> float:
        """Return the value of `solution`.

        Called in a thread of the pool, several at once. Raise, or return an infinity, for one that
        turns out to be impossible: it ranks last.
        """
        ...


@runtime_checkable
class KnowsOptimum(Protocol[C]):
    """A problem that can tell when nothing better is to be found; the run then ends."""

    def is_optimal(self, solution: C, value: float) -> bool:
        """Tell whether no solution is better than `solution`, whose score is `value`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaPromptContext:
    """What a meta-prompt is made from."""

    component: str
    """Name of the predictor whose instruction is asked for."""
    task: str
    """Short description of the task and the program, one or several lines; may be empty."""
    entries: tuple[ShownEntry, ...]
    """Scored instructions, in `order`; a score may be empty: it is not to be shown."""
    exemplars: tuple[Exemplar, ...]
    """Training examples; the instruction's place is the meta-prompt's to show."""
    instruction_position: str = "Q_begin"
    """Where the program renders the instruction: Q_begin, Q_end or A_begin."""
    score_note: str = "A higher score is better."
    """What the scores of the entries mean, one sentence; may be empty."""
    order: str = "ascending"
    """How the entries are sorted: ascending (worst first), descending or random."""


class MetaPrompt(Protocol):
    """What the optimizer LM reads, and how its answer is read."""

    def render(self, context: MetaPromptContext) -> str:
        """Return the meta-prompt; show entries in the order given; never fail on any text."""
        ...

    def parse(self, answer: str) -> str | None:
        """Return the proposed text in `answer`, or None when there is none.

        May raise InvalidSolution, whose message is counted, when there is one that cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalRequest:
    """A meta-prompt and how to sample it."""

    component: str
    meta_prompt: str
    parse: Callable[[str], str | None]
    """Finds the proposed text in an answer; None or InvalidSolution asks the LM again."""
    n: int
    """Samples wanted, at least 1."""
    temperature: float
    step: int


class Proposer(Protocol):
    """The optimizer LM's seat: turns meta-prompts into proposals."""

    def propose(self, requests: Sequence[ProposalRequest]) -> Sequence[Sequence[Proposal]]:
        """Return `n` proposals for each request, in sampling order; never mutate arguments.

        A sample that failed has `rejected` set; the others are unharmed. The same request gives
        the same samples, whatever the order in which answers arrive.
        """
        ...


class Evaluator(Protocol):
    """The scorer's seat: measures candidates."""

    def evaluate(
        self, candidates: Sequence[Candidate], trajectory: Trajectory
    ) -> Sequence[Evaluation]:
        """Return one evaluation for each candidate, in order.

        Evaluations of earlier candidates that were measured further may follow them. Nothing in
        the result may depend on the order in which scores arrive.
        """
        ...


class Memory(Protocol[Place, Outcome]):
    """What was paid for already, asked before each payment and told after it.

    A run has one for scores (`memory.Meeting` to `memory.Score`) and one for the answers of the
    optimizer LM (`memory.Sample` to `memory.Answer`).
    """

    def recall(self, place: Place, /) -> Outcome | None:
        """Return what was noted for `place`, or None when it has to be paid for."""
        ...

    def note(self, place: Place, outcome: Outcome, /) -> None:
        """Keep `outcome`, which is used only after this returned. Called from any thread."""
        ...


class ExemplarChoice(Protocol):
    """Chooses the training examples that the meta-prompt shows."""

    def __call__(
        self,
        trajectory: Trajectory,
        *,
        shown: Sequence[str],
        n_examples: int,
        n: int,
        rng: random.Random,
    ) -> Sequence[int]:
        """Return at most `n` distinct indices below `n_examples`.

        Args:
            trajectory: All evaluations so far, with their scores per example.
            shown: Keys of the candidates that the meta-prompt shows.
            n_examples: Training examples there are.
            n: Exemplars wanted.
            rng: Seeded by the run's seed and the step; the only source of chance.
        """
        ...


class Schedule(Protocol):
    """The optimizer LM's sampling temperature."""

    def __call__(self, step: int, trajectory: Trajectory) -> float:
        """Return the temperature, in [0, 2], for `step` (the first is 1)."""
        ...


class ComponentSelector(Protocol):
    """Chooses what a step optimizes."""

    def __call__(
        self, step: int, components: Sequence[str], trajectory: Trajectory
    ) -> Sequence[str]:
        """Return the components, at least one of `components`, to propose texts for in `step`."""
        ...


class StopRule(Protocol):
    """Ends a run."""

    def __call__(self, trajectory: Trajectory, /) -> str | None:
        """Return the reason to stop before the next step, or None to go on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """A step's candidates are known and about to be scored."""

    step: int
    n_scores: int
    """Scores that the step will ask for at most: candidates × examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleScored:
    """One candidate met one example."""

    candidate: Candidate
    example: int
    """Index of the example in the set that is being scored."""
    score: float
    failed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """A step was told."""

    trajectory: Trajectory
    usage: tuple[Usage, ...] = ()
    """What the run took so far, by role and LM."""

    @property
    def step(self) -> Step:
        """The step: its meta-prompts, the optimizer LM's answers, its candidates."""
        return self.trajectory.steps[-1]

    @property
    def best(self) -> Estimate | None:
        """The best training estimate by now; None if no candidate has one."""
        return self.trajectory.best_after(self.step.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """The search is over; the final choice may follow."""

    trajectory: Trajectory
    stop_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultKnown:
    """All is done, also where an error or Ctrl-C ended the run; the last event."""

    result: RunResult


Event = StepStarted | ExampleScored | StepEnded | RunEnded | ResultKnown


class Observer(Protocol):
    """Watches a run: progress bars, logs, trackers. Called from the thread that runs the loop."""

    def __call__(self, event: Event) -> None:
        """Take note of `event`; must not change it.

        An exception stops the run, and carries its `program` and `result`. One at `ResultKnown` is
        raised once all observers were told.
        """
        ...
