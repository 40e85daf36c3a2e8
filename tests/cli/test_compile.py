import json
from pathlib import Path
from typing import Any

import dspy
import pytest
from typer.testing import CliRunner

from opro_dspy import OPROResult
from opro_dspy.cli import app
from tests import fakes
from tests.cli.conftest import compiled, plain, run

INTERRUPTING = """
import os, pathlib, signal
from opro_dspy.metrics import exact_text

def metric(example, prediction, trace=None):
    left = pathlib.Path("left")
    left.write_text(str(int(left.read_text()) - 1))
    if left.read_text() == "0":
        os.kill(os.getpid(), signal.SIGINT)
    return exact_text(example, prediction)
"""


def test_compile_writes_the_program_and_its_result(here: Path) -> None:
    done = compiled("--out", "best.json")
    assert done.exit_code == 0, done.output
    said = plain(done.stdout)
    for part in ("An LM is simulated", "Trajectory", "Best instruction", "Gain over the start"):
        assert part in said
    assert "Written: best.json, best.result.json." in said
    result = OPROResult.load(here / "best.result.json")
    program = dspy.Predict("question -> answer")
    program.load(here / "best.json")
    assert program.signature.instructions == result.best.instructions["self"]
    assert result.num_train == 12 and result.num_val == 8 and result.num_steps == 2


