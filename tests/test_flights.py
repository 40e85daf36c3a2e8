"""One asks at a time, over threads and processes; whoever dies or is given up blocks nobody."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from opro_dspy.boundary import flights
from opro_dspy.boundary.flights import Flights

HELD_S = 20.0


class Owner:
    abandoned = False

    def waiting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def runs_with(self, other: object) -> bool:
        return other is self


@pytest.fixture(params=["alone", "bytes", "files"])
def ours(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Flights:
    monkeypatch.setattr(flights, "BYTES", flights.BYTES and request.param == "bytes")
    return Flights(None if request.param == "alone" else tmp_path)


def test_a_key_is_one_askers_until_it_lands(ours: Flights) -> None:
    flight = ours.claim("answer:a")
    assert flight is not None
    assert ours.claim("answer:a") is None
    assert ours.claim("answer:b") is not None
    assert ours.holds(flight)
    ours.land(flight)
    ours.land(flight)
    assert not ours.holds(flight)
    assert ours.claim("answer:a") is not None


def test_whoever_is_given_up_loses_the_key_and_cannot_land_for_others(ours: Flights) -> None:
    owner = Owner()
    first = ours.claim("answer:a", owner)
    assert first is not None
    owner.abandoned = True
    second = ours.claim("answer:a")
    assert second is not None
    ours.land(first)
    assert ours.claim("answer:a") is None
    assert ours.holds(second)


def test_landing_wakes_whoever_waits(ours: Flights) -> None:
    flight = ours.claim("answer:a")
    assert flight is not None
    waiting = threading.Thread(target=ours.wait, args=(HELD_S,))
    waiting.start()
    while waiting.is_alive():
        ours.land(flight)
        flight = ours.claim("answer:a")
        assert flight is not None
    waiting.join()


@pytest.mark.parametrize("as_files", [False, True])
def test_many_threads_never_hold_one_key_together(
    as_files: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "BYTES", flights.BYTES and not as_files)
    two = [Flights(tmp_path), Flights(tmp_path)]
    held, most = [0], [0]
    lock = threading.Lock()

    def ask(number: int) -> None:
        while (flight := two[number % 2].claim("answer:a")) is None:
            two[number % 2].wait(0.001)
        with lock:
            held[0] += 1
            most[0] = max(most[0], held[0])
        with lock:
            held[0] -= 1
        two[number % 2].land(flight)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(200)))
    assert most == [1]
    assert len(list(tmp_path.iterdir())) == flights.BYTES


def _hold(folder: Path, holding: Any) -> None:
    ours = Flights(folder)
    assert ours.claim("answer:a") is not None
    holding.set()
    signal.pause()


def test_a_process_that_is_killed_blocks_nobody(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    holding = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, holding))
    process.start()
    assert holding.wait(HELD_S)
    ours = Flights(tmp_path)
    assert ours.claim("answer:a") is None
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert ours.claim("answer:a") is not None


def test_after_a_long_wait_for_another_process_the_key_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, ours = Flights(tmp_path), Flights(tmp_path)
    assert other.claim("answer:a") is not None
    assert ours.claim("answer:a") is None
    monkeypatch.setattr(flights, "MAX_WAIT_S", -1.0)
    assert ours.claim("answer:a") is not None


def test_a_folder_for_locks_that_is_gone_locks_nothing(tmp_path: Path) -> None:
    ours = Flights(tmp_path / "gone")
    assert ours.claim("answer:a") is not None
    assert ours.claim("answer:a") is None
