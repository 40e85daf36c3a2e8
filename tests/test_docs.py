"""The documentation builds strictly and offline, its code runs, and it names all that is public."""

import importlib
import inspect
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import dspy
import pytest
from pydantic import BaseModel

from opro_dspy import OPRO, OPROResult, plots
from opro_dspy.cli.app import COMMANDS
from opro_dspy.journal import Manifest
from opro_dspy.journal.lines import Line
from opro_dspy.simulation import exact_match, landscape, make_examples, scorer_lm
from tests.code_blocks import ROOT, blocks, run

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
WITH_CODE = [page for page in PAGES if blocks(page, "python")]
PUBLIC = {
    *("opro_dspy", "opro_dspy.datasets", "opro_dspy.integrations.mlflow"),
    *("opro_dspy.integrations.wandb", "opro_dspy.metrics", "opro_dspy.plots"),
    *("opro_dspy.problems", "opro_dspy.protocols", "opro_dspy.simulation", "opro_dspy.stopping"),
    "opro_dspy.studies",
}
"""The modules that users import from."""


def title(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.mark.parametrize("page", WITH_CODE, ids=title)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(blocks(page, "python"), title(page), tmp_path, monkeypatch)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "py")], ids=title)
def test_python_that_needs_a_service_is_python_at_least(page: Path) -> None:
    for code in blocks(page, "py"):
        compile(code, title(page), "exec")


def test_the_site_builds_strictly_and_asks_no_other_host_for_anything(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path / "site"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)  # and one for what is not found
    asked = {url for page in pages for url in loaded_by(page) if re.match(r"(?:\w+:)?//", url)}
    assert asked == set()


def test_every_public_name_has_its_place_in_the_reference() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("reference/*.md"))
    told = set(re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE))
    names = {f"{module}.{name}" for module in PUBLIC - told for name in public_names(module)}
    assert names - told == set()


def test_what_the_data_functions_of_figures_return_is_in_the_reference() -> None:
    text = (DOCS / "reference/plots.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^::: opro_dspy\.plots\.(\w+)$", text, flags=re.MULTILINE))
    functions = [getattr(plots, name) for name in plots.__all__ if name.endswith("_data")]
    returned = {kind.__name__ for f in functions for kind in own_types(get_type_hints(f)["return"])}
    assert {"Curve", "Unit", "TourAt"} <= returned <= told


def test_the_fields_of_journal_lines_are_told_in_their_order() -> None:
    told = {row[0]: row[1] for row in table("file-formats.md", "`type`", "Fields")}
    outer = {"v", "type", "session", "t"}  # of every line, told above the table
    fields = {
        model.model_fields["type"].default: [f for f in model.model_fields if f not in outer]
        for model in get_args(Line)
    }
    assert {kind.strip("`"): in_code(names) for kind, names in told.items()} == fields


@pytest.mark.parametrize(
    ("model", "after"), [(OPROResult, "## Results"), (Manifest, "### manifest.json")]
)
def test_the_fields_of_a_file_are_all_told(model: type[BaseModel], after: str) -> None:
    rows = table("file-formats.md", "Field", after=after)
    assert {name for row in rows for name in in_code(row[0])} == set(model.model_fields)


def test_the_settings_page_names_settings_that_there_are() -> None:
    named = {name for row in table("how-to/settings.md", "Setting") for name in in_code(row[0])}
    assert named <= set(inspect.signature(OPRO.__init__).parameters)


def test_the_commands_are_all_on_their_page() -> None:
    told = {row[0].strip("`").split()[0] for row in table("how-to/command-line.md", "Command")}
    assert told == {*COMMANDS, "cache"}


def test_the_sizes_of_auto_are_as_the_page_says() -> None:
    examples = make_examples("arithmetic", n=90, seed=0)
    scorer = scorer_lm(answer_key=examples, landscape=landscape("many_small_effects", seed=0))
    for auto, steps, calls in table("how-to/budgets.md", "`auto`", "steps per predictor"):
        size: Any = auto.strip('`"')
        optimizer = OPRO(metric=exact_match, auto=size)
        with dspy.context(lm=scorer):
            cost = optimizer.estimate(
                dspy.Predict("question -> answer"), trainset=examples[:60], valset=examples[60:]
            )
        assert (8 * int(steps), int(calls)) == (cost.optimizer.calls[0], cost.metric_calls[1])


def table(page: str, *heads: str, after: str = "") -> list[list[str]]:
    """Return the rows of a page's first table behind `after` whose columns begin with `heads`."""
    text = (DOCS / page).read_text(encoding="utf-8")
    text = text[text.index(after) :]
    start = re.search(r"^\| " + r" \| ".join(map(re.escape, heads)), text, re.MULTILINE)
    assert start is not None, f"{page} has no such table"
    lines = text[start.start() :].splitlines()
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), lines))[2:]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


def in_code(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def loaded_by(page: Path) -> Iterator[str]:
    """Yield the addresses that a browser loads by itself when it opens `page`."""

    class Loads(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.urls: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            names = {"link": "href", "a": None}.get(tag, "src")
            self.urls += [url for name, url in attrs if name == names and url]

    found = Loads()
    found.feed(page.read_text(encoding="utf-8"))
    return iter(found.urls)


def public_names(name: str) -> list[str]:
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    return list(listed) if listed is not None else list(own_names(module))


def own_types(hint: Any) -> Iterator[type]:
    """Yield the classes of this package in a type hint."""
    if getattr(hint, "__module__", "").startswith("opro_dspy"):
        yield hint
    for part in get_args(hint):
        yield from own_types(part)


def own_names(module: ModuleType) -> Iterator[str]:
    """Yield the classes and functions that `module` defines and does not hide."""
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            yield name
