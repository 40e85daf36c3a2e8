import math
import re
from collections.abc import Sequence
from typing import Any, cast

import pytest

from opro_dspy.errors import ConfigurationError, TellError
from opro_dspy.optimizer import Optimizer, View
from opro_dspy.protocols import MetaPromptContext, ProposalRequest
from opro_dspy.records import Candidate, Evaluation, Exemplar, Proposal
from opro_dspy.selectors import every


class ScriptedProposer:
    """Proposes the texts given, step by step; keeps the requests."""

    def __init__(self, *steps: Sequence[str]) -> None:
        self._steps = list(steps)
        self.requests: list[ProposalRequest] = []

    def propose(self, requests: Sequence[ProposalRequest]) -> Sequence[Sequence[Proposal]]:
        self.requests.extend(requests)
        texts = self._steps.pop(0) if self._steps else []
        return [
            [Proposal(component=r.component, raw=text, text=text) for text in texts]
            for r in requests
        ]


def scored(candidate: Candidate, score: float = 0.5) -> Evaluation:
    return Evaluation(candidate=candidate, scores={0: score})


def tell_all(optimizer: Optimizer, *scores: float) -> list[str]:
    candidates = optimizer.ask()
    values = scores or (0.5,) * len(candidates)
    optimizer.tell([scored(c, s) for c, s in zip(candidates, values, strict=True)])
    return [" ".join(c.texts.values()) for c in candidates]


def test_the_first_ask_returns_the_initial_candidates() -> None:
    optimizer = Optimizer(ScriptedProposer(), initial=["a", "b", "a"])
    assert tell_all(optimizer) == ["a", "b"]


def test_a_rejected_tell_loses_nothing() -> None:
    optimizer = Optimizer(ScriptedProposer(), initial=["a", "b"])
    a, b = optimizer.ask()
    with pytest.raises(TellError, match=r"expects 2 evaluations .* got 1"):
        optimizer.tell([scored(a)])
    with pytest.raises(TellError, match="another candidate"):
        optimizer.tell([scored(b), scored(a)])
    with pytest.raises(TellError, match=r"evaluation 1 of step 0 holds nan as the score of exam"):
        optimizer.tell([scored(a), scored(b, math.nan)])
    with pytest.raises(TellError, match=r"holds -inf as the score .* must be a finite number"):
        optimizer.tell([scored(a), scored(b, -math.inf)])
    with pytest.raises(TellError, match=r"holds '0\.5' as the score"):
        optimizer.tell([scored(a), scored(b, cast(float, "0.5"))])
    with pytest.raises(TellError, match="never asked"):
        optimizer.tell([scored(a), scored(b), scored(Candidate({"instruction": "c"}))])
    assert len(optimizer.trajectory) == 0
    optimizer.tell([scored(a), scored(b)])
    assert len(optimizer.trajectory) == 2


def test_ask_waits_for_tell_and_tell_for_ask() -> None:
    optimizer = Optimizer(ScriptedProposer(), initial=["a"])
    with pytest.raises(TellError, match=r"Call ask\(\) first"):
        optimizer.tell([])
    optimizer.ask()
    with pytest.raises(TellError, match=r"Call tell\(\) before ask"):
        optimizer.ask()


def test_what_was_scored_before_is_not_asked_for_again() -> None:
    proposer = ScriptedProposer(["start", "b", "**b**", "c"], ["B", "d"])
    optimizer = Optimizer(proposer, initial=["Start"])
    tell_all(optimizer)
    assert tell_all(optimizer) == ["B", "C"]
    assert tell_all(optimizer) == ["D"]
    reasons = [p.rejected for p in optimizer.trajectory.steps[1].proposals]
    assert reasons == ["already scored", None, "already scored", None]


def test_a_step_without_news_raises_the_temperature_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    optimizer = Optimizer(ScriptedProposer(["a"], [], ["b"]), initial=["A"])
    for _ in range(3):
        tell_all(optimizer)
    assert "brought no new candidate: the temperature rises for the next step" in caplog.text
    temperatures = [s.queries[0].temperature for s in optimizer.trajectory.steps[1:]]
    assert temperatures == [1.0, 1.2]
    assert tell_all(optimizer) == ["B"]
    assert optimizer.trajectory.steps[3].queries[0].temperature == 1.4
    assert optimizer.temperature(4) == 1.0


def test_one_component_a_step_beside_the_best_of_the_others() -> None:
    start = Candidate({"p": "P", "q": "Q"})
    optimizer = Optimizer(ScriptedProposer(["p1", "p2"], ["q1"]), initial=[start])
    tell_all(optimizer, 0.1)
    assert tell_all(optimizer, 0.3, 0.2) == ["P1 Q", "P2 Q"]
    assert tell_all(optimizer, 0.4) == ["P1 Q1"]


