"""A simulated scorer LM that plays every part of a DSPy program: fields, tools, code.

All questions are `What is N plus 1?`. An answer is right with a chance that grows with the words
that the LM knows in its instruction; of two stages each has to be right.
"""

import ast
import io
import random
import re
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import dspy
from dspy.lm15 import Message, RateLimitError, Request, Response, TextPart, ToolCallPart, Usage
from dspy.primitives.code_interpreter import CodeExecutionError, FinalOutput

from opro_dspy.simulation.prompts import OutputField, Prompt, read_prompt
from opro_dspy.simulation.rendering import render_answer
from tests.fakes import WORDS

_QUESTION = re.compile(r"What is (\d+) plus 1")
_SEEN = re.compile(r"\b(?:note|observation_0|code_output(?:_0)?|text)\W+(?:The number is )?(\d+)")
_RESULT = re.compile(r'"name": "successor", "value": (\d+)')
_FIXED = (
    "The input is a text that should contain all the necessary information",
    *("You will be given `question` and you will respond with `generated_code`", "Given the final"),
)
"""How instructions begin that DSPy writes and nobody changes."""
_THOUGHTS = ("reasoning", "rationale", "next_thought", "discussion")


def chance(instruction: str) -> float:
    """The chance of a right answer."""
    if instruction.startswith(_FIXED):
        return 1.0
    return 0.4 + 0.3 * len({word for word in WORDS if word in instruction.lower()})


class World:
    """The engine: answers requests of any adapter; keeps the prompts; passes through pickle."""

    supports_reasoning = False
    supports_response_schema = False
    supported_params = frozenset({"tools", "tool_choice", "temperature"})

    def __init__(self, *, native: bool = False) -> None:
        self.supports_function_calling = native
        self.refuses = 0
        """So many calls are refused before one is answered."""
        self.prompts: list[str] = []
        self.tools: list[tuple[str, ...]] = []
        self._lock = threading.Lock()

    def complete(self, request: Request) -> Response:
        system = request.system if isinstance(request.system, str) else ""
        turns = [_text(message) for message in request.messages]
        text = "\n".join([system, *turns])
        with self._lock:
            if self.refuses:
                self.refuses -= 1
                raise RateLimitError("slow down")
            self.prompts.append(text)
            self.tools.append(tuple(tool.name for tool in request.tools))
        prompt = read_prompt(system, turns[-1], json_wanted=bool(request.config.response_format))
        turn = Turn(prompt, text, results=_results(request))
        parts: list[Any] = [TextPart(turn.answer())]
        if request.tools:
            call = turn.tool_call()
            parts.append(ToolCallPart(id="1", name=call["name"], input=call["args"]))
        n_in, n_out = len(text) // 4 + 1, len(str(parts)) // 4
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant(parts),
            finish_reason="tool_call" if request.tools else "stop",
            usage=Usage(input_tokens=n_in, output_tokens=n_out, total_tokens=n_in + n_out),
        )

    def dump_state(self) -> dict[str, Any]:
        return {"native": self.supports_function_calling}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> "World":
        return cls(native=state["native"])

    def __deepcopy__(self, memo: dict[int, Any]) -> "World":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return World.load_state, (self.dump_state(),)


