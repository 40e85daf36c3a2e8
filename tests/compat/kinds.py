"""Every kind of program, each with its examples: rows of docs/compatibility.md."""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import dspy
import pydantic

from tests.compat.world import Interpreter, Shell, world_lm

ASK = "question -> answer"
NOTE = "question -> note"
CONCLUDE = "question, note -> answer"


class Total(pydantic.BaseModel):
    value: int
    unit: str


class Typed(dspy.Signature):  # type: ignore[misc]
    """Count the pens."""

    question: str = dspy.InputField()
    before: Total = dspy.InputField(desc="what there was")
    total: Total = dspy.OutputField()
    numbers: list[int] = dspy.OutputField()
    parity: Literal["even", "odd"] = dspy.OutputField()


class Seeing(dspy.Signature):  # type: ignore[misc]
    """Look, and count."""

    image: dspy.Image = dspy.InputField()
    question: str = dspy.InputField()
    answer: int = dspy.OutputField()


class Talking(dspy.Signature):  # type: ignore[misc]
    """Go on with the talk."""

    history: dspy.History = dspy.InputField()
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def successor(n: int) -> int:
    """Return the number that comes after n."""
    return n + 1


class Stages(dspy.Module):  # type: ignore[misc]
    """Two stages, of any kind that holds them."""

    def __init__(self, first: Any = None, second: Any = None) -> None:
        super().__init__()
        self.first = first or dspy.Predict(NOTE)
        self.second = second or dspy.Predict(CONCLUDE)

    def forward(self, question: str) -> Any:
        note = self.first(question=question).note
        return self.second(question=question, note=note)


