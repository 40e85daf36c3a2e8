"""What tells a problem, and a run on it, from another: for caches and the run's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import dspy
from pydantic import BaseModel

from opro_dspy.cache import ScoreCache, Store
from opro_dspy.fingerprints import describe, describe_adapter, describe_lm, fingerprint
from opro_dspy.identity import short, told_lm
from opro_dspy.journal import Manifest
from opro_dspy.journal.folder import now
from opro_dspy.journal.manifest import DataSet, Named
from opro_dspy.protocols import Problem
from opro_dspy.records import Candidate


def problem_key(problem: Problem[Any]) -> str:
    """Return a hash of the problem's code and of its attributes."""
    return short(describe(problem))


def is_told_in_full(problem: Problem[Any]) -> bool:
    """Tell whether its fingerprint holds all of a problem: no attribute is private.

    A dataclass, a pydantic model and what has a `dump_state` say themselves what they are.
    """
    speaks = is_dataclass(problem) or isinstance(problem, BaseModel)
    if speaks or callable(getattr(problem, "dump_state", None)):
        return True
    return not any(name.startswith("_") for name in getattr(problem, "__dict__", {"_": None}))


def make_scores(store: Store, problem: Problem[Any], lm: dspy.BaseLM | None) -> ScoreCache | None:
    """Return the scores that runs on the same problem share; None if it cannot be told for sure.

    Args:
        store: Where they are kept.
        problem: Scores solutions.
        lm: The LM that `score` may ask.
    """
    if not is_told_in_full(problem):
        return None
    told = {
        "problem": describe(problem),
        "lm": None if lm is None else describe_lm(lm),
        "adapter": describe_adapter(dspy.settings.adapter),
    }
    return ScoreCache(store, fingerprint(told))


def make_manifest(
    problem: Problem[Any],
    settings: Mapping[str, Any],
    *,
    custom: Mapping[str, Any],
    initial: Sequence[Candidate],
    optimizer_lm: dspy.BaseLM,
    scorer_lm: dspy.BaseLM | None,
    versions: Mapping[str, str],
) -> Manifest:
    """Return the manifest of a run.

    Args:
        problem: What is solved.
        settings: All settings as JSON values.
        custom: By setting, what a user brought in the place of a name: a callable.
        initial: The candidates of step 0.
        optimizer_lm: The optimizer LM.
        scorer_lm: The LM that `score` may ask.
        versions: Of Python and packages.
    """
    key = problem_key(problem)
    named = Named(name=type(problem).__name__, hash=key)
    lms = {"optimizer": optimizer_lm, "scorer": scorer_lm}
    return Manifest(
        created=now(),
        versions=dict(versions),
        settings={
            **settings,
            **{f"{name} (its code)": short(describe(value)) for name, value in custom.items()},
        },
        lms={role: told_lm(lm) for role, lm in lms.items() if lm is not None},
        adapter=short(describe_adapter(dspy.settings.adapter)),
        program=named,
        instructions=short([candidate.texts for candidate in initial]),
        metric=named,
        trainset=DataSet(n=1, hash=key),
        valset=DataSet(n=0, hash=short([])),
    )
