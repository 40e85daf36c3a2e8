"""Real executors with processes of their own: the same result, also when a worker is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import ExecutorError
from tests.durable import NUM_THREADS, CallCounter, Case, compile_in, num_lines, outcome
from tests.executors import found, simulated

pytestmark = pytest.mark.processes

CASE = Case(two_steps=False, racing=True, max_steps=2)
HALF_DONE = 40
"""Lines of its journal."""


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, int]:
    """What comes of `CASE` on threads, and the LM calls it takes."""
    folder = tmp_path_factory.mktemp("calm")
    with CallCounter().running() as counter:
        compile_in(str(folder), CASE, counter.port)
    return outcome(folder), counter.total


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield cluster


def kill_one(log_dir: Path, pids: Callable[[], Sequence[int]]) -> threading.Thread:
    """Kill the first of `pids` once a run is half done."""

    def kill() -> None:
        while num_lines(log_dir) < HALF_DONE:
            time.sleep(0.005)
        os.kill(pids()[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def test_dask_finds_the_same_when_a_worker_is_killed(
    cluster: Any, calm: tuple[Any, int], tmp_path: Path
) -> None:
    executor = cluster.get_client().get_executor()
    killer = kill_one(tmp_path, lambda: [worker.pid for worker in cluster.workers.values()])
    with CallCounter().running() as counter:
        compile_in(str(tmp_path), CASE, counter.port, executor=executor)
    killer.join()
    assert outcome(tmp_path) == calm[0]
    # What ran on the worker, or waited there, runs again: its two threads, and nothing else.
    assert calm[1] <= counter.total <= calm[1] + NUM_THREADS


def test_dask_finds_the_same(cluster: Any, calm: tuple[Any, int], tmp_path: Path) -> None:
    with CallCounter().running() as counter:
        executor = cluster.get_client().get_executor()
        compile_in(str(tmp_path), CASE, counter.port, executor=executor)
    assert (outcome(tmp_path), counter.total) == calm


def test_loky_finds_the_same_when_a_process_is_killed(
    calm: tuple[Any, int], tmp_path: Path
) -> None:
    loky = pytest.importorskip("loky")
    made: list[Any] = []

    def make() -> Executor:
        made.append(loky.ProcessPoolExecutor(2))
        executor: Executor = made[-1]
        return executor

    killer = kill_one(tmp_path, lambda: list(made[0]._processes))
    with CallCounter().running() as counter:
        compile_in(str(tmp_path), CASE, counter.port, executor=make)
    killer.join()
    made[-1].shutdown()
    assert len(made) == 2
    assert outcome(tmp_path) == calm[0]
    assert calm[1] <= counter.total <= calm[1] + NUM_THREADS


def reward(args: dict[str, Any], prediction: Any) -> float:
    """So that every rollout is asked for."""
    return 0.0


def test_a_process_pool_finds_the_same_with_rollouts() -> None:
    student = dspy.BestOfN(dspy.Predict("question -> answer"), N=3, reward_fn=reward, threshold=0.5)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        there = found(simulated(student, executor=executor, max_steps=1))
    assert there == found(simulated(student, max_steps=1))


SCHEDULER = """
import sys, distributed
if __name__ == "__main__":
    with distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def test_without_its_scheduler_a_run_ends_with_an_error_and_goes_on_elsewhere(
    calm: tuple[Any, int], tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    process = subprocess.Popen(
        [sys.executable, "-c", SCHEDULER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        with (
            CallCounter().running() as counter,
            distributed.Client(address, timeout=3, set_as_default=False) as client,
        ):
            killer = kill_one(tmp_path, lambda: [process.pid])
            executor = client.get_executor()
            with pytest.raises(ExecutorError, match="its scheduler up") as caught:
                compile_in(str(tmp_path), CASE, counter.port, executor=executor)
            killer.join()
            assert caught.value.result is not None
            compile_in(str(tmp_path), CASE, counter.port)
    finally:
        process.kill()
        process.communicate()
    assert outcome(tmp_path) == calm[0]
    assert calm[1] <= counter.total <= calm[1] + NUM_THREADS
