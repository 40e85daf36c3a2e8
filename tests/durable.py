"""Runs in processes of their own that can be killed; their LM calls are counted out here."""

import json
import multiprocessing
import os
import resource
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import dspy
from dspy.lm15 import Request, Response

from opro_dspy import OPRO
from opro_dspy.simulation import (
    SimulatedLM,
    exact_match,
    landscape,
    make_examples,
    optimizer_lm,
    scorer_lm,
)
from opro_dspy.simulation.engine import SimulatedEngine, read_request

NUM_THREADS = 4


class CallCounter:
    """Counts the LM calls of other processes as they arrive, on loopback."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        """Calls by role."""
        self.port = 0

    @property
    def total(self) -> int:
        """All calls so far."""
        return sum(self.calls.values())

    @contextmanager
    def running(self) -> Iterator["CallCounter"]:
        """Listen from a thread of its own."""
        counter = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                role = self.rfile.readline().decode().strip()
                with counter._lock:
                    counter.calls[role] += 1
                self.wfile.write(b"ok\n")

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        with Server(("127.0.0.1", 0), Handler) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            yield self
            server.shutdown()


class Counted:
    """A simulated engine that reports each call to a `CallCounter` before it answers."""

    def __init__(self, engine: SimulatedEngine, role: str, port: int) -> None:
        self._engine, self._role, self._port = engine, role, port

    def __deepcopy__(self, memo: dict[int, Any]) -> "Counted":
        return self

    def dump_state(self) -> dict[str, Any]:
        """Return what the engine's answers depend on."""
        return self._engine.dump_state()

    def complete(self, request: Request) -> Response:
        """Answer as the engine does."""
        assert read_request(request).content
        with socket.create_connection(("127.0.0.1", self._port)) as line:
            line.sendall(f"{self._role}\n".encode())
            assert line.recv(3) == b"ok\n"
        return self._engine.complete(request)


class TwoSteps(dspy.Module):  # type: ignore[misc]
    """Plans, then answers."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = dspy.Predict("question -> plan")
        self.solve = dspy.Predict("question, plan -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        """Answer the question by a plan."""
        return self.solve(question=question, plan=self.plan(question=question).plan)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What to compile."""

    two_steps: bool
    racing: bool
    max_steps: int = 3
    cached: bool = False
    """Whether LM answers are kept, in a folder beside the run's."""
    max_file_bytes: int | None = None
    """No file may grow beyond, as on a disk that is full."""

    @property
    def student(self) -> dspy.Module:
        """The program."""
        return TwoSteps() if self.two_steps else dspy.Predict("question -> answer")


def compile_in(log_dir: str, case: Case, port: int, **options: Any) -> Any:
    """Compile `case` on simulated LMs that report to `port`."""
    if case.max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (case.max_file_bytes, resource.RLIM_INFINITY))
    examples = make_examples("arithmetic", n=20, seed=0)
    scorer = scorer_lm(answer_key=examples, landscape=landscape("many_small_effects", seed=0))
    optimizer = optimizer_lm(seed=0)

    def counted(lm: SimulatedLM, role: str) -> SimulatedLM:
        engine = Counted(lm.engine, role, port)
        return SimulatedLM(f"counted/{role}", engine=engine, cache=case.cached)

    with dspy.context(lm=counted(scorer, "scorer")):
        return OPRO(
            **{
                "metric": exact_match,
                "prompt_model": counted(optimizer, "optimizer"),
                "num_candidates": 4,
                "max_steps": case.max_steps,
                "racing": case.racing,
                "num_threads": NUM_THREADS,
                "verbose": False,
                "log_dir": log_dir,
                "cache_dir": Path(log_dir).parent / f"{Path(log_dir).name}-cache"
                if case.cached
                else None,
                **options,
            }
        ).compile(case.student, trainset=examples[:12], valset=examples[12:])


def _compile_alone(log_dir: str, case: Case, port: int, **options: Any) -> None:
    """Compile in a process of its own, without DSPy's cache."""
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    compile_in(log_dir, case, port, **options)


def start(log_dir: Path, case: Case, port: int, **options: Any) -> BaseProcess:
    """Start a process that compiles; it is forked off one that has imported everything."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parent.parent)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.durable"])
    process = context.Process(
        target=_compile_alone, args=(str(log_dir), case, port), kwargs=options, daemon=True
    )
    process.start()
    return process


def num_lines(log_dir: Path) -> int:
    """Return how many lines the journal in `log_dir` has by now."""
    path = log_dir / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_at(process: BaseProcess, log_dir: Path, *, lines: int, then_s: float = 0.0) -> bool:
    """Kill `process` once its journal has `lines` lines, `then_s` later; tell if it lived."""
    while process.is_alive() and num_lines(log_dir) < lines:
        time.sleep(0.0005)
    time.sleep(then_s)
    lived = process.is_alive()
    process.kill()
    process.join()
    return lived


def outcome(log_dir: Path, *, cached: bool = False) -> Any:
    """Return what a run found, without what depends on the clock.

    Args:
        log_dir: The run's folder.
        cached: Leave out, too, which of the answers came from the cache, and what they spared.
    """
    result = json.loads((log_dir / "result.json").read_text())
    for row in result["usage"]:
        del row["seconds"]
    if cached:
        del result["usage"], result["score_reuse"], result["spent"]
    return result, json.loads((log_dir / "best.json").read_text())
