import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from opro_dspy import OPROResult
from opro_dspy.cache import CacheDir, DiskStore
from opro_dspy.cli import app
from opro_dspy.cli.app import COMMANDS
from opro_dspy.early import is_command_line, without_traceback
from opro_dspy.studies.cells import Measured, Record

RUNNER = CliRunner()


def plain(text: str) -> str:
    return " ".join(re.sub(r"[\u2500-\u257f]", " ", text).split())


def test_help_lists_the_commands() -> None:
    result = RUNNER.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "demo" in result.stdout


@pytest.mark.parametrize(
    ("argv", "ours"),
    [
        (["python", "-m", "opro_dspy", "show"], True),
        (["python", "-X", "utf8", "-m", "opro_dspy"], True),
        (["/usr/bin/python3", "/usr/local/bin/opro-dspy", "show"], True),
        (["python", "-m", "pytest", "opro_dspy"], False),
        (["python", "script.py", "opro-dspy"], False),
        (["python"], False),
    ],
)
def test_only_our_own_command_line_changes_how_ctrl_c_is_told(argv: list[str], ours: bool) -> None:
    assert is_command_line(argv) is ours


def test_ctrl_c_during_imports_is_a_word_and_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        without_traceback(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert ended.value.code == 130 and capsys.readouterr().err == "Interrupted.\n"
    without_traceback(ValueError, ValueError("as ever"), None)
    assert "ValueError: as ever" in capsys.readouterr().err


def test_a_short_demo_says_what_it_found_and_that_it_is_simulated() -> None:
    result = RUNNER.invoke(
        app, ["demo", "--steps", "1", "--task", "object_counting", "--seed", "5"]
    )
    assert result.exit_code == 0, result.output
    text = plain(result.stdout)
    for said in ("simulated", "Best instruction", "Held-out score", "cache hits", "tokens in"):
        assert said in text


def test_repair_says_what_it_drops(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    line = '{"v":1,"type":"end","session":1,"t":0.5,"reason":"x"}\n'
    journal.write_text(line + '{"v":1,"type":"\x1b[31m"}\n' + line)
    result = RUNNER.invoke(app, ["repair", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "line 2: 23 bytes dropped" in plain(result.stdout) and "\x1b[31m" not in result.stdout
    assert journal.read_text() == line + line
    assert "Nothing is damaged" in RUNNER.invoke(app, ["repair", str(tmp_path)]).stdout
    assert RUNNER.invoke(app, ["repair", str(tmp_path / "none")]).exit_code == 2


def test_a_demo_for_scripts_writes_its_program(tmp_path: Path) -> None:
    out = tmp_path / "program.json"
    words = ["demo", "--steps", "1", "--json", "--out", str(out)]
    told = json.loads(RUNNER.invoke(app, words).stdout)
    assert told["simulated"] is True and told["num_steps"] == 1 and told["program"] == str(out)
    assert 0 <= told["held_out"]["before"] <= 100
    result = OPROResult.load(tmp_path / "program.result.json")
    assert result.best.instructions == told["instructions"]


def test_the_demo_estimates_with_a_real_lm_and_asks_nobody() -> None:
    words = ["demo", "--model", "openai/gpt-5-nano", "--estimate"]
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "The LMs are real" in plain(result.stdout) and "USD" in plain(result.stdout)
    assert re.search(r"Scored examples: \d+ to \d+", plain(result.stdout))


@pytest.mark.parametrize("problem", ["tsp", "linear-regression"])
def test_the_demo_of_a_problem_speaks_json(problem: str) -> None:
    words = ["demo", "--problem", problem, "--steps", "1", "--json"]
    told = json.loads(RUNNER.invoke(app, words).stdout)
    assert told["num_steps"] == 1 and told["solution"] and told["simulated"] is True
    refused = RUNNER.invoke(app, ["demo", "--problem", problem, "--out", "x.json"])
    assert refused.exit_code == 2


def test_every_command_has_examples_and_exit_codes_in_its_help() -> None:
    for command in (*COMMANDS, "cache", "cache info", "cache prune"):
        result = RUNNER.invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0
        assert f"opro-dspy {command}" in result.stdout and "Exit codes: 0 fine" in result.stdout
        assert not re.findall(r"--\S+ +<(?:bool|str|int|float|path|file)\b", result.stdout)
        assert not re.findall(r"Usage:.*[{\[][a-z]", result.stdout)


def test_a_wrong_task_is_refused_with_the_right_names() -> None:
    result = RUNNER.invoke(app, ["demo", "--task", "chess"])
    assert result.exit_code == 2
    assert "arithmetic" in result.output and "got 'chess'" in plain(result.output)


def test_the_cache_is_shown_pruned_and_cleared(tmp_path: Path) -> None:
    store = DiskStore(CacheDir(path=tmp_path))
    for number in range(30):
        store.put(f"answer:{number}", "x" * 100_000)
    store.put("score:1", 1)

    def run(*words: str) -> str:
        result = RUNNER.invoke(app, ["cache", *words, "--dir", str(tmp_path)])
        assert result.exit_code == 0, result.output
        return plain(result.stdout)

    assert "1 example scores and 30 LM answers" in run("info")
    assert "0 entries deleted" in run("prune", "--older-than", "1")
    assert not run("prune", "--max-size", "1").startswith("0 entries")
    assert json.loads(run("prune", "--older-than", "0", "--json"))["deleted"] > 0
    (tmp_path / "mine").write_text("")
    assert "The cache in" in run("clear") and (tmp_path / "mine").exists()
    assert json.loads(run("clear", "--json"))["cleared"] is True
    assert "0 example scores and 0 LM answers" in run("info")
    empty = RUNNER.invoke(app, ["cache", "clear", "--dir", str(tmp_path / "none")])
    assert "There is no cache in" in plain(empty.stdout)


def test_pruning_needs_to_know_what_to_delete(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["cache", "prune", "--dir", str(tmp_path)])
    assert result.exit_code == 2
    assert "--max-size" in result.output


@pytest.mark.parametrize("problem", ["linear-regression", "tsp"])
def test_the_demo_of_a_problem_ends_at_its_optimum(problem: str) -> None:
    result = RUNNER.invoke(app, ["demo", "--problem", problem, "--seed", "1"])
    assert result.exit_code == 0, result.output
    text = plain(result.stdout)
    assert "simulated" in text and "ended with optimal" in text


def test_the_demo_of_tours_runs_without_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    result = RUNNER.invoke(app, ["demo", "--problem", "tsp", "--steps", "1"])
    assert result.exit_code == 0, result.output
    assert "opro_dspy[tsp]" in plain(result.stdout)


def test_an_endless_size_is_refused(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["cache", "prune", "--dir", str(tmp_path), "--max-size", "inf"])
    assert result.exit_code == 2 and "number of MB" in plain(result.output)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "{tmp}/none.jsonl", "--lm", "openai/x"], "does not exist"),
        (["--data", "{tmp}/one.jsonl", "--lm", "openai/x"], "at least 3 examples"),
        (["--max-cost", "1"], "need a real LM"),
        (["--max-cost", "1", "--lm", "simulated"], "need a real LM"),
        (["--lm", "junk"], "named as provider/model, such as openai/gpt-5-mini, got 'junk'"),
        (["--max-tokens", "-5"], "--max-tokens"),
        (["--out", "{tmp}/other"], "Take another file"),
        (["--out", "{tmp}/one.jsonl"], "one.jsonl"),
    ],
)
def test_a_study_that_cannot_run_says_why_without_a_traceback(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "one.jsonl").write_text('{"question": "1", "answer": "1"}\n')
    (tmp_path / "other").mkdir()
    cell = Record(study="scores", variant="v", seed=0, settings={}, measured=Measured(values={}))
    (tmp_path / "other" / "order.jsonl").write_text(cell.model_dump_json() + "\n")
    asked = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    result = RUNNER.invoke(
        app, ["study", "order", "--seeds", "1", "--steps", "1", *asked], env={"COLUMNS": "300"}
    )
    assert result.exit_code == 2
    assert said in plain(result.output)
