"""Where an instruction stands: adapters put it there, prompts show it, OPRO holds them to it."""

import pickle
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, ConfigurationError, positioned
from opro_dspy.cache.scores import score_context
from opro_dspy.positions import position_of
from tests.fakes import TRAIN, exact, field, keyword_score, keyword_scorer, scripted_lm
from tests.fakes import word_optimizer as writer

ADAPTERS = [dspy.ChatAdapter, dspy.JSONAdapter, dspy.XMLAdapter]
TEXT = "Count the apples."
REMINDER = "Respond with "


def messages(adapter: Any, **inputs: Any) -> list[dict[str, Any]]:
    signature = dspy.Signature("basket, hint -> number: int", TEXT)
    demos = [{"basket": "one red", "hint": "h", "number": 1}]
    found: list[dict[str, Any]] = adapter.format(signature, demos, {"basket": "2", "hint": "see"})
    return found


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("position", ["Q_begin", "Q_end"])
def test_the_instruction_leaves_the_system_message_for_the_question(
    kind: Any, position: str
) -> None:
    system, *demos, last = messages(positioned(kind(), position))
    plain = messages(kind())
    assert TEXT not in system["content"] and TEXT in plain[0]["content"]
    assert demos == plain[1:-1]
    before, behind = last["content"].split(TEXT)
    assert before + behind != last["content"]
    if position == "Q_begin":
        assert before == "" and behind.strip() == plain[-1]["content"]
    else:
        assert before.rstrip().endswith(("see", "</hint>")) and behind.strip().startswith(REMINDER)


@pytest.mark.parametrize("kind", [*ADAPTERS, lambda: None])
def test_the_position_is_read_off_a_prompt(kind: Any) -> None:
    assert position_of(kind()) == "start"
    if kind() is not None:
        assert position_of(positioned(kind(), "Q_end")) == "Q_end"
        assert position_of(positioned(positioned(kind(), "Q_end"), "Q_begin")) == "Q_begin"


class Prefilled(dspy.ChatAdapter):  # type: ignore[misc]
    """Begins the LM's answer with the instruction."""

    def format_task_description(self, signature: Any) -> str:
        return ""

    def format(self, signature: Any, demos: Any, inputs: Any) -> Any:
        found = super().format(signature, demos, inputs)
        return [*found, {"role": "assistant", "content": signature.instructions}]


class Fixed(dspy.ChatAdapter):  # type: ignore[misc]
    """Writes its messages by itself."""

    def format(self, signature: Any, demos: Any, inputs: Any) -> Any:
        return [{"role": "system", "content": signature.instructions}]


def test_an_adapter_of_ones_own_may_begin_the_answer() -> None:
    assert position_of(Prefilled()) == "A_begin"
    with dspy.context(adapter=Prefilled()):
        assert "<Start>" in meta_prompt(instruction_position="A_begin")


def test_what_cannot_be_moved_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Fixed cannot be made to put the instruction at"):
        positioned(Fixed(), "Q_end")
    with pytest.raises(ConfigurationError, match=r"one of Q_begin, Q_end, got 'A_begin'"):
        positioned(dspy.ChatAdapter(), "A_begin")
    with pytest.raises(ConfigurationError, match=r"must be a dspy\.ChatAdapter"):
        positioned(dspy.TwoStepAdapter(keyword_scorer()), "Q_end")


