import json
import re
from pathlib import Path

import dspy
import pytest

from tests.cli.conftest import plain, run

DATA = ("--data", "test.jsonl", "--metric", "exact_text", "--model", "simulated")


def saved(path: Path, instruction: str) -> None:
    program = dspy.Predict("question -> answer")
    program.signature = program.signature.with_instructions(instruction)
    program.save(path)


def test_two_programs_are_compared_on_the_same_examples(here: Path) -> None:
    saved(here / "program.json", "List all known quantities. Work step by step.")
    told = json.loads(run("evaluate", "question -> answer", "program.json", *DATA, "--json").stdout)
    first, second = told["programs"]
    assert [first["program"], second["program"]] == ["question -> answer", "program.json"]
    for one in (first, second):
        assert one["num_examples"] == len(one["scores"]) == 20 and one["method"] == "Wilson"
        assert one["low"] < one["mean"] == sum(one["scores"].values()) / 20 < one["high"]
    assert told["difference"]["mean"] == pytest.approx(second["mean"] - first["mean"])
    assert "paired" in told["difference"]["method"] and told["simulated"] is True


def test_people_read_a_table_and_which_interval_it_is(here: Path) -> None:
    saved(here / "a.json", "Work step by step.")
    done = run("evaluate", "a.json", "a.json", "--program", "question -> answer", *DATA)
    assert done.exit_code == 0, done.output
    said = plain(done.stdout)
    assert "Score on 20 examples, in percent" in said and "Intervals: Wilson." in said
    assert "a.json (1)" in said and "The second minus the first: +0.0" in said
    assert "An LM is simulated" in said


def test_one_example_is_no_plural(here: Path) -> None:
    said = plain(run("evaluate", "question -> answer", *DATA, "--limit", "1").stdout)
    assert "Score on 1 example, in percent" in said


def test_a_metric_that_is_no_fraction_has_a_bootstrap_interval(here: Path) -> None:
    data = ("--data", "test.jsonl", "--metric", "my_app:close", "--model", "simulated")
    told = json.loads(
        run("evaluate", "my_app:Program", *data, "--inputs", "question", "--json").stdout
    )
    assert told["programs"][0]["method"] == "bootstrap percentiles"
    assert 0.25 <= told["programs"][0]["mean"] <= 0.75 and told["difference"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["program.json"], "say with --program what it is of"),
        (["none.json", "--program", "question -> answer"], "does not exist"),
        (["my_app:Program", "program.json", "--inputs", "question"], "no saved state of this"),
        (["broken.json", "--program", "question -> answer"], "no saved state of this"),
        (["program.pkl", "--program", "question -> answer"], "only .json is read"),
        (["a", "b", "c"], "one or two programs can be evaluated, got 3"),
        (["question -> answer", "--field", "label"], "compares 'label'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(words: list[str], said: str, here: Path) -> None:
    saved(here / "program.json", "Work step by step.")
    (here / "broken.json").write_text("{")
    (here / "program.pkl").write_bytes(b"")
    done = run("evaluate", *words, *DATA)
    assert done.exit_code == 2 and said in done.stderr and done.stdout == ""


FLAKY = """
import os, pathlib, signal
from opro_dspy.metrics import exact_text

def flaky(example, prediction, trace=None):
    if len(example.question) % 3:
        raise ValueError("boom")
    return exact_text(example, prediction)

def stopping(example, prediction, trace=None):
    left = pathlib.Path("left")
    left.write_text(str(int(left.read_text()) - 1))
    if left.read_text() == "0":
        os.kill(os.getpid(), signal.SIGINT)
    return exact_text(example, prediction)
"""


@pytest.fixture
def flaky(here: Path) -> int:
    """A module with metrics; returns on how many examples of test.jsonl one of them raises."""
    (here / "flaky.py").write_text(FLAKY)
    rows = [json.loads(line) for line in (here / "test.jsonl").read_text().splitlines()]
    return sum(len(row["question"]) % 3 > 0 for row in rows)


def test_examples_may_fail_up_to_max_errors_and_count_as_0(flaky: int) -> None:
    words = ("evaluate", "question -> answer", *DATA, "--metric", "flaky:flaky", "--max-errors")
    assert flaky > 4
    told = json.loads(run(*words, str(flaky), "--json").stdout)["programs"][0]
    assert told["num_failed"] == flaky and told["num_examples"] == 20
    done = run(*words, str(flaky))
    assert done.exit_code == 0 and done.stderr == ""
    assert "Failed, and counted as 0, with question -> answer: The first, on row" in done.stdout
    for most in (flaky - 1, 3):
        done = run(*words, str(most), "--num-threads", "1")
        assert done.exit_code == 1 and done.stdout == "" and done.stderr.count("\n") == 1
        assert f"failed on {most + 1} of" in done.stderr and "ValueError: boom." in done.stderr
        assert "train" not in done.stderr and "instruction" not in done.stderr


@pytest.mark.parametrize("programs", [1, 2])
def test_ctrl_c_ends_it_with_its_own_code_and_no_score(
    flaky: int, programs: int, here: Path
) -> None:
    (here / "left").write_text("7")
    words = ["question -> answer"] * programs
    data = (*DATA, "--metric", "flaky:stopping", "--num-threads", "1")
    done = run("evaluate", *words, *data)
    assert done.exit_code == 130 and done.stdout == ""
    assert re.search(r"Interrupted: question -> answer.* had met [78] of 20 exam", done.stderr)
    assert int((here / "left").read_text()) >= -1


def test_ctrl_c_while_an_lm_stays_away_is_no_failure(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opro_dspy.outages.PAUSE_S", 3600.0)
    (here / "away.py").write_text(
        "import os, signal, threading, time\n"
        "from dspy.utils.exceptions import LMServerError\n"
        "from tests.fakes import scripted_lm\n"
        "lm = scripted_lm(lambda text: LMServerError('down'))\n"
        "def press():\n"
        "    while lm.engine.calls < 20 or lm.engine.in_flight:\n"
        "        time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=press, daemon=True).start()\n"
    )
    done = run("evaluate", "question -> answer", *DATA, "--model", "away:lm")
    assert done.exit_code == 130 and "0 of 20 examples" in done.stderr


def test_an_lm_that_is_not_there_is_no_score_of_zero(here: Path) -> None:
    (here / "silent.py").write_text(
        "from tests.fakes import scripted_lm\n"
        "lm = scripted_lm(lambda text: ConnectionError('nobody is there'))\n"
    )
    done = run("evaluate", "question -> answer", *DATA, "--model", "silent:lm")
    assert done.exit_code == 1 and done.stdout == ""
    assert "nobody is there" in done.stderr and "doctor --model silent:lm" in done.stderr
    assert "this error's" not in done.stderr
