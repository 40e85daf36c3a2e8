"""JSON in one way only, and its hash."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Describe = Callable[[Any], Any]
"""Returns what is within a value as JSON data."""


def canonical(description: Any) -> str:
    """Return JSON data as text: equal data, equal text. ASCII only; any text survives."""
    return json.dumps(description, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def fingerprint(description: Any) -> str:
    """Return the sha256 of JSON data, in hex; the same in every process."""
    return hashlib.sha256(canonical(description).encode("ascii")).hexdigest()


def by_name(held: Mapping[str, Any], describe: Describe) -> dict[str, Any]:
    """Return descriptions of attributes; the order in which they were set is no part."""
    return {name: describe(item) for name, item in sorted(held.items())}


def in_any_order(value: Any, describe: Describe) -> Any:
    """Return the description of a value; of a dict, the order in which it was filled is no part."""
    return by_name(value, describe) if type(value) is dict else describe(value)


def in_order(
    items: Iterable[Any], outline: Callable[[Any], Any], full: Callable[[Any], Any]
) -> list[Any]:
    """Return items in an order that is the same in every process.

    Args:
        items: In any order.
        outline: Describes an item in short.
        full: Describes one in full, by itself; asked where outlines are the same.
    """
    told = [(canonical(outline(item)), item) for item in list(items)]
    known = Counter(text for text, _ in told)

    def place(pair: tuple[str, Any]) -> tuple[str, str]:
        text, item = pair
        return text, canonical(full(item)) if known[text] > 1 else ""

    return [item for _, item in sorted(told, key=place)]
