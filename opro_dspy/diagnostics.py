"""Failure signatures: what a run shows of the ways in which OPRO is known to fail.

Source:
    OPRO (arXiv:2309.03409), section 5.3 and appendix A: a search that gets stuck, samples that
    ignore the trajectory, landscapes too bumpy to descend, meta-prompts that outgrow the window.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence
from math import sqrt
from statistics import fmean, variance

from pydantic import BaseModel, ConfigDict

from opro_dspy.filters import ALREADY_SCORED, clipped, sentence
from opro_dspy.records import Evaluation, Proposal, Step
from opro_dspy.trajectory import Trajectory

logger = logging.getLogger(__name__)

MIN_STEPS = 5
"""Steps below which nothing is said of plateaus and drift."""

PLATEAU, REPEATS, INVALID = 0.5, 0.3, 0.2
"""Shares from which a signature is named."""

SPREAD, DRIFT = 0.25, 0.5
"""Ratios below which a signature is named. In the simulation, later steps lie half a within-step
deviation above earlier ones at temperature 1.0, and less than a tenth at 1.5 and 2.0."""

MIN_TEXTS = 8
"""Texts at the beginning and at the end below which nothing is said of drift."""

_WORD = re.compile(r"[^\W\d_]{4,}")
_STEM = 5


class Diagnostic(BaseModel):
    """One failure signature that a run shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """"early plateau", "spread within steps", "drift from the task", "repeats", "invalid answers",
    "window overflow", "failing candidates", "cut choice" or "damaged journal"."""
    value: float
    """The number behind it: a share in [0, 1]; for spread and drift a ratio, lower is worse."""
    threshold: float
    """Where it begins to be named."""
    seen: str
    """What was seen, with its numbers."""
    advice: str
    """What to try."""

    def __str__(self) -> str:
        return f"{self.name}: {self.seen} {self.advice}"


def diagnose(trajectory: Trajectory, *, task: str = "") -> tuple[Diagnostic, ...]:
    """Return the failure signatures that a run shows; none where there is nothing to tell.

    Args:
        trajectory: The run's.
        task: Words of the task: its description and some examples. Without any, drift is not told.
    """
    if not len(trajectory) or len(trajectory.steps) < 2:
        return ()
    steps = trajectory.steps[1:]
    proposals = [proposal for step in steps for proposal in step.proposals]
    found = (
        _plateau(trajectory),
        _spread(trajectory),
        _drift(steps, task),
        _repeats(proposals),
        _invalid(proposals),
        _overflow(steps),
    )
    return tuple(diagnostic for diagnostic in found if diagnostic is not None)