class AsyncWorld:
    """The asynchronous face of a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def complete(self, request: Request) -> Response:
        return self.world.complete(request)

    def dump_state(self) -> dict[str, Any]:
        return self.world.dump_state()

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> "AsyncWorld":
        return cls(World.load_state(state))

    def __deepcopy__(self, memo: dict[int, Any]) -> "AsyncWorld":
        return self


def world_lm(name: str = "world", *, native: bool = False) -> dspy.LM:
    """A dspy.LM whose `engine` is a `World`."""
    world = World(native=native)
    return dspy.LM(
        f"world/{name}", engine=world, async_engine=AsyncWorld(world), cache=False, num_retries=0
    )


def _text(message: Message) -> str:
    """The text of a message; of an image, its data."""
    parts = ((getattr(p, "text", None) or getattr(p, "data", None) or "") for p in message.parts)
    return "\n".join(parts)


def _results(request: Request) -> str:
    """What tools of earlier turns returned, in the text form of it."""
    found = [
        f'"name": "{part.name}", "value": {part.content[0].text}'
        for message in request.messages
        for part in message.parts
        if part.type == "tool_result"
    ]
    return "\n".join(found)


class Turn:
    """One request, and what the LM makes of it."""

    def __init__(self, prompt: Prompt, text: str, *, results: str) -> None:
        self._prompt = prompt
        self._text = text
        asked, seen = _QUESTION.findall(text), _SEEN.findall(text)
        self._number = int(asked[-1]) if asked else 0
        told = [int(n) for n in _RESULT.findall(f"{text}\n{results}") or seen]
        self._value = told[-1] if told else self._number + 1
        self._acted = bool(told)
        salt = f"{self._value} {[field.name for field in prompt.outputs]} {self._acted}"
        self._right = random.Random(salt).random() < chance(prompt.instruction)

    def answer(self) -> str:
        """The text of the answer."""
        if not self._prompt.outputs:
            return f"The number is {self._final()}"
        values = {field.name: self._field(field) for field in self._prompt.outputs}
        return render_answer(values, self._prompt.form)

    def tool_call(self) -> dict[str, Any]:
        """What to call: the tool first, then `submit` with its result."""
        if self._acted:
            return {"name": "submit", "args": {"answer": str(self._final())}}
        return {"name": "successor", "args": {"n": self._argument()}}

    def _final(self) -> int:
        return self._value if self._right else self._value - 1

    def _argument(self) -> int:
        return self._number if self._right else self._number - 1

    def _field(self, field: OutputField) -> Any:
        if field.name in _THOUGHTS:
            return "One thing after the other."
        if field.name in _PARTS:
            return _PARTS[field.name](self)
        return self._typed(field.annotation, field.choices)

    def _typed(self, annotation: str, choices: tuple[str, ...]) -> Any:
        value = self._final()
        if annotation == "bool":
            return self._right
        if choices:
            return choices[value % len(choices)]
        if annotation == "list[int]":
            return [value - 1, value]
        if annotation == "Total":
            return {"value": value, "unit": "pens"}
        return value if annotation in ("int", "float") else str(value)


_PARTS: dict[str, Callable[[Turn], Any]] = {
    "next_tool_name": lambda turn: "finish" if turn._acted else "successor",
    "next_tool_args": lambda turn: {} if turn._acted else {"n": turn._argument()},
    "tool_calls": lambda turn: {"tool_calls": [turn.tool_call()]},
    "generated_code": lambda turn: f"```python\nprint(successor({turn._argument()}))\n```",
    "finished": lambda turn: True,
    "code": lambda turn: f"```python\nSUBMIT(answer=str(successor(n={turn._argument()})))\n```",
    "advice": lambda turn: {"self": "Look again."},
}
"""The fields of agents, by name."""


class Interpreter:
    """Runs Python in this process, for the modules that write code."""

    def __init__(self) -> None:
        self.tools: dict[str, Any] = {"successor": lambda n: n + 1}
        self._names: dict[str, Any] = {}

    def start(self) -> None:
        pass

    def shutdown(self) -> None:
        pass

    def execute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        if "_dspy_" in code:
            raise CodeExecutionError("sub-agents are not for this interpreter")
        submitted: list[FinalOutput] = []
        own = {"SUBMIT": lambda **outputs: submitted.append(FinalOutput(outputs))}
        self._names.update({**self.tools, **own, **(variables or {})})
        with redirect_stdout(io.StringIO()) as said:
            exec(code, self._names)  # the LM is ours
        return submitted[0] if submitted else said.getvalue()


_PARSING = threading.Lock()
"""CPython 3.11 fails now and then where two threads parse at once (SystemError, gh-106905)."""


class Shell(Interpreter):
    """Returns the value of the last line, as `Flex` wants it."""

    def execute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        self._names.update({**self.tools, **(variables or {})})
        with _PARSING:
            *lines, last = ast.parse(code).body
        if not isinstance(last, ast.Expr):
            exec(code, self._names)  # what DSPy wrote itself
            return None
        exec(compile(ast.Module(lines, []), "<flex>", "exec"), self._names)
        return eval(compile(ast.Expression(last.value), "<flex>", "eval"), self._names)
