"""Writes docs/compatibility.md from what the tests run: `python -m tests.compat.table`."""

from collections.abc import Iterable
from pathlib import Path

from tests.compat.adapters import ADAPTERS
from tests.compat.ecosystem import ECOSYSTEM
from tests.compat.kinds import KINDS
from tests.compat.limits import LIMITS

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"

_TOP = """# Compatibility

Any `dspy.Module` can be the student. This page is made from the tests (`tests/compat`): each row is
a test case, and each test case a row.

## Programs

Each of these was optimized: its score on the selection set rose, and the returned program scores
the same without OPRO. The student stayed as it was; the program came back with the same predictors,
LMs and demos, and was saved and loaded as JSON and as a whole program; what was loaded asks and
answers the same.
"""

_AGENTS = """
### Agents

`ReAct`, `ReActV2`, `CodeAct` and `RLM` write your signature's instruction into a longer text of
theirs, which names the tools, their arguments and how to call them. OPRO shows the optimizer LM
only your part, and replaces only that: the rest stands in the prompt of every candidate. So it is
with a module of your own that keeps its signature in `self.signature` and writes that signature's
instruction into those of its predictors. In results, `instructions` are your part; the compiled
program holds the whole.

A `ProgramOfThought` or a `Flex` by itself is refused: there is no instruction of yours in it. In
the place of the first take `RLM`; for the second there is DSPy's `GEPA`.

An agent that was saved and is loaded beside other tools, descriptions or fields brings the old text
with it. OPRO keeps your part, writes the rest anew for what the agent has now, and says so. Where
another optimizer wrote over all of it (MIPROv2 does), its text is measured as it is, what OPRO
proposes stands in DSPy's text again, and a warning says so. A text that holds some lines of DSPy's
is refused: your part cannot be told from the rest.

### Copies

Each candidate is scored in a copy of the student, made by `copy.deepcopy`. What cannot be copied
(locks, clients that hold one) is shared by all copies, and a warning names it. Methods of the
program belong to the copy wherever it keeps them: as tools, in a table, in an object of your own.
A function that closes over the program is not copied: if it may ask a predictor, the program is
refused; if it reads other things only, a warning names it.

### Awaited programs

A program without `forward` is awaited, each example in an event loop of its own on one of the
`num_threads` threads. Meter, limits, caches and budgets are those of all other programs. `compile`
may be called while a loop is running.

### LMs

LMs of predictors, those that modules hold in attributes, and those of adapters stay who they are,
and are metered, limited and retried as the scorer LM. An LM that a function makes for itself is
counted and charged once it has answered.

## Adapters

Set as always, with `dspy.configure(adapter=…)` or `dspy.context`. Instructions got better under
each of them with the programs named, and all prompts had its form.
"""

_LIMITS = """
## What DSPy itself cannot run

Neither with OPRO nor without; a test runs each of them without.
"""

_END = """
`RLM`, `CodeAct`, `ProgramOfThought` and `Flex` run code in Deno unless they are given another
`interpreter_factory`; our tests give them one of Python's own. `BestOfN` and `Refine` catch what
their attempts raise. An LM that fails in there is seen all the same, and the example is scored
again.

Several `Parallel` may begin at once, in different examples too. One of them may then fail with a
`KeyError` of `tqdm`, rarely: they share a list of progress bars, which DSPy empties each time. Such
an example counts as failed.
"""

_ECOSYSTEM = """## The ecosystem

What OPRO was run with; each row rests on tests, which the page names by their file. How it is done:
[fit it into your stack](how-to/stack.md) and [scaling out](scaling-out.md).
"""


def page() -> str:
    """The page as the tests have it."""
    programs = _table(
        ["Program", "Instructions optimized", "What to know"],
        ((k.title, str(k.predictors), k.note) for k in KINDS),
    )
    adapters = _table(
        ["Adapter", "Programs", "What to know"],
        ((a.title, ", ".join(map(_titled, a.kinds)), a.note) for a in ADAPTERS),
    )
    limits = _table(["What", "Why, and what to do"], ((x.title, x.note) for x in LIMITS))
    neighbours = _table(
        ["With", "What was tested", "In `tests`"],
        ((n.title, n.tested, ", ".join(_files(n.tests))) for n in ECOSYSTEM),
    )
    ecosystem = [_ECOSYSTEM, neighbours, ""]
    return "\n".join([_TOP, programs, _AGENTS, adapters, _LIMITS, limits, _END, *ecosystem])


def _files(tests: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(f"`{test.split('::')[0]}.py`" for test in tests))


def _titled(name: str) -> str:
    return next(kind.title for kind in KINDS if kind.title.strip("`") == name)


def _table(head: list[str], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
