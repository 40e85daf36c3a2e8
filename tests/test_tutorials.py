"""Every notebook in `tutorials/` runs from top to bottom, and names no place of one machine."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parent.parent / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_without_an_error(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "dspy"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    runs_in = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=runs_in).execute()
    errors = [text for text in _streams(notebook, "stderr") if "Error" in text or "Warn" in text]
    assert errors == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_are_plain_text_and_name_no_place(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    assert {o.output_type for o in outputs} == {"stream"}
    assert _streams(notebook, "stderr") == []
    assert not re.search(r"/home/|/root|/tmp|/work|[A-Z]:\\", "".join(_streams(notebook, "stdout")))


def test_the_readme_of_the_tutorials_has_a_line_for_each() -> None:
    told = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\S+\.ipynb)\)", told) == [path.name for path in NOTEBOOKS]


def _streams(notebook: nbformat.NotebookNode, name: str) -> list[str]:
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    return [o.text for o in outputs if o.output_type == "stream" and o.name == name]
