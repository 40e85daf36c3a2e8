"""From a trajectory to what the user gets: the result, and the program that carries it."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.utils.saving import get_dependency_versions

from opro_dspy.diagnostics import Diagnostic, diagnose, failing, told
from opro_dspy.fields import as_key
from opro_dspy.fingerprints import clean_urls, is_secret, may_be_secret
from opro_dspy.program import Program, as_exemplar
from opro_dspy.records import Candidate, Evaluation, Exemplar
from opro_dspy.result import CandidateResult, OPROResult, compared
from opro_dspy.sharing import OURS
from opro_dspy.trajectory import Trajectory

logger = logging.getLogger(__name__)

NUM_READ = 20
"""Training examples whose words count as the task's in the diagnostics."""

MAX_SHOWN = 100
"""Examples at most whose text the result holds."""

_URLS = ("api_base", "base_url")
"""May hold credentials, and DSPy does not load them from a file."""


def candidate_results(
    trajectory: Trajectory,
    *,
    completed: Mapping[str, Evaluation],
    selection: Mapping[str, Evaluation],
    given_up: Mapping[str, Evaluation],
) -> tuple[CandidateResult, ...]:
    """Return all scored candidates, oldest first.

    Args:
        trajectory: The run's.
        completed: Candidate key to its evaluation on the whole training set, where the final
            choice completed it.
        selection: Candidate key to its evaluation on the selection set.
        given_up: The same, of those given up there.
    """
    born = {c.key: step.index for step in trajectory.steps for c in step.candidates}
    # A budget may have ended before the student met any training example.
    unknown = [e.candidate for e in selection.values() if e.candidate not in trajectory]
    found = []
    for candidate in [*unknown, *(e.candidate for e in trajectory)]:
        key = candidate.key
        nothing = Evaluation(candidate=candidate, scores={})
        known = trajectory.evaluation(candidate) if candidate in trajectory else nothing
        full, chosen_on = completed.get(key, known), selection.get(key, nothing)
        failing = given_up.get(key, chosen_on)
        chosen = chosen_on.estimate if chosen_on.scores else None
        found.append(
            CandidateResult(
                instructions=candidate.texts,
                step=born[key],
                train=(
                    trajectory.estimate(candidate)
                    if candidate in trajectory
                    else chosen_on.estimate
                ),
                scores=full.scores,
                failures=full.failures,
                dropped=failing.dropped or full.dropped,
                feedback=full.feedback,
                selection=chosen,
                selection_scores=chosen_on.scores,
                selection_failures=failing.failures,
            )
        )
    return tuple(found)


def signatures(
    trajectory: Trajectory,
    program: Program,
    trainset: Sequence[dspy.Example],
    *,
    given_up: Mapping[str, Evaluation],
    cut: Diagnostic | None,
) -> tuple[Diagnostic, ...]:
    """Return the failure signatures that a run shows, having logged them.

    Args:
        trajectory: The run's.
        program: Tells what the task is.
        trainset: Examples of the task.
        given_up: Candidate key to its evaluation on the selection set, of those given up there.
        cut: What a cap left undone of the final choice.
    """
    shown = [as_exemplar(example, program.output_names) for example in trainset[:NUM_READ]]
    examples = [" ".join((*e.inputs.values(), *e.outputs.values())) for e in shown]
    task = "\n".join([*program.describe().values(), *examples])
    failed = {e.candidate.key: e for e in trajectory if e.dropped is not None}
    more = failing({**failed, **given_up}.values(), n=len(trajectory)), cut
    return told((*diagnose(trajectory, task=task), *(found for found in more if found)))


