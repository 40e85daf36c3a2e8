"""A process killed with SIGKILL at any moment loses nothing that was paid for."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from opro_dspy import LogDirInUseError
from tests.durable import (
    NUM_THREADS,
    CallCounter,
    Case,
    compile_in,
    kill_at,
    num_lines,
    outcome,
    start,
)

KILLS = {False: 8, True: 7}
"""By whether there are two predictors; 30 in all."""


@pytest.mark.parametrize("racing", [True, False], ids=["racing", "full"])
@pytest.mark.parametrize("two_steps", [False, True], ids=["one", "two"])
def test_a_run_killed_anywhere_ends_as_if_never_killed(
    two_steps: bool, racing: bool, tmp_path: Path
) -> None:
    # a program that calls twice needs the cache, or its second call repeats the first
    case = Case(two_steps=two_steps, racing=racing, cached=two_steps)
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    rng = random.Random(f"{two_steps}:{racing}")
    with CallCounter().running() as undisturbed:
        start(calm, case, undisturbed.port).join()
    n = num_lines(calm)
    moments = sorted(rng.randrange(n) for _ in range(KILLS[two_steps]))
    with CallCounter().running() as counter:
        deaths = 0
        for moment in moments:
            process = start(killed, case, counter.port)
            deaths += kill_at(process, killed, lines=moment, then_s=rng.random() * 0.01)
        start(killed, case, counter.port).join()
    assert deaths >= KILLS[two_steps] - 2
    assert outcome(killed, cached=two_steps) == outcome(calm, cached=two_steps)
    assert undisturbed.total <= counter.total <= undisturbed.total + NUM_THREADS * deaths


def test_a_full_disk_ends_the_process_with_its_lines_intact(tmp_path: Path) -> None:
    case = Case(two_steps=False, racing=True, max_steps=1)
    calm, full = tmp_path / "calm", tmp_path / "full"
    with CallCounter().running() as counter:
        start(calm, case, counter.port).join()
        process = start(full, replace(case, max_file_bytes=12_000), counter.port)
        process.join()
        assert process.exitcode == 1
        assert 0 < (full / "journal.jsonl").stat().st_size <= 12_000
        assert (full / "journal.jsonl").read_bytes().endswith(b"}\n")
        paid = counter.total
        start(full, case, counter.port).join()
    assert outcome(full) == outcome(calm)
    assert counter.total < 2 * paid


def test_a_second_process_is_told_of_the_first_and_a_dead_one_is_in_nobodys_way(
    tmp_path: Path,
) -> None:
    case = Case(two_steps=False, racing=True)
    with CallCounter().running() as counter:
        first = start(tmp_path, case, counter.port)
        while not (tmp_path / "holder.json").exists():
            time.sleep(0.001)
        with pytest.raises(LogDirInUseError, match=f"in use by process {first.pid} on"):
            compile_in(str(tmp_path), case, counter.port)
        assert kill_at(first, tmp_path, lines=1)
        compile_in(str(tmp_path), case, counter.port)
