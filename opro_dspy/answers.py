"""Finding the proposed text in what an LM answered."""

import re
from itertools import pairwise

_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»"}


def without_reasoning(answer: str, opening: str) -> str:
    """Return what follows a reasoning block; one that does not lead must precede an `opening`."""
    parts = re.split(r"(?i)</think(?:ing)?>", answer)
    if re.match(r"(?i)\s*<think", answer):
        rest = parts[-1] if len(parts) > 1 else ""
        return rest if rest or not re.search(opening, answer) else answer
    return parts[-1] if re.search(opening, parts[-1]) or not re.search(opening, answer) else answer


def unquoted(text: str) -> str | None:
    """Return `text` without code fence, surrounding quotes and blanks; None if nothing is left."""
    text = text.strip()
    if len(text) > 5 and text[:3] == text[-3:] == "```" and "```" not in text[3:-3]:
        language, newline, rest = text[3:-3].partition("\n")
        text = (rest if newline and len(language.split()) < 2 else text[3:-3]).strip()
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        mark = f"[{text[0]}{text[-1]}]"
        if re.search(rf"(?<!\w){mark}|{mark}(?!\w)", text[1:-1]):  # two quotations, not one
            break
        text = text[1:-1].strip()
    return text or None


def between_tags(answer: str, tag: str) -> str | None:
    """Return the text of the last pair of tags that holds one, or what a missing tag leaves.

    Args:
        answer: What the LM wrote.
        tag: Regular expression of the tag's name. A missing start tag means from the beginning,
            a missing end tag to the end.
    """
    pattern = rf"(?ai)<\s{{0,3}}(/?)\s{{0,3}}(?:{tag})\s{{0,3}}>"
    pieces = re.split(pattern, without_reasoning(answer, pattern.replace("/?", "")))
    texts, slashes = pieces[::2], pieces[1::2]
    pairs = [
        text for text, ends in zip(texts[1:], pairwise(slashes), strict=False) if ends == ("", "/")
    ]
    opened = [text for text, slash in zip(texts[1:], slashes, strict=True) if not slash]
    found = map(unquoted, reversed(pairs or opened or texts[:1]))
    return next((text for text in found if text), None)


def in_brackets(answer: str) -> list[str]:
    """Return the contents of the outermost balanced square brackets."""
    starts: list[int] = []
    spans: list[tuple[int, int]] = []
    for bracket in re.finditer(r"[\[\]]", answer):
        if bracket[0] == "[":
            starts.append(bracket.end())
        elif starts:
            start = starts.pop()
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, bracket.start()))
    return [answer[start:end] for start, end in spans]
