"""`opro-dspy demo`: a whole run on a small task, offline unless a real LM is named."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import dspy
import typer
from rich.text import Text

from opro_dspy import OPRO, RunEstimate
from opro_dspy.cli import options
from opro_dspy.cli.demo_problems import solve
from opro_dspy.cli.finding import SIMULATED, prompt_model_of
from opro_dspy.cli.group import INTERRUPTED
from opro_dspy.cli.screen import bold, console, note, say, say_json
from opro_dspy.cli.telling import estimate_table, summary, tell_run
from opro_dspy.errors import ConfigurationError
from opro_dspy.loop import INTERRUPTED as STOPPED
from opro_dspy.simulation import (
    LANDSCAPE_NAMES,
    TASK_NAMES,
    exact_match,
    landscape,
    make_examples,
    scorer_lm,
)

EPILOG = options.examples(
    "demo",
    "demo --task object_counting --steps 5 --out program.json",
    "demo --problem tsp",
    "demo --model openai/gpt-5-nano --prompt-model openai/gpt-5 --estimate",
    words=(options.LM_HELP,),
)

NUM_REAL = 50
"""Held-out examples for a real LM."""


def demo(
    problem: Annotated[
        Literal["prompt", "linear-regression", "tsp"], typer.Option(help="What to optimize.")
    ] = "prompt",
    task: Annotated[
        str, typer.Option(metavar="NAME", help=f"One of {', '.join(TASK_NAMES)}.")
    ] = "arithmetic",
    land: Annotated[
        str,
        typer.Option("--landscape", metavar="NAME", help=f"One of {', '.join(LANDSCAPE_NAMES)}."),
    ] = "many_small_effects",
    steps: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Steps of 8 candidates; 8, or 500 for a problem of numbers."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed, another run.")] = 0,
    model: options.Model = None,
    prompt_model: options.PromptModel = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what it would cost.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the compiled program there, its result beside it."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Optimize a small DSPy program, or a problem of numbers, offline on simulated LMs.

    With --model, the program runs on a real LM, and so does the optimizer unless --prompt-model
    names another one.
    """
    options.check_one_of("--task", task, TASK_NAMES)
    options.check_one_of("--landscape", land, LANDSCAPE_NAMES)
    logging.getLogger("dspy").setLevel(logging.WARNING)
    if problem != "prompt":
        if model or estimate or out:
            raise ConfigurationError(
                "--model, --estimate and --out are for --problem prompt; a problem of numbers has "
                "no program, and takes --prompt-model."
            )
        solve(problem, prompt_model, steps=steps, seed=seed, as_json=as_json)
        return
    if out is not None:
        out = options.check_out(out)
    parts = _Parts(task, land, model, prompt_model, steps=8 if steps is None else steps, seed=seed)
    if not as_json:
        parts.introduce()
    if estimate:
        _tell_estimate(parts.estimate(), as_json=as_json)
    else:
        _run(parts, out, as_json=as_json)


def _run(parts: "_Parts", out: Path | None, *, as_json: bool) -> None:
    compiled = parts.compile()
    result = compiled.detailed_results
    if out is not None:
        compiled.save(out)
        result.save(out.with_suffix(".result.json"))
    stopped = result.stop_reason == STOPPED
    before, after = (None, None) if stopped else parts.held_out_scores(compiled)
    if as_json:
        held_out = {"before": before, "after": after, "num_examples": len(parts.held_out)}
        said = {"program": None if out is None else str(out), "simulated": parts.simulated}
        say_json({**summary(result), "held_out": held_out, **said})
    else:
        tell_run(console(), result)
        if before is not None:
            say(
                *("\n", bold("Held-out score"), f" ({len(parts.held_out)} examples that the "),
                *(f"search never saw): {before:.1f} before, ", bold(f"{after:.1f}"), " after."),
            )
        if out is not None:
            say(f"Written: {out}, {out.with_suffix('.result.json')}.")
    if stopped:
        note("Interrupted; the best so far is above.")
        raise typer.Exit(INTERRUPTED)


def _tell_estimate(cost: RunEstimate, *, as_json: bool) -> None:
    if as_json:
        say_json(cost.model_dump(mode="json"))
    else:
        console().print(estimate_table(cost))


class _Parts:
    """Task, LMs and optimizer of the demo."""

    def __init__(
        self,
        task: str,
        land: str,
        model: str | None,
        prompt_model: str | None,
        *,
        steps: int,
        seed: int,
    ) -> None:
        examples = make_examples(task, n=300, seed=seed)
        self.trainset, self.valset = examples[:50], examples[50:100]
        self.simulated = model in (None, SIMULATED)
        self.held_out = examples[100:] if self.simulated else examples[100 : 100 + NUM_REAL]
        self._task, self._program = task, dspy.ChainOfThought("question -> answer")
        self._scorer: Any = scorer_lm(answer_key=examples, landscape=landscape(land, seed=seed))
        if not self.simulated:
            self._scorer = prompt_model_of(model, Path.cwd())
        asked = prompt_model or model or SIMULATED
        self._all_simulated = self.simulated and asked == SIMULATED
        self._optimizer = OPRO(
            metric=exact_match,
            prompt_model=prompt_model_of(asked, Path.cwd(), seed=seed),
            max_steps=steps,
            seed=seed,
        )

    def introduce(self) -> None:
        """Say what is about to be done."""
        lms = Text("The LMs are real: it costs money.")
        if self._all_simulated:
            numbers = ": these are numbers of the simulation, not of a real model."
            lms = Text.assemble("Both LMs are ", bold("simulated"), numbers)
        elif self.simulated:
            lms = Text.assemble("The scorer LM is ", bold("simulated"), ", the optimizer LM real.")
        sizes: Sequence[str] = [
            f"{len(part)} {name}"
            for part, name in (
                (self.trainset, "training"),
                (self.valset, "validation"),
                (self.held_out, "held-out examples"),
            )
        ]
        say(
            *("Optimizing ", bold("dspy.ChainOfThought('question -> answer')")),
            *(f" on {self._task}: {', '.join(sizes)}.\n", lms, "\n"),
        )

    def estimate(self) -> RunEstimate:
        """Return what it will cost."""
        with dspy.context(lm=self._scorer):
            return self._optimizer.estimate(
                self._program, trainset=self.trainset, valset=self.valset
            )

    def compile(self) -> Any:
        """Return the compiled program."""
        with dspy.context(lm=self._scorer):
            return self._optimizer.compile(
                self._program, trainset=self.trainset, valset=self.valset
            )

    def held_out_scores(self, compiled: dspy.Module) -> tuple[float, float]:
        """Return the scores before and after on examples that the search never saw, in percent."""
        evaluate = dspy.Evaluate(devset=self.held_out, metric=exact_match)
        with dspy.context(lm=self._scorer):
            return evaluate(self._program).score, evaluate(compiled).score
