"""What the docs say that DSPy itself cannot run, it cannot run: without OPRO."""

import pytest
from dspy import context

from tests.compat.limits import LIMITS, Limit
from tests.compat.world import world_lm


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # CodeAct goes with DSPy 3.5
@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.title.replace("`", ""))
def test_dspy_itself_does_not_run_it(limit: Limit, capsys: pytest.CaptureFixture[str]) -> None:
    with context(lm=world_lm(), trace=[]):
        try:
            limit.run()
        except Exception as error:  # noqa: BLE001  (whatever it is, it has to say this)
            assert limit.error in str(error)
        else:
            assert limit.error in capsys.readouterr().out
