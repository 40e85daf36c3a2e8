from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.fitting import estimate_tokens, fit
from opro_dspy.meta_prompt import TaggedMetaPrompt
from opro_dspy.protocols import MetaPromptContext
from opro_dspy.records import ShownEntry
from tests.helpers import GSM8K, properties

TAGGED = TaggedMetaPrompt()


class CountingMetaPrompt(TaggedMetaPrompt):
    renders = 0

    def render(self, context: MetaPromptContext) -> str:
        type(self).renders += 1
        return super().render(context)


LONG = replace(
    GSM8K,
    entries=tuple(ShownEntry(text=f"Instruction {k}.", score=str(k)) for k in range(20)),
    exemplars=GSM8K.exemplars * 3,
)


def test_without_a_limit_everything_is_shown() -> None:
    fitted = fit(TAGGED, LONG, max_tokens=None)
    assert fitted.text == TAGGED.render(LONG)
    assert (fitted.n_entries, fitted.omitted_entries, fitted.omitted_exemplars) == (20, 0, 0)


@given(max_tokens=st.integers(1, 1000))
@properties
def test_a_fitted_meta_prompt_keeps_as_much_as_the_budget_allows(max_tokens: int) -> None:
    fitted = fit(TAGGED, LONG, max_tokens=max_tokens)
    n, m = fitted.n_entries, 6 - fitted.omitted_exemplars
    least = estimate_tokens(TAGGED.render(replace(LONG, entries=LONG.entries[-1:], exemplars=())))
    assert n + fitted.omitted_entries == 20
    assert fitted.text == TAGGED.render(
        replace(LONG, entries=LONG.entries[20 - n :], exemplars=LONG.exemplars[:m])
    )
    assert estimate_tokens(fitted.text) <= max(max_tokens, least)
    if n < 20 and m == 6:
        larger = replace(LONG, entries=LONG.entries[19 - n :])
        assert estimate_tokens(TAGGED.render(larger)) > max_tokens
    if m < 6:
        assert n == 1
        larger = replace(LONG, entries=LONG.entries[-1:], exemplars=LONG.exemplars[: m + 1])
        assert estimate_tokens(TAGGED.render(larger)) > max_tokens


def test_the_best_entry_the_task_and_the_question_stay_whatever_the_budget() -> None:
    fitted = fit(TAGGED, LONG, max_tokens=1)
    assert (fitted.n_entries, fitted.omitted_entries, fitted.omitted_exemplars) == (1, 19, 6)
    assert "Instruction 19.\nscore:\n19" in fitted.text
    assert "grade school" in fitted.text
    assert fitted.text.endswith("</INS>.")


def test_fitting_takes_few_renders() -> None:
    CountingMetaPrompt.renders = 0
    fit(CountingMetaPrompt(), LONG, max_tokens=10_000)
    assert CountingMetaPrompt.renders == 1
    fit(CountingMetaPrompt(), LONG, max_tokens=300)
    assert CountingMetaPrompt.renders <= 1 + 12


def test_fitting_without_entries_and_exemplars_shows_the_question() -> None:
    fitted = fit(TAGGED, replace(GSM8K, entries=(), exemplars=()), max_tokens=1)
    assert fitted.n_entries == fitted.omitted_entries == fitted.omitted_exemplars == 0


def test_a_token_counter_of_ones_own_is_used() -> None:
    fitted = fit(TAGGED, LONG, max_tokens=100, count_tokens=lambda text: text.count("score:") * 20)
    assert fitted.n_entries == 5
    assert fitted.n_tokens == 100


def test_the_size_of_what_does_not_fit_is_known() -> None:
    fitted = fit(TAGGED, LONG, max_tokens=1)
    assert fitted.n_tokens == estimate_tokens(fitted.text) > 1


@pytest.mark.parametrize(("text", "n"), [("", 0), ("abc", 1), ("abcd", 2), ("é", 1), ("\ud800", 1)])
def test_tokens_are_estimated_from_bytes(text: str, n: int) -> None:
    assert estimate_tokens(text) == n
