"""Answer metrics read what LMs write: the answer counts, not how it is dressed."""

from decimal import Decimal
from functools import partial
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.metrics import (
    choice_in,
    exact_number,
    exact_text,
    multiple_choice,
    number_in,
    verdict_in,
    yes_no,
)

OPTIONS = "Which one?\nOptions:\n(A) The Front Page\n(B) Maelstrom\n(C) Monsters, Inc"


def example(answer: str, question: str = OPTIONS) -> dspy.Example:
    return dspy.Example(question=question, answer=answer).with_inputs("question")


def says(answer: Any) -> dspy.Prediction:
    return dspy.Prediction(answer=answer)


@pytest.mark.parametrize(
    "text",
    [
        "18",
        "18.",
        "$18",
        "18.00",
        "The answer is 18.",
        "16 - 3 - 4 = 9, and 9 * 2 = 18",
        "#### 18",
        "The answer is $18 for each of 7 days",
        "**Answer: 18 dollars** (after 2 steps)",
        18,
        18.0,
    ],
)
def test_a_number_is_read_from_what_stands_around_it(text: Any) -> None:
    assert exact_number(example("18"), says(text))


@pytest.mark.parametrize("text", ["", "eighteen", "1.8", "180", "-18", "18 or 19", "The answer: 8"])
def test_another_number_or_none_is_wrong(text: str) -> None:
    assert not exact_number(example("18"), says(text))


@given(st.integers(-(10**9), 10**9))
def test_any_number_is_found_with_its_separators_and_sign(number: int) -> None:
    for text in (f"{number}", f"{number:,}", f"so it is {number:,} apples.", f"#### {number}"):
        assert number_in(text) == Decimal(number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (".5", "0.5"),
        ("-.5", "-0.5"),
        ("1e3", "1000"),
        ("so 2.5E-2 in all", "0.025"),
        ("\N{MINUS SIGN}5", "-5"),
        ("20\N{MINUS SIGN}4", "4"),
        ("section 1.2.3", "3"),
        ("5 eggs", "5"),
        ("5e", "5"),
    ],
)
def test_numbers_are_read_as_they_are_written(text: str, number: str) -> None:
    assert number_in(text) == Decimal(number)


def test_a_difference_is_no_negative_number() -> None:
    assert number_in("20-4") == 4
    assert number_in("it fell by -4") == -4


@pytest.mark.parametrize(
    "text",
    [
        "(B)",
        "B",
        "B)",
        "B.",
        "(B) Maelstrom",
        "The answer is (B).",
        "(A) is too old, so the answer is (B), not (C)",
        "not (A) but (B)",
        "Answer: B",
        "The answer is: B",
        "**B**",
        "**Answer:** B, as the others are older",
        "Option B",
        "The answer is the object(s) in (B)",
        "B is the only one",
        "maelstrom",
        "It must be Maelstrom.",
    ],
)
def test_an_option_is_named_by_its_letter_or_its_text(text: str) -> None:
    assert multiple_choice(example("(B)"), says(text))


@pytest.mark.parametrize(
    "text", ["(A)", "A", "The Front Page", "", "one of them", "I think so", "A guess", "(Z)", "Z"]
)
def test_another_option_or_none_is_wrong_choice(text: str) -> None:
    assert not multiple_choice(example("(B)"), says(text))


def test_a_label_that_is_an_options_text_is_that_option() -> None:
    assert multiple_choice(example("Monsters, Inc"), says("(C)"))
    assert not multiple_choice(example("Monsters, Inc"), says("(A)"))
    assert multiple_choice(example("Toy Story", "No options."), says("toy story."))


def test_an_options_exact_text_is_that_option_whatever_it_begins_with() -> None:
    options = {"A": "Up", "B": "A Few Good Men", "C": "A bird", "I": "none"}
    assert choice_in("A Few Good Men", options) == "B"
    assert choice_in("The answer is **a few good men**.", options) == "B"
    assert choice_in("A bird", options) == "C"
    assert choice_in("A bird, not a plane", options) == "C"
    assert choice_in("I see none of these", options) == "I"
    assert choice_in("A plane", options) is None
    assert choice_in("A) Up", options) == choice_in("A: it rises", options) == "A"


def test_without_options_a_letter_must_stand_alone_or_be_named() -> None:
    assert choice_in("B", {}) == choice_in("Answer: B", {}) == choice_in("Option B", {}) == "B"
    assert choice_in("Bees, A to Z", {}) is None
    assert choice_in("It is the object(s)", {}) is None


def test_a_text_that_names_two_options_names_none() -> None:
    options = {"A": "tea", "B": "coffee"}
    assert choice_in("tea and coffee", options) is None
    assert choice_in("some tea", options) == "A"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Yes", True),
        ("yes, there is no other way", True),
        ("**No**", False),
        ("There is no doubt. The answer is yes.", True),
        ("It comes back, so yes", True),
        ("not (True) and True: False", False),
        (True, True),
        ("perhaps", None),
        ("know", None),
    ],
)
def test_yes_and_no_are_read(text: Any, verdict: bool | None) -> None:
    assert verdict_in(str(text)) is verdict
    assert yes_no(example("Yes"), says(text)) == (verdict is True)
    assert yes_no(example("False"), says(text)) == (verdict is False)


def test_words_are_compared_without_case_commas_and_quotes() -> None:
    gold = example("abbe adposition arragon")
    assert exact_text(gold, says('"Abbe, adposition,  arragon."'))
    assert not exact_text(gold, says("adposition abbe arragon"))
    assert exact_text(example("] ) >"), says("] ) >"))


def test_another_field_is_compared() -> None:
    gold = dspy.Example(question="?", total="7").with_inputs("question")
    assert partial(exact_number, field="total")(gold, dspy.Prediction(total=7))
