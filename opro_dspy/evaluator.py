"""The scorer's seat: which examples a step's candidates meet, and the sets of the final choice."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import dspy

from opro_dspy.conditions import Conditions
from opro_dspy.errors import ProgramFailedError
from opro_dspy.failing import Judge, all_failed
from opro_dspy.grid import Grid
from opro_dspy.inquiry import Control
from opro_dspy.protocols import StepStarted
from opro_dspy.race import Race
from opro_dspy.racing import Racing, draw_order, estimates, hopeless_against, leaders
from opro_dspy.rasch import Fit, fit
from opro_dspy.records import Candidate, Evaluation
from opro_dspy.trajectory import Trajectory


class ProgramEvaluator:
    """Scores candidates with a program, a metric and examples.

    Args:
        build: Makes the program that holds a candidate's instructions.
        examples: The training set.
        conditions: How examples are scored.
        racing: How candidates race; None scores each on the whole training set (the paper).
        fit: Makes the model of all scores; the trajectory's, so that it need not be made twice.
        seed: Decides which examples a step's candidates meet first.
    """

    def __init__(
        self,
        build: Callable[[Candidate], dspy.Module],
        *,
        examples: Sequence[dspy.Example],
        conditions: Conditions,
        racing: Racing | None = None,
        fit: Fit = fit,
        seed: int = 0,
    ) -> None:
        self._build = build
        self._examples = examples
        self._conditions = conditions
        self._racing = racing
        self._fit = fit
        self._seed = seed
        self.unfinished: tuple[Evaluation, ...] = ()
        """What was scored of candidates whose evaluation an error or Ctrl-C cut short."""
        self.refused: str | None = None
        """The cap of the budget that cut the last evaluation short, if one did."""
        self._first_errors: dict[str, Exception] = {}
        self._judge = Judge(
            max_errors=conditions.max_errors, failure_score=conditions.failure_score
        )
        self._n_races, self._control = 0, Control()

    def evaluate(
        self, candidates: Sequence[Candidate], trajectory: Trajectory
    ) -> Sequence[Evaluation]:
        """Let the candidates race, then measure the leaders further; see `Evaluator`.

        Raises:
            LMCallError: If an LM failed.
            MetricError: If the metric returned something that is no number.
            ProgramFailedError: If the student was given up, or all candidates of a step failed
                alike, or program or metric hang.
        """
        if not candidates:
            return []
        step, racing = len(trajectory.steps), self._racing
        self._first_errors = {}
        order, race = self._plan(trajectory, n_candidates=len(candidates))
        for observe in self._conditions.observers:
            observe(StepStarted(step=step, n_scores=race.n_cells))
        found = self._run(
            race, candidates, self._examples, [order] * len(candidates), fill=racing is None
        )
        if not step and not self.refused and not any(e.scores for e in found):
            raise self._conditions.hang_error()
        if racing is not None and step and not self.refused and all(map(all_failed, found)):
            # The few examples of a first step may be to blame: so all of them meet more.
            found = self._further(found, order, n=racing.rungs[-1] - racing.rungs_of(step)[-1])
        found = self._judge.judge(found, trajectory.evaluations, first_errors=self._first_errors)
        if racing is None or not step or self.refused:
            return found
        return self._with_leaders(trajectory, found, order, racing)

    def complete(
        self,
        candidates: Sequence[Candidate],
        examples: Sequence[dspy.Example],
        known: Mapping[str, Evaluation],
        *,
        set_name: str,
        further: int | None = None,
    ) -> Sequence[Evaluation]:
        """Score each candidate on those of `examples` that it has not met, for the final choice.

        Args:
            candidates: Whom to score.
            examples: The selection set.
            known: Candidate key to what it scored there before; what is returned includes it.
            set_name: Which set it is: "trainset" or "valset".
            further: Examples that each meets at most, in an order that all have in common; None
                for all of them, one candidate after the other.
        """
        n = len(examples)
        order: Sequence[int] = range(n)
        if further is not None:
            rng = random.Random(f"{self._seed}:choice:examples")
            order = draw_order(None, n_examples=n, rng=rng)
        met = [known[c.key].scores if c.key in known else {} for c in candidates]
        orders = [[i for i in order if i not in scores][:further] for scores in met]
        race = Race(
            [len(own) for own in orders],
            rungs=(further or max(1, n),),
            max_errors=self._conditions.max_errors,
            before=[_met(known.get(candidate.key)) for candidate in candidates],
            in_turn=further is None,
        )
        self._first_errors = {}
        found = self._run(race, candidates, examples, orders, set_name=set_name)
        return [_merged(known.get(e.candidate.key), e) for e in found]

    @property
    def examples_left(self) -> int | None:
        """Examples that the budget will pay for, as far as can be told; None without a cap."""
        return self._conditions.gate.budget.metric_calls_left

    def failed(self, evaluation: Evaluation, who: str, *, set_name: str) -> ProgramFailedError:
        """Return the error that says that a candidate was given up on the selection set."""
        cause = self._first_errors.get(evaluation.candidate.key)
        return self._judge.error(evaluation, who, set_name=set_name, cause=cause)

    def output(self, candidate: Candidate, set_name: str, example: int) -> str:
        """Return what the program answered there, in short; empty where that is not known."""
        score = self._conditions.met.get((candidate.key, set_name, example))
        return "" if score is None else score.output

    def _plan(self, trajectory: Trajectory, *, n_candidates: int) -> tuple[Sequence[int], Race]:
        """Return the step's examples in the order in which candidates meet them, and its race."""
        n, step, racing = len(self._examples), len(trajectory.steps), self._racing
        order: Sequence[int]
        max_errors = self._conditions.max_errors
        rng = random.Random(f"{self._seed}:{step}:examples")
        if step == 0 or racing is None:
            first = n if racing is None else min(n, racing.start)
            order = range(n) if racing is None else draw_order(None, n_examples=n, rng=rng)
            # Step 0 takes the student first, and keeps what a budget that ends there has paid for.
            return order, Race(
                [n] * n_candidates, rungs=(first,), max_errors=max_errors, in_turn=step == 0
            )
        evaluations = trajectory.evaluations
        model = self._fit(evaluations, n_examples=n)
        order = draw_order(model, n_examples=n, rng=rng)
        incumbent = evaluations.index(trajectory.best)
        # Where metric calls are capped nobody starts early: the cap then falls at the same place
        # always. Where there is one thread, any cap does, and no thread would be idle.
        conditions = self._conditions
        in_order = conditions.gate.budget.caps_metric_calls or conditions.num_threads == 1
        race = Race(
            [n] * n_candidates,
            rungs=sorted({min(rung, n) for rung in racing.rungs_of(step)}),
            bounds=(0.0, 1.0) if trajectory.in_unit_range() and not in_order else None,
            hopeless=hopeless_against(model, incumbent, order, z=racing.z),
            max_errors=max_errors,
        )
        return order, race

    def _with_leaders(
        self,
        trajectory: Trajectory,
        new: Sequence[Evaluation],
        order: Sequence[int],
        racing: Racing,
    ) -> Sequence[Evaluation]:
        """Measure the leaders further; return `new` and whoever of old was measured."""
        n = len(self._examples)
        everything = [*trajectory.evaluations, *(e for e in new if e.scores)]
        found = estimates(everything, n_examples=n, fitted_by=self._fit)
        chosen = [
            everything[i] for i in leaders(found, n_examples=n, k=racing.num_leaders, z=racing.z)
        ]
        chosen = [e for e in chosen if e.dropped is None]
        result = {e.candidate.key: e for e in new}
        for further in self._further(chosen, order, n=racing.batch):
            result[further.candidate.key] = further
        return list(result.values())

    def _further(
        self, known: Sequence[Evaluation], order: Sequence[int], *, n: int
    ) -> list[Evaluation]:
        """Return `known` with up to `n` further examples for each."""
        orders = [[i for i in order if i not in e.scores][:n] for e in known]
        race = Race(
            [len(own) for own in orders],
            rungs=(max(1, n),),
            max_errors=self._conditions.max_errors,
            before=[_met(e) for e in known],
        )
        more = self._run(race, [e.candidate for e in known], self._examples, orders)
        return [_merged(old, new) for old, new in zip(known, more, strict=True)]

    def _run(
        self,
        race: Race,
        candidates: Sequence[Candidate],
        examples: Sequence[dspy.Example],
        orders: Sequence[Sequence[int]],
        *,
        set_name: str = "trainset",
        fill: bool = False,
    ) -> list[Evaluation]:
        self.unfinished = ()
        if race.finished:
            return [Evaluation(candidate=c, scores={}) for c in candidates]
        self._n_races += 1
        grid = Grid(
            self._conditions,
            race,
            candidates=candidates,
            programs=[self._build(candidate) for candidate in candidates],
            examples=examples,
            orders=orders,
            set_name=set_name,
            number=self._n_races,
            control=self._control,
        )
        books, lanes = grid.books, range(len(candidates))
        try:
            grid.run()
            self.refused = books.refused
        except BaseException:
            found = [books.evaluation(lane, fill=fill) for lane in lanes]
            self.unfinished = tuple(e for e in found if e.scores)
            raise
        finally:
            self._first_errors = {**books.failures.first, **self._first_errors}
        found = [books.evaluation(lane, fill=fill) for lane in lanes]
        self._judge.watch(found)
        return found


def _met(evaluation: Evaluation | None) -> tuple[int, int]:
    """Return on how many examples a candidate failed so far, and on how many it did not."""
    if evaluation is None:
        return 0, 0
    n_failed = len(evaluation.failures)
    return n_failed, len(evaluation.scores) - n_failed


def _merged(old: Evaluation | None, new: Evaluation) -> Evaluation:
    if old is None:
        return new
    return replace(
        new,
        scores=dict(sorted({**old.scores, **new.scores}.items())),
        failures=dict(sorted({**old.failures, **new.failures}.items())),
        dropped=new.dropped or old.dropped,
        feedback=dict(sorted({**old.feedback, **new.feedback}.items())),
    )
