"""What a run found, frozen, with everything that led there; JSON round trip."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from functools import reduce
from operator import add
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from opro_dspy.diagnostics import Diagnostic
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import counted, sentence, shown
from opro_dspy.records import (
    Estimate,
    Evaluation,
    Exemplar,
    ScoreReuse,
    Spent,
    Step,
    Usage,
)

FORMAT = 1

R = TypeVar("R", bound="RunResult")


class CandidateResult(BaseModel):
    """One candidate with all that was measured of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instructions: dict[str, str]
    """Predictor name to instruction."""
    step: int
    """The step that brought it; 0 for the initial instructions."""
    train: Estimate
    """The training estimate that the search ranked it by, from `n_examples` examples met by then;
    where a cap ended the run before it met any training example, `selection`."""
    selection: Estimate | None = None
    """Its score on the selection set, if it met it: on all of it, except the student's where a cap
    cut the choice (`n_examples` says so)."""
    selection_scores: dict[int, float] = {}
    """Selection example index to metric value, if it met the selection set."""
    selection_failures: dict[int, str] = {}
    """Selection example index to the error that it raised there."""
    scores: dict[int, float]
    """Training example index to metric value, of all that it met: also in the final choice and,
    where there is a cache, after it. `train` stays as it was before."""
    failures: dict[int, str] = {}
    """Training example index to the error that it raised there."""
    dropped: str | None = None
    """Why it was given up in the search or in the final choice, if it was."""
    feedback: dict[int, str] = {}
    """Training example index to what the metric said in words, where it did."""

    @property
    def score(self) -> float:
        """The score on the selection set where it was measured, else the training estimate."""
        return (self.selection or self.train).score


class RunResult(BaseModel):
    """What every finished run knows of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    steps: tuple[Step, ...]
    """Meta-prompts, raw answers, temperatures and candidates, step by step; 0 is the start."""
    unfinished_step: Step | None = None
    """The step that was being scored when the run was cut short."""
    unfinished: tuple[Evaluation, ...] = ()
    """What was scored in the evaluation that was cut short."""
    stop_reason: str
    diagnostics: tuple[Diagnostic, ...] = ()
    """Failure signatures that the run shows, each with its number and what to try."""
    usage: tuple[Usage, ...]
    """Calls, cache hits and tokens, by role and LM."""
    spent: tuple[Spent, ...] = ()
    """What was spent by the end of each of `steps`; empty in results of older versions."""
    score_reuse: ScoreReuse = ScoreReuse()
    """Scores that an earlier run had paid for."""
    settings: dict[str, Any]
    """The optimizer's settings, as JSON values."""
    versions: dict[str, str]
    seed: int

    @property
    def num_steps(self) -> int:
        """Steps done, the initial one not counted."""
        return max(0, len(self.steps) - 1)

    @property
    def num_rejected(self) -> dict[str, int]:
        """Proposals that were refused without scoring, by the kind of reason."""
        reasons = (p.rejected for step in self.steps for p in step.proposals if p.rejected)
        return dict(Counter(reason.split(":")[0] for reason in reasons))

    @property
    def total_calls(self) -> int:
        """Calls of all LMs, cache hits not counted."""
        return sum(row.calls for row in self.usage)

    def used(self, role: str) -> Usage:
        """Return what the LMs of `role` ("optimizer" or "scorer") used together."""
        rows = [row for row in self.usage if row.role == role]
        names = Usage(role=role, model=", ".join(row.model for row in rows))
        return reduce(add, rows, names)

    def save(self, path: str | Path) -> None:
        """Write the result to `path` as JSON."""
        Path(path).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


