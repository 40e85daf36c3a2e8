import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from opro_dspy import OPROResult, optimize, read_run
from opro_dspy.errors import ConfigurationError
from opro_dspy.problems import TravelingSalesman
from opro_dspy.runs import UNFINISHED
from opro_dspy.simulation import numeric_optimizer_lm
from tests.fakes import VAL, compiled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    compiled(log_dir=path, num_threads=1, valset=VAL[:8])
    return path


def cut(folder: Path, to: Path, n: int | None = None, *, torn: bytes = b"") -> Path:
    """A copy of the run as it was after `n` lines, before there was a result."""
    shutil.copytree(folder, to)
    (to / "result.json").unlink()
    lines = (to / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (to / "journal.jsonl").write_bytes(b"".join(lines[:n]) + torn)
    return to


def test_a_result_names_the_lm_that_was_scored_on_also_from_its_journal(
    folder: Path, tmp_path: Path
) -> None:
    name = read_run(folder).settings["scorer_lm"]
    assert name == read_run(folder).used("scorer").model
    assert name == read_run(cut(folder, tmp_path / "cut")).settings["scorer_lm"]


def line_of(folder: Path, kind: str) -> int:
    """The number of the last line of this type, from 1."""
    lines = (folder / "journal.jsonl").read_text().splitlines()
    return max(i for i, line in enumerate(lines, start=1) if json.loads(line)["type"] == kind)


def without(result: OPROResult, *names: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(result.model_dump_json(exclude=set(names)))
    return told


def test_a_finished_run_is_read_from_its_folder_or_its_file(folder: Path) -> None:
    result = read_run(folder)
    assert result == OPROResult.load(folder / "result.json") == read_run(folder / "result.json")


def test_the_journal_alone_tells_the_same_scores_choice_and_spending(
    folder: Path, tmp_path: Path
) -> None:
    found, whole = read_run(cut(folder, tmp_path / "cut")), read_run(folder)
    only_a_result_has = ("usage", "settings", "examples", "steps", "diagnostics", "score_reuse")
    assert without(found, *only_a_result_has) == without(whole, *only_a_result_has)
    for got, wanted in zip(found.steps, whole.steps, strict=True):
        assert got.candidates == wanted.candidates
        assert got.base == wanted.base
        assert [q.meta_prompt for q in got.queries] == [q.meta_prompt for q in wanted.queries]
        texts = [p.text for p in wanted.proposals]
        assert [p.text for p in got.proposals if p.text] == [text for text in texts if text]
    assert found.total_calls == whole.total_calls


def test_a_run_is_read_while_it_goes_on(folder: Path, tmp_path: Path) -> None:
    until = line_of(folder, "step")
    path = cut(folder, tmp_path / "cut", until, torn=b'{"v":1,"type":"sc')
    before = {p.name: p.read_bytes() for p in path.iterdir()}
    found = read_run(path)
    assert found.stop_reason == UNFINISHED
    assert found.num_steps == 3
    assert found.best.score == max(c.score for c in found.candidates)
    assert {p.name: p.read_bytes() for p in path.iterdir()} == before
    assert OPROResult.from_json(found.model_dump_json()) == found


def test_what_is_being_scored_is_unfinished(folder: Path, tmp_path: Path) -> None:
    found = read_run(cut(folder, tmp_path / "cut", 5))
    assert found.candidates == ()
    assert [len(e.scores) for e in found.unfinished] == [3]
    assert "nothing to compare" in repr(found)


def test_a_result_is_old_once_the_run_was_taken_up_again(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "again"
    shutil.copytree(folder, path)
    lines = (path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (path / "journal.jsonl").write_bytes(b"".join([*lines, lines[0]]))
    assert read_run(path).examples == {}
    assert read_run(folder).examples != {}


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no run in .*neither a result\.json"):
        read_run(tmp_path)


def test_a_run_on_a_problem_is_refused(tmp_path: Path) -> None:
    optimize(
        TravelingSalesman.random(n=5),
        prompt_model=numeric_optimizer_lm(seed=0),
        max_steps=1,
        log_dir=tmp_path / "tsp",
        verbose=False,
    )
    (tmp_path / "tsp" / "result.json").unlink()
    with pytest.raises(ConfigurationError, match="a run of `optimize` on TravelingSalesman"):
        read_run(tmp_path / "tsp")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trainset": {"n": 1}}, "not of one run: example .* of the trainset"),
        ({"valset": {"n": 0}}, "not of one run: example .* of the valset"),
        ({"trainset": {"n": 10**12}}, "trainset.n"),
        ({"lms": {"optimizer": []}}, "lms.optimizer"),
        ({"lms": {"": {}}}, "lms"),
    ],
)
def test_a_manifest_that_cannot_be_is_an_error_that_says_so(
    folder: Path, tmp_path: Path, changed: dict[str, dict[str, Any]], said: str
) -> None:
    cut(folder, tmp_path / "cut")
    path = tmp_path / "cut" / "manifest.json"
    manifest = json.loads(path.read_text())
    for name, parts in changed.items():
        manifest[name].update(parts)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ConfigurationError, match=said):
        read_run(tmp_path / "cut")
