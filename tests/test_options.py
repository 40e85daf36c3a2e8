"""What a user types wrong is told in one way, wherever it is typed."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from opro_dspy import CacheDir, ConfigurationError, Filters, Racing, View
from opro_dspy.config import checked


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (CacheDir, "max_bytes", 5),
        (Filters, "max_copied_words", 0),
        (View, "num_entries", 0),
        (Racing, "rungs", (4, 2)),
        (checked, "num_candidates", 0),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_given(
    make: Callable[..., Any], name: str, value: Any
) -> None:
    with pytest.raises(ConfigurationError, match=rf"`{name}`:? .*, got {re.escape(repr(value))}"):
        make(**{name: value})
