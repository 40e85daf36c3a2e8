"""The frozen nouns of a run: candidates, evaluations, proposals, steps."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import fsum, sqrt
from statistics import fmean, pstdev
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """One text for each component that is optimized."""

    texts: dict[str, str]
    """Component name (a predictor's name in its program) to text."""

    @cached_property
    def key(self) -> str:
        """The candidate's identity: its texts as canonical JSON."""
        return json.dumps(self.texts, sort_keys=True, ensure_ascii=True)

    def with_text(self, component: str, text: str) -> "Candidate":
        """Return a copy in which `component` has `text`."""
        return Candidate({**self.texts, component: text})

    def context_of(self, component: str) -> dict[str, str]:
        """Return the texts beside `component`: what its score was measured with."""
        return {name: text for name, text in self.texts.items() if name != component}

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A candidate's quality as far as it is known."""

    score: float
    """Mean metric value; higher is better."""
    stderr: float
    """Standard error of `score`; 0.0 when fewer than two examples were scored."""
    n_examples: int
    """Examples behind `score`."""

    @staticmethod
    def of(scores: Mapping[int, float]) -> "Estimate":
        """Return the plain mean of `scores` with the standard error of a mean."""
        values = list(scores.values())
        n = len(values)
        stderr = pstdev(values) / sqrt(n - 1) if n > 1 else 0.0
        return Estimate(score=fmean(values), stderr=stderr, n_examples=n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What the scorer made of one candidate."""

    candidate: Candidate
    scores: dict[int, float]
    """Example index to metric value; examples that raised hold the failure score."""
    failures: dict[int, str] = field(default_factory=dict)
    """Example index to the program's or metric's error, for examples that raised."""
    dropped: str | None = None
    """Why the evaluation ended early, if it did; unseen examples then hold the failure score."""
    feedback: dict[int, str] = field(default_factory=dict)
    """Example index to what the metric said in words, where it did."""

    @property
    def estimate(self) -> Estimate:
        """The plain mean over the examples scored."""
        return Estimate.of(self.scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One sample of the optimizer LM and what became of it."""

    component: str
    raw: str | None
    """The LM's answer as it came; None when every attempt failed."""
    text: str | None = None
    """The polished candidate text; None when the proposal was rejected."""
    rejected: str | None = None
    """Why the proposal is no candidate; None when it became one."""
    attempts: int = 1
    """Requests sent for this sample, at least 1."""
    invalid: tuple[str, ...] = ()
    """Why answers to this sample were no valid solution, one reason for each such answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEntry:
    """One scored instruction as the meta-prompt shows it."""

    text: str
    score: str
    """The score as it stands in the meta-prompt, e.g. the bucket "63"."""
    other_context: bool = False
    """True when it was measured beside other instructions in the rest of the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """A training example as the meta-prompt shows it: field name to text."""

    inputs: dict[str, str]
    outputs: dict[str, str]
    feedback: str = ""
    """What the metric said of an output that fell short; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One meta-prompt of a step and what it left out to fit the window."""

    component: str
    meta_prompt: str
    temperature: float
    exemplars: tuple[int, ...] = ()
    """Training examples shown, by index."""
    n_entries: int = 0
    """Trajectory entries shown."""
    omitted_entries: int = 0
    """Entries left out because the meta-prompt would not fit the window."""
    omitted_exemplars: int = 0
    """Exemplars left out because the meta-prompt would not fit the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One ask and its tell. Step 0 holds the initial instructions and has no query."""

    index: int
    base: Candidate | None = None
    """The candidate that the step set out from: the best one by then; None for step 0."""
    queries: tuple[Query, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    """New candidates, in the order they were asked for and told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one LM did in one role; counted where the LM is called."""

    role: str
    """"optimizer" or "scorer"."""
    model: str
    calls: int = 0
    """Requests answered or failed, cache hits not among them."""
    cache_hits: int = 0
    failures: int = 0
    """Calls that ended with an error; they are among `calls`."""
    retries: int = 0
    """Calls that repeat a failed one; they are among `calls`."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """Cost of the calls whose cost is known; None when it is of none."""
    seconds: float = 0.0
    """Sum over calls, so more than the wall-clock when calls overlap."""
    input_tokens_saved: int = 0
    """What the answers of cache hits took when they were paid for, where that is known."""
    output_tokens_saved: int = 0
    cost_usd_saved: float | None = None
    answers: tuple[str, ...] = field(default=(), repr=False)
    """Marks of the answers among the calls that were kept; in the lines of a journal only."""

    def __add__(self, other: "Usage") -> "Usage":
        sums: dict[str, Any] = {n: getattr(self, n) + getattr(other, n) for n in _COUNTS}
        sums |= {n: total_cost(getattr(self, n), getattr(other, n)) for n in _COSTS}
        return replace(self, **sums)


_COSTS = ("cost_usd", "cost_usd_saved")
_COUNTS = tuple(f.name for f in fields(Usage) if f.name not in ("role", "model", *_COSTS))


def summed(rows: Iterable[Usage]) -> tuple[Usage, ...]:
    """Return the sum of `rows` for each role and model, optimizer first."""
    sums: dict[tuple[str, str], Usage] = {}
    for row in rows:
        key = (row.role, row.model)
        sums[key] = sums[key] + row if key in sums else row
    return tuple(sums[key] for key in sorted(sums))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReuse:
    """How often the score of an example was known from an earlier run, and what that saved."""

    hits: int = 0
    misses: int = 0
    input_tokens_saved: int = 0
    """What scoring took when it was paid for."""
    output_tokens_saved: int = 0
    cost_usd_saved: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run had spent by the end of a step, over all its sessions.

    A resumed run may count earlier what calls beyond the step had taken, as it does for its caps.
    """

    metric_calls: int = 0
    """Scored examples, those among them whose score a cache knew."""
    tokens: int = 0
    """Input and output tokens together."""
    cost_usd: float = 0.0
    """Of the calls whose cost is known."""


def is_amount(value: object) -> bool:
    """Tell whether `value` may be a number of tokens, or of USD: from 0 to 1e12."""
    return isinstance(value, (int, float)) and 0 <= value <= 1e12


def total_cost(*costs: float | None) -> float | None:
    """Return the sum of the costs that are known, or None if none is."""
    known = [cost for cost in costs if cost is not None]
    return fsum(known) if known else None
