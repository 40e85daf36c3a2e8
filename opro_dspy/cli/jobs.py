"""What `compile` was asked for, as a run's folder keeps it, and doing it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import dspy
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from opro_dspy import OPRO, LMCallError, OPROResult, RunError, RunEstimate
from opro_dspy.cli.finding import (
    METRICS,
    SIMULATED,
    metric_of,
    program_of,
    prompt_model_of,
    scorer_of,
)
from opro_dspy.cli.fitting import check_answers, check_inputs_of, check_labels, inputs_of
from opro_dspy.cli.keeping import settings_that_keep
from opro_dspy.cli.reading import read_examples
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import sentence
from opro_dspy.protocols import Event

NAME = "command.json"
"""The job's file in a run's folder."""


class Job(BaseModel):
    """The arguments of `compile`. Names only: keys come from the environment, never from here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    folder: str
    """Where it was started: what relative paths begin at, and where modules are looked for."""
    program: str
    trainset: str
    valset: str | None = None
    inputs: tuple[str, ...] = ()
    """Input fields; the program's signature says them if empty."""
    metric: str
    field: str = "answer"
    """What a ready metric compares."""
    model: str | None = None
    prompt_model: str | None = None
    limit: int | None = None
    settings: dict[str, JsonValue] = {}
    """Settings of `OPRO` that were given."""
    out: str

    @classmethod
    def load(cls, log_dir: Path) -> "Job":
        """Return the job that the run in `log_dir` is about.

        Raises:
            ConfigurationError: If there is none, or it is damaged.
        """
        path = log_dir / NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise ConfigurationError(_not_ours(log_dir)) from error
        except NotADirectoryError as error:
            raise ConfigurationError(
                f"{log_dir} is a file. Name the --log-dir of a run."
            ) from error
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise ConfigurationError(
                f"{path} is damaged ({place or 'JSON'}: {first['msg']}). Give the arguments again: "
                f"opro-dspy compile … --log-dir {log_dir} goes on as well."
            ) from error


def _not_ours(log_dir: Path) -> str:
    if not log_dir.is_dir():
        return f"there is no folder {log_dir}. Name the --log-dir of a run."
    if not (log_dir / "journal.jsonl").is_file():
        return f"there is no run in {log_dir}. Name the --log-dir of a run."
    return (
        f"the run in {log_dir} was started from Python, so only your script knows its program, "
        "metric and data. Run the script again with the same log_dir: it goes on from there."
    )


class Work:
    """A job with everything that it names.

    Args:
        job: What was asked for.
        log_dir: The run's folder, if it has one.
        resume: As in `OPRO`.

    Raises:
        ConfigurationError: If something that it names is not there, or wrong.
    """

    def __init__(self, job: Job, log_dir: Path | None, *, resume: str = "auto") -> None:
        folder = Path(job.folder)
        if not folder.is_dir():
            raise ConfigurationError(
                f"the run was started in {folder}, which is gone. Give the arguments again: "
                "opro-dspy compile … with the same --log-dir goes on as well."
            )
        self.job, self._log_dir = job, log_dir
        self._program = program_of(job.program, folder)
        inputs = job.inputs or inputs_of(self._program)
        check_inputs_of(self._program, inputs)
        if job.metric in METRICS:
            check_answers(self._program, job.field)
        self._sets: dict[str, Any] = {}
        for name, spec in (("trainset", job.trainset), ("valset", job.valset)):
            if spec is None:
                continue
            self._sets[name] = read_examples(
                spec, inputs, option=f"--{name}", folder=folder, limit=job.limit
            )
            if job.metric in METRICS:
                check_labels(self._sets[name], job.field, metric=job.metric, option=f"--{name}")
        known = [example for examples in self._sets.values() for example in examples]
        given = job.settings.get("seed", 0)
        seed = given if isinstance(given, int) else 0
        self._scorer = scorer_of(job.model, folder, known, seed=seed) or dspy.settings.lm
        if self._scorer is None:
            raise ConfigurationError(NO_LM)
        kept = None if resume == "force" else settings_that_keep(job.settings, log_dir)
        self.keeps_steps = kept is not None
        """Whether the run in `log_dir` has done more steps than the job asks for; they stay."""
        if kept is not None:
            self.job = job = job.model_copy(update={"settings": kept})
        settings: dict[str, Any] = {**job.settings, "resume": resume}
        self._optimizer = OPRO(
            metric=metric_of(job.metric, folder, field=job.field),
            prompt_model=prompt_model_of(
                job.prompt_model or (job.model if job.model == SIMULATED else None),
                folder,
                seed=seed,
            ),
            log_dir=log_dir,
            observers=() if log_dir is None else (_Keeps(job, log_dir),),
            **settings,
        )

    @property
    def simulated(self) -> bool:
        """Whether an LM is simulated."""
        return SIMULATED in (self.job.model, self.job.prompt_model)

    def estimate(self) -> RunEstimate:
        """Return what it will cost."""
        with dspy.context(lm=self._scorer):
            return self._optimizer.estimate(self._program, **self._sets)

    def compile(self) -> tuple[dspy.Module | None, OPROResult, RunError | None]:
        """Return the best program, the result, and the error that ended the run, if one did.

        Raises:
            OproError: If it ended with nothing to show.
        """
        with dspy.context(lm=self._scorer):
            try:
                compiled = self._optimizer.compile(self._program, **self._sets)
            except RunError as error:
                if not isinstance(error.result, OPROResult):
                    raise
                program = error.program if isinstance(error.program, dspy.Module) else None
                return program, error.result, error
        return compiled, compiled.detailed_results, None


NO_LM = (
    "there is no LM: pass --model openai/gpt-5-mini (keys come from the environment), --model "
    "simulated to try it offline, or call dspy.configure(lm=…) in the program's module."
)


def failure(error: RunError, *models: str | None) -> str:
    """Return what happened, and how to look into it if an LM failed.

    Args:
        error: What ended a run.
        models: The LMs that were named for it.
    """
    what = sentence(error.what or str(error))
    if not isinstance(error, LMCallError):
        return what
    named = dict.fromkeys(name for name in models if name not in (None, SIMULATED)) or ["LM"]
    asked = ", or ".join(f"--model {name}" for name in named)
    return f"{what} To ask an LM once and see what it says: opro-dspy doctor {asked}."


class _Keeps:
    """Writes the job into the run's folder, once the run there was found to be this one."""

    def __init__(self, job: Job, log_dir: Path) -> None:
        self._job, self._path, self._done = job, log_dir / NAME, False

    def __call__(self, event: Event) -> None:
        if not self._done:
            draft = self._path.with_suffix(".tmp")
            draft.write_text(self._job.model_dump_json(indent=2) + "\n", encoding="utf-8")
            draft.replace(self._path)
            self._done = True


def settings_of(pairs: Mapping[str, Any], more: list[str]) -> dict[str, JsonValue]:
    """Return the settings of `OPRO` that were given.

    Args:
        pairs: Setting to its value, None if it was not given.
        more: `name=value`, the value as JSON or else as text.

    Raises:
        ConfigurationError: If one of `more` is not of that form.
    """
    found = {name: value for name, value in pairs.items() if value is not None}
    for item in more:
        name, equals, value = item.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigurationError(
                f"--set takes name=value, such as --set num_candidates=4, got {item!r}."
            )
        if name in _TAKEN:
            raise ConfigurationError(f"--set cannot set {name!r}; there is an option for it.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


_TAKEN = ("metric", "prompt_model", "task_model", "log_dir", "resume", "observers")
