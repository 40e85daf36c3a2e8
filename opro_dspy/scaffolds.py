"""The part of a predictor's instruction that is its module's, not its user's: tools and protocol.

ReAct, ReActV2, CodeAct and RLM write the instruction of the signature that they were given into a
longer text, which names the tools and says how to call them. Only the user's part is optimized.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import dspy

from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import printable

logger = logging.getLogger(__name__)

_MARK = "(the instruction stands here)"
_LONG = 40
"""A text of so many characters is not in two instructions by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """What stands around the user's part of an instruction."""

    before: str = ""
    after: str = ""
    opening: str = ""
    """What `after` begins with, whatever tools and fields there are."""
    own_lines: frozenset[str] = frozenset()
    """Lines of `after` that are others with other tools and fields."""
    signature: Any
    """Whose instruction the user's part is; a blank one becomes this signature's default."""
    over: str | None = None
    """An instruction that somebody wrote over all of it: this one text stands without it."""

    @property
    def is_bare(self) -> bool:
        """Whether the whole instruction is the user's."""
        return not self.before and not self.after

    def full(self, text: str) -> str:
        """Return the instruction with `text` as the user's part."""
        if self.over is not None and text == self.normalized(self.over):
            return self.over
        return f"{self.before}{text}{self.after}"

    def text(self, instructions: str) -> str:
        """Return the user's part of `instructions`, which `holds`, or which `is_of_others`."""
        if instructions == self.over:
            return instructions
        end = len(instructions) - len(self.after)
        if not self.holds(instructions):
            end = instructions.index(self.opening, len(self.before))
        return instructions[len(self.before) : end]

    def holds(self, instructions: str) -> bool:
        """Tell whether `instructions` are this scaffold with some text in it."""
        length = len(self.before) + len(self.after)
        return (
            len(instructions) > length
            and instructions.startswith(self.before)
            and instructions.endswith(self.after)
        )

    def is_of_others(self, instructions: str) -> bool:
        """Tell whether `instructions` are a scaffold of this kind, of other tools or fields."""
        found = instructions.find(self.opening, len(self.before)) if self.opening else -1
        return found > len(self.before) and instructions.startswith(self.before)

    def is_up_to_date(self, after: str) -> bool:
        """Tell whether `after`, which may be edited, says what `self.after` does of the tools."""
        return self.own_lines <= set(after.splitlines())

    def normalized(self, text: str) -> str:
        """Return `text` as signatures store it: dedented, the default if blank. Idempotent."""
        text = printable(text)
        while (stored := self.signature.with_instructions(text).instructions) != text:
            text = stored
        return text


def scaffolds_of(
    program: dspy.Module, predictors: Mapping[str, dspy.Predict]
) -> dict[str, Scaffold]:
    """Return the scaffold of each of `predictors`, the bare one where nothing is known of another.

    DSPy's own modules are asked for theirs. Of other modules with a `signature`, it is what stands
    around that signature's instruction, on lines of its own, in those of the predictors that they
    hold. An instruction that was loaded into an agent whose tools are others now gets the scaffold
    of the present tools. Where another optimizer has replaced a whole instruction, that stays as it
    is, and all others get the scaffold again.

    Raises:
        ConfigurationError: If an instruction holds parts of a protocol that cannot be told from
            what is the user's.
    """
    found: dict[int, Scaffold] = {}
    names = {id(predictor): name for name, predictor in predictors.items()}
    for _, module in program.named_sub_modules(dspy.Module):
        signature = vars(module).get("signature")
        if isinstance(module, dspy.Predict) or not hasattr(signature, "instructions"):
            continue
        known = _known(module)
        for attribute, predictor in vars(module).items():
            if isinstance(predictor, dspy.Predict):
                name, scaffold = names.get(id(predictor)), known.get(attribute)
                scaffold = _scaffold(name, predictor.signature.instructions, scaffold, signature)
                if not scaffold.is_bare:
                    found[id(predictor)] = scaffold
    bare = {name: Scaffold(signature=p.signature) for name, p in predictors.items()}
    return {name: found.get(id(p), bare[name]) for name, p in predictors.items()}


