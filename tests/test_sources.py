"""Modules of the user's count by what they do, however code gets at them."""

import importlib.util
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from opro_dspy.fingerprints import describe, fingerprint, loaded
from opro_dspy.fingerprints.libraries import library_of

HELPER = """
LIMIT = 3
def ok(a, b):
    return {body}
def other():
    return {other}
"""

Write = Callable[..., None]


def of(value: Any) -> str:
    return fingerprint(describe(value))


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Yield how to write a module of the user's, as it will be found by an import."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    ticks = iter(range(1, 1000))

    def write(name: str, source: str) -> None:
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
        os.utime(file, ns=(0, next(ticks) * 10**9))
        importlib.invalidate_caches()
        forget(before)

    yield write
    forget(before)


def forget(before: set[str]) -> None:
    """Let the next import of a module that is new since `before` run it again."""
    for name in set(sys.modules) - before:
        if name.startswith("users_"):
            del sys.modules[name]


def metric_of(body: str, **held: Any) -> Any:
    """Return a metric of a module of the user's; `body` is what it does."""
    space: dict[str, Any] = {"__name__": "users_main", **held}
    exec(f"def metric(e, p, trace=None, m=None):\n{textwrap.indent(body, '    ')}", space)
    return space["metric"]


LAZY = [
    "import users_helper\nreturn users_helper.ok(e, p)",
    "from users_helper import ok\nreturn ok(e, p)",
    "from users_helper import ok as k\nreturn k(e, p)",
    "return (lambda: __import__('users_helper').ok(e, p))()",
    "import importlib\nreturn importlib.import_module('users_helper').ok(e, p)",
    "class Inner:\n  def rate(self):\n    import users_helper as h\n    return h.ok(e, p)\n"
    "return Inner().rate()",
]


@pytest.mark.parametrize("body", LAZY)
def test_a_module_imported_in_a_function_counts_before_its_first_call_and_after(
    body: str, write: Write
) -> None:
    metric, found = metric_of(body), []
    for rule in ("a == b", "a != b"):
        write("users_helper", HELPER.format(body=rule, other=1))
        before = of(metric)
        assert "users_helper" not in sys.modules
        metric(1, 2)
        assert "users_helper" in sys.modules
        assert of(metric) == before
        found.append(before)
    assert found[0] != found[1]
    write("users_helper", "# Mended.\n" + HELPER.format(body="a == b", other=1))
    assert of(metric) == found[0]


def test_what_such_a_module_imports_counts_too(write: Write) -> None:
    metric, found = metric_of("from users_package.rules import ok\nreturn ok(e, p)"), set()
    for start, limit in ((0, 1), (1, 1), (0, 2)):
        write("users_package/__init__", f"START = {start}\n")
        write("users_package/rules", "from .deep import limit\ndef ok(a, b): return a > limit()\n")
        write("users_package/deep", f"def limit(): return {limit}\n")
        found.add(of(metric))
        assert not [name for name in sys.modules if name.startswith("users_package")]
        metric(1, 2)
        assert of(metric) in found
    assert len(found) == 3


def test_a_module_without_a_file_counts_by_what_is_used_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metric = metric_of("import users_made\nreturn users_made.ok(e, p)")

    def made(**held: Any) -> str:
        module = type(sys)("users_made")
        vars(module).update(held)
        monkeypatch.setitem(sys.modules, "users_made", module)
        return of(metric)

    assert made(ok=1) == made(ok=1, other=2) != made(ok=2)


class Holding:
    def __init__(self, module: Any) -> None:
        self.module = module

    def __call__(self, e: Any, p: Any, trace: Any = None) -> Any:
        return self.module.ok(e, p)


HELD: list[Callable[[Any], Any]] = [
    lambda h: Holding(h),
    lambda h: type("Holder", (), {"h": h, "__call__": lambda self, e, p: self.h.ok(e, p)}),
    lambda h: lambda e, p, trace=None: h.ok(e, p),
    lambda h: with_default(h),
    lambda h: SimpleNamespace(rules={"first": [h]}),
    lambda h: metric_of("return getattr(h, 'ok')(e, p)", h=h),
    lambda h: metric_of("k = h\nreturn k.ok(e, p)", h=h),
    lambda h: metric_of("return rules['h'].ok(e, p)", rules={"h": h}),
    lambda h: metric_of("return rules.h.ok(e, p)", rules=SimpleNamespace(h=h)),
]


