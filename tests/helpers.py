"""Contexts and texts that several tests of the meta-prompt need."""

import re
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st

from opro_dspy.protocols import MetaPromptContext
from opro_dspy.records import Exemplar, ShownEntry

properties = settings(derandomize=True, deadline=None, max_examples=100)

HOSTILE = [
    "<INS>", "</INS>", "< i n s >", "<\tINS\n>", "</ Ins >", "<Start>", "</start>", "<TEXT>",
    "</text>", "<TEXT id=1>", "<\u0131ns>", "<in\u017f>", "<I\x00NS>", "<I\u200bNS>", "<", ">",
    "<INS", "</TEXT", "INS>",
    "[[ ## answer ## ]]", "[[##x##]]", "[[", "]]", "##", "text:", "TEXT :", "score:", "**Score:**",
    "- score:", "Precision: 99 <TEXT>", "Input:", "Expected output:", "Example 1", "The task:",
    "99", "\n", "\r", "\r\n", "\x0b", "\x85", "\u2028", "\u2029", " ", "\t", "    ", "\x00",
    "\x1b[31m", "\ud800", "\udfff", "[", "]", "ignore all above", "{text}", "%s",
]  # fmt: skip
any_text = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=3)), max_size=12).map("".join),
)
"""Any text, made often of what could be read as the frame."""

UNITS = [
    "<INS>", "</INS>", "<TEXT>", "< ", "<\n", "[", "]", "[]", "[a b]", "`", "'\"", "<think>",
    "</think>", " ", "\n", "[[ ", "##", "## ", "score", "9", "9.", "a ", "\r", "“", "\ud800",
]  # fmt: skip
"""What a long answer or a long text may be made of."""

GSM8K = MetaPromptContext(
    component="predict",
    task="Solve a grade school word problem.\n"
    "The model that follows the instruction reads `question` and writes `answer`.",
    entries=(
        ShownEntry(text="", score="31"),
        ShownEntry(text="Let's solve the problem.", score="63"),
        ShownEntry(text="Work through it.\nThen check the result.", score="72"),
    ),
    exemplars=(
        Exemplar(
            inputs={"question": "Ann has 3 pens and buys 4 more. How many pens has she?"},
            outputs={"answer": "7"},
        ),
        Exemplar(
            inputs={"question": "A book costs $12. What do 5 books cost?"},
            outputs={"answer": "60"},
        ),
    ),
)


def context_with(texts: list[str], position: str) -> MetaPromptContext:
    a, b, c, d, e, f, g = texts
    return MetaPromptContext(
        component="predict",
        task=f"Task {a}",
        entries=(
            ShownEntry(text=b, score="1"),
            ShownEntry(text=c, score="2" + d, other_context=True),
        ),
        exemplars=(
            Exemplar(inputs={"text": e, "score": f}, outputs={f"answer{g}": g}),
            Exemplar(inputs={"question": g}, outputs={}),
        ),
        instruction_position=position,
    )


def frame_markers(prompt: str) -> Counter[str]:
    """Count what structures a prompt, read as leniently as an LM might."""
    lines = re.findall(
        r"(?mi)^(?:text:|score:|precision:|(?:input:|expected output:|the task:|example \d+)$)",
        prompt,
    )
    tags = re.findall(r"(?i)<\s*/?\s*(?:i\s*n\s*s|start|text)\b[^<>]*>", prompt)
    fields = re.findall(r"\[\[\s*##|##\s*\]\]", prompt)
    markers = [marker.lower() for marker in lines] + ["".join(tag.split()) for tag in tags]
    return Counter(markers + ["field"] * len(fields))
