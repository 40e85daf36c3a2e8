"""What a run will cost, as a range, without calling any LM."""

from collections.abc import Mapping, Sequence

import dspy
from pydantic import BaseModel, ConfigDict

from opro_dspy.boundary.prices import Price, known_price
from opro_dspy.config import OproConfig
from opro_dspy.fields import as_text
from opro_dspy.fitting import estimate_tokens
from opro_dspy.plan import Sizes, metric_calls
from opro_dspy.program import Program, as_exemplar
from opro_dspy.protocols import MetaPromptContext
from opro_dspy.records import ShownEntry
from opro_dspy.settings import Seats

Range = tuple[int, int]

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
    cost_usd: tuple[float, float] | None
    """None when the price of an LM is not known."""


class RunEstimate(BaseModel):
    """What a run will cost; caches, retries and early stops aside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric_calls: Range
    """Examples scored."""
    optimizer: RoleEstimate
    scorer: RoleEstimate

    def __str__(self) -> str:
        lines = [f"{_shown(self.metric_calls)} scored examples"]
        for role in ("optimizer", "scorer"):
            part: RoleEstimate = getattr(self, role)
            tokens = (
                part.input_tokens[0] + part.output_tokens[0],
                (part.input_tokens[1] + part.output_tokens[1]),
            )
            cost = "price unknown"
            if part.cost_usd is not None:
                cost = f"${part.cost_usd[0]:,.2f} to ${part.cost_usd[1]:,.2f}"
            lines.append(f"{role}: {_shown(part.calls)} calls, {_shown(tokens)} tokens, {cost}")
        return "; ".join(lines)


def _shown(span: Range) -> str:
    return f"{span[0]:,}" if span[0] == span[1] else f"{span[0]:,} to {span[1]:,}"


def estimate_run(
    seats: Seats,
    config: OproConfig,
    program: Program,
    examples: Sequence[dspy.Example],
    *,
    sizes: Sizes,
    texts: Mapping[str, str],
    optimizer_lm: dspy.BaseLM,
    scorer_lm: dspy.BaseLM,
    instruction_position: str,
) -> RunEstimate:
    """Return the range of calls, tokens and USD by role.

    Args:
        seats: What `OPRO` was told.
        config: Its settings, `auto` resolved.
        program: The student.
        examples: The training set; a few are rendered.
        sizes: Numbers of examples and predictors.
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
    low, _, high = metric_calls(config, seats.racing, sizes)
    samples = config.num_candidates * sizes.per_step * config.max_steps
    first = estimate_tokens(meta_prompt)
    grown = first + seats.view.num_entries * -(-seats.filters.max_chars // 3)
    optimizer = _role(
        (samples, samples * config.max_attempts),
        (first * 3 // 4, grown),
        _OPTIMIZER_ANSWER,
        _price(optimizer_lm, seats),
    )
    prompts, answers = _scorer_tokens(program, examples[:_SAMPLE])
    most = scorer_lm.kwargs.get("max_tokens") or _DEFAULT_ANSWER
    calls = (low * len(program.lms), 2 * high * len(program.lms))
    scorer = _role(calls, prompts, (min(answers, most), most), _price(scorer_lm, seats))
    return RunEstimate(metric_calls=(low, high), optimizer=optimizer, scorer=scorer)


def _price(lm: dspy.BaseLM, seats: Seats) -> Price | None:
    return seats.prices.get(lm.model) or known_price(lm)


def _role(calls: Range, prompt: Range, answer: Range, price: Price | None) -> RoleEstimate:
    inputs = (calls[0] * prompt[0], calls[1] * prompt[1])
    outputs = (calls[0] * answer[0], calls[1] * answer[1])
    cost = None
    if price is not None:
        cost = (price.cost(inputs[0], outputs[0]), price.cost(inputs[1], outputs[1]))
    return RoleEstimate(calls=calls, input_tokens=inputs, output_tokens=outputs, cost_usd=cost)


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