def told(diagnostics: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
    """Return `diagnostics`, having said them at the end of a run."""
    for diagnostic in diagnostics:
        logger.warning("Seen in this run: %s", diagnostic)
    return diagnostics


def failing(given_up: Collection[Evaluation], *, n: int) -> Diagnostic | None:
    """Tell of candidates that were given up for their failures, of `n`."""
    if not given_up:
        return None
    said = next((text for e in given_up for text in e.failures.values()), "")
    return Diagnostic(
        name="failing candidates",
        value=len(given_up) / n,
        threshold=0.0,
        seen=f"{len(given_up)} of {n} candidates were given up, for the program or the metric "
        f"failed on most examples; first with {sentence(clipped(' '.join(said.split()), 200))}",
        advice="See `failures` of the candidates with `dropped`, and let program or metric cope.",
    )


def cut_choice(reason: str, *, n_whole: int, n: int, on: str) -> Diagnostic | None:
    """Tell of a final choice that a cap cut short.

    Args:
        reason: The cap, with its numbers.
        n_whole: Contenders that met the whole selection set all the same.
        n: Contenders, the student among them.
        on: What they should have met.
    """
    if n_whole == n:
        return None
    return Diagnostic(
        name="cut choice",
        value=n_whole / n,
        threshold=1.0,
        seen=f"{n_whole} of {n} contenders met all {on}, then a cap ended the choice ({reason}).",
        advice="Raise the cap (or `requests_per_minute`, if the time went into waiting), or pass "
        "a smaller valset.",
    )


def _plateau(trajectory: Trajectory) -> Diagnostic | None:
    best, n = trajectory.best.candidate, len(trajectory.steps) - 1
    since = next((s.index for s in trajectory.steps if best in s.candidates), 0)
    perfect = trajectory.in_unit_range() and trajectory.estimate(best).score >= 1.0
    share = (n - since) / n
    if perfect or n - since < MIN_STEPS or share < PLATEAU:
        return None
    return Diagnostic(
        name="early plateau",
        value=share,
        threshold=PLATEAU,
        seen=f"the best stands since step {since} of {n}.",
        advice='Try temperature_schedule="adaptive", other initial instructions, or patience='
        f"{MIN_STEPS} to save the calls.",
    )


def _spread(trajectory: Trajectory) -> Diagnostic | None:
    """Compare how candidates of a step differ with how far later steps lie above earlier ones."""
    groups = [
        [trajectory.estimate(c).score for c in step.candidates if c in trajectory]
        for step in trajectory.steps[1:]
    ]
    groups = [group for group in groups if len(group) > 1]
    if len(groups) < MIN_STEPS:
        return None
    half = len(groups) // 2
    earlier, later = (fmean(s for g in part for s in g) for part in (groups[:half], groups[-half:]))
    within = sqrt(fmean(variance(group) for group in groups))
    if not within or (later - earlier) / within >= SPREAD:
        return None
    return Diagnostic(
        name="spread within steps",
        value=(later - earlier) / within,
        threshold=SPREAD,
        seen=f"candidates of one step have a standard deviation of {within:.3g}, and later steps "
        f"lie {later - earlier:+.3g} from earlier ones.",
        advice="Try a lower init_temperature, or more num_candidates for each step.",
    )


def _drift(steps: Sequence[Step], task: str) -> Diagnostic | None:
    """Compare the share of the task's words in the texts of the first and the last third."""
    words = _stems(task)
    third = len(steps) // 3
    if len(steps) < MIN_STEPS or not words:
        return None
    first, last = _overlap(steps[:third], words), _overlap(steps[-third:], words)
    if first is None or last is None or first < 0.1 or last >= DRIFT * first:
        return None
    return Diagnostic(
        name="drift from the task",
        value=last / first,
        threshold=DRIFT,
        seen=f"{last:.0%} of the words of the last instructions are the task's, {first:.0%} of "
        "the first.",
        advice="Show more exemplars (View(num_exemplars=…)), lower init_temperature, or read the "
        "best instruction before you trust it.",
    )


def _overlap(steps: Sequence[Step], words: frozenset[str]) -> float | None:
    texts = [p.text for step in steps for p in step.proposals if p.text]
    shares = [len(stems & words) / len(stems) for text in texts if (stems := _stems(text))]
    return fmean(shares) if len(shares) >= MIN_TEXTS else None


def _stems(text: str) -> frozenset[str]:
    return frozenset(word[:_STEM] for word in _WORD.findall(text.lower()))


def _repeats(proposals: Sequence[Proposal]) -> Diagnostic | None:
    known = sum(proposal.rejected == ALREADY_SCORED for proposal in proposals)
    share = known / max(1, len(proposals))
    if share < REPEATS:
        return None
    return Diagnostic(
        name="repeats",
        value=share,
        threshold=REPEATS,
        seen=f"{known} of {len(proposals)} proposals were known already.",
        advice='Try a higher init_temperature or temperature_schedule="adaptive".',
    )


def _invalid(proposals: Sequence[Proposal]) -> Diagnostic | None:
    """Count answers, each attempt by itself, that held nothing to score."""
    answers = sum(proposal.attempts for proposal in proposals)
    reasons = Counter(reason for proposal in proposals for reason in _refusals(proposal))
    share = reasons.total() / max(1, answers)
    if not reasons or share < INVALID:
        return None
    return Diagnostic(
        name="invalid answers",
        value=share,
        threshold=INVALID,
        seen=f"{reasons.total()} of {answers} answers held nothing to score, mostly: "
        f"{reasons.most_common(1)[0][0]}.",
        advice="Try a lower init_temperature, another meta_prompt, or a stronger optimizer LM.",
    )


def _refusals(proposal: Proposal) -> Sequence[str]:
    """Return why answers to one sample held nothing to score, without their numbers."""
    if proposal.invalid or proposal.raw is None or proposal.rejected in (None, ALREADY_SCORED):
        return proposal.invalid
    return (str(proposal.rejected).split(":")[0],)


def _overflow(steps: Sequence[Step]) -> Diagnostic | None:
    cut = [q for s in steps for q in s.queries if q.omitted_entries or q.omitted_exemplars]
    if not cut:
        return None
    entries = max(query.omitted_entries for query in cut)
    exemplars = max(query.omitted_exemplars for query in cut)
    share = len(cut) / sum(len(step.queries) for step in steps)
    return Diagnostic(
        name="window overflow",
        value=share,
        threshold=0.0,
        seen=f"{len(cut)} meta-prompts left out up to {entries} of the lower entries and "
        f"{exemplars} exemplars, to fit the window; the best always stayed.",
        advice="Take an optimizer LM with a larger window, or set View(num_entries=…) or "
        "Filters(max_chars=…) lower.",
    )
