"""The docs say of compatibility what the tests run, and no more."""

import ast
import re
from pathlib import Path

import pytest

from tests.compat.adapters import ADAPTERS
from tests.compat.ecosystem import ECOSYSTEM
from tests.compat.kinds import KINDS
from tests.compat.limits import LIMITS
from tests.compat.table import PAGE, page


def test_the_page_is_what_the_tests_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.compat.table`"


def test_every_row_has_one_test_case_and_every_case_a_row() -> None:
    rows = re.findall(r"^\| (.+?) \|", PAGE.read_text(encoding="utf-8"), flags=re.M)
    heads = ["Program", "Adapter", "What", "With", *["---"] * 4]
    cases = [case.title for case in (*KINDS, *ADAPTERS, *LIMITS, *ECOSYSTEM)]
    assert len(set(cases)) == len(cases)
    assert sorted(rows) == sorted([*cases, *heads])


@pytest.mark.parametrize("test", [test for row in ECOSYSTEM for test in row.tests])
def test_what_a_row_of_the_ecosystem_rests_on_is_a_test(test: str) -> None:
    file, name = test.split("::")
    path = Path(__file__).parents[1] / f"{file}.py"
    functions = ast.parse(path.read_text(encoding="utf-8")).body
    assert f"test_{name}" in {f.name for f in functions if isinstance(f, ast.FunctionDef)}
