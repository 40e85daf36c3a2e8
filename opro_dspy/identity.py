"""What makes a run this run: its manifest, and the keys of its examples."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dspy

from opro_dspy.boundary.adapters import lms_of
from opro_dspy.config import OproConfig
from opro_dspy.fingerprints import (
    canonical,
    describe,
    describe_adapter,
    describe_example,
    describe_lm,
    describe_metric,
    describe_program,
    fingerprint,
    may_be_secret,
    without_marks,
)
from opro_dspy.journal import Manifest
from opro_dspy.journal.folder import now
from opro_dspy.journal.manifest import DataSet, Named
from opro_dspy.journal.past import short_hash
from opro_dspy.program import Program
from opro_dspy.records import Candidate
from opro_dspy.settings import Seats

logger = logging.getLogger(__name__)

IF_NOTHING_WAS_EDITED = (
    "If the metric's code is as it was, the metric holds what changes as it runs, or with each "
    "process (a counter, a memo, a start time, a random name): keep that in a private attribute "
    "of an object, or give the object a `dump_state()` without it."
)
"""What to do where another metric is found, and nobody meant it."""


def example_keys(examples: Sequence[dspy.Example]) -> list[str]:
    """Return a key for each example: a hash of its content, and a number if it has equals.

    So a score is found again when the examples stand in another order, or among others. An example
    that cannot be told in full has its place in the set in its key.
    """
    found: Counter[str] = Counter()
    keys, untold = [], 0
    for index, example in enumerate(examples):
        told, in_full = describe_example(example)
        key = short_hash(canonical(told))
        if not in_full:
            untold += 1
            keys.append(f"{key}~{index}")
            continue
        found[key] += 1
        keys.append(key if found[key] == 1 else f"{key}-{found[key]}")
    if untold:
        logger.warning(
            "%d of %d examples hold what cannot be told in full (a lock, an open file, an LM, …): "
            "no other run shares their scores, and a resume does not see a change there.",
            *(untold, len(examples)),
        )
    return keys


def make_manifest(
    seats: Seats,
    config: OproConfig,
    program: Program,
    *,
    initial: Sequence[Candidate],
    keys: Mapping[str, Sequence[str]],
    optimizer_lm: dspy.BaseLM,
    scorer_lm: dspy.BaseLM | None,
    versions: Mapping[str, str],
) -> Manifest:
    """Return the manifest of a run.

    Args:
        seats: Who sits where.
        config: The settings, those of `auto` worked out.
        program: The student.
        initial: The candidates of step 0.
        keys: Name of the set to the keys of its examples.
        optimizer_lm: The optimizer LM.
        scorer_lm: The LM of predictors without their own.
        versions: Of Python and packages.
    """
    given = {f"predictor {name}": lm for name, lm in program.lms.items()}
    given |= {**program.other_lms, **lms_of(dspy.settings.adapter)}
    lms = {"optimizer": optimizer_lm, "scorer": scorer_lm, **given}
    max_errors = dspy.settings.max_errors if config.max_errors is None else config.max_errors
    own = {name: short(describe(value)) for name, value in seats.custom.items()}
    told = {**seats.settings, **config.model_dump(mode="json"), "max_errors": max_errors}
    plain, free = program.skeleton()
    return Manifest(
        created=now(),
        versions=dict(versions),
        settings={**told, **{f"{name} (its code)": code for name, code in own.items()}},
        lms={role: told_lm(lm) for role, lm in lms.items() if lm is not None},
        adapter=short(describe_adapter(dspy.settings.adapter)),
        program=Named(
            name=type(plain).__name__, hash=short(describe_program(plain, without_texts_of=free))
        ),
        instructions=short([c.texts for c in initial]),
        metric=Named(name=seats.metric.name, hash=short(describe_metric(seats.metric.function))),
        trainset=_data_set(keys["trainset"]),
        valset=_data_set(keys["valset"]),
    )


def _data_set(keys: Sequence[str]) -> DataSet:
    return DataSet(n=len(keys), hash=short(list(keys)))


def short(description: Any) -> str:
    """Return a short hash of a description."""
    return fingerprint(without_marks(description))[:16]


MAX_SHOWN = 40
"""Characters of a text that the manifest shows of what an LM of one's own holds."""


def told_lm(lm: dspy.BaseLM) -> dict[str, Any]:
    """Return what is known of an LM, in short.

    An engine object is told by its class, code and state by a hash, and of the attributes of an LM
    of the user's, which may hold prompts with examples, numbers and short texts alone are shown.
    """
    described = without_marks(describe_lm(lm))
    parts = {name: value for name, value in described.items() if value is not None}
    engine, told = parts.get("engine"), {n: _entry(n, value) for n, value in parts.items()}
    if isinstance(engine, dict):
        kind = type(lm.engine)
        name = f"{kind.__module__}.{kind.__qualname__}"
        told["engine"] = {"class": name, "hash": short([engine["class"], engine["state"]])}
    if "attributes" in parts:
        told["attributes"] = {n: _brief(n, value) for n, value in parts["attributes"].items()}
    return told


def _brief(name: str, value: Any) -> Any:
    """Return what may be shown of an attribute: a hash of what is long, private, or has parts."""
    long = isinstance(value, (list, dict)) or len(str(value)) > MAX_SHOWN or name.startswith("_")
    return {"hash": short(value)} if long else _entry(name, value)


def _plain(value: Any) -> Any:
    """Return what may be shown of a description: of objects and their code, a hash."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if any(name.startswith("~") for name in value.keys() - {"~order"}):
        return {"hash": short(value)}
    return {name: _entry(name, item) for name, item in value.items()}


def _entry(name: str, value: Any) -> Any:
    """Return what may be shown of a parameter: of text that may be a credential, a hash."""
    plain = _plain(value)
    shown = plain is None or isinstance(plain, (bool, int, float)) or not may_be_secret(name)
    return plain if shown else {"hash": short(value)}
