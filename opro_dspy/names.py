"""What other optimizers of DSPy call their arguments, and what becomes of them here."""

import difflib
from collections.abc import Callable, Collection, Iterable
from functools import wraps
from typing import ParamSpec, TypeVar

from opro_dspy.errors import UnknownArgumentError

P = ParamSpec("P")
T = TypeVar("T")

OTHER_NAMES = {
    "breadth": "num_candidates",
    "depth": "max_steps",
    "num_trials": "max_steps",
    "num_iterations": "max_steps",
    "reflection_lm": "prompt_model",
    "optimizer_lm": "prompt_model",
    "scorer_lm": "task_model",
    "temperature": "init_temperature",
    "perfect_score": "stop_at_score",
    "devset": "valset",
}
"""What other optimizers call an argument, and what it is called here."""

_DEMOS = "OPRO writes instructions and leaves demos as they are"
_PROPOSER = "OPRO's meta-prompt is set with `view` and `meta_prompt`"
_RACING = "racing decides how many examples a candidate meets; see `racing`"
_REFLECTION = "OPRO reads scores, not traces"
_TRACKING = "pass an observer of `opro_dspy.integrations` as `observers`"

NO_COUNTERPART = {
    "bsize": _RACING,
    "minibatch": _RACING,
    "minibatch_size": _RACING,
    "minibatch_full_eval_steps": _RACING,
    "max_full_evals": "cap the scored examples with `max_metric_calls`",
    "eval_kwargs": "pass `num_threads`, `max_errors` and the like to OPRO(...)",
    "max_bootstrapped_demos": _DEMOS,
    "max_labeled_demos": _DEMOS,
    "max_demos": _DEMOS,
    "max_rounds": _DEMOS,
    "teacher_settings": _DEMOS,
    "metric_threshold": _DEMOS,
    "demo_input_field_maxlen": _DEMOS,
    "fewshot_aware_proposer": _DEMOS,
    "program_aware_proposer": _PROPOSER,
    "data_aware_proposer": _PROPOSER,
    "tip_aware_proposer": _PROPOSER,
    "view_data_batch_size": _PROPOSER,
    "requires_permission_to_run": "OPRO never asks; `estimate` says what a run will cost",
    "temperature_for_sampling": "OPRO draws no programs by their scores",
    "temperature_for_candidates": "OPRO draws no programs by their scores",
    "num_rules": "OPRO asks for whole instructions",
    "reflection_minibatch_size": _REFLECTION,
    "skip_perfect_score": _REFLECTION,
    "add_format_failure_as_feedback": _REFLECTION,
    "warn_on_score_mismatch": _REFLECTION,
    "candidate_selection_strategy": "the meta-prompt shows the best of all; see `view`",
    "instruction_proposer": "bring a meta-prompt of your own as `meta_prompt`",
    "code_proposer": "OPRO writes instructions only",
    "use_merge": "the meta-prompt shows several instructions at once",
    "max_merge_invocations": "the meta-prompt shows several instructions at once",
    "track_best_outputs": "all scores by example are in `detailed_results`",
    "use_wandb": _TRACKING,
    "wandb_api_key": _TRACKING,
    "wandb_init_kwargs": _TRACKING,
    "use_mlflow": _TRACKING,
    "gepa_kwargs": "name the settings of OPRO one by one",
}
"""Arguments of other optimizers that mean nothing to OPRO, and what to do instead."""


def refuse_unknown(
    where: str, unknown: Iterable[str], known: Iterable[str], *, settings: Collection[str] = ()
) -> None:
    """Raise UnknownArgumentError if there is any unknown name; says what to do with each.

    Args:
        where: What was called.
        unknown: The names that it does not take.
        known: Those that it takes.
        settings: Names that `OPRO(...)` takes, where something else was called.
    """
    known = [name for name in known if name not in ("self", "unknown")]
    told = [f"`{name}`{_advice(name, known, settings)}" for name in unknown]
    if told:
        raise UnknownArgumentError(
            f"{where} has no argument {', '.join(told)}. It takes: {', '.join(known)}."
        )


def named_from(first: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a constructor so that an error says how to pass what was passed by position.

    Other optimizers take other arguments there, and Python names none of them.

    Args:
        first: The argument that may have no name; all others must.
    """

    def decorate(init: Callable[P, T]) -> Callable[P, T]:
        @wraps(init)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            given = args[1:]
            if len(given) > 1:
                kinds = ", ".join(type(value).__name__ for value in given)
                name = type(args[0]).__name__
                raise UnknownArgumentError(
                    f"{name} takes `{first}` alone without a name, got {kinds}. Name them: "
                    f"{name}({first}=..., prompt_model=...)."
                )
            return init(*args, **kwargs)

        return checked

    return decorate


def _advice(name: str, known: Collection[str], settings: Collection[str]) -> str:
    ours = OTHER_NAMES.get(name, name)
    if ours in known:
        return f" (did you mean `{ours}`?)"
    if ours in settings:
        return f" (pass `{ours}` to OPRO(...) instead)"
    if name in NO_COUNTERPART:
        return f" (no counterpart, leave it out: {NO_COUNTERPART[name]})"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean `{close[0]}`?)" if close else ""
