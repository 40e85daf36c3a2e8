"""Of the instruction of an agent only the user's part is optimized: tools and protocol stay."""

import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opro_dspy import OPRO
from opro_dspy.errors import ConfigurationError
from opro_dspy.fingerprints import describe_program, fingerprint
from opro_dspy.program import Program
from opro_dspy.records import Candidate
from tests.compat.kinds import KINDS, successor
from tests.compat.running import Run, optimized, students
from tests.compat.world import Interpreter, world_lm
from tests.fakes import TRAIN, WORDS, exact

AGENTS = {kind.title.strip("`"): kind for kind in KINDS if "protocol" in kind.note}

PROTOCOL = {
    "ReAct": "When selecting the next_tool_name and its next_tool_args, the tool must be one of",
    "ReActV2": "When the final answer is ready, call `submit` with `answer`.",
    "CodeAct": "You have access to the Python Standard Library and the following functions",
    "RLM": "submit final output when done",
}
DESCRIPTION = "Return the number that comes after n."
ACTS = ("`next_tool_name`", "`tool_calls`", "`generated_code`", "`code`")
"""How the prompts that have to name the tools ask for an action."""


def name_of(run: Run) -> str:
    return run.kind.title.strip("`")


agents_run = pytest.mark.parametrize("run", AGENTS.values(), ids=AGENTS, indirect=True)


@agents_run
def test_every_candidates_prompt_names_the_tools_and_the_protocol(run: Run) -> None:
    acting = [p for p in run.lm.engine.prompts if any(field in p for field in ACTS)]
    assert len(acting) >= 20
    for prompt in acting:
        assert PROTOCOL[name_of(run)] in prompt
        assert "successor" in prompt and DESCRIPTION in prompt
        assert "'n'" in prompt or "n: integer" in prompt
    words = {word for prompt in acting for word in WORDS if word in prompt.lower()}
    assert len(words) >= 3  # these are prompts of candidates, not of the student alone


@agents_run
def test_only_the_users_part_is_shown_and_replaced(run: Run) -> None:
    meta_prompts, candidates = run.author.engine.requests, run.program.detailed_results.candidates
    assert any("A fixed text beside the instruction" in text for text in meta_prompts)
    for text in [*meta_prompts, *(text for c in candidates for text in c.instructions.values())]:
        assert PROTOCOL[name_of(run)] not in text
        assert DESCRIPTION not in text


@pytest.mark.parametrize("name", AGENTS)
def test_a_compiled_agent_is_compiled_again_after_loading(name: str, tmp_path: Path) -> None:
    student = Program(students(AGENTS[name]))
    texts = {name: f"Text of {name}." for name in student.predictors}
    student.compiled(Candidate(texts)).save(tmp_path / "program.json")
    loaded = students(AGENTS[name])
    loaded.load(tmp_path / "program.json")
    again = Program(loaded)
    assert again.candidate.texts == texts
    built = again.build(Candidate({name: "Other." for name in texts}))
    for predictor in built.predictors():
        assert "Text of" not in predictor.signature.instructions


def greet(name: str) -> str:
    """Say hello."""
    return f"Hello {name}"


def reworded(n: int) -> int:
    """Count one further."""
    return n + 1


reworded.__name__ = "successor"

MAKERS: dict[str, Callable[..., Any]] = {
    "ReAct": dspy.ReAct,
    "ReActV2": dspy.ReActV2,
    "CodeAct": partial(dspy.CodeAct, interpreter_factory=Interpreter),
    "RLM": partial(dspy.RLM, interpreter_factory=Interpreter),
}


