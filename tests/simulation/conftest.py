"""Shared simulated LMs for the tests of the simulation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dspy
import pytest

from opro_dspy.simulation import landscape, make_examples, scorer_lm
from opro_dspy.simulation.ideas import IDEA_BY_NAME

_WEIGHTS = landscape("many_small_effects").weights
_BY_WEIGHT = sorted(_WEIGHTS, key=lambda name: _WEIGHTS[name])


def _naming(names: list[str]) -> str:
    return " ".join(f"{IDEA_BY_NAME[name].phrasings[0].capitalize()}." for name in names)


GOOD = _naming(_BY_WEIGHT[-6:])
BAD = _naming(_BY_WEIGHT[:3])


@pytest.fixture
def examples() -> list[dspy.Example]:
    return make_examples("arithmetic", 60, seed=3)


@pytest.fixture
def scorer(examples: list[dspy.Example]) -> Iterator[Any]:
    lm = scorer_lm(answer_key=examples, landscape=landscape("many_small_effects"), cache=False)
    with dspy.context(lm=lm, trace=None):
        yield lm
