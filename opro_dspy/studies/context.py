"""The context study: a long run whose meta-prompt meets a small window."""

from collections.abc import Sequence
from statistics import fmean

from opro_dspy.asking import View
from opro_dspy.result import OPROResult
from opro_dspy.studies.cells import Measured
from opro_dspy.studies.study import Job, Study, Variant, best_and_worst, measured
from opro_dspy.studies.table import Row

EVERYTHING = 10_000
"""Entries shown where the window allows: the whole trajectory."""

WINDOWS = (8000, 4000, 2000, 1000)
"""Tokens."""


def _variants(max_steps: int) -> list[Variant]:
    whole = View(num_entries=EVERYTHING)
    small = [
        Variant(
            label=f"{window:,} tokens",
            settings={"view": whole.model_copy(update={"max_meta_prompt_tokens": window})},
        )
        for window in WINDOWS
    ]
    return [Variant(label="unlimited", settings={"view": whole}), *small]


def _measure(job: Job) -> Measured:
    result = job.run()
    queries = [query for step in result.steps for query in step.queries]
    known = [query.n_entries + query.omitted_entries for query in queries]
    left_out = [q.omitted_entries / n for q, n in zip(queries, known, strict=True) if n]
    return measured(
        result,
        **{
            "left out": fmean(left_out) if left_out else None,
            "best not shown": _best_not_shown(result),
            "late against early": _late_against_early(result),
        },
    )


def _best_not_shown(result: OPROResult) -> float | None:
    """Return the share of meta-prompts without the instruction that was best by then."""
    missing = [
        step.base is not None and step.base.texts[query.component] not in query.meta_prompt
        for step in result.steps
        for query in step.queries
    ]
    return fmean(missing) if missing else None


def _late_against_early(result: OPROResult) -> float | None:
    """Return how far the new candidates of the last quarter lie above those of the second."""
    quarter = result.num_steps // 4
    if not quarter:
        return None
    means = []
    for first in (quarter + 1, result.num_steps - quarter + 1):
        steps = range(first, first + quarter)
        scores = [c.train.score for c in result.candidates if c.step in steps]
        means.append(fmean(scores) if scores else None)
    early, late = means
    return None if early is None or late is None else late - early


def _says(rows: Sequence[Row]) -> str:
    alike: dict[str, list[str]] = {}
    for row in rows:
        alike.setdefault(_seen(row), []).append(row.variant)
    said = " ".join(f"{'; '.join(names)}: {seen}." for seen, names in alike.items())
    return f"{best_and_worst(rows)} {said}"


def _seen(row: Row) -> str:
    late = row.figures["late against early"]
    if late.mean is None:
        later = "no late candidates to compare with early ones"
    else:
        size = late.model_copy(update={"mean": abs(late.mean)})
        later = (
            f"candidates of the last quarter of the steps score {size} "
            f"{'higher' if late.mean >= 0 else 'lower'} than those of the second quarter"
        )
    return (
        f"{row.figures['left out']} of the entries left out, best not shown in "
        f"{row.figures['best not shown']} of the meta-prompts, {later}"
    )


CONTEXT = Study(
    name="context",
    question="What happens in a long run when the meta-prompt meets the window?",
    variants=_variants,
    measure=_measure,
    says=_says,
    max_steps=100,
)
