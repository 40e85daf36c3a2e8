"""The paper's benchmarks as lists of `dspy.Example`, from the Hugging Face hub or local files."""

import json
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar

import dspy

from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import clipped
from opro_dspy.metrics import exact_number, exact_text, multiple_choice, yes_no
from opro_dspy.rows import as_examples

logger = logging.getLogger(__name__)

__all__ = ["BBH_TASKS", "as_examples", "bbh", "bbh_metric", "gsm8k"]

Split = Literal["train", "test", "all"]

T = TypeVar("T")

_CHOICES = (
    *("date_understanding", "disambiguation_qa", "geometric_shapes", "hyperbaton"),
    *("logical_deduction_three_objects", "logical_deduction_five_objects"),
    *("logical_deduction_seven_objects", "movie_recommendation", "penguins_in_a_table"),
    *("reasoning_about_colored_objects", "ruin_names", "salient_translation_error_detection"),
    *("snarks", "temporal_sequences", "tracking_shuffled_objects_three_objects"),
    *("tracking_shuffled_objects_five_objects", "tracking_shuffled_objects_seven_objects"),
)
_VERDICTS = (
    *("boolean_expressions", "causal_judgement", "navigate", "sports_understanding"),
    "web_of_lies",
)

BBH_TASKS: Mapping[str, Callable[..., bool]] = {
    **dict.fromkeys(_CHOICES, multiple_choice),
    **dict.fromkeys(_VERDICTS, yes_no),
    **dict.fromkeys(("multistep_arithmetic_two", "object_counting"), exact_number),
    **dict.fromkeys(("dyck_languages", "formal_fallacies", "word_sorting"), exact_text),
}
"""The tasks of BIG-Bench Hard, each with the metric of its answers."""


def gsm8k(
    split: Split = "train", *, path: str | Path | None = None, share: float = 0.035, seed: int = 0
) -> list[dspy.Example]:
    """Return grade school word problems: `question` to `answer`, a number as text.

    The worked `solution` is a further label, which the optimizer LM is not shown.

    Args:
        split: "train" draws a share of the training set, "test" is the whole test set, "all" the
            whole training set.
        path: Folder with `train.jsonl` and `test.jsonl`, or the file itself; the hub if not given.
        share: Part of the training set, in (0, 1].
        seed: Decides which part.

    Raises:
        ConfigurationError: If an argument is wrong, or nothing is found there.
        ImportError: If the hub is asked without `pip install "opro_dspy[datasets]"`.

    Source:
        OPRO (arXiv:2309.03409), section 5.1: 3.5 percent of the training set.
    """
    name = "test" if _checked(split) == "test" else "train"
    if path is None:
        rows = _from_hub("openai/gsm8k", "main", split=name)
    else:
        rows = _lines(_read(path, f"{name}.jsonl"), path)
    texts = _columns(rows, "question", "answer")
    examples = [_word_problem(number, *row) for number, row in enumerate(texts, start=1)]
    return examples if split != "train" else _parted(examples, share, seed, "gsm8k")[0]


def bbh(
    task: str,
    split: Split = "train",
    *,
    path: str | Path | None = None,
    share: float = 0.2,
    seed: int = 0,
) -> list[dspy.Example]:
    """Return examples of a task of BIG-Bench Hard: `question` to `answer`.

    Args:
        task: Its name, e.g. "movie_recommendation"; see `BBH_TASKS`.
        split: "train" draws a share of the task, "test" is the rest, "all" the whole.
        path: Folder with `<task>.json`, or the file itself; the hub if not given.
        share: Part of the task that is for training, in (0, 1].
        seed: Decides which part.

    Raises:
        ConfigurationError: If an argument is wrong, or nothing is found there.
        ImportError: If the hub is asked without `pip install "opro_dspy[datasets]"`.

    Source:
        OPRO (arXiv:2309.03409), section 5.1: 20 percent of each task for training.
    """
    metric = bbh_metric(task)
    _checked(split)
    if path is None:
        rows = _from_hub("lukaemon/bbh", task, split="test")
    else:
        rows = _task_rows(_read(path, f"{task}.json"))
    renamed = [{"question": q, "answer": a} for q, a in _columns(rows, "input", "target")]
    examples = as_examples(renamed, ["question"])
    _check_labels(examples, metric, task)
    train, test = _parted(examples, share, seed, task)
    return {"train": train, "test": test, "all": examples}[split]


