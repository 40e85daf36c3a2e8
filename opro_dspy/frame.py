"""Keeping foreign text from passing for a part of the meta-prompt's frame."""

import re
import textwrap
from collections.abc import Mapping

_LABEL = re.compile(
    r"\W*(?:(?:text|score|precision)\W{0,3}[:：]"
    r"|(?:input|expected output|feedback on an output so far|the task|example \d+)\W*$)",
    re.IGNORECASE,
)


def _clean(text: str) -> str:
    """Return `text` without what could pass for a tag of the frame, or what no LM can read."""
    text = re.sub("\r\n?|[\u2028\u2029]", "\n", text)
    text = re.sub("[\ud800-\udfff]", "\ufffd", re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text))
    text = re.sub(r"(##\s*)\]\]", r"\1⟧", re.sub(r"\[\[(?=\s*##)", "⟦", text))
    return re.sub(r"<([^<>]*)(>?)", _soften, text).strip()


def _soften(tag: re.Match[str]) -> str:
    content, end = tag.groups()
    words = re.findall(r"\w+", content)
    names = ["".join(words), *words[:1]] if end or not content[:1].isspace() else []
    ours = any(re.fullmatch("ins|start|text", name, re.IGNORECASE) for name in names)
    return f"‹{content}{'›' if end else ''}" if ours else tag[0]


def block(text: str) -> str:
    """Return `text` cleaned, with `> ` before each line that looks like a line of the frame."""
    return "\n".join("> " * bool(_LABEL.match(x)) + x for x in _clean(text).split("\n"))


def line(text: str) -> str:
    """Return `text` cleaned, on one line."""
    return " ".join(_clean(text).split())


def fields(values: Mapping[str, str]) -> list[str]:
    """Return the fields of an example, every line indented, so that no text can leave it."""
    lines = []
    for name, value in values.items():
        text = _clean(value)
        text = "\n" + textwrap.indent(text, "    ") if "\n" in text else " " + text
        lines.append(f"  {line(name)}:{text}".rstrip())
    return lines


def sorting(order: str, low: str, high: str) -> str:
    """Return in words how entries are sorted: by `order` of `View`, between `low` and `high`."""
    orders = {"descending": f"from the {high} to the {low}", "random": "in no particular order"}
    return orders.get(order, f"from the {low} to the {high}")
