"""Wheel and source distribution build; the wheel works alone, without any extra."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from opro_dspy import __version__
from tests.code_blocks import ROOT


def done(*command: str | Path, cwd: Path, **environment: str) -> None:
    ended = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


def test_wheel_imports_and_compiles_where_no_extra_is_installed(
    built: Path, tmp_path: Path
) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name.startswith(f"opro_dspy-{__version__}-")
    target = tmp_path / "installed"
    install = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet")
    done(*install, "--target", target, wheel, cwd=tmp_path)
    script = ROOT / "tests" / "bare_install.py"
    caches = {"DSPY_CACHEDIR": str(tmp_path / "dspy"), "OPRO_DSPY_CACHE_DIR": "off"}
    done(sys.executable, script, target, cwd=tmp_path, PYTHONPATH=str(target), **caches)


def test_source_distribution_holds_what_a_contributor_needs(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    needed = {"pyproject.toml", "mkdocs.yml", "LICENSE", "README.md", "CONTRIBUTING.md"}
    assert needed <= names
    assert {name.partition("/")[0] for name in names} >= {
        "opro_dspy",
        "tests",
        "docs",
        "benchmarks",
    }
