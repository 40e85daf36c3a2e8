import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from opro_dspy.cli.show import _fitted
from opro_dspy.runs import UNFINISHED
from tests import fakes
from tests.cli.conftest import plain, run
from tests.runs import START, a_run, a_step, candidate

HOSTILE = "\x1b[31mRed\x1b[0m [bold]not bold[/bold] :smile: \u202eturned"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("show") / "run"
    fakes.compiled(log_dir=path, num_threads=1)
    return path


def cut(finished: Path, to: Path, *, pid: int) -> list[bytes]:
    """Make a copy that is in its second step, held by a process; return the lines that follow."""
    shutil.copytree(finished, to)
    (to / "result.json").unlink()
    lines = (to / "journal.jsonl").read_bytes().splitlines(keepends=True)
    middle = next(i for i, line in enumerate(lines) if json.loads(line).get("step") == 2)
    (to / "journal.jsonl").write_bytes(b"".join(lines[:middle]))
    held = {"pid": pid, "host": os.uname().nodename, "since": "now"}
    (to / "holder.json").write_text(json.dumps(held))
    return lines[middle:]


def test_a_run_is_shown_from_its_folder_or_its_file(finished: Path) -> None:
    done = run("show", str(finished))
    assert done.exit_code == 0, done.output
    said = plain(done.stdout)
    for part in ("Trajectory", "What it cost", "Ended: max_steps", "Best instruction", "Gain"):
        assert part in said
    assert done.stdout == run("show", str(finished / "result.json")).stdout
    told = json.loads(run("show", str(finished), "--json").stdout)
    assert [step["step"] for step in told["steps"]] == [0, 1, 2, 3]
    assert told["simulated"] is False


def test_show_says_the_scores_before_and_after_and_that_an_lm_is_simulated(tmp_path: Path) -> None:
    a_run(settings={"scorer_lm": "simulated/scorer"}).save(tmp_path / "result.json")
    said = plain(run("show", str(tmp_path / "result.json")).stdout)
    assert "On 4 examples of the valset: 25.0 before, 75.0 after." in said
    assert "+50.0; 4 examples are too few for an interval." in said
    assert "An LM is simulated" in said
    told = json.loads(run("show", str(tmp_path / "result.json"), "--json").stdout)
    assert told["simulated"] is True
    assert told["gain"] == {"mean": 0.5, "stderr": pytest.approx(0.5), "num_examples": 4}


@pytest.mark.parametrize("words", [3, 300])
def test_watching_shows_last_steps_and_best_instruction_on_a_small_screen(words: int) -> None:
    best = " ".join(["Think"] * words)
    found = [candidate(best if i == 2 else f"Try {i}.", i, {0: i / 80}) for i in range(41)]
    found[2] = candidate(best, 2, {0: 1.0})
    steps = tuple(a_step(i, [found[i].instructions["predict"]]) for i in range(41))
    result = a_run(candidates=tuple(found), best_index=2, steps=steps, stop_reason=UNFINISHED)
    screen = Console(width=80, height=24, file=io.StringIO())
    screen.print(_fitted(result, screen))
    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    assert len(lines) < 24
    assert lines[lines.index("Best instruction") + 1].startswith("Think Think Think")
    assert lines[-1].endswith(" …") is (words == 300)
    rows = [line.split()[1::2] for line in lines if "Try" in line]
    assert (rows[-1][0], rows[-1][4]) == ("40", "100.0")  # the best so far is of a step before
    assert len(lines) == 23


def test_a_damaged_line_is_told_and_what_can_be_read_is_shown(
    finished: Path, tmp_path: Path
) -> None:
    cut(finished, tmp_path / "run", pid=2**22 + 1)
    journal = tmp_path / "run" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:10], b"{broken\n", *lines[11:]]))
    done = run("show", str(tmp_path / "run"))
    assert done.exit_code == 0
    said = plain(done.stdout)
    assert "Seen: damaged journal: line 11 (8 bytes) of journal.jsonl cannot be read" in said
    assert f"repair {tmp_path / 'run'}" in said
    (told,) = json.loads(run("show", str(tmp_path / "run"), "--json").stdout)["diagnostics"]
    assert told["name"] == "damaged journal"


def test_watching_follows_a_run_to_its_end(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = cut(finished, tmp_path / "run", pid=os.getpid())
    looks: list[float] = []

    def goes_on(seconds: float) -> None:
        looks.append(seconds)
        with (tmp_path / "run" / "journal.jsonl").open("ab") as file:
            file.write(rest.pop(0) if len(looks) < 5 else b"".join(rest))

    monkeypatch.setattr("opro_dspy.cli.show.time.sleep", goes_on)
    done = run("show", str(tmp_path / "run"), "--watch")
    assert done.exit_code == 0, done.output
    assert looks == [1.0] * 5
    assert "Ended: max_steps: 3 steps were done" in plain(done.stdout)
    while_it_ran, _, at_the_end = done.stdout.partition("Trajectory")
    told = [line.partition(":")[0] for line in while_it_ran.splitlines()]
    assert told == ["Step 0", "Step 1"] and "Step 0:" not in at_the_end
    assert re.match(r"Step 0: 1 new, mean [\d.]+, top [\d.]+, best so far [\d.]+: ", done.stdout)


def test_watching_ends_when_the_run_was_killed(finished: Path, tmp_path: Path) -> None:
    cut(finished, tmp_path / "run", pid=2**22 + 1)  # beyond the largest pid
    done = run("show", str(tmp_path / "run"), "--watch")
    assert done.exit_code == 0
    assert "Not ended" in plain(done.stdout) and "opro-dspy resume" in done.stderr


def test_ctrl_c_ends_watching_and_leaves_the_run_alone(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(finished, tmp_path / "run", pid=os.getpid())

    def pressed(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("opro_dspy.cli.show.time.sleep", pressed)
    done = run("show", str(tmp_path / "run"), "--watch")
    assert done.exit_code == 0 and "Not ended" in plain(done.stdout)


def test_text_of_others_stays_text(tmp_path: Path) -> None:
    found = a_run(candidates=(candidate(START, 0, {0: 0.0}), candidate(HOSTILE, 1, {0: 1.0})))
    found = found.model_copy(update={"best_index": 1, "stop_reason": HOSTILE})
    found.save(tmp_path / "result.json")
    done = run("show", str(tmp_path / "result.json"), FORCE_COLOR="1")
    assert "\x1b[31m" not in done.stdout and "\u202e" not in done.stdout
    assert r"\x1b[31mRed\x1b[0m [bold]not bold[/bold] :smile: \x202eturned" in done.stdout
    assert json.loads(run("show", str(tmp_path / "result.json"), "--json").stdout)["score"] == 1.0


def test_colour_is_for_terminals_that_want_it(finished: Path) -> None:
    assert "\x1b" not in run("show", str(finished)).stdout
    assert "\x1b[1m" in run("show", str(finished), FORCE_COLOR="1").stdout
    shown = run("show", str(finished), FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b[3" not in shown.replace("\x1b[3m", "")  # slanted is no colour


def test_a_run_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    for path, said in ((tmp_path, "there is no run"), (tmp_path / "other.json", "no OPRO result")):
        done = run("show", str(path))
        assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_the_report_is_a_page(finished: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("report", str(finished), "--out", str(page))
    assert done.exit_code == 0, done.output
    assert page.read_text().startswith("<!doctype html>")
    assert run("report", str(finished), "--out", str(tmp_path / "page.pdf")).exit_code == 2
