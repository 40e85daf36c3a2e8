"""How alike candidates' texts are, as numbers that a model of their quality can use. Pure."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

MAX_FACTORS = 64
"""Directions kept of what texts share; what else they differ by counts as each one's own."""

_WORD = re.compile(r"\w+")


def factors(texts: Sequence[Mapping[str, str]]) -> npt.NDArray[np.float64]:
    """Return coordinates whose inner products say how alike the texts are.

    Two texts are alike as far as they use the same words and pairs of words in the same component,
    beyond what all have in common.

    Args:
        texts: Component name to text, for each candidate.

    Returns:
        Shape (n, r), r at most `MAX_FACTORS`; the mean squared length of a row is 1, or r is 0
        when the texts share nothing.

    Source:
        The leading principal components of a centred bag-of-words kernel; as a covariance it is
        used like that of relatives in best linear unbiased prediction (Henderson 1975).
    """
    rows = [[feature for name in sorted(t) for feature in _features(name, t[name])] for t in texts]
    counts = Counter(feature for row in rows for feature in row)
    shared = sorted(feature for feature, n in counts.items() if 1 < n < len(rows))
    columns = {feature: i for i, feature in enumerate(shared)}
    found = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        found[i, [columns[feature] for feature in row if feature in columns]] = 1.0
    found -= found.mean(axis=0, keepdims=True)
    values, vectors = np.linalg.eigh(found @ found.T)
    kept = np.flatnonzero(values > 1e-9 * max(1.0, float(values.max(initial=0.0))))[-MAX_FACTORS:]
    scale = np.sqrt(len(rows) / max(float(values.sum()), 1e-300))
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]) * scale, dtype=np.float64)


@lru_cache(maxsize=10_000)
def _features(name: str, text: str) -> tuple[tuple[str, ...], ...]:
    """Return the words and the pairs of neighbouring words of a component's text, in order."""
    words = _WORD.findall(text.lower())
    singles, pairs = ((name, word) for word in words), ((name, *pair) for pair in pairwise(words))
    return tuple(sorted({*singles, *pairs}))
