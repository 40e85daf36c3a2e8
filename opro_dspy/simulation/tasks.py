"""Task generators with unlimited fresh examples, and their metric, for the simulated LMs."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError

_NAMES = (
    "Ada Bruno Chidi Dalia Emre Farah Goran Hana Ivo Jun Kofi Lena Malik Nadia Oskar Priya "
    "Quentin Rosa Sami Tove Uma Viktor Wanda Ximena Yusuf Zora"
)
_GOODS = (
    "pencils marbles stickers cookies books tickets shells coins cards beads lemons candles "
    "buttons postcards magnets ribbons"
)
_THINGS = {
    "fruit": "an apple|a pear|a plum|a banana|a peach|a mango|a kiwi|an orange|a fig|a lime",
    "animals": "a cat|a goat|a duck|a rabbit|a horse|a snail|a crow|a mouse|a donkey|a frog",
    "furniture": "a chair|a table|a bed|a lamp|a couch|a shelf|a stool|a desk|a wardrobe|a bench",
    "instruments": "a flute|a drum|a violin|a piano|a trumpet|a harp|a guitar|a cello|an oboe",
    "vegetables": "a carrot|an onion|a potato|a leek|a turnip|a cabbage|a radish|a beet|a pepper",
}
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _arithmetic(rng: random.Random) -> tuple[str, str]:
    first, second = rng.sample(_NAMES.split(), 2)
    goods, other = rng.sample(_GOODS.split(), 2)
    start, price = rng.randint(12, 97), rng.randint(2, 14)
    total = start
    story = [f"{first} has {start} {goods}."]
    for _ in range(rng.randint(1, 3)):
        amount = rng.randint(2, 30)
        if rng.random() < 0.5 and amount < total:
            total -= amount
            story.append(f"Then {first} gives {amount} of them to {second}.")
        elif rng.random() < 0.5:
            total += amount
            story.append(f"Then {first} buys {amount} more.")
        else:
            factor, total = ("twice", total * 2) if amount % 2 else ("three times", total * 3)
            story.append(f"After that, {first} trades and holds {factor} as many {goods}.")
    if rng.random() < 0.4:
        story.append(f"{second} also owns {rng.randint(3, 60)} {other}.")
    if rng.random() < 0.5:
        story.append(f"How many {goods} does {first} have now?")
        return " ".join(story), str(total)
    story.append(f"Each one sells for {price} dollars. How many dollars would all of them bring?")
    return " ".join(story), str(total * price)


def _object_counting(rng: random.Random) -> tuple[str, str]:
    wanted, other = rng.sample(sorted(_THINGS), 2)
    count, items = 0, []
    for kind, number in ((wanted, rng.randint(3, 6)), (other, rng.randint(1, 4))):
        for thing in rng.sample(_THINGS[kind].split("|"), number):
            amount = rng.randint(1, 9) if rng.random() < 0.5 else 1
            items.append(thing if amount == 1 else f"{_NUMBER_WORDS[amount]} times {thing}")
            count += amount if kind == wanted else 0
    rng.shuffle(items)
    listed = ", ".join(items[:-1]) + f" and {items[-1]}"
    owner = rng.choice(_NAMES.split())
    return f"{owner} packs {listed}. How many {wanted} did {owner} pack in total?", str(count)


def _boolean(rng: random.Random, depth: int) -> tuple[str, bool]:
    if depth == 0 or (depth < 3 and rng.random() < 0.2):
        value = rng.random() < 0.5
        return str(value), value
    left, a = _boolean(rng, depth - 1)
    right, b = _boolean(rng, depth - 1)
    operator = rng.choice(("and", "or"))
    value = (a and b) if operator == "and" else (a or b)
    text = f"( {left} {operator} {right} )"
    return (f"not {text}", not value) if rng.random() < 0.4 else (text, value)


def _boolean_expressions(rng: random.Random) -> tuple[str, str]:
    text, value = _boolean(rng, 4)
    return f"Evaluate this expression: {text} is", str(value)


_TASKS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "arithmetic": _arithmetic,
    "object_counting": _object_counting,
    "boolean_expressions": _boolean_expressions,
}

TASK_NAMES: tuple[str, ...] = tuple(_TASKS)
"""Names of the tasks that `make_examples` can make for the simulated LMs."""


def make_examples(task: str, n: int, seed: int = 0) -> list[dspy.Example]:
    """Return `n` fresh examples for the simulated LMs, the same for the same arguments.

    Args:
        task: One of `TASK_NAMES`.
        n: Number of examples, at least 0; there is no practical upper limit.
        seed: Another seed gives practically disjoint questions.

    Returns:
        Examples question -> answer (both str) with distinct questions; a longer list of the
        same seed begins with the shorter one.

    Raises:
        ConfigurationError: If there is no such task or `n` is negative.
    """
    if task not in _TASKS:
        raise ConfigurationError(f"`task` must be one of {', '.join(TASK_NAMES)}, got {task!r}.")
    if n < 0:
        raise ConfigurationError(f"`n` must be at least 0, got {n}.")
    rng = random.Random(f"{seed}:task:{task}")
    found: dict[str, str] = {}
    while len(found) < n:
        question, answer = _TASKS[task](rng)
        found.setdefault(question, answer)
    return [dspy.Example(question=q, answer=a).with_inputs("question") for q, a in found.items()]


_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def plain_answer(value: Any) -> Any:
    """Return `value` in the form in which the simulated tasks compare answers.

    Args:
        value: Any answer; text may hold dollar signs, thousands commas, a final period, or a
            GSM8K solution that ends in `#### 18`.

    Returns:
        A float for numbers, lower-case text otherwise; lists and dicts item by item.
    """
    if isinstance(value, (list, tuple)):
        return [plain_answer(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain_answer(item) for key, item in value.items()}
    text = " ".join(str(value).rpartition("####")[2].split()).lower().rstrip(".").strip("\"' ")
    number = text.replace("$", "").replace(",", "").replace("%", "").strip()
    return float(number) if _NUMBER.fullmatch(number) else text


def exact_match(example: dspy.Example, prediction: Any, trace: object = None) -> bool:
    """Return whether a prediction of the simulated (or a real) LM equals the example's labels.

    Whitespace, case, a final period and the format of numbers do not count.

    Args:
        example: A dspy.Example with inputs set; all its other fields are compared.
        prediction: A dspy.Prediction or anything with those fields as attributes.
        trace: Ignored; there so that DSPy can pass it.

    Returns:
        True if every label field agrees.
    """
    labels = dict(example.labels().items())
    return all(
        plain_answer(value) == plain_answer(getattr(prediction, name, None))
        for name, value in labels.items()
    )
