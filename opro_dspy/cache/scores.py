"""Scores of examples by content, for every run that meets the same again."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import dspy

from opro_dspy.cache.store import Store
from opro_dspy.fingerprints import (
    describe,
    describe_adapter,
    describe_example,
    describe_lm,
    describe_metric,
    describe_program,
    fingerprint,
)
from opro_dspy.memory import Meeting, Score
from opro_dspy.records import Candidate, ScoreReuse, is_amount, total_cost

FORMAT = 1

MAX_OUTPUT_CHARS = 500
"""Of what a program answered, so much is kept beside its score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedScore:
    """What a candidate scored on an example, and what that took. Failures are never kept."""

    score: float
    """The metric's value."""
    output: str = ""
    """What the program answered, in short."""
    feedback: str = ""
    """What the metric said in words."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """Cost of the LM calls, if it is known."""


MAX_SCORE = 1e100
"""Beyond it, up or down, a score is not taken from the cache: its square is no number any more."""

_NAMES = [field.name for field in fields(CachedScore)]


def score_context(
    program: dspy.Module,
    *,
    free: Collection[dspy.Predict],
    scorer_lm: dspy.BaseLM | None,
    metric: Callable[..., Any],
) -> str:
    """Return the fingerprint of all that a score depends on beside instructions and example.

    Args:
        program: The program, without results of optimizers.
        free: The predictors whose instructions are optimized.
        scorer_lm: The LM of predictors without their own.
        metric: The user's function.
    """
    return fingerprint(
        {
            "format": FORMAT,
            "dspy": dspy.__version__,
            "program": describe_program(program, without_texts_of=free),
            "lm": None if scorer_lm is None else describe_lm(scorer_lm),
            "adapter": describe_adapter(dspy.settings.adapter),
            "retriever": describe(dspy.settings.rm),
            "metric": describe_metric(metric),
        }
    )


class ScoreCache:
    """Scores in a store.

    Args:
        store: Where they are kept.
        context: The fingerprint of what they depend on beside candidate and example.
    """

    def __init__(self, store: Store, context: str) -> None:
        self._store, self._context = store, context
        self._examples: dict[int, tuple[dspy.Example, str | None]] = {}
        self._lock = threading.Lock()
        self._reuse = ScoreReuse()

    @property
    def reuse(self) -> ScoreReuse:
        """How often a score was known, and what that saved."""
        with self._lock:
            return self._reuse

    def key(self, candidate: Candidate, example: dspy.Example) -> str | None:
        """Return the key of a candidate's score on an example.

        None if the example cannot be told in full: another one may look the same.
        """
        known = self._examples.get(id(example))
        if known is None:
            told, in_full = describe_example(example)
            known = example, fingerprint(told) if in_full else None
            self._examples[id(example)] = known
        if known[1] is None:
            return None
        return "score:" + fingerprint([FORMAT, self._context, candidate.texts, known[1]])

    def get(self, key: str | None) -> CachedScore | None:
        """Return what is known under `key`, and count that; nothing of an example without one."""
        if key is None:
            return None
        found = _restored(self._store.get(key))
        with self._lock:
            before = self._reuse
            if found is None:
                self._reuse = replace(before, misses=before.misses + 1)
                return None
            self._reuse = ScoreReuse(
                hits=before.hits + 1,
                misses=before.misses,
                input_tokens_saved=before.input_tokens_saved + found.input_tokens,
                output_tokens_saved=before.output_tokens_saved + found.output_tokens,
                cost_usd_saved=total_cost(before.cost_usd_saved, found.cost_usd),
            )
        return found

    def put(self, key: str | None, found: CachedScore) -> None:
        """Keep what was found, soon: it can be worked out again from the LM answers."""
        if key is None:
            return
        told = {name: getattr(found, name) for name in _NAMES}
        short = {"format": FORMAT, **told, "output": found.output[:MAX_OUTPUT_CHARS]}
        self._store.put(key, short, soon=True)


class ScoreMemory:
    """Scores of other runs as a run asks for them: a `Memory` of `Meeting` and `Score`.

    Args:
        scores: The cache.
        sets: Name of a set to its examples.
    """

    def __init__(self, scores: ScoreCache, sets: Mapping[str, Sequence[dspy.Example]]) -> None:
        self._scores, self._sets = scores, sets

    def recall(self, meeting: Meeting, /) -> Score | None:
        """Return the score if any run has paid for it."""
        found = self._scores.get(self._key(meeting))
        return (
            None
            if found is None
            else Score(value=found.score, output=found.output, feedback=found.feedback)
        )

    def note(self, meeting: Meeting, score: Score, /) -> None:
        """Keep a score; failures, refusals and what hung are not kept."""
        if score.value is None or score.failed is not None or score.hung or score.refused:
            return
        found = CachedScore(
            score=score.value,
            output=score.output,
            feedback=score.feedback,
            input_tokens=sum(u.input_tokens + u.input_tokens_saved for u in score.usage),
            output_tokens=sum(u.output_tokens + u.output_tokens_saved for u in score.usage),
            cost_usd=total_cost(*(c for u in score.usage for c in (u.cost_usd, u.cost_usd_saved))),
        )
        self._scores.put(self._key(meeting), found)

    def _key(self, meeting: Meeting) -> str | None:
        example = self._sets[meeting.set_name][meeting.example]
        return self._scores.key(meeting.candidate, example)


def _restored(value: Any) -> CachedScore | None:
    """Return a stored score, or None for anything else."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        return None
    try:
        found = CachedScore(**{name: part for name, part in value.items() if name != "format"})
    except TypeError:
        return None
    taken = (found.input_tokens, found.output_tokens, found.cost_usd or 0.0)
    plain = all(type(n) in (int, float) for n in (found.score, *taken))
    plain = plain and abs(found.score) <= MAX_SCORE and all(map(is_amount, taken))
    texts = isinstance(found.output, str) and isinstance(found.feedback, str)
    return found if plain and texts else None
