"""The meta-prompt of a problem: what the optimizer LM reads, and how its answer is read."""

import re
from typing import Generic, TypeVar

from opro_dspy.answers import between_tags
from opro_dspy.errors import InvalidSolution
from opro_dspy.frame import block, sorting
from opro_dspy.protocols import MetaPromptContext, Problem

S = TypeVar("S")

COMPONENT = "solution"
"""Name of a candidate's only component."""

UNREADABLE = "could not be parsed"
"""What an answer is counted by where `parse` raised without a reason of its own."""

UNFIT = (ValueError, TypeError, LookupError, ArithmeticError)
"""What code that reads text raises where the text is not as it thought."""

_VALUE = re.compile(r"^\W*value\W{0,3}[:：]", re.IGNORECASE | re.MULTILINE)


class SolutionMetaPrompt(Generic[S]):
    """The problem, the best solutions with their values, and the request for another.

    Source:
        OPRO (arXiv:2309.03409), appendix C.1; the wording is ours.
    """

    def __init__(self, problem: Problem[S]) -> None:
        self._problem = problem
        tag = re.escape(problem.tag)
        self._tag = re.compile(rf"<\s*/?\s*{tag}\s*/?\s*>", re.IGNORECASE)
        self._begin, self._end = f"<{problem.tag}>", f"</{problem.tag}>"

    def render(self, context: MetaPromptContext) -> str:
        """Return the meta-prompt."""
        better = "higher" if self._problem.higher_is_better else "lower"
        above = f"that differs from all above and has a {better} value than any of them"
        page = [
            f"Your goal is to find the solution of a problem with the {better[:-2]}est value.",
            f"The problem:\n{block(context.task)}",
        ]
        if context.entries:
            valued = any(entry.score for entry in context.entries)
            order = sorting(context.order, "worst", "best")
            page.append(
                f"Here are solutions tried before{', each followed by its value' * valued}, "
                f"{order}.{f' A {better} value is better.' * valued}"
            )
            page += [
                self._written(e.text) + f"\nvalue: {e.score}" * bool(e.score)
                for e in context.entries
            ]
        page.append(
            f"Write a new solution {above if context.entries else ''}".rstrip()
            + f". Do not write code. End your answer with the new solution between {self._begin} "
            f"and {self._end}."
        )
        return "\n\n".join(page)

    def parse(self, answer: str) -> str | None:
        """Return the solution in the tag, of which either end may be missing, as `format` has it.

        Raises:
            InvalidSolution: If the problem refuses it.
        """
        text = between_tags(answer, re.escape(self._problem.tag))
        if text is None:
            return None
        try:
            return self._problem.format(self._problem.parse(text))
        except InvalidSolution:
            raise
        except UNFIT as error:
            raise InvalidSolution(UNREADABLE) from error

    def _written(self, text: str) -> str:
        text = _VALUE.sub(r"> \g<0>", block(self._tag.sub(" ", text)))
        return f"{self._begin} {text} {self._end}"
