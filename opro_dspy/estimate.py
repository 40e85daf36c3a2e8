"""What a run will cost, as a range, without calling any LM."""

from collections.abc import Mapping, Sequence
from math import prod

import dspy
from pydantic import BaseModel, ConfigDict

from opro_dspy.boundary.prices import Price, known_price
from opro_dspy.config import OproConfig
from opro_dspy.fields import as_text
from opro_dspy.fitting import estimate_tokens
from opro_dspy.limits import Limit, Range, Rate, Rates, metric_calls_within, requests_within
from opro_dspy.plan import Course
from opro_dspy.program import Program, as_exemplar
from opro_dspy.protocols import MetaPromptContext
from opro_dspy.records import ShownEntry
from opro_dspy.settings import Seats

_SAMPLE = 8
"""Examples that are rendered to see how long they are."""
_OPTIMIZER_ANSWER: Range = (15, 200)
"""Tokens of a proposed instruction."""
_DEFAULT_ANSWER = 1024
"""Tokens of a scorer's answer at most, where the LM has no `max_tokens`."""


class RoleEstimate(BaseModel):
    """What the LMs of one role will do, from at least to at most."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: Range
    input_tokens: Range
    output_tokens: Range
    tokens: Range
    """Both together; a cap can lie below their sum."""
    cost_usd: tuple[float, float] | None
    """None when the price of an LM is not known."""


class RunEstimate(BaseModel):
    """What a run will cost within its caps, if nothing fails; caches and early stops aside.

    The least is that of a run in which half of the proposals are known already: an optimizer LM
    that repeats itself more makes it cheaper.
    Of `max_seconds` no more is known than how many calls `requests_per_minute` allows by then.
    Nobody can know how often a program calls its predictors: once each is assumed, and at most as
    often as the `max_iters` of the modules around it allow (`dspy.ReAct`). A loop of the program's
    own takes more, and a branch less, in the same ratio; metric calls do not depend on that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric_calls: Range
    """Examples scored."""
    optimizer: RoleEstimate
    scorer: RoleEstimate
    scorer_calls: Range
    """Calls of the scorer LM for an example, as assumed: each predictor, and a second try."""

    def __str__(self) -> str:
        lines = [f"{_shown(self.metric_calls)} scored examples"]
        for role in ("optimizer", "scorer"):
            part: RoleEstimate = getattr(self, role)
            cost = "price unknown"
            if part.cost_usd is not None:
                cost = f"${part.cost_usd[0]:,.2f} to ${part.cost_usd[1]:,.2f}"
            each = f" ({_shown(self.scorer_calls)} an example)" if role == "scorer" else ""
            lines.append(
                f"{role}: {_shown(part.calls)} calls{each}, {_shown(part.tokens)} tokens, {cost}"
            )
        return "; ".join(lines)


def _shown(span: Range) -> str:
    return f"{span[0]:,}" if span[0] == span[1] else f"{span[0]:,} to {span[1]:,}"


