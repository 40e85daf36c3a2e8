"""The part of a predictor's instruction that is its module's, not its user's: tools and protocol.

ReAct, ReActV2, CodeAct and RLM write the instruction of the signature that they were given into a
longer text, which names the tools and says how to call them. Only the user's part is optimized.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from opro_dspy.filters import printable

_MARK = "(the instruction stands here)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaffold:
    """What stands around the user's part of an instruction."""

    before: str = ""
    after: str = ""
    signature: Any
    """Whose instruction the user's part is; a blank one becomes this signature's default."""

    @property
    def is_bare(self) -> bool:
        """Whether the whole instruction is the user's."""
        return not self.before and not self.after

    def full(self, text: str) -> str:
        """Return the instruction with `text` as the user's part."""
        return f"{self.before}{text}{self.after}"

    def text(self, instructions: str) -> str:
        """Return the user's part of `instructions`, which `holds`."""
        return instructions[len(self.before) : len(instructions) - len(self.after)]

    def holds(self, instructions: str) -> bool:
        """Tell whether `instructions` are this scaffold with some text in it."""
        length = len(self.before) + len(self.after)
        return (
            len(instructions) > length
            and instructions.startswith(self.before)
            and instructions.endswith(self.after)
        )

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
    hold. Where another optimizer has replaced a whole instruction, nothing is left of it: all of it
    is the user's.
    """
    found: dict[int, Scaffold] = {}
    for _, module in program.named_sub_modules(dspy.Module):
        signature = vars(module).get("signature")
        if isinstance(module, dspy.Predict) or not hasattr(signature, "instructions"):
            continue
        marked = _marked(module)
        for name, predictor in vars(module).items():
            if isinstance(predictor, dspy.Predict):
                instructions = predictor.signature.instructions
                scaffold = _around(_MARK, marked.get(name, ""), signature)
                if scaffold.is_bare or not scaffold.holds(instructions):
                    scaffold = _around(signature.instructions, instructions, signature)
                if not scaffold.is_bare:
                    found[id(predictor)] = scaffold
    bare = {name: Scaffold(signature=p.signature) for name, p in predictors.items()}
    return {name: found.get(id(p), bare[name]) for name, p in predictors.items()}


def _around(text: str, instructions: str, signature: Any) -> Scaffold:
    """Return what stands around `text` in `instructions`; nothing where it has no lines of its own.

    A short text may stand in any sentence, and no word must be cut.
    """
    lines = re.search(f"^{re.escape(text)}$", instructions, re.MULTILINE) if text else None
    if lines is None:
        return Scaffold(signature=signature)
    before, after = instructions[: lines.start()], instructions[lines.end() :]
    return Scaffold(before=before, after=after, signature=signature)


def _marked(module: dspy.Module) -> dict[str, str]:
    """Return what a module of DSPy's makes of the instruction `_MARK`, by predictor."""
    signature = module.signature.with_instructions(_MARK)
    if isinstance(module, dspy.CodeAct):  # a ReAct too; a new one would warn of its end
        return {"codeact": "\n".join(module._build_instructions(signature, module.tools))}
    if isinstance(module, dspy.ReAct):
        twin = dspy.ReAct(signature, _without(module.tools, "finish"))
        return {"react": twin.react.signature.instructions}
    if isinstance(module, dspy.ReActV2):
        twin = dspy.ReActV2(signature, _without(module.tools, "submit"))
        return {"react": twin.react.signature.instructions}
    if isinstance(module, dspy.RLM):
        twin = dspy.RLM(
            signature,
            tools=_without(module.tools),
            max_llm_calls=module.max_llm_calls,
            interpreter_factory=module._interpreter_factory,
        )
        predictors = {"generate_action": twin.generate_action, "extract": twin.extract}
        return {name: p.signature.instructions for name, p in predictors.items()}
    return {}


def _without(tools: Mapping[str, Any], *names: str) -> list[Any]:
    return [tool for name, tool in tools.items() if name not in names]
