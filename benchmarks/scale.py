"""Work on many machines: what workers gain, what the driver pays for each job, where it saturates.

    python benchmarks/scale.py [--out scale.json] [--executor loky] [--quick]

Three tables. Efficiency: a CPU-bound program on one and on two worker processes; the time on one
over twice the time on two. The driver: 10,000 examples x 8 candidates on workers that answer at
once (canned outcomes, no process), and some thousand jobs on one real process with an instant LM;
the driver's CPU time for each job, and what its memory grew by. Dask's scheduler runs in a process
of its own. The curve: simulated workers, each busy for 1 s with each job, 10 to 1,000
of them; jobs a second against the ideal. A run awaits its first answer with few jobs out (if a
provider refuses every request, few were sent): this costs one call's time once in a run, whatever
its length, and the curve shows the share with it and without it. On a shared machine CPU time is
steadier than the clock, which the first and the last table show.
"""

import argparse
import heapq
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import dspy

from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import SCORER, Meter
from opro_dspy.boundary.spending import NOTHING
from opro_dspy.boundary.task import Task
from opro_dspy.conditions import Conditions, NoTrace
from opro_dspy.evaluator import ProgramEvaluator
from opro_dspy.executing import Workers
from opro_dspy.metric import Metric
from opro_dspy.packing import packed_kit
from opro_dspy.pool import DaemonExecutor
from opro_dspy.program import Program
from opro_dspy.records import Candidate, Usage
from opro_dspy.refusals import MAX_DOUBTS
from opro_dspy.remote import Remote
from opro_dspy.trajectory import Trajectory
from opro_dspy.worker import outcome_of

BURN_S = 0.02
CALL_S = 1.0
WORKERS = (10, 50, 100, 250, 500, 1000)


class Burning(dspy.Module):
    """Keeps a core busy for a fixed amount of CPU time."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        self.seconds = seconds

    def forward(self, question: str) -> dspy.Prediction:
        """Burn, then return the question as the answer: an LM that answers at once."""
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        return dspy.Prediction(answer=question)


def metric(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    """Return a cheap number."""
    return float(len(prediction.answer) % 2)


USED = Usage(role=SCORER, model="lm", calls=1, input_tokens=200, output_tokens=40, cost_usd=1e-4)
TASK = Task(threading.Condition(), lambda visit: None)
TASK.used.append(USED)
OUTCOME = {
    **outcome_of(TASK, None),
    "scored": {"value": 1.0, "output": "42"},
    "spent": asdict(NOTHING),
    "needed": asdict(NOTHING),
    "fatal": None,
    "too_small": False,
}


class Canned(Executor):
    """Simulated workers: every job is done after so many seconds, with the same outcome."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: list[tuple[float, int, Future[Any]]] = []
        self._changed = threading.Condition()
        self._n = 0
        if seconds:
            threading.Thread(target=self._run, daemon=True).start()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Promise the outcome."""
        future: Future[Any] = Future()
        if not self._seconds:
            future.set_result(OUTCOME)
            return future
        with self._changed:
            self._n += 1
            heapq.heappush(self._due, (time.monotonic() + self._seconds, self._n, future))
            self._changed.notify()
        return future

    def _run(self) -> None:
        while True:
            with self._changed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                    continue
                future = heapq.heappop(self._due)[2]
            future.set_result(OUTCOME)


CLUSTER = """
import sys, distributed
if __name__ == "__main__":
    options = dict(threads_per_worker=1, dashboard_address=":0", silence_logs=50)
    with distributed.LocalCluster(n_workers={n}, **options) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def run(executor: Executor, n: int, k: int, num_threads: int, burn_s: float = 0.0) -> None:
    """Score `n` examples with `k` candidates on `executor`."""
    program, meter = Program(Burning(burn_s)), Meter()
    gate = Gate(meter, max_in_flight=num_threads)
    kit = packed_kit(program=program.student, metric=metric, lm=None, prices={})
    conditions = Conditions(
        metric=Metric(metric),
        executor=DaemonExecutor(num_threads, name="scale"),
        num_threads=num_threads,
        context=partial(meter.role, SCORER, trace=NoTrace()),
        remote=Remote(Workers(executor), kit, gate=gate, model="lm"),
        gate=gate,
    )
    examples = [dspy.Example(question=str(i), answer="").with_inputs("question") for i in range(n)]
    evaluator = ProgramEvaluator(program.build, examples=examples, conditions=conditions)
    name = next(iter(program.predictors))
    candidates = [Candidate({name: f"Answer with care, in the way {i}."}) for i in range(k)]
    evaluations = evaluator.evaluate(candidates, Trajectory())
    conditions.executor.shutdown()
    if [len(e.scores) for e in evaluations] != [n] * k:
        raise RuntimeError("not everything was scored")


