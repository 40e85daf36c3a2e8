"""Scripted LMs and programs for tests: engines behind DSPy's interface, no network."""

import itertools
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, TextPart, Usage

from opro_dspy import OPRO

_NAMES = itertools.count()

WORDS = ("carefully", "slowly", "briefly", "twice", "aloud", "calmly", "exactly", "boldly")


def request_text(request: Request) -> str:
    """All text of a request, system first."""
    system = request.system if isinstance(request.system, str) else ""
    if request.system is not None and not isinstance(request.system, str):
        system = "".join(getattr(part, "text", "") for part in request.system)
    return "\n".join([system, *(message.text or "" for message in request.messages)])


class ScriptedEngine:
    """Answers with `reply(text)`; counts calls; raises what `reply` returns if an exception."""

    def __init__(self, reply: Callable[[str], str | Exception], *, delay_s: float = 0.0) -> None:
        self._reply = reply
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self.calls = 0
        self.requests: list[str] = []
        self.temperatures: list[float | None] = []
        self.in_flight = 0
        self.most_in_flight = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "ScriptedEngine":
        return self

    def dump_state(self) -> dict[str, Any]:
        """Nothing: the name of the model tells who answers, and counters do not matter."""
        return {}

    def complete(self, request: Request) -> Response:
        text = request_text(request)
        with self._lock:
            self.calls += 1
            self.requests.append(text)
            self.temperatures.append(request.config.temperature)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            time.sleep(self._delay_s)
            answer = self._reply(text)
        finally:
            with self._lock:
                self.in_flight -= 1
        if isinstance(answer, Exception):
            raise answer
        usage = Usage(
            input_tokens=len(text) // 4,
            output_tokens=len(answer) // 4 + 1,
            total_tokens=len(text) // 4 + len(answer) // 4 + 1,
        )
        return Response(
            id=None,
            model=request.model,
            message=Message.assistant([TextPart(answer)]),
            finish_reason="stop",
            usage=usage,
        )


def scripted_lm(
    reply: Callable[[str], str | Exception], *, delay_s: float = 0.0, **options: Any
) -> dspy.LM:
    """A dspy.LM of its own name that answers with `reply`; no cache, no retries unless asked."""
    options = {"cache": False, "num_retries": 0, **options}
    engine = ScriptedEngine(reply, delay_s=delay_s)
    return dspy.LM(f"scripted/lm-{next(_NAMES)}", engine=engine, **options)


def field(name: str, value: str) -> str:
    """One field of an answer as DSPy's ChatAdapter reads it."""
    return f"[[ ## {name} ## ]]\n{value}\n\n[[ ## completed ## ]]"


def keyword_score(instruction: str) -> float:
    """The chance that the scripted scorer is right: grows with the words it knows."""
    return 0.25 + 0.1 * len({w for w in WORDS if w in instruction.lower()})


def keyword_scorer(*, delay_s: float = 0.0, **options: Any) -> dspy.LM:
    """Answers `What is N plus 1?`, right for a share of N given by `keyword_score`."""

    def reply(text: str) -> str:
        instruction = text.rsplit("your objective is:", 1)[-1].split("[[ ##")[0]
        number = int(re.findall(r"What is (\d+) plus 1", text)[-1])
        rank = random.Random(f"question {number}").random()
        right = rank < keyword_score(instruction)
        return field("answer", str(number + 1 if right else number - 1))

    return scripted_lm(reply, delay_s=delay_s, **options)


def word_optimizer(*, delay_s: float = 0.0, **options: Any) -> dspy.LM:
    """Proposes the best shown instruction with one more word; differs from call to call."""
    counter = itertools.count()

    def reply(text: str) -> str:
        known = re.findall(r"text:\n(.+?)\nscore:", text, flags=re.S)
        base = known[-1].strip() if known else "Answer"
        return f"<INS>{base} {WORDS[next(counter) % len(WORDS)]}</INS>"

    return scripted_lm(reply, delay_s=delay_s, **options)


def questions(n: int, *, start: int = 0) -> list[dspy.Example]:
    """Examples that `keyword_scorer` knows."""
    return [
        dspy.Example(question=f"What is {i} plus 1?", answer=str(i + 1)).with_inputs("question")
        for i in range(start, start + n)
    ]


def exact(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
    """Metric: the answers are equal."""
    return bool(example.answer == prediction.answer)


TRAIN, VAL = questions(30), questions(20, start=100)


def compiled(
    student: dspy.Module | None = None,
    *,
    scorer: dspy.LM | None = None,
    valset: list[dspy.Example] | None = VAL,
    **options: Any,
) -> Any:
    """What OPRO makes of a program on scripted LMs; `options` are those of OPRO."""
    options = {"metric": exact, "max_steps": 3, "num_threads": 4, **options}
    options.setdefault("prompt_model", word_optimizer())
    student = student or dspy.Predict("question -> answer")
    with dspy.context(lm=scorer or keyword_scorer()):
        return OPRO(**options).compile(student, trainset=TRAIN, valset=valset)
