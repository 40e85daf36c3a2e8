"""Fitting a meta-prompt into the optimizer LM's window."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from opro_dspy.protocols import MetaPrompt, MetaPromptContext


def estimate_tokens(text: str) -> int:
    """Return a cautious number of tokens: a third of the UTF-8 bytes, rounded up."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A meta-prompt and what it left out to fit."""

    text: str
    n_tokens: int
    """Tokens of `text`; more than the budget when what always stays does not fit."""
    n_entries: int
    """Entries shown."""
    omitted_entries: int
    omitted_exemplars: int


def fit(
    meta_prompt: MetaPrompt,
    context: MetaPromptContext,
    *,
    max_tokens: int | None,
    count_tokens: Callable[[str], int] = estimate_tokens,
) -> Fitted:
    """Render `context` so that it fits: the lowest entries leave first, then the last exemplars.

    The best entry, the task and the question always stay, even if the text is too long then.

    Args:
        meta_prompt: How the text is written; more entries or exemplars never shorten it.
        context: Everything that could be shown.
        max_tokens: Tokens at most; None is no limit.
        count_tokens: Tokens of a text.
    """
    n, m = len(context.entries), len(context.exemplars)

    @cache
    def text(entries: int, exemplars: int) -> str:
        shown = context.entries[n - entries :], context.exemplars[:exemplars]
        return meta_prompt.render(replace(context, entries=shown[0], exemplars=shown[1]))

    @cache
    def fits(entries: int, exemplars: int) -> bool:
        return max_tokens is None or count_tokens(text(entries, exemplars)) <= max_tokens

    entries = _most(min(1, n), n, lambda k: fits(k, m))
    exemplars = _most(0, m, lambda k: fits(entries, k))
    return Fitted(
        text=text(entries, exemplars),
        n_tokens=count_tokens(text(entries, exemplars)),
        n_entries=entries,
        omitted_entries=n - entries,
        omitted_exemplars=m - exemplars,
    )


def _most(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """Return the greatest number in [low, high] that fits, or `low` if none does."""
    middle = high
    while low < high:
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
        middle = (low + high + 1) // 2
    return low