def test_all_components_a_step_each_beside_the_best_of_the_others() -> None:
    start = Candidate({"p": "P", "q": "Q"})
    optimizer = Optimizer(ScriptedProposer(["x"]), initial=[start], selector=every)
    tell_all(optimizer, 0.1)
    assert tell_all(optimizer, 0.3, 0.2) == ["X Q", "P X"]


@pytest.mark.parametrize(("num_candidates", "each"), [(8, 4), (3, 2), (1, 1)])
def test_the_candidates_of_a_step_are_shared_out_among_its_components(
    num_candidates: int, each: int
) -> None:
    proposer = ScriptedProposer(["x"])
    start = Candidate({"a": "first", "b": "second"})
    optimizer = Optimizer(proposer, initial=[start], selector=every, num_candidates=num_candidates)
    tell_all(optimizer, 0.5)
    optimizer.ask()
    assert [request.n for request in proposer.requests] == [each, each]


def test_improvements_that_did_not_help_are_not_combined() -> None:
    start = Candidate({"p": "P", "q": "Q"})
    optimizer = Optimizer(ScriptedProposer(["x"], []), initial=[start], selector=every)
    tell_all(optimizer, 0.1)
    tell_all(optimizer, 0.3, 0.0)
    assert tell_all(optimizer) == []


def test_the_combination_of_the_best_texts_is_scored() -> None:
    start = Candidate({"p": "P", "q": "Q"})
    optimizer = Optimizer(ScriptedProposer(["x"], []), initial=[start], selector=every)
    tell_all(optimizer, 0.1)
    tell_all(optimizer, 0.3, 0.2)
    assert tell_all(optimizer) == ["X X"]


def test_scores_measured_beside_other_texts_are_marked_in_the_meta_prompt() -> None:
    proposer = ScriptedProposer(["p1"], ["q1"], ["p2"])
    optimizer = Optimizer(proposer, initial=[Candidate({"p": "P", "q": "Q"})])
    for score in (0.1, 0.3, 0.5):
        tell_all(optimizer, score)
    optimizer.ask()
    assert "beside other instructions" not in proposer.requests[0].meta_prompt
    assert "beside other instructions" in proposer.requests[2].meta_prompt


@pytest.mark.parametrize(
    ("score", "buckets", "note"),
    [
        (0.5, 100, "A score is an integer from 0 to 100; higher is better."),
        (0.5, 20, "A score is an integer from 0 to 20; higher is better."),
        (0.5, None, "A higher score is better."),
        (-7.5, 100, "A higher score is better."),
    ],
)
def test_the_meta_prompt_says_what_a_score_is(score: float, buckets: int | None, note: str) -> None:
    proposer = ScriptedProposer(["b"])
    optimizer = Optimizer(proposer, initial=["a"], view=View(score_buckets=buckets))
    tell_all(optimizer, score)
    optimizer.ask()
    assert note in proposer.requests[0].meta_prompt


def test_what_does_not_fit_is_left_out_recorded_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    long = [f"{letter} {'very ' * 60}" for letter in "abcdef"]
    optimizer = Optimizer(
        ScriptedProposer(long, ["x"], ["y"]),
        initial=["Start"],
        view=View(max_meta_prompt_tokens=500),
        exemplars=[Exemplar(inputs={"q": "?"}, outputs={"a": "!"})] * 3,
    )
    tell_all(optimizer)
    tell_all(optimizer, *[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    tell_all(optimizer)
    tell_all(optimizer)
    query = optimizer.trajectory.steps[2].queries[0]
    assert query.omitted_entries > 0
    assert query.n_entries + query.omitted_entries == 7
    assert "F very" in query.meta_prompt and "A very" not in query.meta_prompt
    assert caplog.text.count("were left out") == 1


def shown_at_step_2(**view: Any) -> str:
    proposer = ScriptedProposer(["b", "c", "d", "e"])
    optimizer = Optimizer(proposer, initial=["A"], view=View(**view))
    tell_all(optimizer, 0.1)
    tell_all(optimizer, 0.2, 0.3, 0.4, 0.5)
    optimizer.ask()
    return proposer.requests[-1].meta_prompt


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("ascending", "from the lowest to the highest"),
        ("descending", "from the highest to the lowest"),
        ("random", "in no particular order"),
    ],
)
def test_entries_are_shown_in_the_order_asked_for(order: str, said: str) -> None:
    prompt = shown_at_step_2(order=order)
    assert said in prompt
    texts = re.findall(r"text:\n(\w)\nscore:", prompt)
    expected = {"ascending": list("ABCDE"), "descending": list("EDCBA")}
    assert texts == expected.get(order, texts)
    assert sorted(texts) == list("ABCDE")
    assert order != "random" or texts == re.findall(r"text:\n(\w)", shown_at_step_2(order="random"))


