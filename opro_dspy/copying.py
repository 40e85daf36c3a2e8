"""Does a candidate copy training examples? Two measures by runs of words that they share."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters and kana: nothing tells where words begin, so each counts as one."""

_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")

_SINGLE = re.compile(f"[{_UNSPACED}]")

_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Characters without width: they could stand within any word."""

COMMON = 0.1
"""A run of words in more than this share of the examples (and in more than two) is the task's
wording, and no example's own."""


SHORT = 4
"""Words in a row that count as a piece of an example."""

FEW = 2
"""A piece that more examples have is no example's own: labels, say, that an instruction lists."""

LEAST = 12
"""Words in pieces that a text must have to be taken for a collection of them."""


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
        self._examples = list(dict.fromkeys(tuple(texts) for texts in examples))  # each once
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

    def pieces(self, text: str) -> tuple[int, int]:
        """Return how many words of `text` stand in pieces of examples, and how many it has.

        A piece is `SHORT` words or more in a row that at most `FEW` examples have, whose texts
        are read as one here: question and answer may follow each other. Texts without spaces
        between words have none: there so many characters are too common.
        """
        words = _words(text)
        inside: set[int] = set()
        for place, run in enumerate(_hashes(words, SHORT)):
            if run in self._pieces and not any(map(_SINGLE.match, words[place : place + SHORT])):
                inside.update(range(place, place + SHORT))
        return len(inside), len(words)

    @cached_property
    def _pieces(self) -> frozenset[int]:
        """The hashes of all pieces; see `pieces`."""
        joined = ([[word for text in texts for word in _words(text)]] for texts in self._examples)
        return self._own(joined, SHORT, most=FEW)

    @cached_property
    def _runs(self) -> frozenset[int]:
        """The hashes of all runs of `n_words` words that are an example's own."""
        apart = (map(_words, texts) for texts in self._examples)
        return self._own(apart, self._n_words, most=max(2.0, COMMON * len(self._examples)))

    def _own(
        self, examples: Iterable[Iterable[Sequence[str]]], n: int, *, most: float
    ) -> frozenset[int]:
        """Return the hashes of runs of `n` words that at most so many examples have.

        Args:
            examples: The words of each example's texts.
            n: Length of a run.
            most: Examples that may have a run that is their own.
        """
        counts: Counter[int] = Counter()
        for texts in examples:
            counts.update({run for words in texts for run in _hashes(words, n)})
        allowed = {run for text in self._allowed for run in _hashes(_words(text), n)}
        return frozenset(run for run, count in counts.items() if count <= most) - allowed


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return _WORD.findall(plain.casefold())


def _hashes(words: Sequence[str], n: int) -> list[int]:
    """Return a hash of each run of `n` words, in order; they hold within one process."""
    return [hash(run) for run in zip(*(words[i:] for i in range(n)), strict=False)]
