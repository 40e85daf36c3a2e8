"""Which components of a program a step optimizes."""

import inspect
from collections.abc import Iterable, Sequence

from opro_dspy.errors import ConfigurationError
from opro_dspy.protocols import ComponentSelector
from opro_dspy.seats import called, is_async, name_of, wrong
from opro_dspy.trajectory import Trajectory


def round_robin(step: int, components: Sequence[str], trajectory: Trajectory) -> Sequence[str]:
    """Optimize one component a step, in turn, beside the best texts of the others."""
    return [components[(step - 1) % len(components)]]


def every(step: int, components: Sequence[str], trajectory: Trajectory) -> Sequence[str]:
    """Optimize all components in each step; the step's candidates are shared out among them.

    Every candidate changes one component beside the best texts of the others, so that its score
    speaks for that text; the best of each are put together in the next step.
    """
    return components


SELECTORS: dict[str, ComponentSelector] = {"round_robin": round_robin, "all": every}


def steps_per_round(selector: ComponentSelector, n_components: int) -> int:
    """Return in how many steps each component has its turn; 1 where that is not known."""
    return n_components if selector is round_robin else 1


def share(num_candidates: int, n_components: int) -> int:
    """Return how many of a step's candidates each of the components it optimizes gets, ≥ 1."""
    return -(-num_candidates // n_components)


def resolve_selector(selector: str | ComponentSelector) -> ComponentSelector:
    """Return the selector of that name, or the user's own.

    Raises:
        ConfigurationError: If it is neither a known name nor a plain function of
            `(step, components, trajectory)`.
    """
    if isinstance(selector, str) and selector in SELECTORS:
        return SELECTORS[selector]
    if callable(selector) and not isinstance(selector, type) and _is_plain(selector):
        return selector
    raise ConfigurationError(
        f"`component_selector` must be one of {', '.join(SELECTORS)}, or a plain function of "
        f"(step, components, trajectory), got {selector!r}."
    )


def _is_plain(selector: ComponentSelector) -> bool:
    """Tell whether it takes three arguments, and answers without being awaited."""
    if is_async(selector):
        return False
    try:
        inspect.signature(selector).bind(1, (), None)
    except TypeError:
        return False
    except ValueError:  # builtins need not tell their signature
        return True
    return True


def selected(
    selector: ComponentSelector, step: int, components: Sequence[str], trajectory: Trajectory
) -> tuple[str, ...]:
    """Return the components that `selector` names for `step`.

    Raises:
        ConfigurationError: If it raises, or names none, a strange one, or one twice.
    """
    seat = f"component selector {name_of(selector)}"
    names = called(seat, step, lambda: selector(step, components, trajectory))
    known = set(components)
    if (
        isinstance(names, str)
        or not isinstance(names, Iterable)
        or not (found := tuple(names))
        or not all(isinstance(name, str) and name in known for name in found)
        or len(set(found)) < len(found)
    ):
        expected = f"a list of one or more of {', '.join(map(repr, components))}, none twice"
        raise wrong(seat, step, names, expected)
    return found
