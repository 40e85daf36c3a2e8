"""The documentation builds strictly and offline, its code runs, and it names all that is public."""

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

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


def test_the_site_builds_strictly_and_asks_no_other_host_for_anything(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path / "site"],
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


def own_names(module: ModuleType) -> Iterator[str]:
    """Yield the classes and functions that `module` defines and does not hide."""
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            yield name