class Outer(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.inner = Stages(second=dspy.ChainOfThought(CONCLUDE))

    def forward(self, **inputs: Any) -> Any:
        return self.inner(**inputs)


class Listed(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.stages = [dspy.Predict(NOTE), dspy.ChainOfThought(CONCLUDE)]

    def forward(self, question: str) -> Any:
        note = self.stages[0](question=question).note
        return self.stages[1](question=question, note=note)


class Named(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.stages = {"note": dspy.Predict(NOTE), "conclude": dspy.Predict(CONCLUDE)}

    def forward(self, question: str) -> Any:
        note = self.stages["note"](question=question).note
        return self.stages["conclude"](question=question, note=note)


class Twice(dspy.Module):  # type: ignore[misc]
    """Asks one predictor, which has two names, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.Predict(ASK)
        self.ask_again = self.ask

    def forward(self, question: str) -> Any:
        first, second = self.ask(question=question), self.ask_again(question=f"Now: {question}")
        return first if first.answer == second.answer else dspy.Prediction(answer="?")


class Solver(dspy.Module):  # type: ignore[misc]
    def __init__(self, signature: str) -> None:
        super().__init__()
        self.ask = dspy.ChainOfThought(signature)

    def forward(self, **inputs: Any) -> Any:
        return self.ask(**inputs)


class Compared(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.ask = dspy.ChainOfThought(ASK)
        self.compare = dspy.MultiChainComparison(ASK, M=2)

    def forward(self, question: str) -> Any:
        attempts = [self.ask(question=f"{ask} {question}") for ask in ("Tell me:", "Well:")]
        return self.compare(attempts, question=question)


class Parallel(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = dspy.Predict(NOTE), dspy.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        pairs = [(module, {"question": question}) for module in (self.first, self.second)]
        note, found = dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)
        return found if found.answer == note.note else dspy.Prediction(answer="?")


class HoldsLM(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.fast = world_lm("fast")
        self.stages = Stages()

    def forward(self, question: str) -> Any:
        with dspy.context(lm=self.fast):
            return self.stages(question=question)


class Awaited(dspy.Module):  # type: ignore[misc]
    """Has `aforward` only, and calls that run at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = dspy.Predict(NOTE), dspy.ChainOfThought(CONCLUDE)

    async def aforward(self, question: str) -> Any:
        asked = (f"{ask} {question}" for ask in ("Tell me:", "Well:"))
        notes = await asyncio.gather(*(self.first.acall(question=each) for each in asked))
        return await self.second.acall(question=question, note=notes[0].note)


def reward(inputs: dict[str, Any], prediction: Any) -> float:
    """Whether the answer is even: no more than a program can tell by itself."""
    return float(int(prediction.answer) % 2 == 0)


def with_lm() -> Stages:
    program = Stages()
    program.second.lm = world_lm("own")
    return program


def with_demos() -> Any:
    program = dspy.ChainOfThought(ASK)
    demo = dspy.Example(question="What is none plus 1?", reasoning="None is 0.", answer="1")
    program.predict.demos = [demo.with_inputs("question")]
    return program


def with_frozen() -> Stages:
    frozen = Solver(NOTE)
    frozen._compiled = True
    return Stages(first=frozen)


def plain(n: int) -> dspy.Example:
    return dspy.Example(question=f"What is {n} plus 1?", answer=str(n + 1)).with_inputs("question")


def typed(n: int) -> dspy.Example:
    return dspy.Example(
        question=f"What is {n} plus 1?",
        before=Total(value=n, unit="pens"),
        total=Total(value=n + 1, unit="pens"),
        numbers=[n, n + 1],
        parity="even" if n % 2 else "odd",
    ).with_inputs("question", "before")


def many(n: int) -> dspy.Example:
    example = dspy.Example(context="One more pen.", question=f"What is {n} plus 1?")
    return dspy.Example(example, answer=n + 1, sure=True).with_inputs("context", "question")


def pixels(n: int) -> str:
    """The data of an image, which no other example has."""
    return base64.b64encode(f"a picture of {n} pens".encode()).decode()


def seeing(n: int) -> dspy.Example:
    image = dspy.Image(url=f"data:image/png;base64,{pixels(n)}")
    example = dspy.Example(image=image, question=f"What is {n} plus 1?", answer=n + 1)
    return example.with_inputs("image", "question")


def talking(n: int) -> dspy.Example:
    history = dspy.History(messages=[{"question": f"Is {n} there?", "answer": f"{n} is here."}])
    return dspy.Example(plain(n), history=history).with_inputs("history", "question")


def all_right(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
    """Metric: every label is met."""
    return all(prediction[name] == value for name, value in example.labels().items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of program: a row of the table."""

    title: str
    """As the table calls it."""
    make: Callable[[], Any]
    """Makes the student."""
    predictors: int = 1
    """How many predictors are optimized."""
    example: Callable[[int], dspy.Example] = plain
    reaches: Callable[[int], tuple[str, ...]] = lambda n: ()
    """What of example n every prompt must hold beside the question."""
    note: str = ""
    """What to know of it."""


_PART = "tools and protocol stay in the prompt; only the user's part is optimized"

KINDS = (
    Kind(title="`Predict`", make=lambda: dspy.Predict(ASK)),
    Kind(title="`ChainOfThought`", make=lambda: dspy.ChainOfThought(ASK)),
    Kind(title="nested modules", make=Outer, predictors=2),
    Kind(title="a list of modules", make=Listed, predictors=2),
    Kind(title="a dict of modules", make=Named, predictors=2),
    Kind(title="a predictor used twice", make=Twice, note="it has one instruction"),
    Kind(
        title="several instances of one class",
        make=lambda: Stages(Solver(NOTE), Solver(CONCLUDE)),
        predictors=2,
        note="each has its own instruction",
    ),
    Kind(title="`ReAct`", make=lambda: dspy.ReAct(ASK, [successor]), predictors=2, note=_PART),
    Kind(title="`ReActV2`", make=lambda: dspy.ReActV2(ASK, [successor]), note=_PART),
    Kind(
        title="`CodeAct`",
        make=lambda: dspy.CodeAct(ASK, [successor], interpreter_factory=Interpreter),
        predictors=2,
        note=f"deprecated by DSPy; {_PART}",
    ),
    Kind(
        title="`ProgramOfThought` in a program",
        make=lambda: Stages(dspy.ProgramOfThought(NOTE, interpreter_factory=Interpreter)),
        note="deprecated by DSPy; left alone: its instructions are DSPy's own, and yours is in "
        "none of them",
    ),
    Kind(
        title="`Flex` in a program",
        make=lambda: Stages(dspy.Flex(NOTE, interpreter_factory=Shell)),
        note="left alone: it is code, not an instruction, and for DSPy's `GEPA`",
    ),
    Kind(
        title="`RLM`",
        make=lambda: dspy.RLM(ASK, tools=[successor], interpreter_factory=Interpreter),
        predictors=2,
        note=_PART,
    ),
    Kind(
        title="`BestOfN`",
        make=lambda: dspy.BestOfN(dspy.Predict(ASK), N=2, reward_fn=reward, threshold=1.0),
    ),
    Kind(
        title="`Refine`",
        make=lambda: dspy.Refine(Solver(ASK), N=2, reward_fn=reward, threshold=1.0),
        note="its own predictor that gives advice is not optimized",
    ),
    Kind(title="`MultiChainComparison`", make=Compared, predictors=2),
    Kind(
        title="`Parallel`",
        make=Parallel,
        predictors=2,
        note="make it in `forward`: all copies share one that a module holds",
    ),
    Kind(
        title="typed fields: pydantic models, lists, `Literal`",
        make=lambda: dspy.ChainOfThought(Typed),
        example=typed,
        reaches=lambda n: (f'"value": {n}', "pens"),
    ),
    Kind(
        title="several inputs and outputs",
        make=lambda: dspy.Predict("context, question -> answer: int, sure: bool"),
        example=many,
        reaches=lambda n: ("One more pen.",),
    ),
    Kind(
        title="`Image` inputs",
        make=lambda: dspy.Predict(Seeing),
        example=seeing,
        reaches=lambda n: (pixels(n),),
    ),
    Kind(
        title="`History` inputs",
        make=lambda: dspy.Predict(Talking),
        example=talking,
        reaches=lambda n: (
            f"[[ ## question ## ]]\nIs {n} there?",
            f"[[ ## answer ## ]]\n{n} is here.",
        ),
    ),
    Kind(title="predictors with an `lm` of their own", make=with_lm, predictors=2),
    Kind(
        title="an LM that a module holds",
        make=HoldsLM,
        predictors=2,
        note="also `RLM(sub_lm=…)`: within all budgets and limits, as those of predictors",
    ),
    Kind(title="demos", make=with_demos, note="kept as they are"),
    Kind(title="frozen sub-modules", make=with_frozen, note="neither shown nor changed"),
    Kind(
        title="`aforward` only",
        make=Awaited,
        predictors=2,
        note="each example in an event loop of its own",
    ),
)