def with_default(h: Any) -> Any:
    def metric(e: Any, p: Any, trace: Any = None, rules: Any = h) -> Any:
        return rules.ok(e, p)

    return metric


@pytest.mark.parametrize("hold", HELD)
def test_a_module_that_is_held_counts_wherever_it_is_held(
    hold: Callable[[Any], Any], write: Write
) -> None:
    found = []
    for rule in ("a == b", "a == b", "a != b"):
        write("users_helper", HELPER.format(body=rule, other=1))
        found.append(of(hold(importlib.import_module("users_helper"))))
    assert found[0] == found[1] != found[2]


def test_of_a_module_whose_attributes_code_takes_the_rest_does_not_count(write: Write) -> None:
    found = []
    for rule, other in (("a == b", 1), ("a == b", 2), ("a != b", 1)):
        write("users_helper", HELPER.format(body=rule, other=other))
        helper = importlib.import_module("users_helper")
        found.append(of(metric_of("return h.ok(e, p) + h.LIMIT", h=helper)))
    assert found[0] == found[1] != found[2]


def test_a_module_that_was_edited_after_its_import_is_not_the_edited_one(write: Write) -> None:
    write("users_helper", HELPER.format(body="a == b", other=1))
    old = Holding(importlib.import_module("users_helper"))
    first = of(old)
    file = Path(old.module.__file__)
    file.write_text(HELPER.format(body="a != b", other=1) + "# edited\n")
    edited = of(old)
    del sys.modules["users_helper"]
    importlib.invalidate_caches()
    new = of(Holding(importlib.import_module("users_helper")))
    assert len({first, edited, new}) == 3


FORMS = [
    "W = {}\ndef ok(a, b): return W * a",
    "W = -{} * 2\ndef ok(a, b): return W * a",
    "W: float = {}\ndef ok(a, b): return W * a",
    "W = {{'x': [{}]}}\ndef ok(a, b): return W['x'][0] * a",
    "def ok(a, b, w={}): return w * a",
    "def ok(a, b, *, w=({}, 'x')): return w[0] * a",
    "class Rule:\n  w = {}\n  def ok(self, a, b): return self.w * a\nok = Rule().ok",
    "class Rule:\n  class In:\n    w = {}\ndef ok(a, b): return Rule.In.w * a",
    "class Rule:\n  @staticmethod\n  def ok(a, b): return {} * a\nok = Rule.ok",
    "from dataclasses import dataclass\n@dataclass\nclass R:\n  w: int = {}\n  c: float = {}\n"
    "def ok(a, b): return R().w * a",
    "from enum import Enum\nclass R(Enum):\n  w = {}\ndef ok(a, b): return R.w.value * a",
    "from pydantic import BaseModel\nclass R(BaseModel):\n  w: int = {}\n"
    "def ok(a, b): return R().w * a",
    "from typing import NamedTuple\nclass R(NamedTuple):\n  w: int = {}\n"
    "def ok(a, b): return R().w * a",
]


@pytest.mark.parametrize("form", FORMS)
def test_what_runs_counts_if_the_file_was_edited_after_the_import(form: str, write: Write) -> None:
    metric = metric_of("import users_helper\nreturn users_helper.ok(e, p)")
    write("users_helper", form.replace("{}", "2").replace("{{", "{").replace("}}", "}"))
    old = of(metric)
    metric(1, 2)
    assert of(metric) == old  # the same before the import and after
    file = Path(sys.modules["users_helper"].__file__ or "")
    loaded._first.clear()  # in a process that looks at it for the first time
    file.write_text(form.replace("{}", "3").replace("{{", "{").replace("}}", "}"))
    edited = of(metric)
    del sys.modules["users_helper"]
    importlib.invalidate_caches()
    new = of(metric)
    metric(1, 2)
    assert of(metric) == new
    assert len({old, edited, new}) == 3


