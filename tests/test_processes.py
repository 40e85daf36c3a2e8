"""Caches across processes: a second compile, a loaded program, two that want the same."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.http_server import ChatServer
from tests.second_process import reply

ROOT = Path(__file__).parent.parent


def start(job: str, url: str, cache: Path | None, folder: Path, **env: str) -> Any:
    settings = {"DSPY_CACHEDIR": str(folder / "dspy"), "LITELLM_LOCAL_MODEL_COST_MAP": "true"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.second_process", job, url, str(cache or "-"), str(folder)],
        cwd=ROOT,
        env={**os.environ, **settings, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(process: Any) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, Any], int]:
    """A compile at temperature 1.0 whose server is gone afterwards."""
    folder = tmp_path_factory.mktemp("first")
    with ChatServer(reply).running() as server:
        found = done(start("run", server.url, folder / "cache", folder))
        return folder, server.url, found, server.requests


def test_a_second_compile_in_a_new_process_makes_no_call_and_finds_the_same(
    first: tuple[Path, str, dict[str, Any], int], tmp_path: Path
) -> None:
    folder, url, found, requests = first
    assert found["calls"] == requests > 100
    again = done(start("run", url, folder / "cache", tmp_path, PYTHONHASHSEED="7"))
    assert again["calls"] == 0
    for name in ("instructions", "scores", "best"):
        assert again[name] == found[name]
    paid, saved = found["usage"], again["usage"]
    assert saved["optimizer"]["input_tokens_saved"] == paid["optimizer"]["input_tokens"]


def test_the_loaded_program_answers_every_example_in_a_new_process_without_a_call(
    first: tuple[Path, str, dict[str, Any], int],
) -> None:
    folder, url, _, _ = first
    found = done(start("answer", url, folder / "cache", folder, DSPY_CACHEDIR=str(folder / "no")))
    assert len(found["answers"]) == 80 + 12


def test_the_plainly_loaded_program_answers_from_dspys_cache(
    first: tuple[Path, str, dict[str, Any], int],
) -> None:
    folder, url, _, _ = first
    found = done(start("answer", url, None, folder))
    kept = done(start("answer", url, folder / "cache", folder))
    assert found == kept


def test_no_key_is_in_any_file(first: tuple[Path, str, dict[str, Any], int]) -> None:
    folder = first[0]
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".db" for file in files)
    assert [file for file in files if b"sk-planted" in file.read_bytes()] == []


def test_two_processes_that_want_the_same_send_each_request_once(tmp_path: Path) -> None:
    with ChatServer(reply).running() as server:
        jobs = [start("hammer", server.url, tmp_path / "cache", tmp_path) for _ in range(2)]
        one, two = map(done, jobs)
        assert server.requests == 60 + 1
    assert one == two
    assert one["answers"][:60] == one["answers"][60:]
    assert list((tmp_path / "cache").rglob("*.lock")) == []
