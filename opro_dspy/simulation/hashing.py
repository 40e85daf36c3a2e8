"""Hash-based randomness of the simulated LMs: the same in every process and thread."""

from __future__ import annotations

from hashlib import blake2b
from statistics import NormalDist

_NORMAL = NormalDist()
_SCALE = float(2**64)


def digest_bytes(*parts: object) -> bytes:
    """Return 64 bytes that depend on `parts` only (by their text); used by the simulated LMs."""
    return blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()


def fingerprint(*parts: object) -> str:
    """Return a short name, 16 hexadecimal digits, of `parts`; used by the simulated LMs."""
    return digest_bytes(*parts)[:8].hex()


def uniform(*parts: object) -> float:
    """Return a number in (0, 1) that depends on `parts` only; used by the simulated LMs."""
    return (int.from_bytes(digest_bytes(*parts)[:8], "big") + 0.5) / _SCALE


def gaussian(*parts: object, limit: float) -> float:
    """Return a standard normal number, cut to [-limit, limit], for the simulated LMs."""
    value = _NORMAL.inv_cdf(min(uniform(*parts), 1.0 - 1e-16))
    return max(-limit, min(limit, value))
