"""A candidate that copies training examples is refused; one that shares their wording is not."""

import re
import string
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from opro_dspy import Candidate, Evaluation, Filters, Optimizer
from opro_dspy.copying import Copies
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
    short = " ".join(re.findall(r"\w+", text)[: n - 1])
    assert Copies([[e] for e in examples], n_words=n).copied(short) is None


@given(example=any_text, text=any_text)
def test_what_is_reported_stands_in_text_and_example(example: str, text: str) -> None:
    copied = Copies([[example]], n_words=2).copied(text)
    if copied is not None:
        for place in (text, example):
            there = "".join(re.findall(r"\w+", place.casefold()))
            assert "".join(copied.split()[:2]) in there


def test_case_space_and_punctuation_do_not_hide_a_copy() -> None:
    copies = Copies([[STORY]], n_words=8)
    assert copies.copied("E.g.: ANN, has -- three\nred pens; and “buys” four!") == (
        "ann has three red pens and buys four"
    )
    assert copies.copied("Ann has three red pens and buys") is None


def test_in_scripts_without_spaces_each_character_is_a_word() -> None:
    copies = Copies([["太郎は赤いペンを三本買いました。"], ["小红有三支红色的钢笔"]], n_words=8)
    assert (
        copies.copied("例えば「太郎は赤いペンを三本」なら三。") == "太 郎 は 赤 い ペ ン を 三 本"
    )
    assert copies.copied("太郎は赤いペン") is None
    assert copies.copied("小红有三支红色 的") is not None


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


def test_a_copy_is_refused_and_counted_with_its_reason() -> None:
    exemplar = Exemplar(inputs={"question": STORY}, outputs={"answer": "7"})
    for filters, n_candidates in ((Filters(), 1), (Filters(max_copied_words=None), 2)):
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
