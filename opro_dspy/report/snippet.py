"""A run in a few lines of HTML, as a notebook shows it."""

from html import escape

from opro_dspy.filters import shown
from opro_dspy.plots.axes import Unit
from opro_dspy.report.summary import summary
from opro_dspy.result import OPROResult


def snippet(result: OPROResult) -> str:
    """Return the score before and after, the best instruction and the cost, escaped."""
    unit = Unit.of(result)
    found = summary(result, unit)
    lines = [
        ("stopped", shown(result.stop_reason)),
        ("size", f"{len(result.candidates)} candidates in {result.num_steps} steps"),
        ("LM calls", f"{result.total_calls:,}"),
    ]
    if found is not None:
        change = f"{found.gain}; {found.certainty}"
        said = f"{found.before} → {found.after}{unit.name and ' ' + unit.name} ({change})"
        lines.insert(0, ("score", f"{said} on {found.n} examples of the {found.set_name}"))
    if result.best_index is not None:
        several = len(result.best.instructions) > 1
        for name, text in result.best.instructions.items():
            lines.append((f"best: {name}" if several else "best instruction", shown(text)))
    cells = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{escape(shown(name))}</th>'
        f'<td style="text-align:left;white-space:pre-wrap">{escape(text)}</td></tr>'
        for name, text in lines
    )
    return f"<table><caption>OPRO result</caption><tbody>{cells}</tbody></table>"