def test_what_does_not_fit_is_the_worst_in_any_order() -> None:
    whole = len(shown_at_step_2(order="descending")) // 3
    prompt = shown_at_step_2(order="descending", max_meta_prompt_tokens=whole - 5)
    assert re.findall(r"text:\n(\w)\nscore:", prompt) == list("EDCB")


def test_scores_can_be_hidden() -> None:
    prompt = shown_at_step_2(show_scores=False)
    assert "from the worst to the best" in prompt
    assert "score:" not in prompt and "50" not in prompt


def test_another_seed_shows_other_exemplars() -> None:
    def shown(seed: int) -> list[tuple[int, ...]]:
        exemplars = [Exemplar(inputs={"q": str(i)}, outputs={}) for i in range(50)]
        optimizer = Optimizer(
            ScriptedProposer(["b"], ["c"]), initial=["A"], exemplars=exemplars, seed=seed
        )
        for _ in range(3):
            tell_all(optimizer)
        return [s.queries[0].exemplars for s in optimizer.trajectory.steps[1:]]

    assert shown(0) == shown(0)
    assert shown(0) != shown(1)
    assert shown(0)[0] != shown(0)[1]


def test_initial_candidates_must_agree_on_their_components() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        Optimizer(ScriptedProposer(), initial=[])
    with pytest.raises(ConfigurationError, match="same components"):
        Optimizer(ScriptedProposer(), initial=["a", Candidate({"p": "b"})])


def test_a_single_initial_candidate_need_not_be_in_a_list() -> None:
    assert tell_all(Optimizer(ScriptedProposer(), initial="abc")) == ["abc"]
    assert tell_all(Optimizer(ScriptedProposer(), initial=Candidate({"p": "abc"}))) == ["abc"]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "8"])
def test_at_least_one_candidate_a_step(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="`num_candidates` must be at least 1, got"):
        Optimizer(ScriptedProposer(), initial="a", num_candidates=wrong)


# --- candidates that were not scored ---------------------------------------------------------


def unscored(candidate: Candidate) -> Evaluation:
    return Evaluation(candidate=candidate, scores={})


def test_a_candidate_told_without_scores_stays_in_the_step_and_may_come_again() -> None:
    optimizer = Optimizer(ScriptedProposer(["b", "c"], ["b"]), initial="A")
    tell_all(optimizer)
    b, c = optimizer.ask()
    optimizer.tell([unscored(b), scored(c)])
    assert optimizer.trajectory.steps[1].candidates == (b, c)
    assert b not in optimizer.trajectory and c in optimizer.trajectory
    assert tell_all(optimizer) == ["B"]


def test_an_old_candidate_told_without_scores_keeps_the_ones_it_has() -> None:
    optimizer = Optimizer(ScriptedProposer(["b"]), initial="A")
    (a,) = optimizer.ask()
    optimizer.tell([scored(a)])
    (b,) = optimizer.ask()
    optimizer.tell([scored(b), unscored(a)])
    assert optimizer.trajectory.evaluation(a).scores == {0: 0.5}


def test_unscored_improvements_are_not_combined() -> None:
    start = Candidate({"p": "P", "q": "Q"})
    optimizer = Optimizer(ScriptedProposer(["x"], []), initial=[start], selector=every)
    tell_all(optimizer, 0.1)
    first, second = optimizer.ask()
    optimizer.tell([scored(first), unscored(second)])
    assert tell_all(optimizer) == []


def test_without_any_score_there_is_nothing_to_propose_from() -> None:
    optimizer = Optimizer(ScriptedProposer(["b"]), initial="A")
    optimizer.tell([unscored(c) for c in optimizer.ask()])
    with pytest.raises(TellError, match="no candidate was scored so far"):
        optimizer.ask()


# --- the token budget ------------------------------------------------------------------------


def test_a_meta_prompt_that_is_too_long_all_the_same_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    view = View(max_meta_prompt_tokens=1)
    optimizer = Optimizer(ScriptedProposer(["b"], ["c"]), initial="A", view=view)
    for _ in range(3):
        tell_all(optimizer)
    assert caplog.text.count("step 1 still has about") == caplog.text.count("still has about") == 1
    assert "more than its 1:" in caplog.text
    assert caplog.text.count("were left out") == 1


