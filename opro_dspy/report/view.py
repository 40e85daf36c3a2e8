"""What the page shows of a run: plain values and texts that can be seen."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opro_dspy.filters import shown
from opro_dspy.plots.axes import Unit
from opro_dspy.plots.data import curve_data
from opro_dspy.records import Candidate, Estimate, Step
from opro_dspy.report.drawing import Drawing, lay_out
from opro_dspy.report.text import (
    number,
    plain,
    with_error,
    word_diff,
)
from opro_dspy.result import CandidateResult, OPROResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A candidate in the table."""

    index: int
    step: int
    score: str
    """The training estimate of the search with its error; empty if it met no training example."""
    sort_score: float
    seen: int
    """Training examples behind that estimate."""
    selection: str
    """Score on the selection set with its error; empty if it did not meet it."""
    sort_selection: float | None
    text: str
    badges: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """An example on which the best does better or worse than the student."""

    index: int
    before: str
    after: str
    inputs: dict[str, str]
    outputs: dict[str, str]


def rows(result: OPROResult, unit: Unit) -> list[Row]:
    """Return the table, the chosen first and then by score."""
    found = []
    for index, c in enumerate(result.candidates):
        badges = (
            "chosen" if index == result.best_index else "",
            "student" if index == 0 else "",
            "given up" if c.dropped is not None else "",
        )
        found.append(
            Row(
                index=index,
                step=c.step,
                score=with_error(c.train, unit) if c.scores else "",
                sort_score=c.train.score,
                seen=c.train.n_examples if c.scores else 0,
                selection="" if c.selection is None else with_error(c.selection, unit),
                sort_selection=None if c.selection is None else c.selection.score,
                text="\n".join(shown(text) for text in c.instructions.values()),
                badges=tuple(badge for badge in badges if badge),
            )
        )
    chosen = result.best_index
    return sorted(found, key=lambda r: (r.index != chosen, "given up" in r.badges, -r.sort_score))


def best_texts(result: OPROResult) -> list[dict[str, Any]]:
    """Return, for each predictor, the chosen text and how it differs from the start."""
    if result.best_index is None:
        return []
    start = result.candidates[0].instructions
    return [
        {
            "name": shown(name),
            "text": shown(text),
            "changed": text != start[name],
            "diff": word_diff(shown(start[name]), shown(text)),
        }
        for name, text in result.best.instructions.items()
    ]


def changed(result: OPROResult, unit: Unit) -> dict[str, list[Changed]]:
    """Return the examples on which the best does better and worse, those with a text first."""
    found: dict[str, list[Changed]] = {"better": [], "worse": []}
    for index, (before, after) in result.compared.items():
        if before == after:
            continue
        example = result.examples.get(index)
        one = Changed(
            index=index,
            before=number(before, unit),
            after=number(after, unit),
            inputs=_shown(example.inputs) if example else {},
            outputs=_shown(example.outputs) if example else {},
        )
        found["better" if after > before else "worse"].append(one)
    return found


def drawings(result: OPROResult) -> list[Drawing]:
    """Return the curve laid out for a screen and for a phone."""
    curve = curve_data(result)
    return [
        lay_out(curve, name="wide", width=860, height=340),
        lay_out(curve, name="narrow", width=380, height=300),
    ]


def curve_in_words(result: OPROResult, unit: Unit) -> str:
    """Return what the curve shows, for those who do not see it."""
    curve = curve_data(result)
    if not curve.best:
        return "No candidate was scored."
    first, last = curve.best[0][1], curve.best[-1][1]
    low, high = (number(best / unit.factor, unit) for best in (first, last))
    several = "" if len(curve.dots) == 1 else "s"
    reached = next(x for x, best in curve.best if best == last)
    return (
        f"Training estimates of {len(curve.dots)} candidate{several} by step. The best so far "
        f"goes from {low} to {high}{unit.name and ' ' + unit.name}, reached at step {reached:g} of "
        f"{result.num_steps}."
    )


def details(result: OPROResult) -> str:
    """Return what the page opens on demand, as JSON that can stand in a script element.

    Meta-prompts stand there once, however many candidates came from them.
    """
    prompts: dict[str, int] = {}
    by_step = {step.index: step for step in result.steps}
    told = [
        {**_details(c, by_step.get(c.step), prompts), "whole": _whole(c, result)}
        for c in result.candidates
    ]
    best = {} if result.best_index is None else result.best.instructions
    found = {
        "candidates": told,
        "metaPrompts": [shown(text) for text in prompts],
        "best": list(best.values()),
    }
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _details(c: CandidateResult, step: Step | None, prompts: dict[str, int]) -> dict[str, Any]:
    base = step.base.texts if step is not None and step.base is not None else None
    new = [name for name, text in c.instructions.items() if base and text != base.get(name)]
    parts = []
    for name, text in c.instructions.items():
        old = None if base is None else base.get(name)
        diff = None if old is None or name not in new else word_diff(shown(old), shown(text))
        parts.append({"name": shown(name), "text": shown(text), "diff": diff})
    queries, answers = _origin(Candidate(c.instructions), step, new)
    return {
        "parts": parts,
        "queries": [
            {
                "component": shown(q.component),
                "temperature": q.temperature,
                "prompt": prompts.setdefault(q.meta_prompt, len(prompts)),
            }
            for q in queries
        ],
        "answers": answers,
        "dropped": None if c.dropped is None else shown(c.dropped),
        "failures": [f"example {i}: {shown(said)[:500]}" for i, said in c.failures.items()][:20],
    }


def _whole(c: CandidateResult, result: OPROResult) -> str | None:
    """Return the score on the whole training set, where that was met after the search."""
    if not c.train.n_examples < len(c.scores) == result.num_train:
        return None
    unit = Unit.of(result)
    score = with_error(Estimate.of(c.scores), unit)
    return f"{score}{unit.name and ' ' + unit.name} on all {result.num_train} examples."


def _origin(
    candidate: Candidate, step: Step | None, new: Sequence[str]
) -> tuple[list[Any], list[str]]:
    """Return the meta-prompts that a candidate came from, and the answers that it stands in."""
    if step is None:
        return [], []
    queries = [query for query in step.queries if query.component in new]
    answers = [
        shown(p.raw)
        for p in step.proposals
        if p.component in new and p.raw and p.text == candidate.texts[p.component]
    ]
    return queries, list(dict.fromkeys(answers))


def settings(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return settings as names and values, each in one line."""
    return [(shown(name), plain(value)) for name, value in values.items()]


def _shown(fields: dict[str, str]) -> dict[str, str]:
    return {shown(name): shown(text) for name, text in fields.items()}
