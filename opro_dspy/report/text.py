"""Text for a page: numbers, differences between texts, and what cannot be seen made visible."""

import difflib
import re
from collections.abc import Sequence
from math import inf
from typing import Any

from opro_dspy.filters import shown
from opro_dspy.plots.axes import Unit
from opro_dspy.records import Estimate

Z95 = 1.96
"""Standard errors on each side of a 95 % interval."""
MAX_WORDS = 2000
"""Longest text, in words and gaps, whose differences are looked for."""
MIN_COMMON = 5
"""Words and gaps that two texts must share at a stretch; less is by chance, as a single "the"."""

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")


def number(value: float, unit: Unit) -> str:
    """Return a score as it is shown, without its unit."""
    value *= unit.factor
    return f"{value:.1f}" if unit.name else f"{value:.4g}"


def with_error(estimate: Estimate, unit: Unit) -> str:
    """Return an estimate with its standard error, where there is one."""
    said = number(estimate.score, unit)
    return said if estimate.n_examples < 2 else f"{said} ± {number(estimate.stderr, unit)}"


def interval(estimate: Estimate, unit: Unit) -> str:
    """Return the 95 % interval around a difference of scores, by the normal approximation.

    Returns:
        For example `+12.0 to +30.1`. In percent it ends at −100 and +100: no difference is larger.
    """
    most = 1.0 if unit.name else inf
    ends = (estimate.score + sign * Z95 * estimate.stderr for sign in (-1, 1))
    return " to ".join(signed(max(-most, min(most, end)), unit) for end in ends)


def signed(value: float, unit: Unit) -> str:
    """Return a difference of scores with its sign."""
    said = number(abs(value), unit)
    return said if float(said) == 0 else f"{'+' if value > 0 else '−'}{said}"


def word_diff(old: str, new: str) -> list[tuple[str, str]]:
    """Return how `new` differs from `old`, word by word.

    Returns:
        Pieces in order, each "same", "gone" or "new" and its text; the whole of both where they
        are longer than `MAX_WORDS`.
    """
    if old == new:
        return [("same", new)] if new else []
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    if max(len(before), len(after)) > MAX_WORDS:
        return [(kind, text) for kind, text in (("gone", old), ("new", new)) if text]
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    pieces: list[tuple[str, str]] = []
    done = (0, 0)
    for i, j, size in matcher.get_matching_blocks():
        inside = i > 0 and size and i + size < len(before)
        if inside and size < MIN_COMMON:
            continue
        changed = ("gone", before[done[0] : i]), ("new", after[done[1] : j])
        found = (*changed, ("same", before[i : i + size]))
        pieces += [(kind, "".join(tokens)) for kind, tokens in found if tokens]
        done = (i + size, j + size)
    return pieces


def plain(value: Any) -> str:
    """Return a setting's value in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{shown(str(name))} = {plain(part)}" for name, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(plain, value))
    return "not set" if value is None else shown(str(value))
