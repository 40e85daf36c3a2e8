"""From what the optimizer LM wrote to a candidate text: polishing, and reasons to reject."""

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from math import floor, log10

from pydantic import Field

from opro_dspy.copying import LEAST, Copies
from opro_dspy.options import Options

ALREADY_SCORED = "already scored"

_FIELD_MARKER = re.compile(r"\[\[\s*##.{0,200}?##\s*\]\]", re.DOTALL)
_PLACEHOLDER = re.compile(r"<\s*/?\s*(?:INS|Start|TEXT)\s*>", re.IGNORECASE)


class Filters(Options):
    """Which proposals are refused without scoring them.

    Source:
        OPRO's reference code: over 500 characters, contains the placeholder, contains digits
        (for GSM8K). The field marker is DSPy's successor of the placeholder.
    """

    max_chars: int = Field(default=500, ge=1)
    """Longest candidate text, in characters."""
    allow_digits: bool = True
    """Whether a candidate may contain digits; the paper forbids them for GSM8K."""

    max_copied_words: int | None = Field(default=7, ge=1)
    """Words in a row that a candidate may have from a training example; None allows any, within
    `max_copied_share`.

    In Chinese and Japanese each character counts as a word.
    """
    max_copied_share: float | None = Field(default=0.5, ge=0.0, le=1.0)
    """Share of a candidate's words that may stand in pieces of training examples: four words or
    more in a row, question and answer read as one, that at most two examples have. Fewer than
    twelve such words are always allowed; None allows any. Not for Chinese and Japanese.
    """

    def guarding(
        self, examples: Sequence[Iterable[str]], allowed: Iterable[str]
    ) -> Callable[[str], str | None]:
        """Return `reason_to_reject` for a run, which refuses copies of training examples too.

        Args:
            examples: The texts of each example.
            allowed: Texts that may be repeated.
        """
        most, share = self.max_copied_words, self.max_copied_share
        copies = Copies(examples, allowed, n_words=1 if most is None else most + 1)

        def reason(text: str) -> str | None:
            found = self.reason_to_reject(text)
            copied = None if found or most is None else copies.copied(text)
            if copied is not None:
                return f"copies a training example: {len(copied.split())} words in a row"
            if found is None and share is not None:
                n_copied, n = copies.pieces(text)
                if n_copied >= max(LEAST, share * n):
                    found = f"copies training examples: {n_copied} of its {n} words in pieces"
            return found

        return reason

    def reason_to_reject(self, text: str) -> str | None:
        """Return why `text` (already polished) is no candidate, or None when it is one."""
        if not text:
            return "empty"
        if len(text) > self.max_chars:
            return f"too long: {len(text)} characters, at most {self.max_chars}"
        if _PLACEHOLDER.search(text):
            return "contains a placeholder tag"
        if _FIELD_MARKER.search(text):
            return "contains a field marker"
        if not self.allow_digits and any(ch.isdigit() for ch in text):
            return "contains digits"
        return None


def polish(text: str) -> str:
    """Return `text` stripped, without `**`, its first letter capital, as a signature stores it.

    Idempotent. A signature's docstring is dedented (`inspect.cleandoc`), so the text is too:
    what is scored, compared and shown is what the program will hold.

    Source:
        OPRO's reference code polishes before it compares.
    """
    text = inspect.cleandoc(printable(text).replace("**", "").strip()).strip()
    while "**" in text:
        text = text.replace("**", "").strip()
    return text[:1].upper() + text[1:]


_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, and those that hide or turn other text around."""


def printable(text: str) -> str:
    """Return `text` with each lone surrogate replaced, so that it can be sent and written.

    Surrogates that stand in pairs become the character that they mean. Idempotent.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def sentence(text: str) -> str:
    """Return `text`, printable, with one full stop at its end, or the ellipsis that it has."""
    text = printable(text).rstrip()
    return text if text.endswith("…") else text.rstrip(".") + "."


def clipped(text: str, n: int) -> str:
    """Return the first `n` characters at most, the last one an ellipsis if more was there."""
    return text if len(text) <= n else text[: n - 1] + "…"


def counted(n: int, noun: str) -> str:
    """Return a number and what it counts, e.g. `1 step` and `2 steps`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def dollars(value: float) -> str:
    """Return a sum of USD with four decimals; where it is small, with its two first digits."""
    places = 4 if value == 0 or value >= 1e-3 else 1 - floor(log10(value))
    return f"${value:,.{places}f}"


def shown(text: str) -> str:
    r"""Return `text` with what cannot be seen spelt out, e.g. an escape as `\x1b`."""
    text = printable(text).replace("\r\n", "\n")
    return _UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
