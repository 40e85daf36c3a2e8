"""The page: one self-contained HTML file that asks no other host for anything."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from opro_dspy.filters import shown
from opro_dspy.plots.axes import Unit
from opro_dspy.report import view
from opro_dspy.report.summary import SIMULATION, is_simulated, summary
from opro_dspy.result import OPROResult


def write(result: OPROResult, path: str | Path) -> Path:
    """Write the page of `result` to `path`, and return that."""
    path = Path(path)
    path.write_text(render(result), encoding="utf-8")
    return path


def render(result: OPROResult) -> str:
    """Return the page of `result`.

    Whatever an LM or a data set wrote stays text in it: the template escapes, the JSON in it
    holds no `<`, and a content security policy lets only the page's own script run.
    """
    environment = Environment(
        loader=PackageLoader("opro_dspy.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    style, script = _part("page.css"), _part("page.js")
    return environment.get_template("page.html").render(
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        **_context(result),
    )


def _context(result: OPROResult) -> dict[str, Any]:
    unit = Unit.of(result)
    return {
        "unit": unit,
        "result": result,
        "summary": summary(result, unit),
        "stop_reason": shown(result.stop_reason),
        "best": view.best_texts(result),
        "drawings": view.drawings(result),
        "curve_in_words": view.curve_in_words(result, unit),
        "rows": view.rows(result, unit),
        "changed": view.changed(result, unit),
        "details": view.details(result),
        "diagnostics": [(d.name, shown(d.seen), shown(d.advice)) for d in result.diagnostics],
        "usage": [result.used("optimizer"), result.used("scorer")],
        "cost": _cost(result),
        "lms": [_lm(result, role) for role in ("optimizer", "scorer")],
        "simulation": SIMULATION if is_simulated(result) else None,
        "settings": view.settings(result.settings),
        "versions": view.settings(dict(result.versions)),
    }


def _lm(result: OPROResult, role: str) -> str:
    """Return the name of a role's LM; results of older versions tell it only of LMs that worked."""
    known = result.settings.get(f"{role}_lm") or result.used(role).model
    return shown(str(known or "an unknown LM"))


def _cost(result: OPROResult) -> str:
    known = [row.cost_usd for row in result.usage if row.cost_usd is not None]
    return f"{sum(known):,.4f} USD" if known else "price unknown"


def _part(name: str) -> str:
    return (files("opro_dspy.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the source expression that a content security policy knows `text` by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
