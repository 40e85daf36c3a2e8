import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.lane import FAILURE_LEAD
from opro_dspy.race import Cell, Race
from opro_dspy.racing import Racing

Table = list[list[float]]
RUNGS = Racing().rungs


def run(
    table: Table,
    *,
    rungs: tuple[int, ...] = RUNGS,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    arrival: random.Random | None = None,
    window: int = 3,
    fails: Callable[[Cell], bool] = lambda cell: False,
    max_errors: int | None = None,
    before: Sequence[tuple[int, int]] = (),
) -> tuple[list[dict[int, float]], Race, int]:
    """Run a race in which `table` holds the scores; results arrive in the order of `arrival`."""
    arrival = arrival or random.Random(0)
    race = Race(
        [len(row) for row in table],
        rungs=rungs,
        bounds=bounds,
        max_errors=max_errors,
        before=before,
    )
    flying: list[Cell] = []
    cells = 0
    while True:
        while len(flying) < window and (cell := race.next()) is not None:
            flying.append(cell)
            cells += 1
        if not flying:
            break
        cell = flying.pop(arrival.randrange(len(flying)))
        score = 0.0 if fails(cell) else table[cell.candidate][cell.place]
        race.record(cell, score, failed=fails(cell))
    return [race.scores(i) for i in range(len(table))], race, cells


tables = st.integers(1, 9).flatmap(
    lambda k: st.lists(
        st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=20, max_size=20),
        min_size=k,
        max_size=k,
    )
)


@given(tables, st.integers(0, 10_000), st.integers(1, 40))
def test_what_counts_does_not_depend_on_the_order_of_arrival(
    table: Table, seed: int, window: int
) -> None:
    expected, _, _ = run(table, window=1)
    assert run(table, arrival=random.Random(seed), window=window)[0] == expected


@given(tables, st.integers(0, 10_000))
def test_starting_early_spends_nothing_that_is_not_needed(table: Table, seed: int) -> None:
    scores, _, cells = run(table, arrival=random.Random(seed), window=50)
    assert cells == sum(len(row) for row in scores)


@given(tables)
def test_whoever_leads_on_the_examples_all_have_seen_is_never_dropped(table: Table) -> None:
    scores, _, _ = run(table)
    end = 0
    for rung in RUNGS:
        alive = [i for i, row in enumerate(scores) if len(row) >= rung]
        if not alive:
            break
        met = [i for i, row in enumerate(scores) if len(row) >= end]
        best = max(sum(table[i][:end]) for i in met)
        assert all(i in alive for i in met if sum(table[i][:end]) == best)
        end = rung


@given(tables)
def test_equal_candidates_are_treated_alike(table: Table) -> None:
    scores, _, _ = run([*table, table[0]])
    assert len(scores[0]) == len(scores[-1])


