"""An executor that is elsewhere in all but name: what goes in and out of it are bytes."""

import itertools
import pickle
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import Any

import dspy
from dspy.lm15 import Request, Response

from opro_dspy import OPRO
from opro_dspy.simulation import exact_match, landscape, make_examples, optimizer_lm, scorer_lm

_ENGINES: dict[int, Any] = {}
_NUMBERS = itertools.count()


class Elsewhere(Executor):
    """Runs calls in threads of its own, on copies of their arguments.

    Args:
        breaks_after: Calls after which it breaks, as a process pool whose process dies.
        most_bytes: A longer call kills it too, as one too large for its memory.
    """

    def __init__(self, *, breaks_after: int | None = None, most_bytes: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(4)
        self._left, self._most_bytes = breaks_after, most_bytes
        self.sent: list[bytes] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        content = pickle.dumps((fn, args, kwargs))
        self.sent.append(content)
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise BrokenExecutor("a process died")
        if self._most_bytes is not None and len(content) > self._most_bytes:
            raise BrokenExecutor("a process died")
        return self._pool.submit(_called, content)


def _called(content: bytes) -> Any:
    fn, args, kwargs = pickle.loads(content)
    return pickle.loads(pickle.dumps(fn(*args, **kwargs)))


class Shared:
    """An engine whose copies elsewhere are itself, so that its counters can be read."""

    def __init__(self, engine: Any) -> None:
        self._engine, self._number = engine, next(_NUMBERS)
        _ENGINES[self._number] = self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Shared":
        return self

    def __reduce__(self) -> Any:
        return _engine, (self._number,)

    def dump_state(self) -> dict[str, Any]:
        return {}

    def complete(self, request: Request) -> Response:
        response: Response = self._engine.complete(request)
        return response


def _engine(number: int) -> Shared:
    engine: Shared = _ENGINES[number]
    return engine


def shared(lm: dspy.LM) -> dspy.LM:
    """A copy of a scripted LM that can travel within this process."""
    return lm.copy(engine=Shared(lm.engine))


def simulated(student: dspy.Module | None = None, **options: Any) -> Any:
    """A run whose LMs answer by what they are asked alone, whoever asks first."""
    examples = make_examples("arithmetic", n=20, seed=0)
    scorer = scorer_lm(answer_key=examples, landscape=landscape("many_small_effects", seed=0))
    optimizer = OPRO(
        **{
            "metric": exact_match,
            "prompt_model": optimizer_lm(seed=0),
            "num_candidates": 4,
            "max_steps": 2,
            "num_threads": 4,
            "verbose": False,
            **options,
        }
    )
    student = student or dspy.ChainOfThought("question -> answer")
    with dspy.context(lm=scorer.copy(cache=False)):
        return optimizer.compile(student, trainset=examples[:12], valset=examples[12:])


def found(program: Any) -> Any:
    """What a run came to, clocks apart."""
    result = program.detailed_results.model_dump(mode="json")
    for row in result["usage"]:
        del row["seconds"]
    return result
