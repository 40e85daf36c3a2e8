"""How alike candidates' texts are, as numbers that a model of their quality can use. Pure."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

MAX_FACTORS = 64
"""Directions kept of what texts share; what else they differ by counts as each one's own."""

_LARGE, _SPARE, _ITERATIONS = 512, 16, 5
"""From so many candidates on the leading directions are approximated; with how much care."""

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
    return _factors(tuple(tuple(sorted(each.items())) for each in texts))


@lru_cache(maxsize=2)
def _factors(texts: tuple[tuple[tuple[str, str], ...], ...]) -> npt.NDArray[np.float64]:
    rows = [np.concatenate([_features(name, text) for name, text in each]) for each in texts]
    _, column, counts = np.unique(np.concatenate(rows), return_inverse=True, return_counts=True)
    row = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    shared = (counts > 1) & (counts < len(rows))
    told = shared[column]
    found = np.zeros((len(rows), int(shared.sum())))
    found[row[told], (np.cumsum(shared) - 1)[column[told]]] = 1.0
    found -= found.mean(axis=0, keepdims=True)
    total = float((found**2).sum())
    values, vectors = _leading(found @ found.T)
    kept = np.flatnonzero(values > 1e-9 * max(1.0, float(values.max(initial=0.0))))[-MAX_FACTORS:]
    scale = np.sqrt(len(rows) / max(total, 1e-300))
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]) * scale, dtype=np.float64)


def _leading(
    kernel: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the largest eigenvalues of a kernel, rising, and their eigenvectors.

    Source:
        From `_LARGE` rows on, randomized subspace iteration: Halko, Martinsson & Tropp 2011,
        "Finding structure with randomness", algorithm 4.4.
    """
    n = len(kernel)
    if n < _LARGE:
        values, vectors = np.linalg.eigh(kernel)
        return values, vectors
    basis = np.random.default_rng(0).standard_normal((n, MAX_FACTORS + _SPARE))
    for _ in range(_ITERATIONS):
        basis, _ = np.linalg.qr(kernel @ basis)
    values, vectors = np.linalg.eigh(basis.T @ kernel @ basis)
    return values, basis @ vectors


@lru_cache(maxsize=10_000)
def _features(name: str, text: str) -> npt.NDArray[np.uint64]:
    """Return numbers for the words and the pairs of neighbouring words of a component's text."""
    words = _WORD.findall(text.lower())
    said = {"\0".join((name, *part)) for part in (*zip(words), *pairwise(words))}
    hashes = (hashlib.blake2b(s.encode("utf-8", "surrogatepass"), digest_size=8) for s in said)
    numbers = sorted(int.from_bytes(h.digest(), "little") for h in hashes)
    return np.array(numbers, dtype=np.uint64)
