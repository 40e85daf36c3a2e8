"""What the figures of a run show, as numbers. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, pstdev
from typing import Literal

from opro_dspy.errors import ConfigurationError
from opro_dspy.plots.axes import Against, Unit, positions
from opro_dspy.result import CandidateResult, OPROResult

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One candidate in the curve."""

    x: float
    score: float
    stderr: float
    index: int
    """Its place in `OPROResult.candidates`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How a run went; scores in `unit`."""

    unit: Unit
    against: Against
    dots: tuple[Dot, ...]
    """Every candidate's training estimate, dropped ones left out."""
    dropped: tuple[Dot, ...]
    """Candidates whose evaluation ended early: their score says little."""
    means: tuple[tuple[float, float, float], ...]
    """For each step with candidates: x, mean, and standard deviation among them."""
    best: tuple[tuple[float, float], ...]
    """x and the best training estimate by then."""
    baseline: float | None
    """The student's training estimate."""
    selection: tuple[Dot, ...]
    """Who met the selection set, with the score there."""
    selection_set: str


def curve_data(result: OPROResult, *, against: Against = "steps") -> Curve:
    """Return the optimization curve of a run.

    Args:
        result: The run's.
        against: What the x axis is.

    Source:
        OPRO (arXiv:2309.03409), figure 1: training accuracy of the instructions of each step.
    """
    unit, at = Unit.of(result), positions(result, against)

    def dot(index: int, found: CandidateResult, *, selection: bool = False) -> Dot:
        estimate = found.selection if selection and found.selection else found.train
        return Dot(
            x=at[found.step],
            score=unit.factor * estimate.score,
            stderr=unit.factor * estimate.stderr,
            index=index,
        )

    whole = [(i, c) for i, c in enumerate(result.candidates) if c.dropped is None]
    means, best = [], []
    highest: float | None = None
    for step, x in enumerate(at):
        scores = [unit.factor * c.train.score for _, c in whole if c.step == step]
        if scores:
            means.append((x, fmean(scores), pstdev(scores)))
            highest = max(scores if highest is None else (highest, *scores))
        if highest is not None:
            best.append((x, highest))
    baseline = result.baseline
    return Curve(
        unit=unit,
        against=against,
        dots=tuple(dot(i, c) for i, c in whole),
        dropped=tuple(dot(i, c) for i, c in enumerate(result.candidates) if c.dropped is not None),
        means=tuple(means),
        best=tuple(best),
        baseline=None if baseline is None else unit.factor * baseline.train.score,
        selection=tuple(dot(i, c, selection=True) for i, c in whole if c.selection is not None),
        selection_set=result.selection_set,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Which candidate does what on which example."""

    unit: Unit
    examples: tuple[int, ...]
    """Example indices, hardest first."""
    candidates: tuple[int, ...]
    """Indices in `OPROResult.candidates`, oldest first."""
    scores: tuple[tuple[float | None, ...], ...]
    """Shape (examples, candidates); None where they did not meet."""


def heat_map_data(result: OPROResult, *, on: Literal["trainset", "selection"]) -> HeatMap:
    """Return the scores by example and candidate, of those that met any example.

    Args:
        result: The run's.
        on: The training set, or the set that the choice was made on.

    Raises:
        ConfigurationError: If `on` is unknown, or no candidate was scored there.
    """
    if on not in ("trainset", "selection"):
        raise ConfigurationError(f'`on` must be "trainset" or "selection", got {on!r}.')
    unit = Unit.of(result)
    rows = {
        i: scores
        for i, c in enumerate(result.candidates)
        if (scores := c.scores if on == "trainset" else c.selection_scores)
    }
    if not rows:
        raise ConfigurationError(f"no candidate of this run has scores on the {on} set.")
    seen: dict[int, list[float]] = {}
    for scores in rows.values():
        for example, score in scores.items():
            seen.setdefault(example, []).append(score)
    examples = sorted(seen, key=lambda i: (fmean(seen[i]), i))
    return HeatMap(
        unit=unit,
        examples=tuple(examples),
        candidates=tuple(rows),
        scores=tuple(
            tuple(None if (s := row.get(i)) is None else unit.factor * s for row in rows.values())
            for i in examples
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRow:
    """How a step searched."""

    step: int
    temperature: float | None
    """Mean over its meta-prompts; None for step 0."""
    diversity: float | None
    """Mean share of words that two candidates of the step do not share, in [0, 1]; None for
    fewer than two candidates."""
    num_new: int
    """Candidates."""
    num_rejected: int
    """Proposals that became none."""


def search_data(result: OPROResult) -> list[SearchRow]:
    """Return, by step, how hot and how diverse the search was."""
    rows = []
    for step in result.steps:
        texts = ["\n".join(c.texts.values()) for c in step.candidates]
        heats = [query.temperature for query in step.queries]
        rows.append(
            SearchRow(
                step=step.index,
                temperature=fmean(heats) if heats else None,
                diversity=_diversity(texts),
                num_new=len(step.candidates),
                num_rejected=sum(p.rejected is not None for p in step.proposals),
            )
        )
    return rows


def _diversity(texts: Sequence[str]) -> float | None:
    """Return the mean Jaccard distance of the texts' words."""
    words = [frozenset(_WORD.findall(text.lower())) for text in texts]
    far = [1.0 - len(a & b) / len(a | b) if a | b else 0.0 for a, b in combinations(words, 2)]
    return fmean(far) if far else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One kind of run in a comparison; scores in the comparison's unit."""

    label: str
    curves: tuple[tuple[tuple[float, float], ...], ...]
    """For each run, x and the best training estimate by then."""
    finals: tuple[float, ...]
    """For each run, the chosen one's score on its selection set."""
    before: tuple[float, ...]
    """For each run, the student's score there."""
    sets: tuple[str, ...]
    """The selection sets of the runs, each once: "valset", "trainset" or "training estimates"."""


def comparison_data(
    results: Mapping[str, OPROResult | Sequence[OPROResult]], *, against: Against = "steps"
) -> tuple[Unit, list[Contender]]:
    """Return what a comparison of runs shows.

    Args:
        results: Label to a run, or to several runs of the same kind (with different seeds).
        against: What the x axis is.

    Raises:
        ConfigurationError: If there is nothing to compare.
    """
    groups = {k: [v] if isinstance(v, OPROResult) else list(v) for k, v in results.items()}
    if not groups or not all(groups.values()):
        raise ConfigurationError("`results` must name at least one run for each label.")
    unit = Unit.of(*(result for group in groups.values() for result in group))
    found = []
    for label, group in groups.items():
        scored = [(r.candidates[0], r.best) for r in group if r.best_index is not None]
        found.append(
            Contender(
                label=label,
                curves=tuple(_best_by_step(r, unit, against) for r in group),
                finals=tuple(unit.factor * best.score for _, best in scored),
                before=tuple(unit.factor * student.score for student, _ in scored),
                sets=tuple(
                    dict.fromkeys(r.selection_set for r in group if r.best_index is not None)
                ),
            )
        )
    return unit, found


def _best_by_step(
    result: OPROResult, unit: Unit, against: Against
) -> tuple[tuple[float, float], ...]:
    curve = curve_data(result, against=against)
    return tuple((x, best / curve.unit.factor * unit.factor) for x, best in curve.best)
