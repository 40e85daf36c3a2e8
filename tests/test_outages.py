import pytest

from opro_dspy.errors import LMCallError
from opro_dspy.outages import MAX_ROUNDS, Outages
from opro_dspy.race import Cell


@pytest.fixture(autouse=True)
def _real_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opro_dspy.outages.PAUSE_S", 1.0)


def outages_of(n: int) -> Outages:
    outages = Outages()
    for place in reversed(range(n)):
        outages.put_off(Cell(0, place), ConnectionError(f"place {place}"))
    return outages


def test_as_long_as_something_is_answered_all_are_tried_again_at_once() -> None:
    outages = outages_of(3)
    for _ in range(50):
        outages.answered()
        seconds, cells = outages.next_round()
        assert seconds == 0.0
        assert cells == [Cell(0, place) for place in range(3)]
        for cell in cells:
            outages.put_off(cell, ConnectionError())


def test_rounds_without_an_answer_come_later_and_are_smaller_until_the_run_stops() -> None:
    outages, seen = outages_of(16), []
    with pytest.raises(LMCallError, match=r"place 0\. 16 examples wait .* 5 rounds") as caught:
        while True:
            seconds, cells = outages.next_round()
            seen.append((seconds, len(cells)))
            for cell in cells:
                outages.put_off(cell, ConnectionError(f"place {cell.place}"))
    assert seen == [(1.0, 8), (2.0, 4), (4.0, 2), (8.0, 1)]
    assert len(seen) == MAX_ROUNDS - 1
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_an_answer_brings_the_patience_back() -> None:
    outages = outages_of(1)
    for _ in range(20):
        assert outages.next_round() == (1.0, [Cell(0, 0)])
        outages.answered()
        outages.put_off(Cell(0, 0), ConnectionError())
        assert outages.next_round() == (0.0, [Cell(0, 0)])
        outages.put_off(Cell(0, 0), ConnectionError())
    assert outages