@contextmanager
def processes(kind: str, n: int) -> Iterator[Executor]:
    """Provide an executor with `n` processes."""
    if kind == "loky":
        from loky import ProcessPoolExecutor

        with ProcessPoolExecutor(n) as executor:
            yield executor
        return
    from distributed import Client

    script = [sys.executable, "-c", CLUSTER.format(n=n)]
    with subprocess.Popen(script, stdin=-1, stdout=-1, text=True) as process:
        if process.stdout is None:
            raise RuntimeError("the cluster has no output")
        with Client(process.stdout.readline().strip()) as client:
            yield client.get_executor()
        if process.stdin is not None:
            process.stdin.close()


def taken(call: Callable[[], None]) -> tuple[float, float]:
    """Return wall-clock and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def efficiency(kind: str, n: int, rounds: int) -> dict[str, float]:
    """Return seconds on one and on two processes, and the efficiency of two."""
    seconds: dict[int, float] = {}
    for workers in (1, 2):
        with processes(kind, workers) as executor:
            run(executor, 4 * workers, 1, 2 * workers, BURN_S)  # start and unpack
            again = partial(run, executor, n, 1, 2 * workers, BURN_S)
            seconds[workers] = min(taken(again)[0] for _ in range(rounds))
    two = seconds[1] / (2 * seconds[2])
    return {"1 process, s": seconds[1], "2 processes, s": seconds[2], "efficiency": two}


def peak_mb() -> float:
    """Return the most memory that this process had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def driver(kind: str, n: int, k: int, n_real: int) -> dict[str, float]:
    """Return the driver's CPU time for each job, and its memory."""
    run(Canned(0.0), 50, 2, 8)
    before = peak_mb()
    _, cpu = taken(partial(run, Canned(0.0), n, k, 8))
    found = {
        "jobs": n * k,
        "driver alone, µs per job": 1e6 * cpu / (n * k),
        "memory before, MB": before,
        "memory added, MB": peak_mb() - before,
    }
    for name in ("loky", "dask"):
        if kind in (name, "both"):
            with processes(name, 1) as executor:
                run(executor, 20, 1, 4)
                _, cpu = taken(partial(run, executor, n_real, 1, 4))
            found[f"driver with {name}, µs per job"] = 1e6 * cpu / n_real
    return found


def curve(workers: Sequence[int], per_worker: int, call_s: float) -> list[dict[str, float]]:
    """Return jobs a second with ever more simulated workers; a row for each number of them."""
    rows = []
    for n_workers in workers:
        n = per_worker * n_workers
        wall, cpu = taken(partial(run, Canned(call_s), n, 1, n_workers))
        left = max(0, n - MAX_DOUBTS)
        rows.append(
            {
                "workers": n_workers,
                "jobs per s": n / wall,
                "share of the ideal": per_worker * call_s / wall,
                "after the first answer": left * call_s / n_workers / max(1e-9, wall - call_s),
                "driver's CPU, µs per job": 1e6 * cpu / n,
                "driver's load": cpu / wall,
            }
        )
    return rows


def show(title: str, figures: Mapping[str, float], digits: int = 1) -> None:
    """Print a table of two columns."""
    print(title)
    print("\n".join(f"  {name:<36} {value:>10,.{digits}f}" for name, value in figures.items()))
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--executor", choices=["loky", "dask", "both"], default="both")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many, at least 1")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS, help="of the curve")
    parser.add_argument("--call-s", type=float, default=CALL_S, help="a call's time there")
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    call_s = options.call_s
    less = 10 if options.quick else 1
    one = "loky" if options.executor == "both" else options.executor
    gain = efficiency(one, 300 // less, options.rounds)
    show(f"A CPU-bound program ({1e3 * BURN_S:.0f} ms an example) on {one}", gain, 2)
    paid = driver(options.executor, 10_000 // less, 8, 3_000 // less)
    show("The driver, workers that answer at once", paid)
    rows = curve(options.workers, max(2, 10 // less), call_s)
    print(f"Simulated workers, {call_s:g} s for each job; the first answer is awaited with")
    print(
        f"{MAX_DOUBTS} jobs out, which costs {call_s:g} s once in a run: the share with and without"
    )
    print("  " + " ".join(f"{name:>24}" for name in rows[0]))
    for row in rows:
        print("  " + " ".join(f"{value:>24,.2f}" for value in row.values()))
    per_job = {name.split(",")[0]: value for name, value in paid.items() if "µs per job" in name}
    per_job[f"driver with {options.workers[-1]:,} simulated"] = rows[-1]["driver's CPU, µs per job"]
    most = {name: call_s * 1e6 / value for name, value in per_job.items()}
    show(f"Workers with {call_s:g} s calls at which one core of the driver is full", most, 0)
    if options.out:
        figures = {"efficiency": gain, "driver": paid, "curve": rows, "saturates at": most}
        options.out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
