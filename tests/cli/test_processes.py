"""Commands as a shell runs them, on a real `dspy.LM` that asks a server on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import run, write_lines
from tests.fakes import WORDS, field
from tests.http_server import ChatServer

ROOT = Path(__file__).parent.parent.parent
KEY = "sk-planted-0123456789"
SETS = ("--trainset", "train.jsonl", "--metric", "exact_text", "--max-steps", "1")


def reply(text: str) -> str:
    if "<INS>" in text:
        return f"<INS>Answer {WORDS[len(text) % len(WORDS)]}.</INS>"
    return field("answer", "2")


def shell(folder: Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "opro_dspy", *words],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPENAI_API_BASE": url,
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": KEY,
            "OPRO_DSPY_CACHE_DIR": "off",
            "DSPY_CACHEDIR": str(folder / "dspy"),
            "COLUMNS": "200",
            "PYTHONIOENCODING": "ascii",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"question": f"What is {i} plus 1?", "answer": str(i + 1)} for i in range(4)]
    write_lines(tmp_path / "train.jsonl", rows)
    return tmp_path


def test_a_real_lm_is_asked_and_its_key_is_written_nowhere(folder: Path) -> None:
    with ChatServer(reply).running() as server:
        words = ("--model", "openai/some-model", "--log-dir", "run", "--json")
        done = shell(folder, server.url, "compile", "question -> answer", *SETS, *words)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        used = told["usage"]["scorer"]["calls"] + told["usage"]["optimizer"]["calls"]
        assert used == server.requests > 4 and told["simulated"] is False
    assert "\x1b" not in done.stdout + done.stderr
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in kept if KEY.encode() in path.read_bytes()]


def test_a_console_that_lacks_a_character_has_it_spelt_out(folder: Path) -> None:
    done = shell(folder, "", "show", "好−1…")
    assert done.returncode == 2
    assert done.stderr.startswith(r"Error: there is no run in \u597d-1...: ")


@pytest.mark.parametrize("command", ["compile", "evaluate", "study"])
def test_a_missing_key_is_wrong_configuration(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    more = {
        "compile": ("question -> answer", *SETS, "--model"),
        "evaluate": ("question -> answer", "--data", *SETS[1:4], "--model"),
        "study": ("order", "--seeds", "1", "--steps", "1", "--lm"),
    }[command]
    done = run(command, *more, "openai/some-model")
    assert done.exit_code == 2, done.stderr
    assert "OPENAI_API_KEY" in done.stderr and "optimizer LM" not in done.stderr


def test_an_evaluation_that_a_cap_ends_says_nothing_of_a_choice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = ("--data", "train.jsonl", "--metric", "exact_text", "--max-cost", "0.000001")
    with ChatServer(reply).running() as server:
        there: dict[str, Any] = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": KEY}
        model = ("--model", "openai/gpt-4o-mini")
        done = run("evaluate", "question -> answer", *words, *model, **there)
    assert done.exit_code == 1
    for word in ("choice", "trainset", "valset", "candidate", "contenders"):
        assert word not in done.stderr
    assert "of $0.0000010 used" in done.stderr


def test_a_wrong_command_is_one_line_on_stderr(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = run("compile", "question -> answer", *SETS, "--model", "gpt5")
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.startswith("Error: an LM is named as provider/model")
    assert done.stderr.count("\n") == 1
