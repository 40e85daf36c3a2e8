"""A process killed with SIGKILL at any moment loses nothing that was paid for."""

import random
from pathlib import Path

import pytest

from tests.durable import NUM_THREADS, CallCounter, Case, kill_at, num_lines, outcome, start

KILLS = {False: 8, True: 7}
"""By whether there are two predictors; 30 in all."""


@pytest.mark.parametrize("racing", [True, False], ids=["racing", "full"])
@pytest.mark.parametrize("two_steps", [False, True], ids=["one", "two"])
def test_a_run_killed_anywhere_ends_as_if_never_killed(
    two_steps: bool, racing: bool, tmp_path: Path
) -> None:
    case = Case(two_steps=two_steps, racing=racing)
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
    assert outcome(killed) == outcome(calm)
    in_flight = NUM_THREADS * (2 if two_steps else 1)  # a second call repeats the first
    assert undisturbed.total <= counter.total <= undisturbed.total + in_flight * deaths
