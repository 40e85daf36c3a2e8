import json
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


def test_an_lm_that_is_not_there_is_no_score_of_zero(here: Path) -> None:
    (here / "silent.py").write_text(
        "from tests.fakes import scripted_lm\n"
        "lm = scripted_lm(lambda text: ConnectionError('nobody is there'))\n"
    )
    done = run("evaluate", "question -> answer", *DATA, "--model", "silent:lm")
    assert done.exit_code == 1 and done.stdout == ""
    assert "nobody is there" in done.stderr