def of_agent(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "opro_dspy.scaffolds"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # CodeAct goes with DSPy 3.5
@pytest.mark.parametrize("text", ["Text of {}.", "Given the fields `question`, produce the {}."])
@pytest.mark.parametrize(
    ("signature", "tools"),
    [
        ("question -> answer", [successor, greet]),
        ("question -> answer", [greet]),
        ("question -> answer", [reworded]),
        ("question, hint -> answer, source", [successor]),
    ],
)
@pytest.mark.parametrize("name", MAKERS)
def test_an_agent_loaded_beside_other_tools_keeps_the_users_part_alone(
    name: str,
    signature: str,
    tools: list[Any],
    text: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    student = Program(MAKERS[name]("question -> answer", tools=[successor]))
    texts = {at: text.format(at) for at in student.predictors}
    student.compiled(Candidate(texts)).save(tmp_path / "program.json")
    fresh, loaded = (MAKERS[name](signature, tools=tools) for _ in range(2))
    loaded.load(tmp_path / "program.json")
    with caplog.at_level(logging.WARNING):
        again, expected = Program(loaded), Program(fresh).compiled(Candidate(texts))
    assert again.candidate.texts == texts
    for built in (again.build(again.candidate), again.compiled(again.candidate)):
        found = {at: p.signature.instructions for at, p in built.named_predictors()}
        assert found == {at: p.signature.instructions for at, p in expected.named_predictors()}
    told = of_agent(caplog)
    changed = name != "ReActV2" or tools != [reworded]  # its text has no descriptions
    assert len(told) == changed
    assert all("names other tools or fields than its agent has now" in line for line in told)


def test_an_agent_never_optimized_and_loaded_beside_other_tools_names_the_present_ones(
    tmp_path: Path,
) -> None:
    dspy.ReAct("question -> answer", [successor]).save(tmp_path / "program.json")
    loaded = dspy.ReAct("question -> answer", [greet])
    fresh = loaded.react.signature.instructions
    loaded.load(tmp_path / "program.json")
    program = Program(loaded)
    assert program.build(program.candidate).react.signature.instructions == fresh


def test_an_agent_loaded_with_another_limit_tells_the_present_one(tmp_path: Path) -> None:
    def agent(max_llm_calls: int) -> Any:
        signature = dspy.Signature("question -> answer", "Mine.")
        return dspy.RLM(signature, max_llm_calls=max_llm_calls, interpreter_factory=Interpreter)

    agent(20).save(tmp_path / "program.json")
    loaded = agent(7)
    loaded.load(tmp_path / "program.json")
    built = Program(loaded).build(Program(loaded).candidate)
    assert "You have max 7 sub-LLM calls" in built.generate_action.signature.instructions


class Ruled(dspy.ReAct):  # type: ignore[misc]
    """An agent that edits what DSPy wrote."""

    def __init__(self) -> None:
        super().__init__(dspy.Signature("question -> answer", "Mine."), [successor])
        text = self.react.signature.instructions.replace("gets appended", "is appended")
        self.react.signature = self.react.signature.with_instructions(f"{text}\nCite.")


def test_what_users_edit_in_the_protocol_stays_before_and_after_loading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = Program(Ruled())
    assert program.candidate.texts["react"] == "Mine."
    texts = {name: "New." for name in program.predictors}
    compiled = program.compiled(Candidate(texts))
    compiled.save(tmp_path / "program.json")
    loaded = Ruled()
    loaded.load(tmp_path / "program.json")
    again = Program(loaded)
    assert again.candidate.texts == texts
    found = again.build(again.candidate).react.signature.instructions
    assert found == compiled.react.signature.instructions
    assert found.startswith("New.\n") and "is appended" in found and found.endswith("\nCite.")
    assert not of_agent(caplog)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # CodeAct goes with DSPy 3.5
def test_a_protocol_that_cannot_be_told_from_the_users_part_is_refused(name: str) -> None:
    agent = MAKERS[name]("question -> answer", tools=[successor])
    (first, predictor), *_ = Program(agent).predictors.items()
    lines = [s for s in Program(agent).scaffolds[first].after.splitlines() if "You are" not in s]
    text = f"Mine.\n{max(lines, key=len)}\nAnd more."
    predictor.signature = predictor.signature.with_instructions(text)
    with pytest.raises(ConfigurationError, match=r"is yours cannot be told .*Make the agent anew"):
        Program(agent)


@cache
def agents() -> dict[str, Program]:
    return {name: Program(students(kind)) for name, kind in AGENTS.items()}


@settings(max_examples=50)
@given(st.text(st.characters(exclude_categories=())) | st.sampled_from(["\n  a\n b", "\ta\n\tb"]))
def test_any_text_can_stand_in_a_scaffold(text: str) -> None:
    for program in agents().values():
        candidate = program.normalize(Candidate(dict.fromkeys(program.predictors, text)))
        assert program.normalize(candidate) == candidate
        for name, predictor in program.predictors.items():
            scaffold, text = program.scaffolds[name], candidate.texts[name]
            full = scaffold.full(text)
            assert predictor.signature.with_instructions(full).instructions == full
            assert scaffold.holds(full) and scaffold.text(full) == text


class Polite(dspy.Module):  # type: ignore[misc]
    """A module of a user's own that writes its signature's instruction into a longer one."""

    def __init__(self, rule: str, *, instruction: str = "Answer.") -> None:
        super().__init__()
        self.signature = dspy.Signature("question -> answer", instruction)
        self.ask = dspy.Predict(self.signature.with_instructions(f"Be polite.\nAnswer.\n{rule}"))


def test_modules_of_ones_own_keep_what_they_wrote_around_their_signatures_instruction() -> None:
    program = Program(Polite("Never swear."))
    assert program.candidate.texts == {"ask": "Answer."}
    built = program.compiled(Candidate({"ask": "Count."}))
    assert built.ask.signature.instructions == "Be polite.\nCount.\nNever swear."


@pytest.mark.parametrize("instruction", ["a", "Answer", "swear.", "polite.\nAnswer."])
def test_an_instruction_that_only_happens_to_stand_in_anothers_line_cuts_nothing(
    instruction: str,
) -> None:
    program = Program(Polite("Never swear.", instruction=instruction))
    assert program.candidate.texts == {"ask": "Be polite.\nAnswer.\nNever swear."}
    built = program.compiled(Candidate({"ask": "Count."}))
    assert built.ask.signature.instructions == "Count."


def test_scores_are_not_shared_between_programs_whose_protocol_differs() -> None:
    def told(rule: str) -> str:
        program, free = Program(Polite(rule)).skeleton()
        return fingerprint(describe_program(program, without_texts_of=free))

    assert told("Never swear.") == told("Never swear.") != told("Swear.")


@pytest.mark.parametrize(
    "make",
    [
        lambda signature: dspy.ReAct(signature, [successor]),
        lambda signature: dspy.RLM(signature, interpreter_factory=Interpreter),
    ],
)
def test_the_users_part_is_found_where_it_stands_in_the_protocol_too(
    make: Callable[[Any], Any],
) -> None:
    program = Program(make(dspy.Signature("question -> answer", "a")))
    assert set(program.candidate.texts.values()) == {"a"}
    assert all(
        s.holds(program.predictors[name].signature.instructions)
        for name, s in program.scaffolds.items()
    )


@pytest.mark.parametrize("name", AGENTS)
def test_what_was_written_over_the_protocol_stays_and_all_others_get_the_tools_again(
    name: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    agent = students(AGENTS[name])
    over = {name for name, s in Program(agent).scaffolds.items() if not s.is_bare}
    for at, predictor in agent.named_predictors():
        predictor.signature = predictor.signature.with_instructions(f"All new in {at}.")
    program = Program(agent)
    assert program.candidate.texts == {at: f"All new in {at}." for at in program.predictors}
    assert caplog.text.count("somebody wrote over it") == len(over)
    same = program.build(program.candidate)
    built = program.compiled(Candidate(dict.fromkeys(program.predictors, "Newer.")))
    for at, predictor in built.named_predictors():
        assert dict(same.named_predictors())[at].signature.instructions == f"All new in {at}."
        assert "Newer." in predictor.signature.instructions
        assert (predictor.signature.instructions != "Newer.") == (at in over)
    built.save(tmp_path / "program.json")
    agent.load(tmp_path / "program.json")
    assert set(Program(agent).candidate.texts.values()) == {"Newer."}


def test_after_an_optimizer_that_knows_no_agents_candidates_name_the_tools() -> None:
    kind, lm = AGENTS["ReAct"], world_lm()
    agent = students(kind)
    agent.react.signature = agent.react.signature.with_instructions("Solve it, please.")
    optimized(kind, agent, lm)
    acting = [p for p in lm.engine.prompts if ACTS[0] in p]
    without = [p for p in acting if PROTOCOL["ReAct"] not in p or DESCRIPTION not in p]
    assert len(acting) - len(without) >= 20
    assert all(" Solve it, please.\n[[ ## question ## ]]" in p for p in without)  # the student


def test_an_agent_that_keeps_a_history_is_estimated_before_there_is_one() -> None:
    agent = dspy.ReActV2("question -> answer", [successor])
    with dspy.context(lm=world_lm()):
        estimate = OPRO(metric=exact).estimate(agent, trainset=TRAIN)
    assert estimate.scorer.calls[1] > 0
