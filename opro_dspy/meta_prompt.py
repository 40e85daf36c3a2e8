"""Meta-prompts: what the optimizer LM reads, and how its answer is read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from difflib import get_close_matches

from opro_dspy.answers import between_tags, in_brackets, unquoted, without_reasoning
from opro_dspy.errors import ConfigurationError
from opro_dspy.frame import block, fields, line, sorting
from opro_dspy.protocols import MetaPrompt, MetaPromptContext
from opro_dspy.records import Exemplar, ShownEntry

_MARK = " (measured beside other instructions in the rest of the program)"
_MARK_NOTE = (
    " A score with a remark behind it was measured while other parts of the program had other "
    "instructions than now, and is adjusted for that: compare it with the rest only roughly."
)


def score_bucket(score: float, *, n_buckets: int = 100) -> int:
    """Return the integer the meta-prompt shows for `score`.

    Args:
        score: Mean metric value, a fraction in [0, 1].
        n_buckets: Number of buckets; 100 shows whole percents.

    Returns:
        Nearest bucket, an int in [0, n_buckets]. Halves round up, as the decimal number reads.

    Raises:
        ConfigurationError: If `score` lies outside [0, 1] or is NaN.

    Source:
        OPRO (arXiv:2309.03409), section 4.2, "optimization trajectory".
    """
    if not 0.0 <= score <= 1.0:
        raise ConfigurationError(
            f"`score` must be a fraction in [0, 1], got {score!r}. "
            "Divide percentages by 100, or return a metric value in [0, 1]."
        )
    return int((Decimal(str(float(score))) * n_buckets).quantize(Decimal(1), ROUND_HALF_UP))


def shown_score(
    score: float, *, n_buckets: int | None, unit_range: bool, decimals: int | None = None
) -> str:
    """Return `score` as the meta-prompt shows it.

    Args:
        score: An estimate; with `unit_range`, one that passes 0 or 1 is shown as 0 or 1.
        n_buckets: Number of buckets, or None for the number as it is.
        unit_range: Whether the scores of this problem lie in [0, 1].
        decimals: Decimals of a number that is no bucket.

    Returns:
        The bucket; or the number with `decimals`, by default with four significant digits, whole
        from 1000 on.
    """
    if unit_range and n_buckets is not None:
        return str(score_bucket(min(max(score, 0.0), 1.0), n_buckets=n_buckets))
    if decimals is not None and abs(score) < 1e15:
        return f"{round(score, decimals) + 0.0:.{decimals}f}"
    return f"{score + 0.0:.0f}" if 1e3 <= abs(score) < 1e15 else f"{score + 0.0:.4g}"


def _tried_before(noun: str, context: MetaPromptContext) -> str:
    """Return the heading of the entries, with or without scores."""
    if not any(entry.score for entry in context.entries):
        return f"Here are {noun}s tried before, {sorting(context.order, 'worst', 'best')}."
    order = f"each followed by its score, {sorting(context.order, 'lowest', 'highest')}."
    note = f"{order} {line(context.score_note)}".rstrip() + _mark_note(context)
    return f"Here are {noun}s tried before, {note}"


def _example(number: int, exemplar: Exemplar, position: str, tag: str) -> str:
    """Return one example with `tag` where the program renders the instruction."""
    inputs, outputs = fields(exemplar.inputs), fields(exemplar.outputs)
    place = outputs if position == "A_begin" else inputs
    place.insert(len(place) if position == "Q_end" else 0, f"  {tag}")
    expected = ["Expected output:", *outputs] if outputs else []
    said = ["Feedback on an output so far:", f"  {line(exemplar.feedback)}"]
    said = said if exemplar.feedback else []
    return "\n".join([f"Example {number}", "Input:", *inputs, *expected, *said])


def _page(context: MetaPromptContext, *, parts: tuple[str, str, str, str], tag: str) -> str:
    """Return a meta-prompt of introduction, task, entries, examples and request.

    Args:
        context: What to show; a part about nothing is left out.
        parts: Introduction, heading of the entries, heading of the examples, request.
        tag: What marks the place of the instruction in an example.
    """
    introduction, entries, examples, request = parts
    page = [introduction]
    if task := block(context.task):
        page.append(f"The task:\n{task}")
    if context.entries:
        page.append(entries)
        page += [
            f"text:\n{block(e.text)}" + f"\nscore:\n{_score(e)}" * bool(e.score)
            for e in context.entries
        ]
    if context.exemplars:
        page.append(examples)
        page += [
            _example(number, exemplar, context.instruction_position, tag)
            for number, exemplar in enumerate(context.exemplars, start=1)
        ]
    return "\n\n".join([*page, request])


def _score(entry: ShownEntry) -> str:
    return line(entry.score) + _MARK * entry.other_context


def _mark_note(context: MetaPromptContext) -> str:
    return _MARK_NOTE * any(entry.other_context for entry in context.entries)


@dataclass(frozen=True, slots=True)
class TaggedMetaPrompt:
    """The family for instruction-following models: the answer stands between two tags.

    Source:
        OPRO (arXiv:2309.03409), section 4.2 and appendix C.2; the wording is ours.
    """

    position: str | None = None
    """Where the instruction goes, whatever the context says; None takes the context's."""

    def render(self, context: MetaPromptContext) -> str:
        """Return the meta-prompt; the tag is `<Start>` at the start of the answer, else `<INS>`."""
        if self.position is not None:
            context = replace(context, instruction_position=self.position)
        tag, noun, aim = "INS", "instruction", "the instruction that a language model follows"
        if context.instruction_position == "A_begin":
            tag, noun, aim = "Start", "opening", "the words that open a language model's output"
        above = f"that differs from every {noun} above and gets a higher score than all of them"
        request = (
            f"Write a new {noun} {above if context.entries else 'that gets a high score'}. Make it "
            "concise, effective and general: it has to serve every input of this task. Begin your "
            f"answer with <{tag}>, give only the {noun}, and end with </{tag}>."
        )
        outputs = any(exemplar.outputs for exemplar in context.exemplars)
        expected = " and which output is expected in the end" * outputs
        parts = (
            f"Your goal is to improve {aim} when it does a task. <{tag}> stands for this {noun}.",
            _tried_before(noun, context),
            f"These examples show where <{tag}> goes{expected}.",
            request,
        )
        return _page(context, parts=parts, tag=f"<{tag}>")

    def parse(self, answer: str) -> str | None:
        """Return the text between the tags, of which either may be missing."""
        return between_tags(answer, "INS|Start")