def bbh_metric(task: str) -> Callable[..., bool]:
    """Return the metric of a task's answers.

    Raises:
        ConfigurationError: If there is no such task; names the nearest.
    """
    if not isinstance(task, str) or task not in BBH_TASKS:
        nearest = get_close_matches(str(task), BBH_TASKS, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigurationError(
            f"`task` must be one of BIG-Bench Hard's, got {task!r}.{hint} "
            f"They are: {', '.join(sorted(BBH_TASKS))}."
        )
    return BBH_TASKS[task]


def _check_labels(examples: Sequence[dspy.Example], metric: Callable[..., bool], task: str) -> None:
    """Raise ConfigurationError if a label is no answer to the task, as in another one's file."""
    for number, example in enumerate(examples, start=1):
        if not metric(example, dspy.Prediction(answer=example.answer)):
            raise ConfigurationError(
                f"row {number} has the answer {example.answer!r}, which is none to {task!r}. "
                "Is it the file of another task?"
            )


def _word_problem(number: int, question: str, worked: str) -> dspy.Example:
    solution, mark, answer = worked.rpartition("####")
    if not mark:
        raise ConfigurationError(
            f"row {number} must have an 'answer' that ends with '#### ' and a number, got "
            f"{clipped(worked, 80)!r}. For other data pass a list of rows to `compile`, with "
            "`inputs`."
        )
    example = dspy.Example(
        question=question,
        answer=answer.strip().replace(",", ""),
        solution=solution.strip(),
    )
    return example.with_inputs("question")


def _checked(split: str) -> str:
    if split not in ("train", "test", "all"):
        raise ConfigurationError(f"`split` must be 'train', 'test' or 'all', got {split!r}.")
    return split


def _parted(items: Sequence[T], share: float, seed: int, name: str) -> tuple[list[T], list[T]]:
    """Return a random share of `items` and the rest, each in the order in which they stand."""
    if not isinstance(share, Real) or not 0 < share <= 1:
        raise ConfigurationError(f"`share` must be in (0, 1], got {share!r}.")
    n = max(1, round(share * len(items))) if items else 0
    drawn = set(random.Random(f"{seed}:{name}").sample(range(len(items)), n))
    train = [item for i, item in enumerate(items) if i in drawn]
    return train, [item for i, item in enumerate(items) if i not in drawn]


def _read(path: str | Path, name: str) -> str:
    if not isinstance(path, (str, PathLike)):
        raise ConfigurationError(f"`path` must be a path, got {path!r}.")
    file = Path(path)
    file = file / name if file.is_dir() else file
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"`path` must be a folder with {name!r}, or that file, got {str(path)!r}: {error}."
        ) from error


def _task_rows(text: str) -> Any:
    """Return the list of a task's file."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"the file at `path` is no JSON: {error}. Download it again."
        ) from error
    rows = found.get("examples") if isinstance(found, Mapping) else None
    if not isinstance(rows, list):
        raise ConfigurationError(
            'the file at `path` must be a JSON object with a list "examples", as those of BIG-'
            f"Bench Hard are, got {_shape(found)}."
        )
    return rows


def _columns(rows: Iterable[Any], *names: str) -> list[list[str]]:
    """Return the texts of the named columns, row by row.

    Raises:
        ConfigurationError: If a row lacks one; names the row.
    """
    found = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping) or not row.keys() >= set(names):
            raise ConfigurationError(
                f"row {number} must have {' and '.join(map(repr, names))}, got {_shape(row)}. "
                "For other data pass a list of rows to `compile`, with `inputs`."
            )
        texts = [row[name] for name in names]
        if not all(isinstance(text, (str, int, float)) for text in texts):
            raise ConfigurationError(
                f"row {number} must have texts as {' and '.join(map(repr, names))}, got "
                f"{clipped(repr(texts), 80)}."
            )
        found.append([str(text) for text in texts])
    if not found:
        raise ConfigurationError("there are no examples at `path`. Download it again.")
    return found


def _shape(value: Any) -> str:
    return f"{list(value)}" if isinstance(value, Mapping) else type(value).__name__


def _lines(text: str, path: str | Path) -> list[Any]:
    """Return the objects of JSON lines; a last line that was cut off is left out, with a warning.

    Raises:
        ConfigurationError: If another line is no JSON; names it.
    """
    rows = []
    lines = [line for line in text.split("\n") if line.strip()]  # texts may hold other breaks
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if not rows or number < len(lines) or text.endswith("\n"):
                raise ConfigurationError(
                    f"line {number} of the file at `path` is no JSON: {error}. Download it again."
                ) from error
            logger.warning(
                "Line %d, the last one, of the file at `path` (%s) is cut off and is left out. "
                "Download it again to have it.",
                *(number, path),
            )
    return rows


def _from_hub(name: str, config: str, *, split: str) -> Iterable[Any]:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise ImportError(
            'the hub needs Hugging Face datasets: pip install "opro_dspy[datasets]", or pass '
            "`path` with local files"
        ) from error
    try:
        rows: Iterable[Any] = load_dataset(name, config, split=split)
    except Exception as error:
        raise ConfigurationError(
            f"{name!r} ({config}) was not loaded from the Hugging Face hub: "
            f"{type(error).__name__}: {error}. Pass `path` with local files."
        ) from error
    return rows
