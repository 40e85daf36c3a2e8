from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.errors import ConfigurationError
from opro_dspy.selectors import every, resolve_selector, round_robin, selected, share
from opro_dspy.trajectory import Trajectory


def test_selectors() -> None:
    names, trajectory = ("a", "b"), Trajectory()
    assert [round_robin(step, names, trajectory) for step in (1, 2, 3)] == [["a"], ["b"], ["a"]]
    assert every(1, names, trajectory) == names
    assert resolve_selector("all") is every
    with pytest.raises(ConfigurationError, match="round_robin"):
        resolve_selector("none")


@given(st.integers(1, 100), st.integers(1, 100))
def test_every_component_gets_a_share_and_no_more_are_asked_than_that_needs(n: int, k: int) -> None:
    assert n <= k * share(n, k) < n + k


@pytest.mark.parametrize("answer", [["a"], ("b", "a"), iter(["b"])])
def test_a_selector_names_components(answer: Any) -> None:
    wanted = tuple(answer) if isinstance(answer, (list, tuple)) else ("b",)
    assert selected(lambda *_: answer, 1, ("a", "b"), Trajectory()) == wanted


@pytest.mark.parametrize("answer", [None, [], "a", ["c"], ["a", "a"], [0], 3, [["a"]]])
def test_a_selector_that_names_no_component_is_named_with_the_step(answer: Any) -> None:
    def mine(step: int, components: Any, trajectory: Trajectory) -> Any:
        return answer

    with pytest.raises(
        ConfigurationError,
        match=r"component selector .*mine returned .* at step 4\. It must .*'a', 'b', none twice",
    ):
        selected(mine, 4, ("a", "b"), Trajectory())


def test_a_selector_that_has_to_be_awaited_is_refused() -> None:
    async def mine(step: int, components: Any, trajectory: Trajectory) -> Any:
        return components

    with pytest.raises(ConfigurationError, match="`component_selector` must be"):
        resolve_selector(mine)  # type: ignore[arg-type]


def test_a_selector_that_raises_is_named_with_the_step() -> None:
    def mine(step: int, components: Any, trajectory: Trajectory) -> Any:
        raise IndexError("out")

    with pytest.raises(ConfigurationError, match=r"mine raised IndexError at step 4: out"):
        selected(mine, 4, ("a", "b"), Trajectory())
