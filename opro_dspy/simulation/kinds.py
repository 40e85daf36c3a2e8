"""The kinds of simulated landscapes, drawn by seed."""

from __future__ import annotations

import random
from collections.abc import Callable

from opro_dspy.errors import ConfigurationError
from opro_dspy.simulation.ideas import IDEAS
from opro_dspy.simulation.landscapes import Landscape

_START = -0.48
_START_SPREAD = 0.16
_DIFFICULTY = 2.2
_BEST_OF = 7


def _effects(rng: random.Random, *, best: float, spread: float) -> dict[str, float]:
    """Draw an effect for every idea; the best seven plausible ones sum to `best` logits."""
    drawn: dict[str, float] = {}
    for idea in IDEAS:
        if idea.kind == "plausible":
            drawn[idea.name] = rng.gauss(0.25, spread)
        elif idea.kind == "idle":
            drawn[idea.name] = rng.gauss(0.0, 0.08)
        else:
            drawn[idea.name] = -abs(rng.gauss(0.5, 0.25))
    top = sum(sorted(drawn.values(), reverse=True)[:_BEST_OF])
    return {name: round(effect * best / top, 4) for name, effect in drawn.items()}


def _base(rng: random.Random) -> float:
    return _START + rng.uniform(-_START_SPREAD, _START_SPREAD)


def _many_small_effects(seed: int, rng: random.Random) -> Landscape:
    weights = _effects(rng, best=2.7, spread=0.4)
    names = sorted(weights)
    pairs = []
    for _ in range(40):
        first, second = rng.sample(names, 2)
        pairs.append((first, second, round(rng.gauss(0.0, 0.2), 4)))
    return Landscape(
        name="many_small_effects",
        seed=seed,
        base=_base(rng),
        difficulty_sigma=_DIFFICULTY,
        weights=weights,
        pairs=tuple(pairs),
    )


def _rare_combination(seed: int, rng: random.Random) -> Landscape:
    weights = _effects(rng, best=0.9, spread=0.3)
    members = tuple(rng.sample([idea.name for idea in IDEAS if idea.kind == "plausible"], 3))
    weights.update({name: 0.05 for name in members})
    return Landscape(
        name="rare_combination",
        seed=seed,
        base=_base(rng),
        difficulty_sigma=_DIFFICULTY,
        weights=weights,
        combination=members,
        combination_gains=(0.0, 0.0, 1.2, 2.4),
    )


def _wording_noise(seed: int, rng: random.Random) -> Landscape:
    return Landscape(
        name="wording_noise",
        seed=seed,
        base=_base(rng),
        difficulty_sigma=_DIFFICULTY,
        weights=_effects(rng, best=1.4, spread=0.35),
        clause_sigma=0.25,
        wording_sigma=0.7,
    )


_KINDS: dict[str, Callable[[int, random.Random], Landscape]] = {
    "many_small_effects": _many_small_effects,
    "rare_combination": _rare_combination,
    "wording_noise": _wording_noise,
}

LANDSCAPE_NAMES: tuple[str, ...] = tuple(_KINDS)
"""Names of the simulated landscapes that `landscape` can make."""


def landscape(name: str, seed: int = 0) -> Landscape:
    """Return a simulated landscape.

    Args:
        name: Its kind: `many_small_effects` (dozens of small effects and pairs),
            `rare_combination` (three ideas that are worth little singly and much together), or
            `wording_noise` (near-paraphrases differ by tens of points).
        seed: Decides which ideas matter, and how much.

    Returns:
        A landscape where an empty or default instruction reaches about 0.35 to 0.5 and the
        reachable best about 0.85 to 0.95.

    Raises:
        ConfigurationError: If there is no such kind.
    """
    if name not in _KINDS:
        raise ConfigurationError(
            f"`name` must be one of {', '.join(LANDSCAPE_NAMES)}, got {name!r}."
        )
    return _KINDS[name](seed, random.Random(f"{seed}:landscape:{name}"))