class OPROResult(RunResult):
    """A finished run of `OPRO`; `unfinished` was scored on `unfinished_set`.

    `result.model_dump_json()` and `OPROResult.from_json(text)` are inverse to each other.
    """

    candidates: tuple[CandidateResult, ...]
    """All scored candidates, oldest first; the first is the student."""
    best_index: int | None
    """Index of the chosen one in `candidates`, the student's where a cap left no time for others;
    None when the run ended before one was scored."""
    selection_set: str
    """What the choice was made on: "valset", "trainset", or "training estimates" after Ctrl-C or
    an error, when the candidates had not met the same examples, and after a cap that left nothing
    for it. A cap can cut the choice: whoever has not met the whole set then is not compared, and
    `diagnostics` has a "cut choice"."""
    unfinished_set: str | None = None
    """The set that `unfinished` was scored on: "trainset" or "valset"."""
    num_train: int
    num_val: int
    examples: dict[int, Exemplar] = {}
    """Index to the text of examples on which the best and the student differ, of the set that
    `compared` is about; the first ones, and none in results of older versions."""

    @property
    def best(self) -> CandidateResult:
        """The chosen candidate.

        Raises:
            ConfigurationError: If the run ended before any candidate was scored.
        """
        if self.best_index is None:
            raise ConfigurationError(
                f"no candidate was scored before the run ended ({self.stop_reason})."
            )
        return self.candidates[self.best_index]

    @property
    def baseline(self) -> CandidateResult | None:
        """The student as it came; None when the run ended before it was scored."""
        return self.candidates[0] if self.candidates else None

    @property
    def compared(self) -> dict[int, tuple[float, float]]:
        """Example index to the scores of the student and of the best, where both were scored.

        On the selection set, or on the training set where they did not meet that.
        """
        if self.best_index is None:
            return {}
        return compared(self.candidates[0], self.best)

    @property
    def gain(self) -> Estimate | None:
        """How much higher the best scored than the student, paired by example; None if unknown."""
        pairs = self.compared
        if not pairs:
            return None
        return Estimate.of({i: after - before for i, (before, after) in pairs.items()})

    @property
    def ranked(self) -> list[CandidateResult]:
        """All candidates: the best, those that met the selection set, the others; each by score."""
        best = None if self.best_index is None else self.best
        return sorted(
            self.candidates,
            key=lambda c: (c is not best, c.selection is None, c.dropped is not None, -c.score),
        )

    @property
    def optimism(self) -> float | None:
        """How far the best's training estimate lies above its score on the selection set.

        Overfitting and the winner's curse together, since the estimate is that of the search, from
        `best.train.n_examples` examples; negative where the search was too careful. None when it
        did not meet the set, and without a `valset`: the choice is then made on the examples of
        the search, its score is itself too high as a rule, and by how much only others can tell.
        """
        best = self.best
        if best.selection is None or self.selection_set == "trainset":
            return None
        return best.train.score - best.selection.score

    def __repr__(self) -> str:
        pairs, said = self.compared.values(), "nothing to compare"
        if pairs:
            before, after = (fmean(scores) for scores in zip(*pairs, strict=True))
            said = f"score {before:.4g} → {after:.4g} on {counted(len(pairs), 'example')}"
        if self.best_index is not None and self.optimism:
            said += f", optimism {self.optimism:+.2g}"
        return (
            f"OPROResult({said}; {counted(len(self.candidates), 'candidate')} in "
            f"{counted(self.num_steps, 'step')}; {self.total_calls} LM calls; "
            f"stopped: {shown(self.stop_reason):.80})"
        )

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from opro_dspy.report import snippet

        return snippet(self)

    def report(self, path: str | Path) -> Path:
        """Write the run as one HTML page, which needs no network, and return its path."""
        from opro_dspy.report import write

        return write(self, path)

    @classmethod
    def from_json(cls, text: str) -> "OPROResult":
        """Return the result that `text` holds.

        Raises:
            ConfigurationError: If `text` is no such result, or of another format version.
        """
        return validated(cls, text)

    @classmethod
    def load(cls, path: str | Path) -> "OPROResult":
        """Read a result that `save` wrote.

        Raises:
            ConfigurationError: If the file holds none, or one of another format version.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8", errors="replace"))
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{path} cannot be read as a result: {error} Name the folder of a run, or a file "
                "that `result.save` wrote."
            ) from error


def compared(student: CandidateResult, best: CandidateResult) -> dict[int, tuple[float, float]]:
    """Return example index to the scores of both, on the best set that both have met."""
    met = student.selection is not None and best.selection is not None
    before, after = (c.selection_scores if met else c.scores for c in (student, best))
    return {i: (before[i], after[i]) for i in sorted(before.keys() & after.keys())}


def validated(
    kind: type[R],
    text: str,
    *,
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> R:
    """Return the result of `kind` that the JSON `text` holds.

    Args:
        kind: Which result.
        text: What `model_dump_json` wrote.
        prepare: Adds to the JSON object what is not in it.

    Raises:
        ConfigurationError: If `text` is no such result, or of another format version.
    """
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigurationError(
            f"this is no JSON that can be read: {sentence(str(error))}"
        ) from error
    version = found.get("format") if isinstance(found, Mapping) else None
    if version != FORMAT:
        raise ConfigurationError(
            f"this is no OPRO result of format {FORMAT}: its `format` is {version!r}."
        )
    try:
        return kind.model_validate(prepare(found))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            shown(f"this is no OPRO result: `{place}`: {first['msg']}.")
        ) from error
