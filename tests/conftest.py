"""One hypothesis profile for all tests, and DSPy's cache in a folder of the run's own."""

import os
import signal
import tempfile

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"
os.environ["DSPY_CACHEDIR"] = tempfile.mkdtemp(prefix="opro_dspy_tests_")

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored when run in the background


@pytest.fixture(autouse=True)
def _cache_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep tests away from the user's cache folder, and from what other tests left in theirs."""
    monkeypatch.setenv("OPRO_DSPY_CACHE_DIR", str(tmp_path_factory.mktemp("cache") / "opro"))


@pytest.fixture(autouse=True)
def _no_lm_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep provider keys of the machine away from the tests."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