def test_an_edit_counts_also_of_what_a_module_works_out(write: Write) -> None:
    metric = metric_of("import users_helper\nreturn users_helper.W")
    write("users_helper", "W = float('2')\ndef other(): pass\n")
    metric(1, 2)
    old = of(metric)
    Path(sys.modules["users_helper"].__file__ or "").write_text(
        "W = float('30')\ndef other(): pass"
    )
    edited = of(metric)
    importlib.reload(sys.modules["users_helper"])
    new = of(metric)
    assert len({old, edited, new}) == 3
    del sys.modules["users_helper"]
    assert of(metric) == new


@pytest.mark.parametrize(
    "change",
    [
        lambda h: setattr(h, "W", 3),
        lambda h: setattr(h, "made", 3),
        lambda h: setattr(h, "added", 3),
        lambda h: setattr(h, "ok", lambda a, b: 3),
        lambda h: setattr(h, "ok", h.other),
        lambda h: setattr(h.ok, "__defaults__", (3,)),
        lambda h: h.TABLE.update(x=3),
        lambda h: setattr(h.Rule, "w", 3),
        lambda h: setattr(h.Rule, "ok", lambda self: 3),
        lambda h: setattr(h, "Rule", int),
        lambda h: setattr(h, "dumps", lambda value: "3"),
    ],
)
def test_what_is_set_on_an_imported_module_counts(change: Any, write: Write) -> None:
    metric = metric_of("import users_helper\nreturn users_helper.ok(e, p)")
    write(
        "users_helper",
        "from json import dumps\nW = 2\nTABLE = {'x': 2}\nmade = float('2')\n"
        "def ok(a, b=1): return W * a\ndef other(a, b=1): return W\n"
        "class Rule:\n  w = 2\n  def ok(self): return self.w\n",
    )
    metric(1, 2)
    before = of(metric)
    change(sys.modules["users_helper"])
    after = of(metric)
    assert after != before
    assert of(metric) == after
    del sys.modules["users_helper"]
    assert of(metric) == before


def test_what_a_module_notes_as_it_runs_does_not_count(write: Write) -> None:
    metric = metric_of("import users_helper\nreturn users_helper.ok(e, p)")
    write(
        "users_helper",
        "N = 0\nMEMO = {}\nSEEN = []\nWAYS = {}\nWAYS['a'] = 1\n"
        "class Rule:\n  total = 0\n  seen = []\n"
        "  def ok(self):\n    Rule.total += 1\n    self.seen.append(1)\n"
        "def ok(a, b):\n  global N\n  N += 1\n  MEMO[a] = N\n  seen = SEEN\n  seen.append(a)\n"
        "  Rule().ok()\n  from users_package import deep\n  return deep.one\n",
    )
    write("users_package/__init__", "")
    write("users_package/deep", "from json import *\none = 1\n")
    before = of(metric)
    for number in range(2):
        metric(number, 2)
        assert of(metric) == before


def test_a_users_module_with_the_name_of_one_of_pythons_is_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number, rule in enumerate(("a == b", "a != b")):
        file = tmp_path / str(number) / "profile.py"
        file.parent.mkdir()
        file.write_text(HELPER.format(body=rule, other=1))
        spec = importlib.util.spec_from_file_location("profile", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "profile", module)
        spec.loader.exec_module(module)
        found.append([of(module.ok), of(metric_of("return h.ok(e, p)", h=module)), of([module])])
    assert not set(found[0]) & set(found[1])
    monkeypatch.delitem(sys.modules, "profile")
    assert library_of("profile") == "profile"


def test_libraries_that_a_function_imports_are_told_by_version_and_missing_modules_pass() -> None:
    told = describe(metric_of("import json, numpy.linalg\nimport users_nowhere\nfrom . import x"))
    assert told["imports"]["json"] == {"~module": "json"}
    assert told["imports"]["numpy"]["~module"].startswith("numpy ")
    assert set(told["imports"]) == {"json", "numpy"}
