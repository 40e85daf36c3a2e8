"""One hypothesis profile for all tests, and DSPy's cache in a folder of the run's own."""

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads are in the way of the other worker
os.environ["OPRO_DSPY_CACHE_DIR"] = "off"  # the user's stays as it is; tests of caches name theirs
os.environ["DSPY_CACHEDIR"] = tempfile.mkdtemp(prefix="opro_dspy_tests_")

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored when run in the background


TOGETHER = {
    "litellm": ("litellm", "/test_endpoints.py", "no_header_travels", "_a_cap_ends_says"),
    "mlflow": ("/test_mlflow.py",),
    "executors": ("/test_executors.py",),
    "package": ("/test_package.py",),
    "processes": ("tests/test_processes.py",),
}
"""Words in the names of tests that one worker runs: they share an import or a fixture of 5 s."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests one by one, but those that belong together to one worker."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            groups = (g for g, words in TOGETHER.items() if any(word in nodeid for word in words))
            return next(groups, nodeid)

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for in tests while an LM stays away."""
    monkeypatch.setattr("opro_dspy.outages.PAUSE_S", 0.0)


@pytest.fixture(autouse=True)
def _no_lm_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep provider keys of the machine away from the tests."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a library set up for the whole process while a test ran it."""
    loggers = [logging.getLogger(name) for name in (None, "opro_dspy", "dspy")]
    before = [(logger, logger.level, logger.disabled) for logger in loggers]
    yield
    for logger, level, disabled in before:
        logger.setLevel(level)
        logger.disabled = disabled
