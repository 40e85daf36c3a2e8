import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.answers import between_tags, in_brackets, unquoted, without_reasoning
from opro_dspy.meta_prompt import (
    META_PROMPTS,
    BracketedMetaPrompt,
    PretrainedMetaPrompt,
    TaggedMetaPrompt,
)
from tests.helpers import UNITS, any_text, properties

TAGGED, BRACKETED, PRETRAINED = TaggedMetaPrompt(), BracketedMetaPrompt(), PretrainedMetaPrompt()
tag_free = st.text(st.characters(exclude_characters="<>[]\"'`“‘«"))


@given(text=tag_free)
@properties
def test_a_wrapped_text_is_read_back(text: str) -> None:
    expected = text.strip() or None
    assert TAGGED.parse(f"<INS>{text}</INS>") == expected
    assert TAGGED.parse(f"Sure!\n<Start>{text}</Start>\nDone.") == expected
    assert BRACKETED.parse(f"[{text}]") == expected
    assert PRETRAINED.parse(f" 64 <TEXT>{text}</TEXT>\n\nPrecision: 65 <TEXT>x</TEXT>") == expected


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("<INS>Think.</INS>", "Think."),
        ("< ins >Think.</ Ins >", "Think."),
        ("<Start>Let's see:</Start>", "Let's see:"),
        ("Think.</INS> because", "Think."),
        ("Well: <INS>Think.", "Think."),
        ("<INS>Think.<INS>", "Think."),
        ("Think.", "Think."),
        ("I write it between <INS> and </INS>.\n<INS>Think.</INS>", "Think."),
        ("<INS> stands for the place. <INS>Think.</INS> Good?", "Think."),
        ("<INS>Think.</INS> <INS></INS>", "Think."),
        ('<INS>\n"Think."\n</INS>', "Think."),
        ("<INS>“Don't guess.”</INS>", "Don't guess."),
        ("<INS>'Don't guess.'</INS>", "Don't guess."),
        ('<INS>"Yes" or "no"</INS>', '"Yes" or "no"'),
        ("`Think.`", "Think."),
        ("```text\nThink.\nAnswer.\n```", "Think.\nAnswer."),
        ("```\n<INS>Think.</INS>\n```", "Think."),
        ("<think>maybe <INS>No.</INS></think><INS>Think.</INS>", "Think."),
        ("maybe <INS>No.</INS></think>\n<INS>Think.</INS>", "Think."),
        ("<think>hm</think>\nThink.", "Think."),
        ("<INS>Use <think></think> first.</INS>", "Use <think></think> first."),
        ("<INS>\u0130stanbul</INS>", "\u0130stanbul"),
        ("<INS></INS>", None),
        ("<INS> '' </INS>", None),
        ("<think>cut off while", None),
        (" \n", None),
        ("", None),
    ],
)
def test_the_tagged_family_forgives(answer: str, text: str | None) -> None:
    assert TAGGED.parse(answer) == text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("[Think twice.]", "Think twice."),
        ("Here: [Think twice.] It builds on [1].", "Think twice."),
        ("[First idea] is weaker than [second idea]", "second idea"),
        ("[Read [the table] twice.]", "Read [the table] twice."),
        ("[Think!]", "Think!"),
        ("[Think twice.", "Think twice."),
        ("Think twice.]", "Think twice."),
        ("Think twice.", "Think twice."),
        ("<INS>Think twice.</INS>", "Think twice."),
        ('["Think twice."]', "Think twice."),
        ("<think>[draft of it]</think> Think twice.", "Think twice."),
        ("]][[ ]Think twice.", None),
        ("[]", None),
        ("[", None),
        ("", None),
    ],
)
def test_the_bracketed_family_forgives(answer: str, text: str | None) -> None:
    assert BRACKETED.parse(answer) == text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (" 75 <TEXT>Think.</TEXT>\n\nPrecision: 80 <TEXT>Next.</TEXT>", "Think."),
        ("Think.</TEXT>", "Think."),
        ("<text>Think.", "Think."),
        ("Precision: 75.5 Think.</TEXT>", "Think."),
        (" 75% Think.", "Think."),
        ("<think><TEXT>No.</TEXT></think> 75 <TEXT>Think.</TEXT>", "Think."),
        ("<TEXT>3 steps are enough.</TEXT>", "3 steps are enough."),
        ("</TEXT>", None),
        (" 75 <TEXT></TEXT>", None),
        ("", None),
    ],
)
def test_the_pretrained_family_forgives(answer: str, text: str | None) -> None:
    assert PRETRAINED.parse(answer) == text


@pytest.mark.parametrize("family", META_PROMPTS)
@given(answer=any_text)
@properties
def test_any_answer_is_read_without_an_error(family: str, answer: str) -> None:
    text = META_PROMPTS[family].parse(answer)
    assert text is None or text.strip() == text != ""


@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_of_anything_is_read(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    for meta_prompt in META_PROMPTS.values():
        meta_prompt.parse(text)
        meta_prompt.parse("<think>" + text + "</TEXT>")


@pytest.mark.parametrize(
    ("answer", "contents"),
    [
        ("[a] and [b [c]]", ["a", "b [c]"]),
        ("[a [b]", ["b"]),
        ("a] [b]", ["b"]),
        ("none", []),
    ],
)
def test_the_outermost_balanced_brackets_are_found(answer: str, contents: list[str]) -> None:
    assert in_brackets(answer) == contents


def test_the_last_pair_of_tags_that_holds_a_text_counts() -> None:
    assert between_tags("<A>one</A> <A>two</A> <A> </A>", "A") == "two"


def test_a_tag_inside_the_reasoning_does_not_hide_the_answer() -> None:
    assert without_reasoning("<think><A></think>b", "<A>") == "b"
    assert without_reasoning("<A>Write </think> here.", "<A>") == "<A>Write </think> here."


def test_two_quotations_are_not_one() -> None:
    assert unquoted('"yes" or "no"') == '"yes" or "no"'
    assert unquoted('"`yes`"') == "yes"
