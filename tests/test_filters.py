import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.filters import Filters, polish


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


def test_digits_are_refused_when_asked() -> None:
    assert Filters(allow_digits=False).reason_to_reject("In 3 steps") == "contains digits"


def test_polish_strips_drops_stars_and_capitalises() -> None:
    assert polish("  **solve** it.\n") == "Solve it."


@given(st.text())
def test_polish_is_idempotent(text: str) -> None:
    assert polish(polish(text)) == polish(text)
