"""How the simulated optimizer LM reads any optimizer's prompt: texts, scores, questions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from opro_dspy.simulation.prompts import Prompt
from opro_dspy.simulation.wording import squeeze

MAX_TEXT = 2000
"""Characters beyond which a text is not taken for an instruction."""

_SCORE = re.compile(
    r"\b(?:score|precision|accuracy|rating)\b(?:\s*#\d+)?\s*(?::|=|\bof\b|\bis\b)\s*"
    r"(-?\d+(?:\.\d+)?)(?!\d|\s*(?:to|and)\s+\d)\s*(?:%|/\s*100\b)?",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^[ \t]*(?:\[\d+\] «)?(?:text|instructions?|prompt|candidate)\b[^\n:.]{0,16}:[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_OPENS = re.compile(r"\s*(?:\([^)\n]*\))?\s*<(\w+)>")
_TAGGED_END = re.compile(r"<(\w+)>((?:(?!</?\1>).)*)</\1>\s*\Z", re.DOTALL)
_PREFIX_LINE = re.compile(r"\n\s*(?:\[\d+\] «)?prefix\b[^\n:]{0,8}:.*", re.IGNORECASE | re.DOTALL)
_LIST_END = re.compile(
    r"\s*\n\s*\[\d+\] «?\w*\s*\Z|\s+(?:resulting|average|mean)\s*\Z", re.IGNORECASE
)
_FRAME = re.compile(r"##|```|\bscores?\b|\bprecision\b|<\w+>", re.IGNORECASE)
_REMARK = re.compile(r"\A\s*\([^)\n]*\)")
_BLOCK = re.compile(r"```\w*\n(.*?)\n?```", re.DOTALL)
_INSTRUCTION_FIELD = re.compile(r"instruct|prompt|attempt|candidate")
_EXAMPLE_FIELD = re.compile(r"example|demo|feedback|input|output|trajector|data|code")
_EXAMPLES = re.compile(r"^# Example \d+\n## (?:.*^```[ \t]*$|.*)", re.MULTILINE | re.DOTALL)
_JSON_START = re.compile(r"^[ \t]*(?=\{|\[\s*[{\"'])", re.MULTILINE)
_DICT_LINE = re.compile(r"[^\n]*[\"']\s*:[^\n]*")
_QUESTION_LINE = re.compile(r"\?|\d\D+\d|\bTrue\b|\bFalse\b")


@dataclass(frozen=True, slots=True)
class Scored:
    """An instruction that the simulated optimizer LM found in its prompt."""

    text: str
    """The instruction; may be empty."""
    score: float | None
    """The number near it, in whatever unit; None if there is none."""


def scored_texts(prompt: str) -> list[Scored]:
    """Return the instructions with numbers in `prompt`, in order, as the simulated LM sees them.

    The text of a number stands before it (after a label, in a tag, or as the last paragraph) or,
    tagged or labelled, behind it.
    """
    mentions = [m for m in _SCORE.finditer(prompt) if not _is_quoted(prompt, m.start())]
    cuts = [0, *(m.end() for m in mentions)]
    ends = [*(m.start() for m in mentions[1:]), len(prompt)]
    gaps = [
        (prompt[cut : m.start()], prompt[m.end() : end])
        for cut, m, end in zip(cuts, mentions, ends, strict=False)
    ]
    behind = bool(gaps) and _stands_behind(*gaps[0])
    found: list[tuple[bool, Scored]] = []
    for mention, (before, after) in zip(mentions, gaps, strict=True):
        marked, unit = _unit_behind(after) if behind else _unit_before(before)
        text = _accepted(unit)
        if text or (text is not None and marked):
            found.append((marked, Scored(text, float(mention.group(1)))))
    # Where some texts are labelled or tagged, a bare paragraph before a number is none of them.
    any_marked = any(marked for marked, _ in found)
    return [item for marked, item in found if marked or not any_marked]


def _is_quoted(prompt: str, position: int) -> bool:
    return prompt.startswith(">", prompt.rfind("\n", 0, position) + 1)


def _stands_behind(before: str, after: str) -> bool:
    """Return whether the text of the first number stands behind it."""
    if _TAGGED_END.search(before):
        return False
    if _OPENS.match(after):
        return True
    return not _LABEL.search(before) and bool(_LABEL.match(_REMARK.sub("", after).lstrip()))


def _unit_behind(after: str) -> tuple[bool, str]:
    """Return whether a mark introduces the text behind a number, and that text."""
    opens = _OPENS.match(after)
    if opens:
        inside, closed, _ = after[opens.end() :].partition(f"</{opens.group(1)}>")
        return bool(closed), inside if closed else ""
    rest = _REMARK.sub("", after).lstrip()
    label = _LABEL.match(rest)
    return bool(label), rest[label.end() :].partition("\n\n")[0] if label else ""


def _unit_before(text: str) -> tuple[bool, str]:
    """Return whether a mark introduces the text before a number, and that text."""
    tagged = _TAGGED_END.search(text)
    if tagged:
        return True, tagged.group(2)
    labels = list(_LABEL.finditer(text))
    if labels:
        unit = text[labels[-1].end() :]
    else:
        unit = _REMARK.sub("", text).rstrip().rpartition("\n\n")[2]
    return bool(labels), _LIST_END.sub("", _PREFIX_LINE.sub("", unit))


def _accepted(unit: str) -> str | None:
    text = squeeze(unit).strip("«»| \"'`")
    return None if len(text) > MAX_TEXT or _FRAME.search(text) else text


def shown_instructions(prompt: Prompt) -> list[Scored]:
    """Return the instructions that any optimizer's prompt shows to the simulated LM.

    In DSPy's form they stand in the fields named for them, elsewhere near numbers or in a fence;
    JSON data and sections of examples hold none.

    Args:
        prompt: What the simulated LM is asked.

    Returns:
        Those with scores if there are any, else those to improve, in the order shown.
    """
    # Markers of fields further on in a plain prompt belong to an example.
    inputs = prompt.inputs if prompt.outputs or prompt.user.lstrip().startswith("[[ ## ") else ()
    named = [(name, value) for name, value in inputs if _INSTRUCTION_FIELD.search(name)]
    single = [value for name, value in named if name.endswith("instruction")]
    fields = named or [pair for pair in inputs if not _EXAMPLE_FIELD.search(pair[0])]
    lists = [value for name, value in fields if not name.endswith("instruction")]
    text = without_examples("\n\n".join(lists) if inputs else prompt.user)
    found = scored_texts(text)
    if found or single:
        return found or [Scored(squeeze(value), None) for value in single if value.strip()]
    return [Scored(squeeze(unit), None) for unit in _BLOCK.findall(text)[:1] if unit.strip()]


def without_examples(text: str) -> str:
    """Return `text` without JSON data and GEPA's sections of examples, for the simulated LM."""
    text = _EXAMPLES.sub("", text)
    kept, position = [], 0
    for start in _JSON_START.finditer(text):
        if start.end() >= position:
            kept.append(text[position : start.end()])
            position = _json_end(text, start.end())
    return "".join(kept) + text[position:]


def _json_end(text: str, start: int) -> int:
    """Return where the data at `start` ends: JSON, or a line of a dict; `start` if it is none."""
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        line = _DICT_LINE.match(text, start)
        return line.end() if line else start
    return end


def question_words(prompt: str) -> str:
    """Return the lower-case lines of `prompt` that look like questions to the simulated LM."""
    lines = [line for line in prompt.splitlines() if _QUESTION_LINE.search(line)]
    return "\n".join(lines[-60:]).lower()