@dataclass(frozen=True, slots=True)
class BracketedMetaPrompt:
    """The family for smaller instruction-tuned models: the answer stands in square brackets.

    Source:
        OPRO (arXiv:2309.03409), appendix C.2; the wording is ours.
    """

    def render(self, context: MetaPromptContext) -> str:
        """Return the meta-prompt."""
        parts = (
            "A language model does a task with the help of a text.",
            _tried_before("text", context),
            "These examples show how a text is applied: it is put in the place of <INS>, the model "
            "reads the result and writes its output, and what comes out in the end is compared "
            "with the expected output.",
            "Write a new text. It must differ from the texts above and score as high as possible. "
            "Answer with the text in square brackets.",
        )
        return _page(context, parts=parts, tag="<INS>")

    def parse(self, answer: str) -> str | None:
        """Return the last outermost bracket of several words, or else of any; or the answer."""
        answer = without_reasoning(answer, r"\[")
        if texts := in_brackets(answer):
            return unquoted(([t for t in texts if len(t.split(None, 1)) > 1] or texts)[-1])
        return between_tags(answer.split("[", 1)[-1].split("]", 1)[0], "INS")


@dataclass(frozen=True, slots=True)
class PretrainedMetaPrompt:
    """The family for models without instruction tuning: they continue a list.

    Source:
        OPRO (arXiv:2309.03409), appendix C.2; the wording is ours.
    """

    def render(self, context: MetaPromptContext) -> str:
        """Return the meta-prompt; exemplars are not shown, and the next line is begun."""
        places = {"A_begin": "at the start of the output", "Q_end": "after the input"}
        place = places.get(context.instruction_position, "before the input")
        order = sorting(context.order, "lowest precision", "highest")
        purpose = f"Texts that make a language model more precise when put {place}, {order}."
        task = block(context.task)
        lines = [
            f"Precision: {_score(e)} " * bool(e.score) + f"<TEXT>{block(e.text)}</TEXT>"
            for e in context.entries
        ]
        end = "Precision:" if any(e.score for e in context.entries) else "<TEXT>"
        purpose += _mark_note(context)
        return "\n\n".join([purpose, *([f"The task:\n{task}"] if task else []), *lines, end])

    def parse(self, answer: str) -> str | None:
        """Return the text up to the first end tag, without the score if no start tag follows it."""
        answer = without_reasoning(answer, r"(?ai)<\s{0,3}TEXT\s{0,3}>")
        parts = re.split(r"(?ai)<\s{0,3}/\s{0,3}TEXT\s{0,3}>", answer, maxsplit=1)
        text = re.sub(r"(?i)\A(?:precision\s*:\s*)?[-+]?\d[\d.]*%?\s+", "", parts[0].strip())
        return between_tags(text, "TEXT")


META_PROMPTS: Mapping[str, MetaPrompt] = {
    "tagged": TaggedMetaPrompt(),
    "bracketed": BracketedMetaPrompt(),
    "pretrained": PretrainedMetaPrompt(),
    "tagged_start": TaggedMetaPrompt(position="A_begin"),
}
"""The paper's three families by name, and the variant for the start of the answer."""


def resolve_meta_prompt(meta_prompt: str | MetaPrompt) -> MetaPrompt:
    """Return the family of that name, or the object itself.

    Raises:
        ConfigurationError: If the name is unknown, or the object cannot render and parse.
    """
    if isinstance(meta_prompt, str) and meta_prompt in META_PROMPTS:
        return META_PROMPTS[meta_prompt]
    names = ", ".join(map(repr, META_PROMPTS))
    if isinstance(meta_prompt, str):
        nearest = get_close_matches(meta_prompt, META_PROMPTS, n=1, cutoff=0)[0]
        raise ConfigurationError(
            f"`meta_prompt` must be one of {names}, or an object with render() and parse(), "
            f"got {meta_prompt!r}. Did you mean {nearest!r}?"
        )
    missing = [m for m in ("render", "parse") if not callable(getattr(meta_prompt, m, None))]
    if missing or isinstance(meta_prompt, type):
        raise ConfigurationError(
            f"`meta_prompt` must be one of {names}, or an object with render() and parse(), "
            f"got {meta_prompt!r}"
            + (f" without {' and '.join(missing)}." if missing else ". Pass an instance of it.")
        )
    return meta_prompt
