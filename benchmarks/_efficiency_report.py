"""What efficiency.py makes of its records: cells, the tables, calls to equal quality."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Any

from _efficiency_peers import ENTRANTS

Record = dict[str, Any]
MEAN = "mean"
"""Stands for the mean over landscapes where a landscape's name is asked for."""
REFERENCE, RACING = "OPRO full", "OPRO"
SHOWN = ("OPRO", "OPRO full", "COPRO", "MIPROv2", "GEPA", "SIMBA")


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its standard error; 0.0 for fewer than two values."""
    error = statistics.stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0
    return statistics.fmean(values), error


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """Return the figures of a cell: the runs of one entrant, landscape and budget."""
    by_seed = {record["seed"]: record["quality"] for record in records}
    mean, error = mean_and_error(list(by_seed.values()))
    calls = [record["scorer"]["calls"] for record in records]
    return {
        "entrant": records[0]["entrant"],
        "n_seeds": len(by_seed),
        "quality": mean,
        "stderr": error,
        "median": statistics.median(by_seed.values()),
        "scorer_calls": statistics.fmean(calls),
        "max_scorer_calls": max(calls),
        "optimizer_calls": statistics.fmean(r["optimizer"]["calls"] for r in records),
        **{
            f"{role}_{tokens}": statistics.fmean(r[role][tokens] for r in records)
            for role in ("scorer", "optimizer")
            for tokens in ("tokens_in", "tokens_out")
        },
        "seconds": statistics.fmean(record["seconds"] for record in records),
        "student_quality": statistics.fmean(record["student_quality"] for record in records),
        "by_seed": by_seed,
    }


Cells = dict[tuple[str, str, int], dict[str, Any]]
"""(landscape or MEAN, optimizer as shown, budget) to its figures."""


def cells_of(records: Iterable[Record], landscapes: Sequence[str]) -> Cells:
    """Return the figures of every cell, and of the mean over `landscapes`.

    Of an optimizer that runs with several settings, each cell takes those that did best there.
    """
    groups: dict[tuple[str, str, int], dict[str, list[Record]]] = defaultdict(dict)
    for record in records:
        shown = ENTRANTS[record["entrant"]].shown
        group = groups[record["landscape"], shown, record["budget"]]
        group.setdefault(record["entrant"], []).append(record)
    cells = {
        key: max(map(summary, group.values()), key=lambda cell: cell["quality"])
        for key, group in groups.items()
    }
    for shown, budget in sorted({key[1:] for key in cells}):
        parts = [cells.get((name, shown, budget)) for name in landscapes]
        if all(parts):
            cells[MEAN, shown, budget] = _mean_of([part for part in parts if part])
    return cells


def _mean_of(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    seeds = set.intersection(*(set(part["by_seed"]) for part in parts))
    by_seed = {s: statistics.fmean(part["by_seed"][s] for part in parts) for s in sorted(seeds)}
    merged = {
        name: statistics.fmean(part[name] for part in parts)
        for name, value in parts[0].items()
        if isinstance(value, (int, float))
    }
    if not by_seed:
        return {**merged, "n_seeds": 0, "stderr": 0.0, "by_seed": {}}
    mean, error = mean_and_error(list(by_seed.values()))
    most = max(part["max_scorer_calls"] for part in parts)
    own = {"n_seeds": len(by_seed), "quality": mean, "stderr": error, "max_scorer_calls": most}
    return {**merged, **own, "by_seed": by_seed}


def table(cells: Cells, landscapes: Sequence[str], budgets: Sequence[int]) -> list[str]:
    """Return the lines of the table: quality in percent ± standard error (scorer calls used)."""
    lines = []
    for name in (*landscapes, MEAN):
        students = [cell["student_quality"] for key, cell in cells.items() if key[0] == name]
        student = f"  (the student: {100 * statistics.fmean(students):.1f})" if students else ""
        lines.append(f"\n{'mean over landscapes' if name == MEAN else name}{student}")
        lines.append(f"{'':<22}" + "".join(f"{f'{b:,} calls':>23}" for b in budgets))
        best = {
            b: max(
                (c["quality"] for k, c in cells.items() if k[0] == name and k[2] == b), default=0
            )
            for b in budgets
        }
        for shown in SHOWN:
            row = [cells.get((name, shown, budget)) for budget in budgets]
            if any(row):
                shows = (_show(cell, best[b]) for cell, b in zip(row, budgets, strict=True))
                lines.append(f"  {shown:<20}" + "".join(f"{text:>23}" for text in shows))
    return lines


def _show(cell: dict[str, Any] | None, best: float) -> str:
    if cell is None:
        return "-"
    mark = "*" if cell["quality"] == best else " "
    quality = f"{100 * cell['quality']:.1f}{mark}± {100 * cell['stderr']:.1f}"
    return f"{quality} ({cell['scorer_calls']:,.0f})"


def usage(cells: Cells, budgets: Sequence[int]) -> list[str]:
    """Return the lines that say what a run costs, on the mean over landscapes."""
    lines = [
        f"\n{'a run, on the mean':<22}{'budget':>8}{'scorer calls':>14}{'at most':>9}"
        f"{'optimizer calls':>17}{'scorer ktokens':>16}{'optimizer ktokens':>19}{'CPU s':>9}"
    ]
    for shown in SHOWN:
        for budget in budgets:
            cell = cells.get((MEAN, shown, budget))
            if cell:
                tokens = [
                    (cell[f"{role}_tokens_in"] + cell[f"{role}_tokens_out"]) / 1000
                    for role in ("scorer", "optimizer")
                ]
                lines.append(
                    f"  {shown:<20}{budget:>8,}{cell['scorer_calls']:>14,.0f}"
                    f"{cell['max_scorer_calls']:>9,.0f}{cell['optimizer_calls']:>17,.0f}"
                    f"{tokens[0]:>16,.0f}{tokens[1]:>19,.0f}{cell['seconds']:>9.2f}"
                )
    return lines


def comparisons(
    cells: Cells, landscapes: Sequence[str], budgets: Sequence[int]
) -> list[dict[str, Any]]:
    """Return by how much OPRO leads each peer at equal budgets, paired by seed."""
    ours = RACING if any(key[1] == RACING for key in cells) else REFERENCE
    found = []
    for name in (MEAN, *landscapes):
        for shown in SHOWN:
            for budget in budgets:
                own, other = cells.get((name, ours, budget)), cells.get((name, shown, budget))
                if shown in (RACING, REFERENCE) or not own or not other:
                    continue
                seeds = own["by_seed"].keys() & other["by_seed"].keys()
                if seeds:
                    leads = [own["by_seed"][s] - other["by_seed"][s] for s in sorted(seeds)]
                    lead, error = mean_and_error(leads)
                    row = {"landscape": name, "ours": ours, "peer": shown, "budget": budget}
                    found.append({**row, "lead": lead, "stderr": error})
    return found


def comparison_lines(leads: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines that say how OPRO stands on the mean, and where a peer is ahead."""
    lines = [f"\n{leads[0]['ours']} minus peer, points, paired by seed"] if leads else []
    for row in leads:
        ahead = row["lead"] < 0
        if row["landscape"] == MEAN or ahead:
            lines.append(
                f"  {row['landscape']:<20}{row['peer']:<9}{row['budget']:>6,} calls"
                f"{100 * row['lead']:>+7.1f} ± {100 * row['stderr']:.1f}"
                f"{'   peer ahead' if ahead else ''}"
            )
    return lines


