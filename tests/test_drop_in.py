"""Scripts written for DSPy's optimizers run with OPRO once what the error names is changed."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy.utils.callback import BaseCallback

from opro_dspy import OPRO, ConfigurationError, UnknownArgumentError
from opro_dspy.names import NO_COUNTERPART, OTHER_NAMES
from tests.fakes import TRAIN, VAL, exact, keyword_scorer, word_optimizer

Arguments = dict[str, Any]


def feedback(
    gold: dspy.Example, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
) -> dspy.Prediction:
    return dspy.Prediction(score=float(exact(gold, pred)), feedback=f"It is {gold.answer}.")


def copro() -> tuple[Any, Arguments, Arguments]:
    constructor = {
        "prompt_model": word_optimizer(),
        "metric": exact,
        "breadth": 4,
        "depth": 2,
        "init_temperature": 1.4,
        "track_stats": True,
    }
    return dspy.COPRO, constructor, {"trainset": TRAIN, "eval_kwargs": {"num_threads": 2}}


def miprov2() -> tuple[Any, Arguments, Arguments]:
    lm = word_optimizer()
    constructor = {
        "metric": exact,
        "prompt_model": lm,
        "task_model": keyword_scorer(),
        "teacher_settings": {"lm": lm},
        "auto": None,
        "num_candidates": 4,
        "max_bootstrapped_demos": 0,
        "max_labeled_demos": 0,
        "num_threads": 2,
        "max_errors": 5,
        "seed": 9,
        "init_temperature": 1.0,
        "verbose": False,
        "track_stats": True,
        "metric_threshold": None,
    }
    compile = {
        "trainset": TRAIN,
        "valset": VAL,
        "teacher": None,
        "num_trials": 2,
        "seed": 1,
        "max_bootstrapped_demos": 0,
        "max_labeled_demos": 0,
        "minibatch": True,
        "minibatch_size": 10,
        "minibatch_full_eval_steps": 2,
        "program_aware_proposer": False,
        "data_aware_proposer": False,
        "view_data_batch_size": 5,
        "tip_aware_proposer": False,
        "fewshot_aware_proposer": False,
        "requires_permission_to_run": False,
        "provide_traceback": True,
    }
    return dspy.MIPROv2, constructor, compile


def simba() -> tuple[Any, Arguments, Arguments]:
    constructor = {
        "metric": exact,
        "prompt_model": word_optimizer(),
        "bsize": 8,
        "num_candidates": 4,
        "max_steps": 2,
        "max_demos": 0,
        "teacher_settings": None,
        "demo_input_field_maxlen": 1000,
        "num_threads": 2,
        "temperature_for_sampling": 0.2,
        "temperature_for_candidates": 0.2,
    }
    return dspy.SIMBA, constructor, {"trainset": TRAIN, "seed": 6793}


def gepa() -> tuple[Any, Arguments, Arguments]:
    constructor = {
        "metric": feedback,
        "auto": None,
        "max_full_evals": None,
        "max_metric_calls": 200,
        "reflection_minibatch_size": 3,
        "candidate_selection_strategy": "pareto",
        "reflection_lm": word_optimizer(),
        "skip_perfect_score": True,
        "add_format_failure_as_feedback": True,
        "instruction_proposer": None,
        "code_proposer": None,
        "component_selector": "round_robin",
        "use_merge": True,
        "max_merge_invocations": 5,
        "num_threads": 2,
        "failure_score": 0.0,
        "perfect_score": 1.0,
        "log_dir": None,
        "track_stats": True,
        "use_wandb": False,
        "wandb_api_key": None,
        "wandb_init_kwargs": None,
        "track_best_outputs": True,
        "warn_on_score_mismatch": True,
        "use_mlflow": False,
        "seed": 0,
        "gepa_kwargs": None,
    }
    return dspy.GEPA, constructor, {"trainset": TRAIN, "valset": VAL}


SCRIPTS = {"COPRO": copro, "MIPROv2": miprov2, "SIMBA": simba, "GEPA": gepa}


def amended(message: str, arguments: Arguments, constructor: Arguments) -> None:
    """Do what the error says, as a user would; change nothing that it does not name."""
    told = re.findall(r"`(\w+)` \((.+?)\)(?=, `|\. It takes)", message)
    assert told, message
    for name, advice in told:
        value = arguments.pop(name)
        if found := re.match(r"did you mean `(\w+)`\?", advice):
            arguments[found[1]] = value
        elif found := re.match(r"pass `(\w+)` to OPRO\(\.\.\.\) instead", advice):
            constructor[found[1]] = value
        else:
            assert advice.startswith("no counterpart, leave it out: "), message


@pytest.mark.parametrize("written_for", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_runs_once_the_class_and_what_the_error_names_are_changed(
    written_for: Callable[[], tuple[Any, Arguments, Arguments]],
) -> None:
    original, constructor, compile = written_for()
    inspect.signature(original).bind(**constructor)  # it was a script for that optimizer
    inspect.signature(original.compile).bind(None, None, **compile)
    steps = 2 if original is not dspy.GEPA else None
    student = dspy.Predict("question -> answer")
    changes = 0
    with dspy.context(lm=keyword_scorer()):
        while True:
            assert changes < 4, "each error names all that is wrong in its call"
            arguments = constructor
            try:
                optimizer = OPRO(**constructor)
                arguments = compile
                compiled = optimizer.compile(student, **compile)
                break
            except UnknownArgumentError as error:
                changes += 1
                amended(str(error), arguments, constructor)
    result = compiled.detailed_results
    assert changes
    assert compiled.score >= 100 * result.baseline.score
    assert steps in (None, result.num_steps)
    assert result.settings["seed"] == {dspy.MIPROv2: 1, dspy.SIMBA: 6793}.get(original, 0)


def test_no_advice_contradicts_an_argument_of_opro() -> None:
    ours = set(inspect.signature(OPRO).parameters) | set(inspect.signature(OPRO.compile).parameters)
    assert not ours & (set(OTHER_NAMES) | set(NO_COUNTERPART))
    assert set(OTHER_NAMES.values()) <= ours
    assert not set(OTHER_NAMES) & set(NO_COUNTERPART)


@pytest.mark.parametrize("other", [dspy.COPRO, dspy.MIPROv2, dspy.SIMBA, dspy.GEPA])
def test_every_argument_of_the_others_is_known_or_advised_on(other: Any) -> None:
    ours = set(inspect.signature(OPRO).parameters) | set(inspect.signature(OPRO.compile).parameters)
    theirs = set(inspect.signature(other).parameters)
    theirs |= set(inspect.signature(other.compile).parameters) - {"self", "student"}
    assert theirs - {"_kwargs"} <= ours | set(OTHER_NAMES) | set(NO_COUNTERPART)


def test_arguments_in_the_order_of_another_optimizer_are_told_to_be_named() -> None:
    wrong: Any = (word_optimizer(), exact)
    with pytest.raises(UnknownArgumentError, match=r"got LM, function\. Name them: OPRO\(metric="):
        OPRO(*wrong)
    with pytest.raises(ConfigurationError, match=r"got the LM .*OPRO\(metric="):
        OPRO(wrong[0])
    assert list(inspect.signature(OPRO).parameters)[:2] == ["metric", "prompt_model"]


def test_a_callback_that_stands_in_no_list_is_told() -> None:
    wrong: Any = BaseCallback()
    with pytest.raises(ConfigurationError, match="`callbacks` must be a list"):
        OPRO(exact, callbacks=wrong)


@pytest.mark.parametrize("wrong", [BaseCallback, object(), print])
def test_a_callback_that_is_none_of_dspys_is_refused_with_where_functions_go(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"BaseCallback, got .*`observers`.*`on_step`"):
        OPRO(exact, callbacks=[wrong])


def test_an_observer_that_was_not_made_is_told() -> None:
    class Notes:
        def __call__(self, event: Any) -> None: ...

    wrong: Any = Notes
    with pytest.raises(ConfigurationError, match=r"got the class Notes\. Write Notes\(\.\.\.\)"):
        OPRO(exact, observers=[wrong])