def shown_examples(
    candidates: Sequence[CandidateResult],
    best_index: int | None,
    program: Program,
    examples: Sequence[dspy.Example],
) -> dict[int, Exemplar]:
    """Return the text of the examples on which the best and the student differ, by index.

    Args:
        candidates: The run's, the student first.
        best_index: Index of the best; None if there is none.
        program: Tells which fields of an example are the program's.
        examples: The set that the two were compared on.
    """
    if best_index is None:
        return {}
    pairs = compared(candidates[0], candidates[best_index])
    differ = [i for i, (before, after) in pairs.items() if before != after]
    return {i: as_exemplar(examples[i], program.output_names) for i in differ[:MAX_SHOWN]}


def scorer_names(program: Program, scorer_lm: dspy.BaseLM | None) -> str:
    """Return the names of the LMs that run the predictors, in one line."""
    default = [scorer_lm] if program.needs_default_lm() else []
    used = [lm for lm in (*default, *program.lms.values()) if lm is not None]
    return ", ".join(dict.fromkeys(lm.model for lm in used))


def trial_logs(result: OPROResult) -> dict[int, dict[str, Any]]:
    """Return, by step, its temperature, candidates, scores (0 to 100) and rejected proposals."""
    logs: dict[int, dict[str, Any]] = {}
    for step in result.steps:
        mine = [c for c in result.candidates if c.step == step.index]
        logs[step.index] = {
            "temperature": step.queries[0].temperature if step.queries else None,
            "instructions": [c.instructions for c in mine],
            "scores": [100.0 * c.train.score for c in mine],
            "rejected": [p.rejected for p in step.proposals if p.rejected],
        }
    return logs


def dressed(
    program: Program, best: Candidate, result: OPROResult, *, track_stats: bool
) -> dspy.Module:
    """Return the chosen program with what DSPy's optimizers attach to it.

    `candidate_programs` has the chosen one first, then those that met the selection set, then the
    others, each part by score. An attribute of that name which the program needs itself stays.
    """
    compiled = program.compiled(best)
    scored = result.best_index is not None
    found: dict[str, Any] = {
        "total_calls": result.total_calls,
        "score": 100.0 * result.best.score if scored else None,
    }
    if track_stats:
        found["detailed_results"] = result
        found["trial_logs"] = trial_logs(result)
        found["candidate_programs"] = [
            {
                "score": 100.0 * c.score,
                "program": program.compiled(Candidate(c.instructions)),
                "instructions": c.instructions,
                "step": c.step,
                "on_selection_set": c.selection is not None,
            }
            for c in result.ranked
        ]
    setattr(compiled, OURS, True)
    for name, value in found.items():
        if hasattr(compiled, name):
            logger.warning(
                "The program has a `%s` of its own, which stays; the run's is in "
                "`detailed_results`.",
                name,
            )
        else:
            setattr(compiled, name, value)
    return compiled


def saved(program: Program, candidate: Candidate) -> bytes:
    """Return the candidate's program as JSON that DSPy's `load` reads; no secret, ever.

    Of a predictor's own LM stands there what can be told in plain values; one with an engine of
    its own is left out, and has to be set again after loading.
    """
    compiled = program.compiled(candidate)
    lms = {}
    for name, predictor in compiled.named_parameters():
        if isinstance(predictor, dspy.Predict):
            lms[name], predictor.lm = _lm_state(predictor.lm), None
    state = compiled.dump_state()
    for name, lm in lms.items():
        (state if compiled.named_parameters()[0][1] is compiled else state[name])["lm"] = lm
    state["metadata"] = {"dependency_versions": get_dependency_versions()}
    return as_key(state).encode("utf-8") + b"\n"


def _lm_state(lm: dspy.BaseLM | None) -> dict[str, Any] | None:
    if not isinstance(lm, dspy.LM) or not isinstance(lm.engine, str):
        return None
    plain = (str, int, float, bool)
    return {
        name: clean_urls(value) if isinstance(value, str) else value
        for name, value in lm.dump_state().items()
        if isinstance(value, plain)
        and name not in _URLS
        and not (may_be_secret(name) if isinstance(value, str) else is_secret(name))
    }