def test_the_best_instruction_is_shown_whatever_the_threshold() -> None:
    proposer = ScriptedProposer(["b"])
    optimizer = Optimizer(proposer, initial=["Bad", "Good"], view=View(score_threshold=0.9))
    tell_all(optimizer, 0.1, 0.2)
    optimizer.ask()
    assert "Good" in proposer.requests[0].meta_prompt
    assert "Bad" not in proposer.requests[0].meta_prompt


# --- seats that do not keep their contracts --------------------------------------------------


def asked_at_step_1(**seats: Any) -> ScriptedProposer:
    proposer = ScriptedProposer(["b"])
    exemplars = [Exemplar(inputs={"q": str(i)}, outputs={}) for i in range(5)]
    optimizer = Optimizer(proposer, initial="A", exemplars=exemplars, **seats)
    tell_all(optimizer)
    optimizer.ask()
    return proposer


@pytest.mark.parametrize("answer", [[5], [-1], [0, 0], [0, 1, 2, 3], None, 1, "012", [True], [0.5]])
def test_a_wrong_exemplar_choice_is_named_with_the_step(answer: object) -> None:
    def my_choice(*_: object, **__: object) -> object:
        return answer

    with pytest.raises(
        ConfigurationError,
        match=r"exemplar choice .*my_choice returned .* at step 1\. .* at most 3 .* from 0 to 4",
    ):
        asked_at_step_1(exemplar_choice=my_choice)


def test_a_wrong_selector_is_named_with_the_step() -> None:
    with pytest.raises(ConfigurationError, match=r"component selector .* at step 1"):
        asked_at_step_1(selector=lambda *_: ["nobody"])


def test_a_temperature_out_of_range_is_an_error_at_step_1_and_clamped_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ConfigurationError, match=r"temperature_schedule .* 9 at step 1"):
        asked_at_step_1(schedule=lambda step, trajectory: 9)
    proposer = ScriptedProposer(["b"], ["c"], ["d"])
    optimizer = Optimizer(proposer, initial="A", schedule=lambda step, _: 1.0 if step == 1 else 9)
    for _ in range(4):
        tell_all(optimizer)
    assert [r.temperature for r in proposer.requests] == [1.0, 2.0, 2.0]
    assert caplog.text.count("returned 9.0 at step 2: 2.0 is used") == 1
    assert caplog.text.count("is used") == 1


def test_a_schedule_that_fails_later_is_named_with_the_step() -> None:
    optimizer = Optimizer(
        ScriptedProposer(["b"]), initial="A", schedule=lambda step, _: {1: 1.0}[step]
    )
    tell_all(optimizer)
    tell_all(optimizer)
    with pytest.raises(ConfigurationError, match=r"raised KeyError at step 2"):
        optimizer.ask()


class MyMetaPrompt:
    def __init__(self, rendered: object = "Write.", parsed: object = "x") -> None:
        self.rendered, self.parsed = rendered, parsed

    def render(self, context: MetaPromptContext) -> Any:
        return self._given(self.rendered)

    def parse(self, answer: str) -> Any:
        return self._given(self.parsed)

    def _given(self, value: object) -> object:
        if isinstance(value, Exception):
            raise value
        return value


@pytest.mark.parametrize(
    ("wrong", "said"), [(None, "returned None"), (b"x", "returned b'x'"), (KeyError("k"), "raised")]
)
def test_a_meta_prompt_that_renders_no_text_is_named_with_the_step(wrong: Any, said: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"meta_prompt MyMetaPrompt.render {said}.* at step 1"
    ):
        asked_at_step_1(meta_prompt=MyMetaPrompt(rendered=wrong))


@pytest.mark.parametrize(("wrong", "said"), [(3, "returned 3"), (KeyError("k"), "raised KeyErr")])
def test_a_meta_prompt_that_parses_to_no_text_is_named_with_the_step(wrong: Any, said: str) -> None:
    (request,) = asked_at_step_1(meta_prompt=MyMetaPrompt(parsed=wrong)).requests
    with pytest.raises(
        ConfigurationError, match=rf"meta_prompt MyMetaPrompt.parse {said}.* at step 1"
    ):
        request.parse("answer")


@pytest.mark.parametrize("parsed", ["x", None])
def test_a_meta_prompt_may_find_a_text_or_none(parsed: Any) -> None:
    (request,) = asked_at_step_1(meta_prompt=MyMetaPrompt(parsed=parsed)).requests
    assert request.parse("answer") == parsed