@given(tables)
def test_the_better_half_goes_on_with_those_who_tie(table: Table) -> None:
    scores, _, _ = run(table, rungs=(4, 8))
    totals = [sum(row[:4]) for row in table]
    bar = sorted(totals, reverse=True)[(len(table) + 1) // 2 - 1]
    assert [len(row) == 8 for row in scores] == [total >= bar for total in totals]


def test_one_rung_with_all_examples_is_the_full_evaluation() -> None:
    table = [[1.0] * 7, [0.0] * 7]
    scores, race, cells = run(table, rungs=(7,))
    assert cells == race.n_cells == 14
    assert [len(row) for row in scores] == [7, 7]


def test_a_race_costs_far_less_than_the_full_evaluation() -> None:
    rng = random.Random(1)
    table = [[rng.random() for _ in range(60)] for _ in range(8)]
    _, race, cells = run(table)
    assert cells == race.n_cells == 8 * 3 + 4 * 3 + 2 * 6


def test_without_known_bounds_nobody_starts_early() -> None:
    race = Race([20] * 4, rungs=(2, 4))
    cells = [race.next() for _ in range(8)]
    assert race.next() is None
    race.record(cells[0], 1.0)  # type: ignore[arg-type]
    assert race.next() is None


def test_whoever_goes_on_anyhow_starts_the_next_rung_early() -> None:
    race = Race([20, 20], rungs=(2, 4), bounds=(0.0, 1.0))
    first, second, third, fourth = (race.next() for _ in range(4))
    assert first and second and third and fourth
    race.record(first, 1.0)
    race.record(third, 1.0)
    race.record(second, 0.0)
    assert race.next() == Cell(0, 2)


def test_the_hopeless_leave_unless_they_lead() -> None:
    race = Race([8] * 4, rungs=(2, 4), hopeless=lambda total, n: total < 2.0)
    while (cell := race.next()) is not None:
        race.record(cell, [1.0, 0.5, 0.5, 0.0][cell.candidate])
    assert [len(race.scores(i)) for i in range(4)] == [4, 2, 2, 2]


def test_a_cell_taken_back_is_handed_out_again() -> None:
    race = Race([1], rungs=(1,))
    cell = race.next()
    assert cell is not None and race.next() is None
    race.again(cell)
    assert race.next() == cell


def test_a_skipped_cell_holds_nobody_up_and_counts_for_nothing() -> None:
    race = Race([4, 4], rungs=(2, 4))
    for cell in [race.next() for _ in range(4)]:
        assert cell is not None
        if cell == Cell(0, 0):
            race.skip(cell)
        else:
            race.record(cell, 1.0)
    assert race.next() is not None
    assert race.scores(0) == {1: 1.0}


def test_a_stopped_race_takes_the_running_rung_back() -> None:
    race = Race([8] * 2, rungs=(2, 4))
    for _ in range(5):
        cell = race.next()
        assert cell is not None
        race.record(cell, 1.0)
    race.stop()
    assert race.next() is None and race.finished
    assert [len(race.scores(i)) for i in range(2)] == [2, 2]


@given(st.integers(0, 1000), st.integers(1, 20))
def test_a_candidate_that_fails_too_often_is_given_up_at_the_same_place(
    seed: int, window: int
) -> None:
    table = [[1.0] * 12, [1.0] * 12]

    def fails(cell: Cell) -> bool:
        return cell.candidate == 1 and cell.place % 2 == 1

    scores, race, _ = run(
        table,
        rungs=(12,),
        arrival=random.Random(seed),
        window=window,
        fails=fails,
        max_errors=3,
    )
    assert race.lanes[1].given_up and not race.lanes[0].given_up
    assert len(scores[0]) == 12
    assert list(scores[1]) == [0, 1, 2, 3, 4, 5]


failing = st.lists(st.sets(st.integers(0, 19)), min_size=1, max_size=5)


@given(failing, st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([RUNGS, (20,)]))
def test_who_is_given_up_and_where_does_not_depend_on_the_order_of_arrival(
    failing: list[set[int]], seed: int, window: int, rungs: tuple[int, ...]
) -> None:
    def found(arrival: random.Random, window: int) -> Any:
        scores, race, _ = run(
            [[1.0] * 20] * len(failing),
            rungs=rungs,
            arrival=arrival,
            window=window,
            fails=lambda cell: cell.place in failing[cell.candidate],
            max_errors=8,
        )
        return scores, [lane.given_up for lane in race.lanes]

    assert found(random.Random(seed), window) == found(random.Random(0), 1)


@given(st.sets(st.integers(0, 39)), st.integers(0, 6), st.integers(0, 6))
def test_a_candidate_is_given_up_where_failures_lead_or_max_errors_is_reached(
    failing: set[int], failed: int, passed: int
) -> None:
    scores, race, _ = run(
        [[1.0] * 40],
        rungs=(40,),
        fails=lambda cell: cell.place in failing,
        max_errors=10,
        before=[(failed, passed)],
    )
    n_failed, n_passed, expected = failed, passed, 40
    for place in range(40):
        n_failed, n_passed = n_failed + (place in failing), n_passed + (place not in failing)
        if place in failing and (n_failed >= 10 or n_failed - n_passed >= FAILURE_LEAD):
            expected = place + 1
            break
    assert len(scores[0]) == expected
    assert race.lanes[0].given_up == (expected < 40 or n_failed >= 10)


@pytest.mark.parametrize(("n_failing", "given_up"), [(2, False), (3, True)])
def test_a_candidate_that_fails_on_all_of_a_first_rung_of_three_is_given_up_there(
    n_failing: int, given_up: bool
) -> None:
    scores, race, _ = run(
        [[1.0] * 12, [1.0] * 12],
        fails=lambda cell: cell.candidate == 1 and cell.place < n_failing,
        max_errors=10,
    )
    assert race.lanes[1].given_up == given_up
    assert len(scores[1]) == 3
    assert not race.lanes[0].given_up


def test_a_few_failures_among_many_examples_give_nobody_up() -> None:
    _, race, _ = run(
        [[1.0] * 500], rungs=(500,), fails=lambda cell: cell.place % 4 == 0, max_errors=1000
    )
    assert not race.lanes[0].given_up


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_a_race_with_nothing_to_do_is_finished(lengths: list[int]) -> None:
    race = Race(lengths, rungs=(4,))
    assert race.finished and race.next() is None
