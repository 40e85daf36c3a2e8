"""One compile for each kind of program, which several tests look at."""

import pytest

from tests.compat.kinds import KINDS
from tests.compat.running import Run, optimized, students
from tests.compat.world import world_lm
from tests.fakes import word_optimizer


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.title.replace("`", ""))
def run(request: pytest.FixtureRequest) -> Run:
    student, lm, author = students(request.param), world_lm(), word_optimizer()
    program = optimized(request.param, student, lm, prompt_model=author)
    return Run(kind=request.param, student=student, program=program, lm=lm, author=author)
