import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.filters import Filters, counted, dollars, polish


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("x" * 501, "too long: 501 characters, at most 500"),
        ("Use <INS> here", "contains a placeholder tag"),
        ("Use </ start > here", "contains a placeholder tag"),
        ("Write [[ ## answer ## ]]", "contains a field marker"),
        ("Think in 3 steps", None),
    ],
)
def test_filters_say_why_they_refuse(text: str, reason: str | None) -> None:
    assert Filters().reason_to_reject(text) == reason


def test_small_sums_show_their_digits_and_one_is_no_plural() -> None:
    assert [dollars(x) for x in (0.0, 1e-6, 4.25e-5, 0.0123, 1234.5)] == [
        *("$0.0000", "$0.0000010", "$0.000043", "$0.0123", "$1,234.5000")
    ]
    assert [counted(n, "step") for n in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]


def test_digits_are_refused_when_asked() -> None:
    assert Filters(allow_digits=False).reason_to_reject("In 3 steps") == "contains digits"


def test_polish_strips_drops_stars_and_capitalises() -> None:
    assert polish("  **solve** it.\n") == "Solve it."


@given(st.text())
def test_polish_is_idempotent(text: str) -> None:
    assert polish(polish(text)) == polish(text)
