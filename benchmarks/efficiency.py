"""True held-out quality against scorer calls: OPRO beside COPRO, MIPROv2, GEPA and SIMBA.

    python benchmarks/efficiency.py [--seeds 20] [--budgets 300 600 1200 2400] [--only OPRO GEPA]
        [--resume runs.jsonl] [--out efficiency.json] [--plot efficiency.png] [--jobs 2]

Simulated LMs, caches off: every landscape, 60 training examples, the student
`dspy.Predict("question -> answer")`. Each optimizer runs once for each budget, with settings
chosen for it (`_efficiency_peers.py`); calls are those that reached the simulated engines. Quality
is the true expectation on 400 fresh examples. A run that was killed goes on with `--resume`, which
also merges what was measured before: records made by other code or settings are left out, unless
`--keep-stale`.
"""

import argparse
import json
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

import _efficiency_report as report
from _efficiency_peers import ENTRANTS
from _efficiency_plot import plot
from _efficiency_runs import Job, measure

from opro_dspy.simulation import LANDSCAPE_NAMES

RACING_BUDGETS = (400, 500, 800)
"""More budgets for OPRO, so that the calls to equal quality are known more closely."""


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """Return the runs asked for, seed by seed."""
    wanted = [
        (name, budget)
        for name, entrant in ENTRANTS.items()
        if not options.only or {name, entrant.shown} & set(options.only)
        for budget in {*options.budgets, *(RACING_BUDGETS if name == "OPRO" else ())}
    ]
    return sorted(
        Job(seed=seed, landscape=landscape, entrant=name, budget=budget)
        for seed in range(options.seeds)
        for landscape in options.landscapes
        for name, budget in wanted
    )


def read_records(path: Path | None, *, keep_stale: bool) -> list[dict[str, Any]]:
    """Return the records of an earlier run, the last of each job; without those of other code."""
    if path is None or not path.exists():
        return []
    found: dict[Job, dict[str, Any]] = {}
    n_stale = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # the line that a killed run was writing
            continue
        if record["entrant"] not in ENTRANTS:
            continue
        job = job_of(record)
        stale = record["key"] != job.key()
        n_stale += stale
        if not stale or keep_stale:
            found[job] = record
    if n_stale:
        told = "kept" if keep_stale else "left out; --keep-stale keeps them"
        print(f"{path}: {n_stale} records of other code or settings: {told}", file=sys.stderr)
    return list(found.values())


def job_of(record: dict[str, Any]) -> Job:
    return Job(**{field.name: record[field.name] for field in fields(Job)})


def _silence() -> None:
    """Send what optimizers print and log in a worker nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())
    logging.disable(logging.CRITICAL)


def _attempt(job: Job) -> dict[str, Any]:
    try:
        return measure(job)
    except Exception:  # noqa: BLE001  told by the parent, which fails at the end
        return {"failed": str(job), "traceback": traceback.format_exc()}


def run_all(jobs: Sequence[Job], *, n_processes: int, sink: TextIO | None) -> Iterator[Any]:
    """Make the runs, write each record to `sink` as it comes, and yield it."""
    for job in jobs:
        job.key()  # fingerprints of the code as it is now, which the workers inherit
    start, n_failed = time.perf_counter(), 0
    with multiprocessing.get_context("fork").Pool(n_processes, initializer=_silence) as pool:
        for done, record in enumerate(pool.imap_unordered(_attempt, jobs), 1):
            if "failed" in record:
                told = record["traceback"].rstrip()
                told = told.splitlines()[-1] if n_failed else told  # the first in full
                print(f"\n{record['failed']}: {told}", file=sys.stderr)
                n_failed += 1
            elif sink is not None:
                sink.write(json.dumps(record) + "\n")
                sink.flush()
            rest = (time.perf_counter() - start) / done * (len(jobs) - done)
            print(f"\r{done}/{len(jobs)} runs, {rest:,.0f} s left ", end="", file=sys.stderr)
            yield record
    print(file=sys.stderr)


def collect(options: argparse.Namespace) -> tuple[list[dict[str, Any]], int]:
    """Return all records, old and new, and how many runs failed."""
    records = read_records(options.resume, keep_stale=options.keep_stale)
    done = {job_of(record) for record in records}
    jobs = [job for job in jobs_of(options) if job not in done]
    print(f"{len(records)} runs known, {len(jobs)} to make", file=sys.stderr)
    sink = options.resume.open("a", encoding="utf-8") if options.resume else None
    try:
        made = list(run_all(jobs, n_processes=options.jobs, sink=sink)) if jobs else []
    finally:
        if sink is not None:
            sink.close()
    good = [record for record in made if "failed" not in record]
    return [*records, *good], len(made) - len(good)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", type=int, nargs="+", default=[300, 600, 1200, 2400])
    parser.add_argument(
        "--landscapes", nargs="+", choices=LANDSCAPE_NAMES, default=list(LANDSCAPE_NAMES)
    )
    names = sorted({*ENTRANTS, *(entrant.shown for entrant in ENTRANTS.values())})
    parser.add_argument("--only", nargs="+", choices=names, help="run these; the rest is merged")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--resume", type=Path, help="JSON lines, a record for each run")
    parser.add_argument("--keep-stale", action="store_true")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--plot", type=Path, help="write the plot as PNG")
    return parser.parse_args()


def main() -> None:
    options = parse()
    records, n_failed = collect(options)
    landscapes, budgets = options.landscapes, sorted(options.budgets)
    cells = report.cells_of(records, landscapes)
    leads = report.comparisons(cells, landscapes, budgets)
    reached = report.calls_to_reach(records, landscapes)
    print("simulated LMs; true held-out quality, % ± standard error (scorer calls used); * is best")
    for line in (
        *report.table(cells, landscapes, budgets),
        *report.comparison_lines(leads),
        *report.reach_lines(reached),
        *report.usage(cells, budgets),
    ):
        print(line)
    if options.out:
        rows = [
            {"landscape": name, "optimizer": shown, "budget": budget, **cell}
            for (name, shown, budget), cell in sorted(cells.items())
        ]
        figures = {"cells": rows, "leads": leads, "calls_to_reach": reached}
        options.out.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    if options.plot:
        plot(cells, landscapes, options.plot)
    if n_failed:
        sys.exit(f"{n_failed} runs failed")


if __name__ == "__main__":
    main()
