"""Does a candidate copy training examples? A measure by runs of words that they share."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters and kana: nothing tells where words begin, so each counts as one."""

_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")

COMMON = 0.1
"""A run of words in more than this share of the examples (and in more than two) is the task's
wording, and no example's own."""


class Copies:
    """Finds what a text has in common with examples.

    Args:
        examples: The texts of each example: inputs and outputs.
        allowed: Texts that may be repeated, e.g. the instructions that the run began with.
        n_words: Length of a run of words that counts, at least 1.
    """

    def __init__(
        self, examples: Sequence[Iterable[str]], allowed: Iterable[str] = (), *, n_words: int
    ) -> None:
        self._examples = [tuple(texts) for texts in examples]
        self._allowed = tuple(allowed)
        self._n_words = n_words

    def copied(self, text: str) -> str | None:
        """Return the longest run of words of at least `n_words` that `text` has from examples.

        Returns:
            The words, lower-case and with single spaces; None if there is no such run.
        """
        words, n = _words(text), self._n_words
        longest, start = range(0), None
        for place, run in enumerate(_hashes(words, n)):
            if run not in self._runs:
                start = None
                continue
            start = place if start is None else start
            longest = max(longest, range(start, place + n), key=len)
        return " ".join(words[i] for i in longest) or None

    @cached_property
    def _runs(self) -> frozenset[int]:
        """The hashes of all runs of `n_words` words that are an example's own."""
        n = self._n_words
        counts: Counter[int] = Counter()
        for texts in self._examples:
            counts.update({run for text in texts for run in _hashes(_words(text), n)})
        most = max(2.0, COMMON * len(self._examples))
        allowed = {run for text in self._allowed for run in _hashes(_words(text), n)}
        return frozenset(run for run, count in counts.items() if count <= most) - allowed


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _hashes(words: Sequence[str], n: int) -> list[int]:
    """Return a hash of each run of `n` words, in order; they hold within one process."""
    return [hash(run) for run in zip(*(words[i:] for i in range(n)), strict=False)]
