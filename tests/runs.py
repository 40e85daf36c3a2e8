"""Results made by hand, for plots and pages."""

from collections.abc import Sequence
from typing import Any

from opro_dspy.records import (
    Candidate,
    Estimate,
    Exemplar,
    Proposal,
    Query,
    Spent,
    Step,
    Usage,
)
from opro_dspy.result import CandidateResult, OPROResult

START = "Answer the question."


def candidate(
    text: str | dict[str, str], step: int, scores: dict[int, float], **more: Any
) -> CandidateResult:
    """A candidate with these training scores."""
    texts = {"predict": text} if isinstance(text, str) else text
    estimate = Estimate.of(scores)
    return CandidateResult(instructions=texts, step=step, train=estimate, scores=scores, **more)


def chosen_on(scores: dict[int, float]) -> dict[str, Any]:
    """What a candidate holds that met the selection set."""
    return {"selection": Estimate.of(scores), "selection_scores": scores}


def a_step(
    index: int, texts: Sequence[str | dict[str, str]], *, prompt: str = "Improve it."
) -> Step:
    """A step whose candidates the optimizer LM proposed for each predictor."""
    candidates = [Candidate({"predict": t} if isinstance(t, str) else t) for t in texts]
    names = list(candidates[0].texts) if candidates else ["predict"]
    queries = [Query(component=n, meta_prompt=prompt, temperature=0.5 * index) for n in names]
    proposals = [
        Proposal(component=name, raw=f"<INS>{c.texts[name]}</INS>", text=c.texts[name])
        for c in candidates
        for name in names
    ]
    base = Candidate(dict.fromkeys(names, START))
    return Step(
        index=index,
        base=base,
        queries=tuple(queries),
        proposals=tuple(proposals),
        candidates=tuple(candidates),
    )


def a_run(**changes: Any) -> OPROResult:
    """Two steps: the student, then one worse, one better and one that was given up."""
    texts = ["Guess.", "Think step by step.", "Break."]
    fields: dict[str, Any] = {
        "candidates": (
            candidate(START, 0, {0: 0.0, 1: 1.0}, **chosen_on({0: 0.0, 1: 1.0, 2: 0.0, 3: 0.0})),
            candidate("Guess.", 1, {0: 0.0, 1: 0.0}),
            candidate(
                "Think step by step.",
                1,
                {0: 1.0, 1: 1.0, 2: 1.0, 3: 0.0},
                **chosen_on({0: 1.0, 1: 0.0, 2: 1.0, 3: 1.0}),
            ),
            candidate("Break.", 1, {0: 0.0}, failures={0: "it broke"}, dropped="2 errors"),
        ),
        "best_index": 2,
        "selection_set": "valset",
        "examples": {
            0: Exemplar(inputs={"question": "What is 1 plus 1?"}, outputs={"answer": "2"}),
            1: Exemplar(inputs={"question": "What is 2 plus 2?"}, outputs={"answer": "4"}),
        },
        "steps": (Step(index=0, candidates=(Candidate({"predict": START}),)), a_step(1, texts)),
        "spent": (Spent(metric_calls=2, tokens=100), Spent(metric_calls=9, tokens=500)),
        "stop_reason": "max_steps: 1 step was done",
        "usage": (Usage(role="scorer", model="a", calls=9, input_tokens=400),),
        "num_train": 4,
        "num_val": 4,
        "settings": {"num_candidates": 8, "optimizer_lm": "an-lm"},
        "versions": {"python": "3.11"},
        "seed": 0,
        **changes,
    }
    return OPROResult(**fields)
