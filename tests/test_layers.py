"""A module imports only from rows below its own; modules of one row do not import each other."""

import ast
from pathlib import Path

import opro_dspy

PACKAGE = Path(opro_dspy.__file__).parent

ROWS = (
    {"__main__"},
    {"cli"},
    {"__init__"},
    {"studies"},
    {"report"},
    {"plots"},
    {"simulation"},
    {"teleprompter", "solving", "datasets"},
    {"integrations"},
    {"run"},
    {"wiring", "choice", "warm_start"},
    {"inputs", "loop", "outcome", "estimate", "identity", "runlog", "watching", "runs"}
    | {"announcing", "awaiting"},
    {"optimizer", "evaluator", "settings"},
    {"asking", "proposer", "grid", "progress", "limits", "remote"},
    {"packing", "executing", "late"},
    {"inquiry"},
    {"worker", "books"},
    {"failures", "outages", "ledger", "trials", "restoring"},
    {"conditions", "samples"},
    {"scoring", "plan", "refusals", "hangs"},
    {"accepting", "temperatures", "program", "pool", "selectors", "schedules", "stopping", "race"},
    {"lane", "scaffolds", "sharing", "calling"},
    {"boundary", "journal", "loops", "parts"},
    {"cache"},
    {"fingerprints"},
    {"meta_prompt", "exemplars", "fitting", "fields", "metric", "memory", "positions"},
    {"protocols"},
    {"result"},
    {"diagnostics"},
    {"trajectory", "racing", "failing"},
    {"rasch", "credit"},
    {
        *("records", "seats", "config", "filters", "frame", "answers", "interrupt", "likeness"),
        *("direction", "problems", "rows", "metrics", "foresight"),
    },
    {"options"},
    {"names"},
    {"errors", "copying", "early"},
)
"""From the top down."""

WITH_DSPY = {
    *("simulation", "cli", "teleprompter", "run", "inputs", "outcome", "estimate"),
    *("settings", "wiring", "choice", "identity", "samples", "cache", "fingerprints"),
    *("solving", "studies"),
    *("conditions", "scoring", "worker", "packing", "remote", "restoring", "trials", "inquiry"),
    *("proposer", "evaluator", "grid", "program", "boundary", "metric", "temperatures"),
    *("announcing", "rows", "metrics", "datasets", "positions"),
    *("scaffolds", "sharing", "parts", "calling", "accepting"),
}


DOORS = {("result", "report")}
"""A method of the first room opens the second one, above it, when it is called: what users expect
on the object that they hold."""


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def row_of(room: str) -> int:
    return next(i for i, row in enumerate(ROWS) if room in row)


def test_every_module_imports_only_from_rows_below_its_own() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = room_of(path)
        for module in imports_of(path):
            parts = module.split(".")
            if parts[0] != "opro_dspy":
                continue
            other = parts[1] if len(parts) > 1 else "__init__"
            door = (room, other) in DOORS
            if other != room and not door and row_of(other) <= row_of(room):
                wrong.append(f"{path.name} imports {module}")
    assert wrong == []


def test_only_the_marked_rooms_import_dspy() -> None:
    with_dspy = {
        room_of(path)
        for path in PACKAGE.rglob("*.py")
        if any(module.split(".")[0] == "dspy" for module in imports_of(path))
    }
    assert with_dspy == WITH_DSPY