@pytest.mark.parametrize(("charset", "said"), [("ascii", ("+/-", "...")), ("cp1252", ("±", "…"))])
def test_a_run_is_told_in_any_encoding(charset: str, said: tuple[str, str], here: Path) -> None:
    words = ["compile", "question -> answer", "--trainset", "train.jsonl", "--model", "simulated"]
    more = ["--metric", "exact_text", "--max-steps", "1", "--set", "num_candidates=4"]
    done = CliRunner(charset=charset).invoke(app, words + more, env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.stderr
    assert all(part in done.stdout for part in said)


def test_for_scripts_there_is_json_and_nothing_else(here: Path) -> None:
    told = json.loads(compiled("--json").stdout)
    result = OPROResult.load(here / told["result"])
    assert told["instructions"] == result.best.instructions
    assert told["score"] == result.best.score and told["simulated"] is True
    assert told["usage"]["scorer"]["calls"] == result.used("scorer").calls


def test_a_program_comes_from_a_module_or_what_makes_it(here: Path) -> None:
    sets = ("--trainset", "train.jsonl", "--metric", "my_app:close", "--inputs", "question")
    lms = ("--model", "simulated", "--max-steps", "1", "--json")
    first = run("compile", "my_app:Program", *sets, *lms)
    second = run("compile", "my_app:make", *sets, *lms)
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert list(json.loads(first.stdout)["instructions"]) == ["solve"]


def test_the_arguments_of_forward_are_the_inputs(here: Path) -> None:
    sets = ("--trainset", "train.jsonl", "--metric", "exact_text")
    done = run("compile", "my_app:Program", *sets, "--model", "simulated", "--estimate")
    assert done.exit_code == 0, done.stderr


def test_a_row_that_no_answer_matches_is_named(here: Path) -> None:
    (here / "some.csv").write_text("question,answer\n1 + 1,2\nWhat?,\nAnd?,none\n1 + 2,3\n")
    words = ("--trainset", "some.csv", "--metric", "exact_number", "--model", "simulated")
    done = run("compile", "question -> answer", *words, "--estimate")
    assert done.exit_code == 0
    said = "exact_number finds nothing to compare in the 'answer' of row 2 of --trainset"
    assert said in done.stderr and "nor in 1 other row:" in done.stderr


def test_a_program_that_cannot_be_written_at_the_end_leaves_the_run(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> None:
        raise RuntimeError("Failed to save state: no space left")

    monkeypatch.setattr("dspy.Predict.save", full)
    done = compiled("--log-dir", "run")
    assert done.exit_code == 1 and "bug of ours" not in done.stderr
    assert "program.json cannot be written: Failed to save state: no space left." in done.stderr
    assert "What was found is in run" in done.stderr and "opro-dspy resume run" in done.stderr


def test_an_estimate_calls_no_lm_and_writes_nothing(here: Path) -> None:
    before = sorted(here.iterdir())
    told = json.loads(compiled("--estimate", "--json").stdout)
    assert told["scorer"]["calls"][0] > 0
    assert "What it will cost" in compiled("--estimate").stdout
    assert [p for p in sorted(here.iterdir()) if p.name != "__pycache__"] == before


WRONG: list[tuple[dict[str, str], str]] = [
    ({"program": "none:Program"}, "module 'none' was not found"),
    ({"program": "my_app:Progam"}, "has no 'Progam'. Did you mean Program?"),
    ({"program": "my_app:Zebra"}, "It has: Program, Free, make, needs, close, nothing."),
    ({"program": "my_app:needs"}, "needs the arguments lm"),
    ({"program": "my_app:A_NUMBER"}, "must be a dspy.Module"),
    ({"program": "my_app:Free"}, "pass --inputs"),
    ({"program": "my_app"}, "must be module:object, or a signature"),
    ({"program": "broken:x"}, "raised ZeroDivisionError when it was imported"),
    ({"program": "1x -> y!"}, "is no signature that DSPy reads"),
    (
        {"program": "question -> other"},
        "the metric compares 'answer', but the program writes other",
    ),
    ({"program": "question, more -> answer"}, "has no field 'more'"),
    ({"--inputs": "answer"}, "--inputs has no 'question'"),
    ({"--inputs": "question,answer"}, "but --inputs names 'answer' too"),
    ({"--trainset": "semicolons.csv"}, "its columns are separated by semicolons"),
    ({"--field": "label"}, "the metric compares 'label'"),
    ({"--trainset": "none.jsonl"}, "does not exist"),
    ({"--metric": "exact_txt"}, "Did you mean exact_text?"),
    ({"--metric": "my_app:A_NUMBER"}, "must be a function of"),
    ({"--model": "gpt5"}, "named as provider/model"),
    ({"--model": "my_app:A_NUMBER"}, "must be a dspy.LM"),
    ({"--set": "breadth=4"}, "did you mean `num_candidates`?"),
    ({"--set": "num_candidates=0"}, "greater than or equal to 1, got 0"),
    ({"--set": "resume=never"}, "there is an option for it"),
    ({"--set": "x"}, "--set takes name=value"),
    ({"--max-steps": "-1"}, "'--max-steps': it must be greater than or equal to 0. See"),
    ({"--max-steps": "x"}, "'--max-steps': it must be a valid integer. See"),
    ({"--auto": "huge"}, "'--auto': 'huge' is not one of"),
    ({"--max-cost": "0"}, "`max_cost` must be greater than 0, got 0.0"),
    ({"--trainset": "blank.csv", "--metric": "exact_number"}, "nor in any other row"),
    ({"--out": "none/program.json"}, "cannot be written"),
    ({"--out": "/proc/program.json"}, "/proc is no folder that can be written in"),
    ({"--out": "program.pkl"}, "must be a .json file"),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_is_said_in_one_line_before_anything_is_done(
    change: dict[str, str], said: str, here: Path
) -> None:
    (here / "broken.py").write_text("1 / 0\n")
    (here / "semicolons.csv").write_text("question;answer\nWhat, then?;4\n")
    (here / "blank.csv").write_text("question,answer\nWhat?,\nAnd then?,none\n")
    words = {
        "program": "question -> answer",
        "--trainset": "train.jsonl",
        "--metric": "exact_text",
        "--model": "simulated",
        **change,
    }
    program = words.pop("program")
    done = run("compile", program, *(word for pair in words.items() for word in pair))
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert ".." not in done.stderr
    assert not (here / "program.json").exists()


def test_without_an_lm_it_says_how_to_name_one(here: Path) -> None:
    sets = ("--trainset", "train.jsonl", "--metric", "exact_text")
    done = run("compile", "question -> answer", *sets)
    assert done.exit_code == 2 and "pass --model" in done.stderr


def test_debug_shows_the_traceback_wherever_it_stands(here: Path) -> None:
    (here / "broken.py").write_text("1 / 0\n")
    sets = ("--trainset", "train.jsonl", "--metric", "exact_text", "--model", "simulated")
    done = run("compile", "broken:x", "--debug", *sets)
    assert done.exit_code == 2 and "ZeroDivisionError: division by zero" in done.stderr


def test_a_metric_without_a_number_fails_the_run(here: Path) -> None:
    sets = ("--trainset", "train.jsonl", "--metric", "my_app:nothing", "--model", "simulated")
    done = run("compile", "question -> answer", *sets)
    assert done.exit_code == 1
    assert "the metric `nothing` returned None" in done.stderr and done.stdout == ""
    assert not (here / "program.json").exists()


BROKEN = """
from opro_dspy.metrics import exact_text
from tests.fakes import field, scripted_lm
from dspy.utils.exceptions import LMAuthError

seen = []
def reply(text):
    seen.append(text)
    if len(seen) > {n}:
        return LMAuthError("quota gone for good.")
    return field("answer", "2")

lm = scripted_lm(reply)
"""


@pytest.mark.parametrize(("n", "kept"), [(5, False), (30, True)])
def test_an_lm_that_fails_is_told_of_in_words_of_the_command_line(
    n: int, kept: bool, here: Path
) -> None:
    (here / f"broken{n}.py").write_text(BROKEN.replace("{n}", str(n)))
    words = ("--model", f"broken{n}:lm", "--prompt-model", "simulated", "--log-dir", "run")
    done = compiled(*words, "--num-threads", "1")
    assert done.exit_code == 1 and done.stderr.count("\n") == 1, done.stderr
    for said in ("this error", "`log_dir`", "`program`", "Call compile", ".."):
        assert said not in done.stderr
    assert "quota gone for good. To ask an LM once" in done.stderr
    assert f"opro-dspy doctor --model broken{n}:lm. " in done.stderr
    assert done.stderr.endswith("To go on from here: opro-dspy resume run.\n")
    assert (here / "program.json").exists() == kept
    assert ("The best so far was written." in done.stderr) == kept


def test_a_run_in_which_nothing_was_scored_failed(here: Path) -> None:
    done = compiled("--set", "max_seconds=1e-9")
    assert done.exit_code == 1 and "nothing was scored" in done.stderr
    assert not (here / "program.json").exists()


def calls(result: OPROResult) -> int:
    return result.used("scorer").calls


def test_an_interrupted_run_is_written_and_resumed_to_the_same_end(here: Path) -> None:
    (here / "stopping.py").write_text(INTERRUPTING)
    (here / "left").write_text("25")
    words = ("--log-dir", "run", "--metric", "stopping:metric", "--num-threads", "1")
    done = compiled(*words)
    assert done.exit_code == 130, done.output
    assert done.stderr.count("\n") == 1 and "the best was written" in done.stderr
    assert "The search was interrupted by Ctrl-C." in plain(done.stdout)
    assert done.stderr.rstrip().endswith("To go on from here: opro-dspy resume run.")
    cut = OPROResult.load(here / "program.result.json")
    done = run("resume", "run")
    assert done.exit_code == 0, done.output
    resumed = OPROResult.load(here / "program.result.json")
    words = ("--log-dir", "whole", *words[2:])
    whole = compiled(*words, "--out", "whole.json")
    assert whole.exit_code == 0
    through = OPROResult.load(here / "whole.result.json")
    assert resumed.candidates == through.candidates and resumed.best_index == through.best_index
    assert calls(cut) < calls(resumed) == calls(through)


def test_a_finished_run_goes_on_with_a_higher_cap_from_any_folder(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled("--log-dir", "run").exit_code == 0
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    told = json.loads(run("resume", str(here / "run"), "--max-steps", "3", "--json").stdout)
    assert told["num_steps"] == 3 and told["program"] == str(here / "program.json")
    shown = json.loads(run("show", str(here / "run"), "--json").stdout)
    assert shown["num_steps"] == 3 and shown["stop_reason"] == "max_steps: 3 steps were done"


def test_a_lower_number_of_steps_keeps_the_finished_result(here: Path) -> None:
    assert compiled("--log-dir", "run").exit_code == 0
    before = OPROResult.load(here / "run" / "result.json")
    lines = (here / "run" / "journal.jsonl").read_bytes()
    words = ("--log-dir", "run", "--max-steps", "1")
    for done in (
        run("resume", "run", "--max-steps", "1"),
        run("resume", "run", "--max-metric-calls", "9", "--max-steps", "7"),
        compiled(*words),
    ):
        assert done.exit_code == 0, done.output
        assert "2 steps are done already in run, more than asked for" in done.stderr
        assert OPROResult.load(here / "run" / "result.json").candidates == before.candidates
    assert (here / "run" / "journal.jsonl").read_bytes() == lines
    assert OPROResult.load(here / "program.result.json").num_steps == 2
    assert run("resume", "run").stderr == ""


def test_a_finished_run_of_a_size_is_kept_with_the_caps_of_that_size(here: Path) -> None:
    words = ("--trainset", "train.jsonl", "--metric", "exact_text", "--model", "simulated")
    more = ("--auto", "light", "--set", "num_candidates=2", "--log-dir", "run")
    assert run("compile", "question -> answer", *words, *more).exit_code == 0
    before = OPROResult.load(here / "run" / "result.json")
    lines = (here / "run" / "journal.jsonl").read_bytes()
    done = run("resume", "run", "--max-steps", "1")
    assert done.exit_code == 0 and "6 steps are done already" in done.stderr
    after = OPROResult.load(here / "run" / "result.json")
    assert (after.candidates, after.stop_reason) == (before.candidates, before.stop_reason)
    assert (here / "run" / "journal.jsonl").read_bytes() == lines


def test_a_run_of_another_job_is_not_gone_on_with_and_stays_resumable(here: Path) -> None:
    assert compiled("--log-dir", "run").exit_code == 0
    kept = (here / "run" / "command.json").read_text()
    done = compiled("--log-dir", "run", "--metric", "my_app:close")
    assert done.exit_code == 2 and "metric" in done.stderr
    assert (here / "run" / "command.json").read_text() == kept


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_cannot_be_resumed_says_what_to_do(here: Path) -> None:
    fakes.compiled(log_dir=here / "python", max_steps=1)
    done = run("resume", "python")
    assert done.exit_code == 2 and "Run the script again with the same log_dir" in done.stderr
    assert compiled("--log-dir", "run").exit_code == 0
    change(here / "run" / "command.json", folder=str(here / "gone"))
    assert "which is gone" in run("resume", "run").stderr
    (here / "run" / "command.json").write_text("{")
    assert "command.json is damaged" in run("resume", "run").stderr
    done = run("resume", "program.result.json")
    assert "program.result.json is a file. Name the --log-dir" in done.stderr
    assert "there is no folder none" in run("resume", "none").stderr
    assert "there is no run in ." in run("resume", ".").stderr
