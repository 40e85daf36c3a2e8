"""Run notebooks and store their outputs anew: `python tutorials/refresh.py [NAME.ipynb ...]`.

Pictures are stored with fewer colours, and no times are stored: so notebooks stay small, and a
change of their outputs can be read in a diff.
"""

import base64
import io
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
WIDEST = 1000
"""Pixels; a notebook's page is not wider."""


def refresh(path: Path) -> None:
    """Run the notebook at `path` in an empty folder and write it back."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(DSPY_CACHEDIR=folder, PYTHONWARNINGS="ignore:IProgress")
        runs_in = {"metadata": {"path": folder}}
        settings = {"timeout": 600, "record_timing": False, "coalesce_streams": True}
        NotebookClient(notebook, kernel_name="python3", resources=runs_in, **settings).execute()
    notebook.metadata.language_info = {"name": "python"}
    for output in (o for cell in notebook.cells for o in cell.get("outputs", ())):
        if "image/png" in output.get("data", ()):
            output.data["image/png"] = smaller(output.data["image/png"])
    nbformat.write(notebook, path)


def smaller(png: str) -> str:
    """Return a picture with 96 colours, no wider than it is shown; both in base64."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.thumbnail((WIDEST, WIDEST))
    out = io.BytesIO()
    picture.quantize(96, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


if __name__ == "__main__":
    for chosen in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(HERE.glob("*.ipynb")):
        refresh(chosen)
