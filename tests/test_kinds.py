"""Output types count with all that an adapter shows of them, and all that decides what passes."""

import dataclasses
import enum
import sys
import types
import typing
from typing import Any, NamedTuple, NewType

import dspy
import pydantic
import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from opro_dspy.fingerprints import describe_program, fingerprint
from tests.processes import printed

SPACE = {
    "BaseModel": BaseModel,
    "NamedTuple": NamedTuple,
    "TypedDict": TypedDict,
    "Enum": enum.Enum,
    "NewType": NewType,
    "dataclass": dataclasses.dataclass,
    "dataclasses": dataclasses,
    "pydantic": pydantic,
    "typing": typing,
}


def made(source: str) -> Any:
    """Return the type `Out` of a module of the user's."""
    module = sys.modules["users_types"] = types.ModuleType("users_types")
    vars(module).update(SPACE)
    exec(source, vars(module))
    return module.Out


def of(kind: Any) -> str:
    fields = {"question": (str, dspy.InputField()), "answer": (kind, dspy.OutputField())}
    program = dspy.Predict(dspy.Signature(fields, "Answer."))
    return fingerprint(describe_program(program))


MODEL = "class Out(BaseModel):\n  {}\n  x: str = 'a'\n  y: str = 'b'\n  {}\n"
CHECK = "@pydantic.{}\n  def f({}): return v"

PAIRS = {
    "docstring": [MODEL.format(repr(text), "") for text in ("", "In English.", "In French.")],
    "schema": [
        MODEL.format(f"model_config = {{'json_schema_extra': {{'description': {text!r}}}}}", "")
        for text in ("A", "B")
    ],
    "schema of a field": [
        f"class Out(BaseModel):\n  x: str = pydantic.Field(json_schema_extra={extra})"
        for extra in ({"a": 1}, {"a": 2}, {"a": 1, "b": 2}, {"b": 2, "a": 1})
    ],
    "order of fields": [
        f"class Out(BaseModel):\n  {one}: str\n  {two}: str" for one, two in ("xy", "yx")
    ],
    "validator": [
        MODEL.format("", CHECK.format(how, "cls, v"))
        for how in (
            *("field_validator('x')", "field_validator('y')", "field_validator('x', 'y')"),
            *("field_validator('y', mode='before')", "model_validator(mode='before')"),
        )
    ],
    "serializer": [
        MODEL.format("", CHECK.format(how, "self, v"))
        for how in ("field_serializer('x')", "field_serializer('y')")
    ],
    "after": [
        MODEL.format("", f"_n: int = 0\n  def model_post_init(self, c): self.x = self.x.{how}()")
        for how in ("lower", "upper")
    ],
    "computed": [
        MODEL.format("", f"@pydantic.computed_field{how}\n  def f(self) -> str: return ''")
        for how in ("", "(description='a')", "(description='b')")
    ],
    "dataclass": [
        f"@dataclass\nclass Out:\n  {field}"
        for field in ("x: str = 'a'", "x: str = 'b'", "x: str", "x: int = 'a'")
    ],
    "factory": [
        f"@dataclass\nclass Out:\n  x: list = dataclasses.field(default_factory=lambda: [{text}])"
        for text in (1, 2)
    ],
    "pydantic dataclass": [
        f"@pydantic.dataclasses.dataclass\nclass Out:\n  {text!r}\n  x: str = ''\n  y: str = ''\n"
        f"  @pydantic.field_validator({field!r})\n  def f(cls, v): return v"
        for text, field in (("A", "x"), ("A", "y"), ("B", "x"))
    ],
    "made dataclass": [
        f"Out = dataclasses.make_dataclass('Out', [('x', str, {text!r})])" for text in "ab"
    ],
    "made model": [
        f"Out = pydantic.create_model('Out', {field})"
        for field in ("x=(str, 'a')", "x=(str, 'b')", "y=(int, 1)")
    ],
    "enum": [
        f"class Out(Enum):\n  {text!r}\n  {members}"
        for text, members in (("A", "x = 1; y = 2"), ("B", "x = 1; y = 2"), ("A", "y = 2; x = 1"))
    ],
    "made enum": [f"Out = Enum('Out', {names!r})" for names in ("x y", "y x")],
    "typed dict": [
        f"class Out(TypedDict{more}):\n  {text!r}\n  {one}: str\n  {two}: str"
        for more, text, one, two in (
            *(("", "A", "x", "y"), ("", "A", "y", "x"), ("", "B", "x", "y")),
            (", total=False", "A", "x", "y"),
        )
    ],
    "named tuple": [
        f"class Out(NamedTuple):\n  {fields}"
        for fields in ("x: str = 'a'", "x: str = 'b'", "x: int = 'a'", "y: str = 'a'")
    ],
    "new type": [f"Out = list[NewType('Id', {kind})]" for kind in ("int", "str")],
    "bound": [f"Out = list[typing.TypeVar('T', bound={kind})]" for kind in ("int", "str")],
    "name looked up": [
        "from __future__ import annotations\n"
        f"class In(BaseModel):\n  {text!r}\nclass Out({base}):\n  x: In\n"
        for base in ("NamedTuple", "TypedDict")
        for text in "AB"
    ],
}

WITHIN = [
    *("Out", "list[Out]", "dict[str, tuple[Out, ...]]", "Out | None", "int | list[Out]"),
    "pydantic.create_model('Outer', inner=(Out, ...))",
]


@pytest.mark.parametrize("sources", PAIRS.values(), ids=PAIRS.keys())
def test_types_that_show_or_take_something_else_are_others(sources: list[str]) -> None:
    for within in WITHIN:
        found = [of(made(f"{source}\nOut = {within}")) for source in sources]
        assert len(set(found)) == len(sources)
        assert found == [of(made(f"{source}\nOut = {within}")) for source in sources]


def test_a_type_is_the_same_in_every_process_and_after_it_was_used() -> None:
    script = (
        "from tests.test_kinds import *\n"
        "kinds = [made(source) for sources in PAIRS.values() for source in sources]\n"
        "before = [of(kind) for kind in kinds]\n"
        "for kind in kinds[:9]: pydantic.TypeAdapter(kind).json_schema()\n"
        "print(fingerprint(before), before == [of(kind) for kind in kinds])"
    )
    found = {printed(script, hash_seed=seed) for seed in (1, 2)}
    assert len(found) == 1
    assert found.pop().endswith("True\n")


class Early(BaseModel):
    later: "Later"


EARLY = Early.__pydantic_complete__


class Later(BaseModel):
    text: str = ""


def test_a_model_whose_names_are_looked_up_at_its_first_use_is_the_same_before_and_after() -> None:
    before = of(list[Early])
    Early(later=Later())
    assert not EARLY
    assert of(list[Early]) == before
