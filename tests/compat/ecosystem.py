"""What else of DSPy's world OPRO was run with: the last rows of docs/compatibility.md."""

from dataclasses import dataclass

from tests.test_chains import STRATEGIES
from tests.test_drop_in import SCRIPTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Something that OPRO goes together with."""

    title: str
    tested: str
    """What the tests do with it."""
    tests: tuple[str, ...]
    """Where: file in `tests`, without its ending, to name of the test, without `test_`."""


def _in_code(texts: list[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


ECOSYSTEM = (
    Neighbour(
        title="`BetterTogether`",
        tested=f"{_in_code(STRATEGIES)}, with OPRO as `o`, `MIPROv2` as `m`, `GEPA` as `g` "
        "and `BootstrapFewShot` as `b`: each step compiles, demos and LMs "
        "stay",
        tests=("test_chains::opro_has_every_place_in_a_chain_of_better_together",),
    ),
    Neighbour(
        title="`BootstrapFewShot` afterwards",
        tested="demos are added to what OPRO found",
        tests=("test_chains::few_shot_demos_are_added_to_what_opro_found",),
    ),
    Neighbour(
        title="`BootstrapFewShot` before",
        tested="OPRO improves the instructions, and the demos stay",
        tests=("test_chains::a_program_that_bootstrap_compiled_is_optimized_and_keeps_its_demos",),
    ),
    Neighbour(
        title="a compile in a program that is compiled",
        tested="it runs, and both count its calls",
        tests=("test_chains::a_compile_inside_a_compile_runs_and_is_counted_by_both",),
    ),
    Neighbour(
        title=f"scripts for {_in_code(list(SCRIPTS))}",
        tested="all their arguments but what the errors name run with `OPRO`",
        tests=(
            "test_drop_in::a_script_runs_once_the_class_and_what_the_error_names_are_changed",
            "test_drop_in::every_argument_of_the_others_is_known_or_advised_on",
        ),
    ),
    Neighbour(
        title="copies",
        tested="`copy.deepcopy` and `deepcopy()` keep instructions and results, and are students",
        tests=("test_chains::a_deep_copy_keeps_instructions_and_results_and_is_a_student",),
    ),
    Neighbour(
        title="`save` and `load`",
        tested="JSON and whole program answer the same; JSON and, with `track_stats=False`, a "
        "whole program are loaded also where `opro_dspy` is not installed; with its results a "
        "whole program needs it",
        tests=(
            "test_chains::json_and_whole_program_are_read_back_with_the_same_answers",
            "test_chains::a_saved_program_needs_opro_only_for_its_results",
        ),
    ),
    Neighbour(
        title="callbacks",
        tested="`on_compile_*` once, `on_evaluate_*` for each candidate, from `dspy.settings` and "
        "`OPRO(callbacks=…)`",
        tests=("test_callbacks::each_candidate_is_announced_alone_within_one_compile",),
    ),
    Neighbour(
        title="an event loop",
        tested="`acompile` gives what `compile` gives, leaves the loop free, and is cancelled "
        "without loss",
        tests=(
            "test_async::awaiting_gives_what_compile_gives",
            "test_async::the_loop_goes_on_meanwhile",
            "test_async::a_cancelled_run_loses_nothing_and_goes_on_without_paying_again",
        ),
    ),
    Neighbour(
        title="MLflow",
        tested="autologging: a parent run, and a nested run for each candidate and set; "
        "`MLflowObserver` beside it and alone",
        tests=(
            "integrations/test_mlflow::autologging_makes_one_parent_run_with_all_that_is_known",
            "integrations/test_mlflow::autologging_makes_one_nested_run_per_candidate",
            "integrations/test_mlflow::the_observer_alone_logs_steps_settings_and_result",
        ),
    ),
    Neighbour(
        title="Weights & Biases",
        tested="`WandbObserver` in offline mode, in a run of yours and in one of its own",
        tests=(
            "integrations/test_wandb::a_users_run_has_steps_settings_and_result_and_stays_open",
            "integrations/test_wandb::a_run_of_its_own_is_finished_also_by_an_error",
            "integrations/test_wandb::cost_and_files_are_in_the_run",
        ),
    ),
    Neighbour(
        title="Hugging Face `datasets`",
        tested="a `Dataset` as trainset and valset; `DataFrame`s are told how to give their rows",
        tests=(
            "test_datasets::a_data_set_of_hugging_face_is_a_set",
            "test_datasets::a_data_frame_is_told_how_to_give_its_rows",
        ),
    ),
    Neighbour(
        title="Dask",
        tested="`client.get_executor()` of a cluster of two processes: the result is that of "
        "threads, also when a worker is killed",
        tests=(
            "test_executors::dask_finds_the_same",
            "test_executors::dask_finds_the_same_when_a_worker_is_killed",
        ),
    ),
    Neighbour(
        title="loky",
        tested="`ProcessPoolExecutor`: the same, when a process is killed",
        tests=("test_executors::loky_finds_the_same_when_a_process_is_killed",),
    ),
    Neighbour(
        title="other executors",
        tested="`ThreadPoolExecutor` runs the program itself; a `ProcessPoolExecutor`, and any "
        "`Executor` that takes and gives bytes, finds the same",
        tests=(
            "test_executors::a_process_pool_finds_the_same_with_rollouts",
            "test_remote::a_threads_executor_runs_the_program_itself",
            "test_remote::the_result_is_that_of_threads",
        ),
    ),
)
