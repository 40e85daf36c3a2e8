"""Two servers behind one model name never share answers, whatever engine DSPy takes."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import dspy
import pytest

import opro_dspy
from opro_dspy.boundary.answers import Answers
from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import SCORER, Meter
from opro_dspy.cache import CacheDir, DiskStore
from tests.http_server import ChatServer

pytestmark = pytest.mark.filterwarnings("ignore")  # LiteLLM's own, e.g. of pydantic

_NUMBERS = itertools.count()


@pytest.fixture
def servers() -> Iterator[tuple[ChatServer, ChatServer]]:
    one = ChatServer(lambda text: f"one says {text} \x1b[31m\u2028")
    two = ChatServer(lambda text: f"two says {text}")
    with one.running(), two.running():
        yield one, two


def lm_of(server: ChatServer, engine: str) -> dspy.LM:
    options = {"temperature": 1.0, "api_key": "sk-planted-0123456789", "num_retries": 0}
    return dspy.LM("openai/same-model", api_base=server.url, engine=engine, **options)


@pytest.mark.parametrize("engine", ["lm15", "litellm"])
def test_two_endpoints_never_share_answers(
    tmp_path: Path, servers: tuple[ChatServer, ChatServer], engine: str
) -> None:
    one, two = servers
    word = f"{engine} {next(_NUMBERS)}"
    store = DiskStore(CacheDir(path=tmp_path))
    for _ in range(2):
        gate = Gate(Meter(), answers=Answers(store), max_in_flight=4)
        watched = [gate.watch(lm_of(server, engine)) for server in servers]
        with gate.meter.role(SCORER):
            found = [lm(word)[0] for lm in watched]
        assert found == [f"one says {word} \x1b[31m\u2028", f"two says {word}"]
    assert (one.requests, two.requests) == (1, 1)
    assert gate.meter.total(SCORER).cache_hits == 2
    assert opro_dspy.cached(lm_of(two, engine), cache_dir=tmp_path)(word) == [f"two says {word}"]
    one_again = opro_dspy.cached(lm_of(one, engine), cache_dir=tmp_path)
    assert asyncio.run(one_again.acall(word)) == [found[0]]
    assert (one.requests, two.requests) == (1, 1)


@pytest.mark.parametrize(
    ("provider", "setting"),
    [
        ("openai", "OPENAI_API_BASE"),
        ("openai", "OPENAI_BASE_URL"),
        ("custom_openai", "OPENAI_BASE_URL"),
        ("hosted_vllm", "HOSTED_VLLM_API_BASE"),
        ("xinference", "OPENAI_BASE_URL"),
        ("openai", "litellm.api_base"),
    ],
)
def test_two_endpoints_that_the_environment_or_litellm_names_never_share_answers(
    tmp_path: Path,
    servers: tuple[ChatServer, ChatServer],
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    setting: str,
) -> None:
    if setting == "OPENAI_BASE_URL":  # of which LiteLLM takes this one first
        monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:1/v1")
    for server, name in zip(servers, ("one", "two"), strict=True):
        if setting.startswith("litellm"):
            monkeypatch.setattr(setting, server.url)
        else:
            monkeypatch.setenv(setting, server.url)
        options = {"engine": "litellm", "api_key": "sk-planted-0123456789", "num_retries": 0}
        lm = opro_dspy.cached(dspy.LM(f"{provider}/same-model", **options), cache_dir=tmp_path)
        assert lm(setting)[0].startswith(f"{name} says")


@pytest.mark.parametrize("engine", ["lm15", "litellm"])
def test_histories_of_hits_look_like_those_of_dspys_own(
    tmp_path: Path, servers: tuple[ChatServer, ChatServer], engine: str
) -> None:
    lm = opro_dspy.cached(lm_of(servers[0], engine), cache_dir=tmp_path)
    word = f"{engine} {next(_NUMBERS)}"
    lm(word)
    plain = lm_of(servers[0], engine)
    plain(word)
    lm(word)
    ours, theirs = lm.history[-1], plain.history[-1]
    for name in ("outputs", "usage", "cost", "model", "response_model", "model_type", "kwargs"):
        assert ours[name] == theirs[name], name
    assert servers[0].requests == 1
