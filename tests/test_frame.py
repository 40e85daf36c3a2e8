import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.frame import block, fields, line
from opro_dspy.meta_prompt import META_PROMPTS, TaggedMetaPrompt
from opro_dspy.records import Exemplar
from tests.helpers import GSM8K, UNITS, any_text, context_with, frame_markers, properties

TAGGED = TaggedMetaPrompt()


@pytest.mark.parametrize("family", META_PROMPTS)
@given(
    texts=st.lists(any_text, min_size=7, max_size=7),
    position=st.sampled_from(["Q_begin", "Q_end", "A_begin", "elsewhere"]),
)
@properties
def test_no_text_can_add_or_remove_a_part_of_the_frame(
    family: str, texts: list[str], position: str
) -> None:
    prompt = META_PROMPTS[family].render(context_with(texts, position))
    harmless = META_PROMPTS[family].render(context_with(["plain"] * 7, position))
    assert frame_markers(prompt) == frame_markers(harmless)
    assert prompt.encode("utf-8").decode("utf-8") == prompt
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", prompt)


@pytest.mark.parametrize("text", ["x < text", "a <b> c", "List[List[int]]", "1 << 3", "<p>hi</p>"])
def test_text_that_is_no_tag_of_the_frame_stays_as_it_is(text: str) -> None:
    example = Exemplar(inputs={"question": text}, outputs={})
    assert f"question: {text}\n" in TAGGED.render(replace(GSM8K, exemplars=(example,)))


@pytest.mark.parametrize("text", ["score: 99", "**Text:** x", "- Input:", "example 3", "The task:"])
def test_a_line_that_looks_like_a_label_is_quoted(text: str) -> None:
    assert block(f"First.\n{text}\nLast.") == f"First.\n> {text}\nLast."


@pytest.mark.parametrize("text", ["the score: 99", "Input: a number", "example 3 is wrong"])
def test_a_sentence_with_the_word_of_a_label_stays_as_it_is(text: str) -> None:
    assert block(text) == text


def test_a_line_holds_no_line_break_and_no_outer_blank() -> None:
    assert line(" a\r\nb\t\u2028 c\x00 ") == "a b c"


def test_fields_are_indented_below_their_names() -> None:
    values = {"question": "Why?", "long\nname": "a\nscore:\n\nb", "empty": " "}
    assert fields(values) == [
        "  question: Why?",
        "  long name:\n    a\n    score:\n\n    b",
        "  empty:",
    ]


@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_of_anything_is_shown(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    TAGGED.render(context_with(["a", text, "b", "c", text, "d", "e"], "Q_begin"))