@pytest.mark.parametrize(
    ("adapter", "position", "message"),
    [
        (
            None,
            "Q_end",
            r"ChatAdapter puts .* system message\. Write dspy\.configure\(adapter=opro",
        ),
        (
            dspy.TwoStepAdapter(keyword_scorer()),
            "Q_end",
            r"ChatAdapter\(\), 'Q_end'\)\).* What TwoStepAdapter does beside is lost then",
        ),
        (dspy.JSONAdapter(), "A_begin", r"JSONAdapter .* No adapter of DSPy can begin"),
        (positioned(dspy.ChatAdapter(), "Q_end"), "start", "at the end of the question"),
    ],
)
def test_a_position_that_the_adapter_does_not_render_is_refused_before_any_call(
    adapter: Any, position: Any, message: str
) -> None:
    lm = keyword_scorer()
    optimizer = OPRO(metric=exact, prompt_model=writer(), instruction_position=position)
    with dspy.context(lm=lm, adapter=adapter), pytest.raises(ConfigurationError, match=message):
        optimizer.compile(dspy.Predict("question -> answer"), trainset=TRAIN)
    assert lm.engine.calls == 0


def test_an_unknown_position_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="`instruction_position` must be 'start'"):
        OPRO(metric=exact, instruction_position="Q_middle")  # type: ignore[arg-type]


def question_reader() -> dspy.LM:
    """As `keyword_scorer`, but heeds only what stands in the question."""

    def reply(text: str) -> str:
        question = text.rsplit("question.\n", 1)[-1]
        number = int(question.split("What is ", 1)[1].split()[0])
        right = number % 10 < 10 * keyword_score(question)
        return field("answer", str(number + 1 if right else number - 1))

    return scripted_lm(reply)


def test_a_program_is_optimized_where_its_instruction_stands_and_runs_without_us(
    tmp_path: Path,
) -> None:
    lm, student = question_reader(), dspy.Predict("question -> answer")
    optimizer = OPRO(metric=exact, prompt_model=writer(), max_steps=3, instruction_position="Q_end")
    with dspy.context(lm=lm, adapter=positioned(dspy.ChatAdapter(), "Q_end")):
        compiled = optimizer.compile(student, trainset=TRAIN)
    assert compiled.score > 100 * compiled.detailed_results.baseline.score
    compiled.save(tmp_path / "program.json")
    loaded = dspy.Predict("question -> answer")
    loaded.load(tmp_path / "program.json")
    plain = question_reader()
    with dspy.context(lm=plain):
        loaded(question="What is 3 plus 1?")
    text = compiled.detailed_results.best.instructions["self"]
    assert plain.engine.requests[-1].count(text) == 1
    assert plain.engine.requests[-1].index(text) < plain.engine.requests[-1].index("What is 3")


def meta_prompt(**options: Any) -> str:
    optimizer = OPRO(metric=exact, prompt_model=writer(), max_steps=1, **options)
    with dspy.context(lm=keyword_scorer()):
        compiled = optimizer.compile(dspy.Predict("question -> answer"), trainset=TRAIN)
    return str(compiled.detailed_results.steps[1].queries[0].meta_prompt)


@pytest.mark.parametrize("position", ["Q_begin", "Q_end"])
def test_the_meta_prompt_shows_where_the_instruction_stands(position: str) -> None:
    with dspy.context(adapter=positioned(dspy.ChatAdapter(), position)):
        shown = meta_prompt()
    lines = shown.split("Example 1\n", 1)[1].split("Example 2\n")[0].splitlines()
    question = next(i for i, line in enumerate(lines) if "question:" in line)
    assert (lines.index("  <INS>") < question) == (position == "Q_begin")


def test_a_fallback_to_json_keeps_the_position_and_copies_do() -> None:
    adapter = positioned(dspy.ChatAdapter(), "Q_end")
    assert position_of(adapter._make_json_adapter_fallback()) == "Q_end"
    assert position_of(pickle.loads(pickle.dumps(adapter))) == "Q_end"


def test_scores_at_two_positions_are_not_taken_for_the_same() -> None:
    def told(adapter: Any) -> str:
        with dspy.context(adapter=adapter):
            return score_context(dspy.Predict("q -> a"), free=[], scorer_lm=None, metric=exact)

    chat = dspy.ChatAdapter()
    adapters = [chat, positioned(chat, "Q_end"), positioned(chat, "Q_begin")]
    assert len({told(adapter) for adapter in adapters}) == 3
