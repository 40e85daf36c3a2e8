"""Answer metrics of the usual benchmarks: numbers, multiple choice, yes or no, text.

Each is a metric for `OPRO` and `dspy.Evaluate`. It compares the field `answer` of example and
prediction; `functools.partial(exact_number, field="result")` compares another.
"""

import re
from decimal import Decimal
from typing import Any

import dspy

_NUMBER = re.compile(
    r"(?:(?<![\w)])-)?"  # a sign, not the minus of a difference
    r"(?:\d+(?:,\d{3}(?!\d))*(?:\.\d+)?|(?<![\w.])\.\d+)"
    r"(?:[eE][+-]?\d{1,3}(?!\w))?"
)
_CUE = re.compile(r"####|\banswer(?:\s+is\b\s*:?|\s*:)", re.IGNORECASE)
_YES_NO = re.compile(r"\b(yes|no|true|false)\b", re.IGNORECASE)
_CHOICE = re.compile(r"(?<!\w)\(([A-Za-z])\)")  # not the plural of "object(s)"
_BARE_CHOICE = re.compile(
    r"((?:[Tt]he\s+)?(?:[Oo]ption|[Cc]hoice)\s+)?\(?([A-Z])\b\)?(?:(\s)|[.:,]|$)"
)
_OPTION = re.compile(r"^\(([A-Z])\)\s*(.+?)\s*$", re.MULTILINE)
_NO_MARKDOWN = dict.fromkeys(map(ord, "*`_"))


def exact_number(
    example: dspy.Example, prediction: Any, trace: Any = None, *, field: str = "answer"
) -> bool:
    """Tell whether both answers are the same number: the one behind "answer is", else the last.

    Currency signs, units, thousands separators, trailing zeros and how a power of ten is written
    do not matter.
    """
    expected, found = number_in(_text(example, field)), number_in(_text(prediction, field))
    return found is not None and found == expected


def multiple_choice(
    example: dspy.Example, prediction: Any, trace: Any = None, *, field: str = "answer"
) -> bool:
    """Tell whether both answers are the same option, named by its letter or its text.

    Options are the lines `(A) …` of the example's inputs. The letter is the first one in brackets
    behind "answer is", else the last one in brackets, else a bare capital at the beginning.
    """
    options = _options(example)
    expected, found = _text(example, field), _text(prediction, field)
    choice = choice_in(expected, options)
    if choice is None:
        return _plain(found) == _plain(expected)
    return choice_in(found, options) == choice


def yes_no(
    example: dspy.Example, prediction: Any, trace: Any = None, *, field: str = "answer"
) -> bool:
    """Tell whether both answers say yes (or true), or both say no (or false).

    What counts is said behind "answer is", else at the beginning, else last.
    """
    expected, found = verdict_in(_text(example, field)), verdict_in(_text(prediction, field))
    return found is not None and found == expected


def exact_text(
    example: dspy.Example, prediction: Any, trace: Any = None, *, field: str = "answer"
) -> bool:
    """Tell whether both answers are the same, case, commas, quotes and outer stops apart."""
    return _plain(_text(prediction, field)) == _plain(_text(example, field))


def number_in(text: str) -> Decimal | None:
    """Return the number that `text` answers with; None if there is none."""
    text = text.replace("$", "").replace("\N{MINUS SIGN}", "-")
    said = [match for part in _after_cues(text) if (match := _NUMBER.search(part))]
    every = _NUMBER.findall(text)
    if not every:
        return None
    return Decimal((said[-1][0] if said else every[-1]).replace(",", ""))


def verdict_in(text: str) -> bool | None:
    """Return True for yes or true, False for no or false: behind "answer is", first, or last."""
    said = [match for part in _after_cues(text) if (match := _YES_NO.search(part))]
    first = _YES_NO.match(text.lstrip(" \t\n\"'*`([."))
    found = said[-1] if said else first
    if found is None:
        found = next(reversed(list(_YES_NO.finditer(text))), None)
    return None if found is None else found[1].lower() in ("yes", "true")


def choice_in(text: str, options: dict[str, str]) -> str | None:
    """Return the letter of the option that `text` answers with; None if that is not certain.

    Args:
        text: The answer.
        options: Letter to the option's text.
    """
    for part in [*reversed(_after_cues(text)), text]:
        exact = [letter for letter, option in options.items() if _plain(option) == _plain(part)]
        if len(exact) == 1:
            return exact[0]
    letter = _letter_in(text.translate(_NO_MARKDOWN), options)
    if letter is not None:
        return letter
    named = [letter for letter, option in options.items() if _plain(option) in _plain(text)]
    return named[0] if len(named) == 1 else None


def _letter_in(text: str, options: dict[str, str]) -> str | None:
    """Return the letter that stands in brackets or at the beginning, one of `options` if known."""
    cued = _after_cues(text)
    for part in [*reversed(cued), text]:
        letters: list[str] = [found.upper() for found in _CHOICE.findall(part)]
        letters = [letter for letter in letters if not options or letter in options]
        if letters:
            return letters[0 if part is not text else -1]
    for part in [*cued, text]:
        found = _BARE_CHOICE.match(part.strip())
        if found is None or (options and found[2] not in options):
            continue
        is_word = found[2] in "AI" and found[3] and not found[1]  # "A bird", "I think"
        if not is_word and (options or cued or found[1] or len(text.split()) == 1):
            return str(found[2])
    return None


def _after_cues(text: str) -> list[str]:
    return [text[cue.end() :] for cue in _CUE.finditer(text)]


def _options(example: dspy.Example) -> dict[str, str]:
    texts = [value for value in example.inputs().values() if isinstance(value, str)]
    return {letter: option for text in texts for letter, option in _OPTION.findall(text)}


def _text(record: Any, field: str) -> str:
    return str(getattr(record, field))


def _plain(text: str) -> str:
    words = text.casefold().replace(",", " ").replace('"', " ").split()
    return " ".join(words).strip(" .'`*")
