"""What came of a run in one line: before and after, and how sure that is."""

from dataclasses import dataclass

from opro_dspy.plots.axes import Unit
from opro_dspy.records import Estimate
from opro_dspy.report.text import interval, number, signed
from opro_dspy.result import OPROResult

MIN_EXAMPLES = 10
"""With fewer the normal approximation says nothing: no interval is shown."""

SIMULATION = "An LM is simulated: these are numbers of the simulation, not of a real model."

_SIMULATED = "simulated/"
"""What the models of `opro_dspy.simulation` are called, unless they are given another name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Before and after; the differences paired by example."""

    set_name: str
    n: int
    """Examples that both met."""
    kept: bool
    """Whether the student itself was chosen."""
    on_selection: bool
    """Whether the two are compared on the set that the choice was made on."""
    before: str
    after: str
    gain: str
    certainty: str
    """How sure the gain is, in words."""
    better: int
    worse: int


def summary(result: OPROResult, unit: Unit) -> Summary | None:
    """Return before and after; None if nothing was scored."""
    gain, pairs = result.gain, result.compared
    if gain is None or result.best_index is None:
        return None
    student, best = result.candidates[0], result.best
    chosen = student.selection is not None and best.selection is not None
    return Summary(
        set_name=result.selection_set if chosen else "trainset",
        n=len(pairs),
        kept=result.best_index == 0,
        on_selection=chosen,
        before=number(sum(a for a, _ in pairs.values()) / len(pairs), unit),
        after=number(sum(b for _, b in pairs.values()) / len(pairs), unit),
        gain=signed(gain.score, unit),
        certainty=certainty(gain, unit),
        better=sum(after > before for before, after in pairs.values()),
        worse=sum(after < before for before, after in pairs.values()),
    )


def certainty(gain: Estimate, unit: Unit) -> str:
    """Return how sure a difference paired by example is: its interval, where it can have one."""
    if gain.n_examples < MIN_EXAMPLES:
        several = " is" if gain.n_examples == 1 else "s are"
        return f"{gain.n_examples} example{several} too few for an interval"
    if not gain.stderr:
        return "the same on every example"
    return f"95 % interval {interval(gain, unit)} (normal approximation)"


def is_simulated(result: OPROResult) -> bool:
    """Tell whether an LM of the run is one of `opro_dspy.simulation`."""
    named = [result.settings.get(name, "") for name in ("optimizer_lm", "scorer_lm")]
    named += [row.model for row in result.usage]
    return any(part.startswith(_SIMULATED) for name in named for part in str(name).split(", "))
