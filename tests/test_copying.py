"""A candidate that copies training examples is refused; one that shares their wording is not."""

import string
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy import Candidate, Evaluation, Filters, Optimizer
from opro_dspy.copying import Copies, _words
from opro_dspy.protocols import ProposalRequest
from opro_dspy.records import Exemplar, Proposal
from tests.helpers import any_text

STORY = "Ann has three red pens and buys four more of them at the shop on Monday"
spaced_text = st.text(st.characters(max_codepoint=0x2FFF))
words = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=6), min_size=1, max_size=30)


@given(example=words, n=st.integers(1, 9), before=words, after=words, data=st.data())
def test_every_run_of_n_words_of_an_example_is_found(
    example: list[str], n: int, before: list[str], after: list[str], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(example)))
    run = example[start : start + n]
    copied = Copies([[" ".join(example)]], n_words=n).copied(" ".join([*before, *run, *after]))
    if len(run) == n:
        assert copied is not None and len(copied.split()) >= n


@given(text=spaced_text, examples=st.lists(any_text, max_size=4), n=st.integers(2, 9))
def test_a_text_of_fewer_words_copies_nothing(text: str, examples: list[str], n: int) -> None:
    short = " ".join(_words(text)[: n - 1])
    assert Copies([[e] for e in examples], n_words=n).copied(short) is None


@given(example=any_text, text=any_text)
def test_what_is_reported_stands_in_text_and_example(example: str, text: str) -> None:
    copied = Copies([[example]], n_words=2).copied(text)
    if copied is not None:
        for place in (text, example):
            there = "".join(_words(place))
            assert "".join(copied.split()[:2]) in there


def test_case_space_and_punctuation_do_not_hide_a_copy() -> None:
    copies = Copies([[STORY]], n_words=8)
    assert copies.copied("E.g.: ANN, has -- three\nred pens; and “buys” four!") == (
        "ann has three red pens and buys four"
    )
    assert copies.copied("Ann has three red pens and buys") is None


@pytest.mark.parametrize(
    "hidden",
    [
        STORY.replace("red", "r\u200bed").replace("buys", "bu\u00adys"),
        STORY.replace(" ", "_"),
        "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalpha() else c for c in STORY),
    ],
)
def test_what_cannot_be_seen_or_looks_alike_does_not_hide_a_copy(hidden: str) -> None:
    copied = Copies([[STORY]], n_words=8).copied(f"Note: {hidden}.")
    assert copied == STORY.casefold()


CAPITALS = {
    "France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Peru": "Lima", "Oman": "Muscat",
    "Cuba": "Havana", "Fiji": "Suva", "Mali": "Bamako", "Togo": "Lome", "Iran": "Tehran",
}  # fmt: skip


def reason(text: str, examples: Sequence[Sequence[str]], **options: Any) -> str | None:
    return Filters(**options).guarding(examples, ["Answer the question."])(text)


def test_a_collection_of_short_examples_is_refused() -> None:
    sums = [(f"What is {i} plus 1?", str(i + 1)) for i in range(12)]
    table = "Answer from this table.\n" + "\n".join(f"Q: {q} A: {a}" for q, a in sums[:9])
    capitals = [(f"Capital of {country}?", city) for country, city in CAPITALS.items()]
    facts = "Use: " + "; ".join(" ".join(pair) for pair in capitals)
    assert reason(table, sums) == "copies training examples: 45 of its 76 words in pieces"
    assert reason(facts, capitals) == "copies training examples: 40 of its 41 words in pieces"
    assert reason(table, sums, max_copied_share=None) is None
    assert reason(table, sums, max_copied_words=None) is not None


def test_the_words_of_the_task_and_its_labels_are_no_pieces() -> None:
    labels = [f"request for {what} not yet settled" for what in ("refund", "card", "loan", "visa")]
    asks = "Which kind of message is this one"
    examples = [(f"{asks}: number {i}", labels[i % 4]) for i in range(40)]
    text = f"{asks}? Choose one of these: {'; '.join(labels)}."
    assert reason(text, examples) is None
    few = [(f"What is {i} plus 1?", str(i + 1)) for i in range(12)]
    assert reason("Say it. " + " ".join(few[3]), few) is None


def test_in_scripts_without_spaces_each_character_is_a_word() -> None:
    copies = Copies([["太郎は赤いペンを三本買いました。"], ["小红有三支红色的钢笔"]], n_words=8)
    assert (
        copies.copied("例えば「太郎は赤いペンを三本」なら三。") == "太 郎 は 赤 い ペ ン を 三 本"
    )
    assert copies.copied("太郎は赤いペン") is None
    assert copies.copied("小红有三支红色 的") is not None


def test_examples_that_stand_in_the_set_several_times_are_found_all_the_same() -> None:
    copies = Copies([[STORY]] * 3 + [["Count the pens."]] * 3, n_words=8)
    assert copies.copied(f"If you read: {STORY}, say 7.") is not None


def test_short_answers_and_the_wording_of_the_task_are_no_copies() -> None:
    asks = "Answer the question below with yes or no and nothing else"
    examples = [(f"{asks}: is {i} even?", "yes") for i in range(50)]
    copies = Copies(examples, n_words=8)
    assert copies.copied(asks + ", please") is None
    assert copies.copied("Say yes or no") is None


def test_what_the_run_began_with_may_be_repeated() -> None:
    assert Copies([[STORY]], [f"Example: {STORY}"], n_words=8).copied(STORY) is None


class Leaky:
    """Proposes a training example, and something honest."""

    def propose(self, requests: Sequence[ProposalRequest]) -> Sequence[Sequence[Proposal]]:
        texts = [f"If you read: {STORY}, say 7.", "Count the pens."]
        return [
            [Proposal(component=r.component, raw=t, text=t) for t in texts[: r.n]] for r in requests
        ]


FREE = Filters(max_copied_words=None, max_copied_share=None)


def test_a_copy_is_refused_and_counted_with_its_reason() -> None:
    exemplar = Exemplar(inputs={"question": STORY}, outputs={"answer": "7"})
    for filters, n_candidates in ((Filters(), 1), (FREE, 2)):
        optimizer = Optimizer(
            Leaky(), initial="Solve it.", num_candidates=2, exemplars=[exemplar], filters=filters
        )
        optimizer.tell([Evaluation(candidate=c, scores={0: 0.5}) for c in optimizer.ask()])
        candidates = optimizer.ask()
        assert len(candidates) == n_candidates
        assert candidates[-1] == Candidate({"instruction": "Count the pens."})
    optimizer = Optimizer(Leaky(), initial="Solve it.", num_candidates=1, exemplars=[exemplar])
    optimizer.tell([Evaluation(candidate=c, scores={0: 0.5}) for c in optimizer.ask()])
    optimizer.ask()
    assert optimizer.pending is not None
    (proposal,) = optimizer.pending.proposals
    assert proposal.rejected == "copies a training example: 16 words in a row"