def calls_to_reach(records: Sequence[Record], landscapes: Sequence[str]) -> dict[str, Any]:
    """Return, by landscape, the scorer calls to the median quality of full evaluation's 5 steps.

    `whole_runs` is the median number of calls of the racing runs with the smallest budget whose
    median quality reaches it; `one_run` the same along the median curve of the runs with the
    largest budget, every point of which carries the calls of that run's final choice.
    """
    found = {}
    for name in landscapes:
        here = [record for record in records if record["landscape"] == name]
        full = [record for record in here if record["entrant"] == REFERENCE]
        if not full:
            continue
        largest = max(record["budget"] for record in full)
        full = [record for record in full if record["budget"] == largest]
        goal = statistics.median(record["quality"] for record in full)
        calls = statistics.median(record["scorer"]["calls"] for record in full)
        racing = [record for record in here if record["entrant"] == RACING]
        row: dict[str, Any] = {"goal": goal, "full_calls": calls, "n_seeds": len(full)}
        for way, reached in (
            ("whole_runs", _by_runs(racing, goal)),
            ("one_run", _by_curve(racing, goal)),
        ):
            row[way] = {"calls": reached, "ratio": reached and calls / reached}
        found[name] = row
    return found


def _by_runs(records: Sequence[Record], goal: float) -> float | None:
    for budget in sorted({record["budget"] for record in records}):
        runs = [record for record in records if record["budget"] == budget]
        if statistics.median(record["quality"] for record in runs) >= goal:
            return statistics.median(record["scorer"]["calls"] for record in runs)
    return None


def _by_curve(records: Sequence[Record], goal: float) -> float | None:
    largest = max((record["budget"] for record in records), default=0)
    curves = [
        [(calls + record["choice_calls"], quality) for calls, quality in record["curve"]]
        + [(record["scorer"]["calls"], record["quality"])]
        for record in records
        if record["budget"] == largest
    ]
    for calls in sorted({calls for curve in curves for calls, _ in curve}):
        stand = ([0.0, *(q for c, q in curve if c <= calls)][-1] for curve in curves)
        if statistics.median(stand) >= goal:
            return float(calls)
    return None


def reach_lines(reached: dict[str, Any]) -> list[str]:
    """Return the lines for `calls_to_reach`."""
    lines = ["\nscorer calls to the median quality of full evaluation's largest budget"]
    for name, row in reached.items():
        text = f"  {name:<20}{100 * row['goal']:>6.1f}  full {row['full_calls']:>6,.0f}"
        for way in ("whole_runs", "one_run"):
            calls, ratio = row[way]["calls"], row[way]["ratio"]
            told = f"{calls:,.0f} (1/{ratio:.1f})" if calls else "not reached"
            text += f"   racing, {way.replace('_', ' ')}: {told}"
        lines.append(text)
    return lines
