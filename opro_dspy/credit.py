"""What each text of a program of several components adds to its score. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from opro_dspy.records import Estimate

Text = tuple[str, str]
"""A component's name and its text."""

_INTERACTION = 0.05
"""Of the variance of what texts add, that of what they add in one company only."""


def effects(texts: Sequence[Mapping[str, str]], found: Sequence[Estimate]) -> dict[Text, float]:
    """Return what each text adds to the mean score of all candidates.

    A candidate's score counts as that mean and what each of its texts adds: candidates that have
    all texts but one in common tell what that one adds. A text that few scores speak for is drawn
    toward 0.

    Args:
        texts: Component name to text, for each candidate; all of the same components.
        found: What is known of each candidate, in their order.

    Returns:
        Component name and text to a difference of scores.

    Source:
        Best linear unbiased prediction of random effects: Henderson 1975, "Best linear unbiased
        estimation and prediction under a selection model"; their variance from that of all scores.
    """
    columns: dict[Text, int] = {}
    for item in (item for row in texts for item in row.items()):
        columns.setdefault(item, len(columns))
    scores = np.array([estimate.score for estimate in found])
    variance = float(scores.var()) if texts else 0.0
    if variance <= 0.0:
        return dict.fromkeys(columns, 0.0)
    holds = np.zeros((len(texts), len(columns)))
    for i, row in enumerate(texts):
        holds[i, [columns[item] for item in row.items()]] = 1.0
    noise = np.array([estimate.stderr for estimate in found]) ** 2 + _INTERACTION * variance
    weighed = holds.T / noise
    mean = float((scores / noise).sum() / (1.0 / noise).sum())
    inner = weighed @ holds + np.eye(len(columns)) / variance
    added = np.linalg.solve(inner, weighed @ (scores - mean))
    return {item: float(added[i]) for item, i in columns.items()}
