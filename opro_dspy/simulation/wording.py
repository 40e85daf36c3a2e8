"""Finding and wording ideas in instructions, for both simulated LMs. Pure text functions."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from opro_dspy.simulation.ideas import IDEAS, MODIFIERS, OPENINGS, Idea

_SENTENCE_END = re.compile(r"[.!?;:](?=\s|$)|, and (?=\w)|\n+")
_SPACES = re.compile(r"\s+")
_MERELY_IMPERATIVE = re.compile(r"^(?:this is|a lot|many thanks|thank you|we thank)")


def squeeze(text: str) -> str:
    """Return `text` with every run of whitespace made one space, and stripped (simulated)."""
    return _SPACES.sub(" ", text).strip()


def sentences(text: str) -> list[str]:
    """Return the sentences and joined clauses of `text`, bare, for the simulated LMs."""
    parts = (squeeze(part).strip(" \"'*-«»") for part in _SENTENCE_END.split(text))
    return [part for part in parts if part]


def ideas_in(text: str) -> list[Idea]:
    """Return the ideas that a simulated LM recognises in `text`, in vocabulary order."""
    lowered = squeeze(text.lower())
    return [idea for idea in IDEAS if idea.pattern.search(lowered)]


def ideas_by_sentence(text: str) -> list[tuple[str, list[Idea]]]:
    """Return each sentence of an instruction with the ideas the simulated LMs see in it."""
    return [(sentence, ideas_in(sentence)) for sentence in sentences(text)]


def hinted(idea: Idea, question: str) -> bool:
    """Return whether the lower-case `question` holds a word that suggests `idea` (simulated)."""
    return any(hint in question for hint in idea.hints)


def word(idea: Idea, rng: random.Random) -> str:
    """Return one simulated way to say `idea`: a phrasing in a frame, without a period."""
    phrasing = rng.choice(idea.phrasings)
    if _MERELY_IMPERATIVE.match(phrasing) or rng.random() < 0.4:
        return phrasing
    return rng.choice(MODIFIERS).format(phrasing)


def capitalised(text: str) -> str:
    """Return `text` with its first letter in upper case (simulated writing)."""
    return text[:1].upper() + text[1:]


def compose(parts: Sequence[str], rng: random.Random, *, opening: float = 0.3) -> str:
    """Return one simulated instruction made of `parts`.

    Args:
        parts: Clauses without final period, in the order to say them.
        rng: Decides how the clauses are joined.
        opening: Chance in [0, 1] of an idea-free first sentence.

    Returns:
        Text with one or more sentences; an opening alone if there are no parts.
    """
    said = list(parts)
    if not said or rng.random() < opening:
        said.insert(0, rng.choice(OPENINGS))
    text = capitalised(said[0])
    for part in said[1:]:
        if rng.random() < 0.2 and len(text) < 120:
            text += ", and " + part[:1].lower() + part[1:]
        else:
            text += ". " + capitalised(part)
    return text + "."