def rates_of(
    seats: Seats,
    program: Program,
    examples: Sequence[dspy.Example],
    *,
    texts: Mapping[str, str],
    optimizer_lm: dspy.BaseLM,
    scorer_lm: dspy.BaseLM,
    instruction_position: str,
) -> Rates:
    """Return what LM calls will take.

    Args:
        seats: What `OPRO` was told.
        program: The student.
        examples: The training set; a few are rendered.
        texts: The student's instructions, by predictor.
        optimizer_lm: The optimizer LM; not called.
        scorer_lm: The scorer LM; not called.
        instruction_position: Where instructions stand, as the meta-prompt shows it.
    """
    component = next(iter(program.predictors))
    meta_prompt = seats.meta_prompt.render(
        MetaPromptContext(
            component=component,
            task=program.describe()[component],
            entries=(ShownEntry(text=texts[component], score="50"),),
            exemplars=tuple(
                as_exemplar(e, program.output_names) for e in examples[: seats.view.num_exemplars]
            ),
            instruction_position=instruction_position,
        )
    )
    first = estimate_tokens(meta_prompt)
    grown = first + seats.view.num_entries * -(-seats.filters.max_chars // 3)
    prompts, answers = _scorer_tokens(program, examples[:_SAMPLE])
    most = scorer_lm.kwargs.get("max_tokens") or _DEFAULT_ANSWER
    return Rates(
        optimizer=Rate(
            prompt=(first // 2, grown),
            answer=_OPTIMIZER_ANSWER,
            price=_price(optimizer_lm, seats),
        ),
        scorer=Rate(
            prompt=prompts, answer=(min(answers, most), most), price=_price(scorer_lm, seats)
        ),
        calls=(len(program.lms), 2 * sum(_turns(program, name) for name in program.lms)),
    )


def _turns(program: Program, predictor: str) -> int:
    """Return how often modules with `max_iters` call a predictor at most; 1 outside of them."""
    around = (
        module
        for name, module in program.student.named_sub_modules(dspy.Module)
        if f"{predictor}.".startswith(f"{name}.")
    )
    limits = (getattr(module, "max_iters", None) for module in around)
    return prod(1 + limit for limit in limits if isinstance(limit, int))  # and one to close


def estimate_run(
    config: OproConfig, course: Course, rates: Rates, limits: Sequence[Limit]
) -> RunEstimate:
    """Return the range of calls, tokens and USD by role.

    Args:
        config: The settings, `auto` resolved.
        course: What the run does without caps.
        rates: What its calls take.
        limits: Its caps.
    """
    scored = metric_calls_within(course, limits)
    low, high = rates.calls
    return RunEstimate(
        metric_calls=scored,
        optimizer=_role(requests_within(course, limits), rates.optimizer, config),
        scorer=_role((scored[0] * low, scored[1] * high), rates.scorer, config),
        scorer_calls=rates.calls,
    )


def _price(lm: dspy.BaseLM, seats: Seats) -> Price | None:
    return seats.prices.get(lm.model) or known_price(lm)


def _role(calls: Range, rate: Rate, config: OproConfig) -> RoleEstimate:
    """Return what `calls` take; each at most what its cap leaves."""
    tokens, cap = rate.tokens, config.max_tokens
    if cap is not None:
        calls = calls[0], min(calls[1], cap // max(1, tokens[0]))
    cost = None
    if rate.price is not None:
        cost = calls[0] * rate.cost[0], calls[1] * rate.cost[1]
        if config.max_cost is not None:
            cost = cost[0], min(cost[1], config.max_cost)
    spans = ((calls[0] * low, calls[1] * high) for low, high in (rate.prompt, rate.answer, tokens))
    inputs, outputs, both = (
        span if cap is None else (span[0], min(span[1], cap)) for span in spans
    )
    return RoleEstimate(
        calls=calls, input_tokens=inputs, output_tokens=outputs, tokens=both, cost_usd=cost
    )


def _scorer_tokens(program: Program, examples: Sequence[dspy.Example]) -> tuple[Range, int]:
    """Return the tokens of a prompt, at least and at most, and of an answer at least."""
    adapter = dspy.settings.adapter or dspy.ChatAdapter()
    prompts, answers = [], [1]
    for example in examples:
        given = example.toDict()
        answers.append(sum(estimate_tokens(as_text(v)) for v in example.labels().values()))
        for predictor in program.predictors.values():
            signature = predictor.signature
            inputs = {
                name: given.get(name, "")
                for name, field in signature.input_fields.items()
                if name in given or field.annotation is not dspy.History  # "" is no history
            }
            messages = adapter.format(signature, predictor.demos, inputs)
            prompts.append(sum(estimate_tokens(str(m["content"])) for m in messages))
    return (min(prompts) * 3 // 4, max(prompts) * 2), max(1, min(answers[1:] or answers))
