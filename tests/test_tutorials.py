"""Every notebook in `tutorials/` runs offline and says again what is stored in it."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from typer.testing import CliRunner

from opro_dspy import read_run
from opro_dspy.cli import app

TUTORIALS = Path(__file__).parent.parent / "tutorials"
REFERENCE = TUTORIALS.parent / "docs" / "reference"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
NEEDS = {"10_scaling_and_tracking": ("distributed", "mlflow")}
"""Packages beyond the extras `plots` and `tsp`, by notebook."""
MAX_BYTES = 200_000
PLACES = re.compile(r"/home/|/root|/tmp|/work|/usr|/var|\b[A-Z]:\\")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_a_notebook_runs_and_says_what_is_stored_in_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("matplotlib", *NEEDS.get(path.stem, ())):
        pytest.importorskip(package)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "dspy"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", f"{TUTORIALS.parent}{os.pathsep}{os.getenv('PYTHONPATH', '')}")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress")  # of tqdm, without ipywidgets
    stored = nbformat.read(path, as_version=4)
    run = nbformat.read(path, as_version=4)
    runs_in = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(run, timeout=300, kernel_name="python3", resources=runs_in).execute()
    errors = [text for text in map(_stderr, code_cells(run)) if re.search("Error|Warn", text)]
    assert errors == []
    for old, new in zip(code_cells(stored), code_cells(run), strict=True):
        if "varies" in old.metadata.get("tags", ()):
            continue  # by calls in flight, or by the versions of other packages
        assert _text(new) == _text(old), old.source


def test_every_notebook_calls_a_real_lm_where_the_model_is_set(tmp_path: Path) -> None:
    """One process for all: most of the time goes into imports."""
    pytest.importorskip("matplotlib")
    needs = {path: NEEDS.get(path.stem, ()) for path in NOTEBOOKS}
    there = [str(path) for path in NOTEBOOKS if all(map(find_spec, needs[path]))]
    called = subprocess.run(
        [sys.executable, "-m", "tests.real_branches", *there],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": f"{TUTORIALS.parent}{os.pathsep}{os.getenv('PYTHONPATH', '')}",
            "TMPDIR": str(tmp_path),
            "DSPY_CACHEDIR": str(tmp_path / "dspy"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert called.returncode == 0, called.stderr
    assert json.loads(called.stdout) == dict.fromkeys(there)


def test_names_that_a_notebook_imports_are_in_the_reference() -> None:
    reference = "".join(p.read_text(encoding="utf-8") for p in REFERENCE.glob("*.md"))
    documented = set(re.findall(r"^::: (\S+)$", reference, flags=re.MULTILINE))
    used: set[tuple[str, str]] = set()
    for path in NOTEBOOKS:
        cells = code_cells(nbformat.read(path, as_version=4))
        for node in (n for cell in cells for n in ast.walk(ast.parse(cell.source))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("opro_dspy"):
                used |= {(str(node.module), name.name) for name in node.names}
    assert used
    missing = {f"{module}.{name}" for module, name in used if module not in documented}
    assert missing - documented == set()


@each_notebook
def test_what_is_stored_was_run_in_order_without_errors_and_names_no_place(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {o.output_type for o in outputs} <= {"stream", "display_data", "execute_result"}
    assert "".join(map(_stderr, cells)) == ""
    assert not PLACES.search("".join(map(_text, cells)))
    assert not any("text/html" in o.get("data", ()) for o in outputs)
    assert path.stat().st_size < MAX_BYTES


@each_notebook
def test_a_notebook_says_what_it_gives_what_is_simulated_and_what_comes_next(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    first, last = notebook.cells[0].source, notebook.cells[-1].source
    assert first.startswith("# ") and "What you will have at the end:" in first
    assert "**simulated**" in first
    assert "## What to try next" in last
    assert code_cells(notebook)[0].source.startswith("MODEL = None")
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", ()) for output in outputs)


def test_the_readme_of_the_tutorials_has_a_line_for_each() -> None:
    told = (TUTORIALS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((\S+\.ipynb)\)", told) == [path.name for path in NOTEBOOKS]


@each_notebook
def test_links_lead_to_files_that_are_there(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    told = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    linked = [TUTORIALS / name for name in re.findall(r"\]\((\S+?)\)", told)]
    named = [TUTORIALS.parent / name for name in re.findall(r"`((?:docs|benchmarks)/\S+)`", told)]
    assert [file.name for file in (*linked, *named) if not file.exists()] == []


def test_the_run_that_a_tutorial_sends_to_the_shell_can_be_called_again_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = nbformat.read(TUTORIALS / "05_budgets_and_resume.ipynb", as_version=4)
    told = notebook.cells[-1].source
    (command,) = re.findall(r"```bash\npython -m opro_dspy (.*?)```", told, flags=re.DOTALL)
    (row,) = re.findall(r"`(\{.*?\})`", told)
    (folder,) = re.findall(r"`opro_dspy\.read_run\(\"(.*?)\"\)`", told)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").write_text(f"{row}\n" * 4, encoding="utf-8")
    words = [*shlex.split(command.replace("\\\n", " ")), "--max-steps", "1"]
    for _ in range(2):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    assert read_run(folder).num_steps == 1
    assert CliRunner().invoke(app, ["show", folder, "--watch"]).exit_code == 0
    assert f"show {folder} --watch" in told


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _stream(cell: nbformat.NotebookNode, name: str) -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == name)


def _stderr(cell: nbformat.NotebookNode) -> str:
    return _stream(cell, "stderr")


def _text(cell: nbformat.NotebookNode) -> str:
    """Return what a cell printed, and the text form of what it showed."""
    shown = [o.data.get("text/plain", "") for o in cell.outputs if "data" in o]
    return "\n".join([_stream(cell, "stdout"), *shown])