def _scaffold(
    name: str | None, instructions: str, known: Scaffold | None, signature: Any
) -> Scaffold:
    """Return the scaffold of `instructions`; `name` is None where they are not optimized."""
    around = _around(signature.instructions, instructions, signature)
    if known is None or name is None:
        return around
    if known.holds(instructions):
        return known
    if not around.is_bare and known.is_up_to_date(around.after):
        return around
    if known.is_of_others(instructions):
        return _renewed(name, instructions, known)
    lines = {line for line in known.after.splitlines() if len(line) >= _LONG}
    if around.is_bare and lines & set(instructions.splitlines()):
        raise ConfigurationError(
            f"the instruction of {name} holds a part of the text in which DSPy names an agent's "
            "tools, but not where DSPy puts it: what is yours cannot be told from it. Make the "
            "agent anew with your text as its signature's instruction "
            "(`signature.with_instructions(…)`), or set one without any of that text."
        )
    return _restored(name, instructions, known) if around.is_bare else around


def _restored(name: str, instructions: str, known: Scaffold) -> Scaffold:
    """Return the scaffold for all texts but one that was written over it."""
    logger.warning(
        "The instruction of %s has nothing of the text in which DSPy names an agent's tools: "
        "somebody wrote over it, as optimizers that know no agents do. It is measured as it is; "
        "the ones that OPRO proposes stand in that text again: %.80r",
        name,
        instructions,
    )
    return replace(known, over=instructions)


def _renewed(name: str, instructions: str, known: Scaffold) -> Scaffold:
    """Return the present scaffold for a text with an older one; one that somebody edited stays."""
    text = known.text(instructions)
    rest = instructions[len(known.before) + len(text) :]
    if known.is_up_to_date(rest):
        return replace(known, after=rest)
    logger.warning(
        "The instruction of %s names other tools or fields than its agent has now, as after "
        "loading. What DSPy wrote there is written anew, for the student's copies too; your part "
        "is kept: %.80r",
        name,
        text,
    )
    return known


def _around(text: str, instructions: str, signature: Any) -> Scaffold:
    """Return what stands around `text` in `instructions`; nothing where it has no lines of its own.

    A short text may stand in any sentence, and no word must be cut.
    """
    lines = re.search(f"^{re.escape(text)}$", instructions, re.MULTILINE) if text else None
    if lines is None:
        return Scaffold(signature=signature)
    before, after = instructions[: lines.start()], instructions[lines.end() :]
    return Scaffold(before=before, after=after, signature=signature)


def _known(module: dspy.Module) -> dict[str, Scaffold]:
    """Return the scaffolds that a module of DSPy's makes with its present tools, by predictor."""
    found, signature = {}, module.signature
    others = _marked(module, dspy.Signature("opro_reads -> opro_writes"), present=False)
    for name, instructions in _marked(module, signature).items():
        scaffold = _around(_MARK, instructions, signature)
        other = _around(_MARK, others[name], signature).after
        same = takewhile(lambda pair: pair[0] == pair[1], zip(scaffold.after, other, strict=False))
        opening = "".join(char for char, _ in same)
        own_lines = set(scaffold.after.splitlines()) - set(other.splitlines())
        found[name] = replace(
            scaffold,
            opening=opening if len(opening) >= _LONG else "",
            own_lines=frozenset(own_lines),
        )
    return found


def _marked(module: dspy.Module, signature: Any, *, present: bool = True) -> dict[str, str]:
    """Return what a module of DSPy's makes of `signature` with `_MARK` for its instruction.

    Args:
        module: Any module; of others than those agents, nothing is known.
        signature: Its own one, or another.
        present: With its tools and limits, or with others.
    """
    if not isinstance(module, (dspy.CodeAct, dspy.ReAct, dspy.ReActV2, dspy.RLM)):
        return {}
    signature, tools = signature.with_instructions(_MARK), module.tools if present else {}
    if isinstance(module, dspy.CodeAct):  # a ReAct too; a new one would warn of its end
        return {"codeact": "\n".join(module._build_instructions(signature, tools))}
    if isinstance(module, dspy.ReAct):
        twin = dspy.ReAct(signature, _without(tools, "finish"))
        return {"react": twin.react.signature.instructions}
    if isinstance(module, dspy.ReActV2):
        twin = dspy.ReActV2(signature, _without(tools, "submit"))
        return {"react": twin.react.signature.instructions}
    twin = dspy.RLM(
        signature,
        tools=_without(tools),
        max_llm_calls=module.max_llm_calls + (not present),
        interpreter_factory=module._interpreter_factory,
    )
    predictors = {"generate_action": twin.generate_action, "extract": twin.extract}
    return {name: p.signature.instructions for name, p in predictors.items()}


def _without(tools: Mapping[str, Any], *names: str) -> list[Any]:
    return [tool for name, tool in tools.items() if name not in names]
