"""What each text of a program adds to its score."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.credit import effects
from opro_dspy.records import Estimate

ADDS = {("p", "a"): 0.0, ("p", "b"): 0.2, ("q", "x"): 0.0, ("q", "y"): 0.1, ("q", "z"): -0.1}


def known(score: float, stderr: float = 0.01) -> Estimate:
    return Estimate(score=score, stderr=stderr, n_examples=20)


def grid(stderr: float = 0.01) -> tuple[list[dict[str, str]], list[Estimate]]:
    texts = [{"p": p, "q": q} for p, q in product("ab", "xyz")]
    scores = [0.5 + ADDS["p", t["p"]] + ADDS["q", t["q"]] for t in texts]
    return texts, [known(score, stderr) for score in scores]


def test_a_text_adds_what_candidates_with_it_score_more_than_those_with_another() -> None:
    added = effects(*grid())
    assert added["p", "b"] - added["p", "a"] == pytest.approx(0.2, abs=0.02)
    assert added["q", "y"] - added["q", "x"] == pytest.approx(0.1, abs=0.02)
    assert added["q", "z"] - added["q", "x"] == pytest.approx(-0.1, abs=0.02)


def test_what_adds_is_told_apart_from_what_it_came_with() -> None:
    texts = [{"p": "a", "q": "x"}, {"p": "a", "q": "y"}, {"p": "b", "q": "y"}]
    added = effects(texts, [known(0.4), known(0.6), known(0.6)])
    assert abs(added["p", "b"] - added["p", "a"]) < 0.05
    assert added["q", "y"] - added["q", "x"] > 0.1


def test_what_few_scores_speak_for_is_drawn_toward_nothing() -> None:
    sure, unsure = effects(*grid()), effects(*grid(stderr=0.3))
    for text in ADDS:
        assert abs(unsure[text]) < abs(sure[text])


def test_candidates_that_are_all_alike_give_no_text_credit() -> None:
    texts, found = grid()
    assert set(effects(texts, [known(0.5) for _ in found]).values()) == {0.0}
    assert effects([], []) == {}


@given(st.permutations(range(6)), st.sampled_from([1.0, 10.0, 100.0]))
def test_neither_order_nor_scale_matters(order: list[int], scale: float) -> None:
    texts, found = grid()
    plain = effects(texts, found)
    scaled = [known(scale * found[i].score, scale * found[i].stderr) for i in order]
    other = effects([texts[i] for i in order], scaled)
    assert other == pytest.approx({text: scale * added for text, added in plain.items()})
