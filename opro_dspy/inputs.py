"""The door: what a user hands to `compile` is checked before the first call of an LM."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import dspy
from dspy.utils.callback import BaseCallback

from opro_dspy.errors import ConfigurationError
from opro_dspy.program import Program, example_key
from opro_dspy.records import Candidate
from opro_dspy.seats import is_async, name_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

RESUME = ("auto", "force", "never")


def check_sets(trainset: Sequence[Any], valset: Sequence[Any] | None) -> None:
    """Refuse sets that cannot be scored; warn when they share examples.

    Raises:
        ConfigurationError: If one holds what is no example with inputs, or `trainset` is empty.
    """
    _check_set("trainset", trainset)
    if not len(trainset):
        raise ConfigurationError("`trainset` is empty. Pass at least one example.")
    if valset is None:
        return
    _check_set("valset", valset)
    train_keys = {example_key(example) for example in trainset}
    shared = sum(example_key(example) in train_keys for example in valset)
    if shared:
        logger.warning(
            "%d of %d validation examples are training examples too: the validation score will "
            "flatter the result.",
            shared,
            len(valset),
        )


def _check_set(name: str, examples: Sequence[Any]) -> None:
    for index, example in enumerate(examples):
        if not isinstance(example, dspy.Example):
            raise ConfigurationError(
                f"`{name}[{index}]` must be a dspy.Example, got {type(example).__name__}. "
                "Make one with dspy.Example(**row).with_inputs('question'), or name the input "
                "fields of plain rows: inputs=['question']."
            )
        _check_input_keys(f"{name}[{index}]", example)


def _check_input_keys(where: str, example: dspy.Example) -> None:
    """Refuse an example of which DSPy would silently pass on less than `with_inputs` says."""
    keys = getattr(example, "_input_keys", None)  # `inputs()` leaves out what is missing
    if keys is None:
        raise ConfigurationError(
            f"`{where}` does not say which fields are inputs. "
            "Call .with_inputs('question', ...) on each example."
        )
    fields = example.keys()
    if not keys:
        raise ConfigurationError(
            f"`{where}` has no inputs: .with_inputs() was called without a name. "
            f"Name some of its fields: {fields}."
        )
    missing = sorted(str(key) for key in keys if key not in fields)
    if missing:
        key = missing[0]
        nearest = get_close_matches(key, fields, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigurationError(
            f"`{where}` has no field {key!r}, which .with_inputs() names; it has {fields}.{hint}"
        )


def check_instructions(instructions: Any) -> tuple[str | Mapping[str, str], ...]:
    """Return what was passed as `initial_instructions` as a tuple of texts and mappings.

    Raises:
        ConfigurationError: If it is no text, no mapping of texts, and no list of these.
    """
    if isinstance(instructions, (str, Mapping)):
        instructions = (instructions,)
    if not isinstance(instructions, Iterable) or isinstance(instructions, bytes):
        raise ConfigurationError(
            "`initial_instructions` must be a text, a mapping of predictor name to text, or a "
            f"list of these, got {instructions!r}. Leave it out if there are none."
        )
    checked = tuple(instructions)
    for given in checked:
        texts = given.values() if isinstance(given, Mapping) else [given]
        if not all(isinstance(text, str) for text in texts):
            raise ConfigurationError(
                "`initial_instructions` must hold texts, or mappings of predictor name to text, "
                f"got {given!r}."
            )
    return checked


def initial_candidates(
    program: Program, instructions: Any, *, warm_start: Sequence[Mapping[str, str]] = ()
) -> list[Candidate]:
    """Return the candidates of step 0: the student's own first, then the others, without repeats.

    Args:
        program: The student.
        instructions: The user's texts, or mappings of predictor name to text; names left out keep
            the student's text. A blank text becomes the signature's default text.
        warm_start: What an earlier run found; after the user's.

    Raises:
        ConfigurationError: If one is no text, or names no predictor of the program.
    """
    student = program.candidate
    candidates = {student.key: student}
    names = list(student.texts)
    for given in check_instructions(instructions):
        if isinstance(given, str):
            if len(names) > 1:
                raise ConfigurationError(
                    f"`initial_instructions` holds a text, but the program has {len(names)} "
                    f"predictors. Pass a mapping of predictor name to text; the names are {names}."
                )
            given = {names[0]: given}
        elif not set(given) <= set(names):
            raise ConfigurationError(
                f"`initial_instructions` must hold texts or mappings with keys among {names}, "
                f"got {given!r}."
            )
        candidate = program.normalize(Candidate({**student.texts, **given}))
        candidates[candidate.key] = candidate
    for texts in warm_start:
        if not set(texts) <= set(names):
            raise ConfigurationError(
                f"`warm_start` is a run of a program with the predictors {sorted(texts)}, but this "
                f"one has {names}. Pass the texts as `initial_instructions`, by these names."
            )
        candidate = program.normalize(Candidate({**student.texts, **texts}))
        candidates.setdefault(candidate.key, candidate)
    return list(candidates.values())


def check_lm(name: str, lm: Any) -> Any:
    """Return `lm` if it is an LM or None.

    Args:
        name: What to call it in the error, e.g. `prompt_model` or `dspy.settings.lm`.
        lm: What was given.

    Raises:
        ConfigurationError: If it is anything else, such as a model's name.
    """
    if lm is not None and not isinstance(lm, dspy.BaseLM):
        given = f"{lm!r}. Write dspy.LM({lm!r})" if isinstance(lm, str) else type(lm).__name__
        raise ConfigurationError(f"`{name}` must be a dspy.LM, got {given}.")
    return lm


def check_lms(program: Program) -> Any:
    """Return `dspy.settings.lm` when it and the LMs of the program's predictors are LMs.

    Raises:
        ConfigurationError: If one of them is not; None is allowed. So too of the adapter.
    """
    check_adapter(dspy.settings.adapter)
    for name, lm in program.lms.items():
        check_lm(f"{name}.lm", lm)
    return check_lm("dspy.settings.lm", dspy.settings.lm)


def check_adapter(adapter: Any) -> None:
    """Refuse what DSPy cannot call as its adapter; None is its default one.

    Raises:
        ConfigurationError: If it is a name or a class.
    """
    if adapter is None or isinstance(adapter, dspy.Adapter):
        return
    given, write = repr(adapter), "dspy.ChatAdapter()"
    if isinstance(adapter, type):
        given, write = f"the class {adapter.__name__}", f"{adapter.__name__}()"
    raise ConfigurationError(
        f"`dspy.settings.adapter` must be a dspy.Adapter, got {given}. "
        f"Write dspy.configure(adapter={write})."
    )


def check_callable(name: str, value: Any) -> Any:
    """Return `value` if it can be called, and without `await`, else raise ConfigurationError."""
    if not callable(value):
        raise ConfigurationError(f"`{name}` must be callable, got {value!r}.")
    if is_async(value):
        raise ConfigurationError(
            f"`{name}` must be a plain function, got the coroutine function {name_of(value)!r}: "
            "nobody would await it. Write `def`, not `async def`."
        )
    return value


def check_list(name: str, value: Any) -> Sequence[Any]:
    """Return `value` if it is a list or tuple, else raise ConfigurationError."""
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise ConfigurationError(f"`{name}` must be a list, got {value!r}.")
    return value


def check_observers(observers: Any) -> Sequence[Any]:
    """Return `observers` if it is a list of what can be called, else raise ConfigurationError."""
    for observer in check_list("observers", observers):
        if isinstance(observer, type):
            raise ConfigurationError(
                f"`observers` must hold observers, got the class {observer.__name__}. "
                f"Write {observer.__name__}(...)."
            )
        check_callable("observers", observer)
    return tuple(observers)


def check_callbacks(callbacks: Any) -> Sequence[Any]:
    """Return `callbacks` if it is a list of DSPy callbacks, else raise ConfigurationError."""
    for callback in check_list("callbacks", callbacks):
        if not isinstance(callback, BaseCallback):
            raise ConfigurationError(
                "`callbacks` must hold instances of dspy.utils.callback.BaseCallback, got "
                f"{callback!r}. A function that hears of each step goes into `observers`, or to "
                "compile as `on_step`."
            )
    return tuple(callbacks)


def check_log_dir(log_dir: Any) -> str | Path | None:
    """Return `log_dir`, absolute, if it is a path or None.

    Programs and metrics may change the working folder.

    Raises:
        ConfigurationError: If it is anything else, or a file stands there.
    """
    if log_dir is None:
        return None
    if not isinstance(log_dir, (str, os.PathLike)) or not str(log_dir):
        raise ConfigurationError(f"`log_dir` must be a path, got {log_dir!r}.")
    path = Path(log_dir).expanduser().absolute()
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, ValueError) as error:  # a NUL byte, a name that is too long, …
        raise ConfigurationError(f"`log_dir` cannot be {log_dir!r}: {error}.") from error
    if not path.is_dir():
        raise ConfigurationError(f"`log_dir` must be a folder, got the file {str(path)!r}.")
    return path


def check_executor(executor: Any, *, requests_per_minute: int | None) -> Any:
    """Return `executor` if it is an Executor, a function that returns one, or None.

    Raises:
        ConfigurationError: If it is anything else, or other machines would have to count requests.
    """
    if executor is None or isinstance(executor, ThreadPoolExecutor):
        return executor
    if isinstance(executor, type) or not (isinstance(executor, Executor) or callable(executor)):
        raise ConfigurationError(
            "`executor` must be a concurrent.futures.Executor, or a function that returns one, got "
            f"{executor!r}. With Dask pass client.get_executor()."
        )
    if requests_per_minute is not None:
        raise ConfigurationError(
            "`requests_per_minute` cannot be held on the workers of an `executor`, which count for "
            "themselves. Leave it out and limit `num_threads`, or run on threads."
        )
    return executor


def check_one_of(name: str, value: Any, known: Sequence[str]) -> str:
    """Return `value` if it is one of `known`, else raise ConfigurationError."""
    if value not in known:
        raise ConfigurationError(f"`{name}` must be one of {', '.join(known)}, got {value!r}.")
    return str(value)


def check_options(name: str, value: Any, kind: type[T]) -> T:
    """Return `value` as options of `kind`; None is the default."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ConfigurationError(
            f"`{name}` must be a {kind.__name__}, got {value!r}. Write {kind.__name__}(...)."
        )
    return value
