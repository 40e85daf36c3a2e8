"""The docs say of compatibility what the tests run, and no more."""

import re

from tests.compat.adapters import ADAPTERS
from tests.compat.kinds import KINDS
from tests.compat.limits import LIMITS
from tests.compat.table import PAGE, page


def test_the_page_is_what_the_tests_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.compat.table`"


def test_every_row_has_one_test_case_and_every_case_a_row() -> None:
    rows = re.findall(r"^\| (.+?) \|", PAGE.read_text(encoding="utf-8"), flags=re.M)
    heads = ["Program", "Adapter", "What", *["---"] * 3]
    cases = [case.title for case in (*KINDS, *ADAPTERS, *LIMITS)]
    assert len(set(cases)) == len(cases)
    assert sorted(rows) == sorted([*cases, *heads])
