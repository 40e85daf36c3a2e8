"""What is the same has the same fingerprint in every process; what differs has another."""

import cmath
import copy
import dataclasses
import decimal
import enum
import functools
import itertools
import logging
import math
import operator
import re
import sys
import threading
import types
import weakref
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import timedelta, timezone
from functools import lru_cache, partial, singledispatch, wraps
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from struct import Struct
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar, Literal
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import dspy
import numpy as np
import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
)

from opro_dspy.boundary.gate import Gate
from opro_dspy.boundary.meter import Meter
from opro_dspy.cache import score_context
from opro_dspy.fingerprints import (
    canonical,
    describe,
    describe_adapter,
    describe_engine,
    describe_lm,
    describe_metric,
    describe_program,
    fingerprint,
)
from opro_dspy.fingerprints.credentials import clean_urls, without_credentials
from tests.fakes import scripted_lm
from tests.processes import printed

LIMIT = 3
NAMES = {"carol", "alice", "bob"}


def helper(text: str) -> bool:
    return len(text) > LIMIT and text not in NAMES


def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
    return helper(prediction.answer) or prediction.answer in {"x", "y", "z"}


class TwoStages(dspy.Module):  # type: ignore[misc]
    threshold = 0.5

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.depth = depth
        self.draft = dspy.ChainOfThought("question -> draft: list[str]")
        self.answer = dspy.Predict("draft -> answer")

    def forward(self, question: str) -> Any:
        return self.answer(draft=self.draft(question=question).draft)


class Graded(dspy.Signature):  # type: ignore[misc]
    """Grade it."""

    text: str = dspy.InputField(desc="an essay")
    grade: Literal["good", "bad"] = dspy.OutputField()


def of(value: Any) -> str:
    return fingerprint(describe(value))


def program_of(program: dspy.Module, *, free: bool = True) -> str:
    predictors = [p for _, p in program.named_predictors()] if free else []
    return fingerprint(describe_program(program, without_texts_of=predictors))


class Red:
    wave = 700


class Blue:
    wave = 450


def warm(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
    return type(prediction) in KINDS or prediction in LABELS or isinstance(prediction, Red)


def _kinds() -> list[type]:
    """Return classes with one name."""
    return [type("Kind", (), {"wave": wave}) for wave in range(8)]


KINDS = {Red, Blue, helper, metric, *_kinds()}
LABELS = np.array(["abc", "d", None, Red], dtype=object)

SCRIPT = """
import dspy
from tests.test_fingerprints import TwoStages, metric, of, program_of, warm
from tests.test_fingerprints import describe_lm, example, fingerprint
lm = dspy.LM("openai/some-model", temperature=1.0, api_key="sk-secret")
print(program_of(TwoStages()), of(metric), of(warm), of(example()), fingerprint(describe_lm(lm)))
"""


def example(**more: Any) -> dspy.Example:
    fields = {"question": "1 + 1?", "tags": {"b", "a", "c"}, "answer": "2", **more}
    return dspy.Example(**fields).with_inputs("question")


def test_fingerprints_are_the_same_in_every_process() -> None:
    found = {printed(SCRIPT, hash_seed=seed) for seed in (1, 2, 3)}
    assert len(found) == 1
    assert len(found.pop().split()) == 5


def test_each_example_field_and_the_choice_of_inputs_count() -> None:
    base = example()
    others = [
        example(question="1 + 2?"),
        example(answer=2),
        example(more=None),
        base.with_inputs("question", "answer"),
        example(answer="\ud800"),
        example(answer="\ud801"),
    ]
    found = [of(e) for e in (base, *others)]
    assert len(set(found)) == len(found)
    assert of(example()) == of(base)
    assert of(example(dspy_uuid="7")) == of(base)
    assert of(dspy.Example(a=1, b=2)) == of(dspy.Example(b=2, a=1))


def _made(source: str, **names: Any) -> Callable[..., Any]:
    space: dict[str, Any] = {"__name__": "users_module", **names}
    exec(source, space)
    made: Callable[..., Any] = space["metric"]
    return made


METRIC = "def metric(e, p, trace=None):\n    return rule(p, {limit})\n"


def test_metric_code_constants_closures_helpers_and_defaults_count() -> None:
    def with_limit(limit: float) -> Callable[..., Any]:
        return lambda e, p, trace=None: p > limit

    found = [
        of(_made(METRIC.format(limit=1), rule=lambda p, n: p > n)),
        of(_made(METRIC.format(limit=2), rule=lambda p, n: p > n)),
        of(_made(METRIC.format(limit=1), rule=lambda p, n: p >= n)),
        of(_made(METRIC.format(limit="LIMIT"), rule=lambda p, n: p > n, LIMIT=1)),
        of(_made(METRIC.format(limit="LIMIT"), rule=lambda p, n: p > n, LIMIT=2)),
        of(with_limit(1)),
        of(with_limit(2)),
        of(partial(with_limit(1), trace=None)),
        of(partial(with_limit(1), trace=1)),
        of(lambda e, p, trace=0: p > 1),
        of(lambda e, p, trace=1: p > 1),
    ]
    assert len(set(found)) == len(found)
    assert of(with_limit(1)) == found[5]
    assert describe_metric(with_limit(1)) == describe(with_limit(1))


class Judge:
    """A metric that is an object."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict

    def __call__(self, e: Any, p: Any, trace: Any = None) -> bool:
        return self._strict

    def other(self, e: Any, p: Any) -> bool:
        return not self._strict


def test_metrics_that_are_objects_or_methods_are_told_by_their_state() -> None:
    found = [of(Judge(True)), of(Judge(False)), of(Judge(True).other), of(Judge(False).other)]
    assert len(set(found)) == 4
    assert of(Judge(True)) == found[0]


def test_program_structure_counts_but_not_the_texts_that_are_optimized() -> None:
    base = program_of(TwoStages())
    changed = TwoStages()
    changed.answer.signature = changed.answer.signature.with_instructions("Other words.")
    assert program_of(changed) == base
    assert program_of(changed, free=False) != program_of(TwoStages(), free=False)
    deeper, typed, with_demo, with_lm, configured = (TwoStages() for _ in range(5))
    deeper.depth = 3
    typed.answer.signature = dspy.Signature("draft -> answer: int")
    with_demo.answer.demos = [dspy.Example(draft="a", answer="b")]
    with_lm.answer.lm = scripted_lm(lambda text: "")
    configured.answer.config = {"temperature": 0.5}
    found = [program_of(p) for p in (deeper, typed, with_demo, with_lm, configured)]
    assert len({base, *found}) == 6


def test_code_of_a_programs_class_counts() -> None:
    def program(words: str) -> dspy.Module:
        class Answering(dspy.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.answer = dspy.Predict("question -> answer")

            def forward(self, question: str) -> Any:
                return self.answer(question=question + words)

        return Answering()

    assert program_of(program("!")) == program_of(program("!"))
    assert program_of(program("!")) != program_of(program("?"))


def inverted(metric: Callable[..., float]) -> Callable[..., float]:
    @wraps(metric)
    def wrapper(*args: Any, **kwargs: Any) -> float:
        return 1.0 - metric(*args, **kwargs)

    return wrapper


def test_what_decorators_do_counts_and_what_they_wrap() -> None:
    def exact(example: Any, prediction: Any, trace: Any = None) -> float:
        return float(example.answer == prediction.answer)

    def loose(example: Any, prediction: Any, trace: Any = None) -> float:
        return float(example.answer in prediction.answer)

    variants = [exact, loose, inverted(exact), inverted(loose), inverted(inverted(exact))]
    variants += [lru_cache(exact), lru_cache(loose)]
    assert len({fingerprint(describe_metric(metric)) for metric in variants}) == len(variants)
    assert fingerprint(describe_metric(inverted(exact))) == fingerprint(
        describe_metric(inverted(exact))
    )


def test_functions_that_are_registered_later_count() -> None:
    @singledispatch
    def shown(value: Any) -> str:
        return ""

    before = fingerprint(describe_metric(shown))
    shown.register(int, lambda value: str(value))
    assert fingerprint(describe_metric(shown)) != before


def test_a_module_is_told_by_its_name_and_by_what_is_used_of_it() -> None:
    helpers = types.ModuleType("my_helpers")
    vars(helpers).update(dspy=dspy, limit=3, other=5)
    space = {"helpers": helpers, "dspy": dspy}
    metric: Any = eval("lambda e, p, trace=None: dspy.Prediction(score=helpers.limit)", space)
    before = fingerprint(describe_metric(metric))
    vars(helpers)["other"] = 6
    assert fingerprint(describe_metric(metric)) == before
    vars(helpers)["limit"] = 4
    assert fingerprint(describe_metric(metric)) != before
    assert describe_metric(SimpleNamespace(np=re))["state"] == {"np": {"~module": "re"}}


def test_a_class_is_the_same_after_one_of_its_objects_was_copied() -> None:
    class Strict:
        def __call__(self, example: Any, prediction: Any, trace: Any = None) -> float:
            return float(example.answer == prediction.answer)

    before = fingerprint(describe_metric(Strict()))
    copy.copy(Strict())
    assert fingerprint(describe_metric(Strict())) == before


def test_a_program_that_ran_is_the_same_as_before() -> None:
    program = TwoStages()
    before = program_of(program)
    program.history.append({"prompt": "x"})
    program.answer.traces.append("x")
    assert program_of(program) == before
    assert program_of(program.deepcopy()) == before


def test_signature_types_remarks_and_order_count() -> None:
    other = Graded.with_updated_fields("text", desc="a letter")
    assert of(Graded) != of(other)
    assert of(Graded) != of(Graded.with_updated_fields("grade", type_=str))


def lm_of(**options: Any) -> str:
    return fingerprint(describe_lm(dspy.LM(options.pop("model", "openai/some-model"), **options)))


def test_lm_model_parameters_and_endpoint_count_but_no_connection_settings() -> None:
    found = [
        lm_of(),
        lm_of(model="openai/other"),
        lm_of(temperature=0.5),
        lm_of(max_tokens=100),
        lm_of(api_base="http://one:80/v1"),
        lm_of(api_base="http://two:80/v1"),
        lm_of(model_type="responses"),
        lm_of(rollout_id=1, temperature=0.7),
    ]
    assert len(set(found)) == len(found)
    assert lm_of(api_key="sk-a", timeout=3, num_retries=7, cache=False) == found[0]
    assert lm_of(headers={"Authorization": "Bearer x"}) == found[0]
    assert lm_of(api_base="http://user:pass@one:80/v1/?key=abc") == found[4]


def test_an_endpoint_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = lm_of()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere.test/v1")
    lm = dspy.LM("openai/some-model")
    assert fingerprint(describe_lm(lm)) != before
    assert "elsewhere" not in canonical(describe_lm(lm))


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("openai/m", "OPENAI_API_BASE OPENAI_BASE_URL"),
        ("m", "OPENAI_API_BASE ANTHROPIC_BASE_URL COHERE_API_BASE VERTEXAI_LOCATION"),
        ("text-completion-openai/m", "OPENAI_API_BASE OPENAI_BASE_URL"),
        ("custom_openai/m", "OPENAI_API_BASE"),
        ("openai_like/m", "OPENAI_LIKE_API_BASE OPENAI_BASE_URL"),
        ("anthropic/m", "ANTHROPIC_API_BASE ANTHROPIC_BASE_URL"),
        ("anthropic_text/m", "ANTHROPIC_API_BASE"),
        ("azure/m", "AZURE_API_BASE AZURE_API_VERSION AZURE_OPENAI_ENDPOINT AZURE_OPENAI_RESOURCE"),
        ("azure/mistral-large", "OPENAI_BASE_URL"),
        ("azure_ai/m", "AZURE_AI_API_BASE AZURE_API_BASE AZURE_AI_API_VERSION"),
        ("azure_text/m", "AZURE_API_BASE AZURE_API_VERSION"),
        ("bedrock/m", "AWS_REGION AWS_REGION_NAME AWS_DEFAULT_REGION AWS_BEDROCK_RUNTIME_ENDPOINT"),
        ("bedrock-chat/m", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME AWS_ENDPOINT_URL"),
        ("cloudflare/m", "CLOUDFLARE_API_BASE CLOUDFLARE_ACCOUNT_ID"),
        ("databricks/m", "DATABRICKS_API_BASE DATABRICKS_HOST"),
        ("fireworks_ai/m", "FIREWORKS_API_BASE FIREWORKS_AI_API_BASE"),
        ("gemini/m", "GEMINI_API_BASE"),
        ("hosted_vllm/m", "HOSTED_VLLM_API_BASE OPENAI_BASE_URL"),
        ("huggingface/m", "HF_API_BASE HUGGINGFACE_API_BASE"),
        ("lm_studio/m", "LM_STUDIO_API_BASE OPENAI_BASE_URL"),
        ("ollama/m", "OLLAMA_API_BASE"),
        ("ollama_chat/m", "OLLAMA_API_BASE"),
        ("sagemaker/m", "AWS_REGION AWS_REGION_NAME"),
        ("snowflake/m", "SNOWFLAKE_ACCOUNT_ID"),
        ("vertex_ai/m", "VERTEXAI_API_BASE VERTEX_LOCATION VERTEXAI_PROJECT GOOGLE_CLOUD_PROJECT"),
        ("volcengine/m", "ARK_API_BASE VOLCENGINE_API_BASE"),
        ("watsonx/m", "WATSONX_URL WX_URL WML_URL WATSONX_REGION"),
    ],
)
def test_every_setting_that_says_where_a_provider_is_reached_counts_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, model: str, settings: str
) -> None:
    found = {lm_of(model=model)}
    for at, name in enumerate(settings.split()):
        monkeypatch.setenv(name, f"https://u:planted@elsewhere/{at}")
        found.add(lm_of(model=model))
        monkeypatch.setenv(name, f"https://u:planted@somewhere/{at}")
        found.add(lm_of(model=model))
        assert len(found) == 2 * at + 3
        monkeypatch.setenv(name, f"https://u:other@somewhere/{at}")
        assert lm_of(model=model) in found
        told = canonical(describe_lm(dspy.LM(model)))
        assert not re.search("planted|other@|where/", told)


def test_settings_of_others_and_those_that_an_lm_has_itself_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = ("openai/m", "ollama_chat/m", "anthropic/m", "groq/m")
    given = {"api_base": "http://one:80/v1"}
    before = (
        [lm_of(model=model) for model in models],
        lm_of(**given),
        lm_of(model="azure/m", **given),
    )
    others = "AZURE_API_BASE GEMINI_API_BASE AWS_REGION LLAMA_API_BASE METABASE_URL DATABASE_URL"
    for name in [*others.split(), "OPENAI_MAX_TOKENS", "OPENAI_LOG", "LITELLM_PROXY_API_BASE"]:
        monkeypatch.setenv(name, "http://x")
    assert [lm_of(model=model) for model in models] == before[0]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://x")
    assert lm_of(**given) == before[1]
    assert lm_of(model="azure/m", **given) == before[2]
    monkeypatch.setenv("AZURE_API_VERSION", "2026-01-01")
    assert lm_of(model="azure/m", **given) != before[2]


def test_what_leads_an_lm_to_another_provider_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = lm_of(model="groq/m"), lm_of(model="groq/m", custom_llm_provider="openai")
    text = lm_of(model="groq/m", model_type="text")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://x")
    assert lm_of(model="groq/m") == before[0]
    assert lm_of(model="groq/m", custom_llm_provider="openai") != before[1]
    assert lm_of(model="groq/m", model_type="text") != text
    monkeypatch.setenv("LITELLM_PROXY_API_BASE", "http://x")
    assert lm_of(model="groq/m") == before[0]
    monkeypatch.setenv("USE_LITELLM_PROXY", "true")
    assert lm_of(model="groq/m") != before[0]


def test_settings_in_the_module_litellm_count(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"model": "ollama/m", "api_base": "http://one"}
    before = lm_of(**given), lm_of(model="azure/m"), lm_of(model="vertex_ai/m"), lm_of()
    module = types.ModuleType("litellm")
    monkeypatch.setitem(sys.modules, "litellm", module)
    vars(module).update(api_version="2026-01-01", vertex_location="eu")
    assert lm_of(model="azure/m") != before[1]
    assert lm_of(model="vertex_ai/m") != before[2]
    assert lm_of() == before[3]
    vars(module).update(api_base="http://two")  # wins over Ollama's own
    assert lm_of(**given) != before[0]
    assert lm_of() != before[3]


class Engine:
    def __init__(self, url: str, api_key: str) -> None:
        self.url, self.api_key = url, api_key

    def complete(self, request: Any) -> Any:
        raise NotImplementedError


class DumpingEngine(Engine):
    def dump_state(self) -> dict[str, Any]:
        return {"url": self.url.lower(), "api_key": self.api_key}


@pytest.mark.parametrize("kind", [Engine, DumpingEngine])
def test_engine_objects_are_told_by_their_state_without_keys(kind: Any) -> None:
    def lm(url: str, key: str = "sk-planted") -> dspy.LM:
        return dspy.LM("own/model", engine=kind(url, key))

    told = canonical(describe_lm(lm("http://one")))
    assert told == canonical(describe_lm(lm("http://one", "sk-other")))
    assert told != canonical(describe_lm(lm("http://two")))
    assert "planted" not in told


def test_no_key_or_header_stands_in_the_description_of_an_lm() -> None:
    lm = dspy.LM(
        "openai/some-model",
        api_key="sk-planted",
        headers={"X-Auth": "planted"},
        extra_headers={"Authorization": "planted"},
        api_base="https://planted:planted@host/v1?api-key=planted&version=3",
        extra_body={"api_key": "planted", "kept": [{"password": "planted"}]},
        azure_endpoint="https://planted:planted@host/x?code=planted&a=1#part",
        proxies=[{"all": "http://planted@proxy:1"}],
        signing_key="planted",
        jwt="planted",
    )
    told = canonical(describe_lm(lm))
    assert "planted" not in told
    assert "kept" in told
    assert "https://host/x?a=1#part" in told
    assert "http://proxy:1" in told
    assert "https://host/v1?version=3" in told


def test_credentials_in_any_parameter_do_not_count_and_what_only_sounds_like_them_does() -> None:
    assert lm_of(proxy="http://u:one@proxy") == lm_of(proxy="http://u:two@proxy")
    assert lm_of(proxy="http://u:one@proxy") != lm_of(proxy="http://u:one@other")
    assert lm_of(together_key="one") == lm_of(together_key="two")
    assert lm_of(prompt_cache_key="one") != lm_of(prompt_cache_key="two")
    assert lm_of(stop_tokens="one") != lm_of(stop_tokens="two")


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("http://u:p@one:80/v1/?key=abc", "http://one:80/v1"),
        ("u:p@one/v1", "one/v1"),
        ("http://one/v1?a=1&sig=x&b=2;token=y", "http://one/v1?a=1&b=2"),
        ("http://u:p@w@one/v1", "http://one/v1"),
        ("http://[broken/?access_token=x", "http://[broken"),
        ("http://one/a@b?c=d@e", "http://one/a@b?c=d@e"),
        ("u:p@one/v1?api%5Fkey=x", "one/v1"),
        ("http://one?max_tokens=5&tokens=5&hf_token=x&my_sig=x", "http://one?max_tokens=5"),
    ],
)
def test_urls_lose_login_and_secret_parameters_and_nothing_else(url: str, cleaned: str) -> None:
    assert without_credentials(url) == cleaned


@pytest.mark.parametrize(
    "text", ["a://b c@d, e&key=f", 'see "http://h", "x@y"', "no url: u:p@h?key=x"]
)
def test_text_around_urls_stays(text: str) -> None:
    assert clean_urls(text) == text
    assert clean_urls(f"Why? http://u:p@h?key=x {text}") == f"Why? http://h {text}"


def test_values_of_any_kind_are_told_without_addresses_or_failure() -> None:
    class Refusing:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __repr__(self) -> str:
            raise RuntimeError

    class Guarded(dict[str, int]):
        def items(self) -> Any:
            raise NotImplementedError

    loop: list[Any] = [1]
    loop.append(loop)
    values = [
        object(), loop, float("nan"), float("inf"), 10**5000, b"\x00", 1j, range(3),
        re.compile("a"), "-".join,
        {1: 2, "a": 3}, {(1, 2): {3}}, iter([1]), Refusing(), Guarded(),
        int, list[int], Literal["a"], len, "".join, str.join, type(None), ..., print, dspy.Image,
        1, True, 1.0, "1", "\udfff\x00",
    ]  # fmt: skip
    told = [canonical(describe(value)) for value in values]
    assert not re.search("0x[0-9a-f]{6}", "".join(told).replace(hex(10**5000), ""))
    assert len(set(told)) == len(told)


def scaled(factor: float) -> Callable[[Any], Any]:
    def decorator(function: Any) -> Any:
        @functools.wraps(function)
        def inner(*args: Any, **options: Any) -> Any:
            return factor * function(*args, **options)

        return inner

    return decorator


def capped(function: Any) -> Any:
    @functools.wraps(function)
    def inner(*args: Any, **options: Any) -> Any:
        return min(1, function(*args, **options))

    return inner


class Twice:
    def __init__(self, function: Any, times: int = 2) -> None:
        functools.update_wrapper(self, function)
        self.times = times

    def __call__(self, *args: Any) -> Any:
        return self.times * self.__wrapped__(*args)  # type: ignore[attr-defined]


def always(e: Any, p: Any, trace: Any = None) -> float:
    return 1.0


def never(e: Any, p: Any, trace: Any = None) -> float:
    return 0.0


def test_every_decorator_of_a_metric_counts() -> None:
    found = [
        of(always),
        of(never),
        of(scaled(2)(always)),
        of(scaled(3)(always)),
        of(scaled(2)(never)),
        of(capped(always)),
        of(capped(scaled(2)(always))),
        of(scaled(2)(capped(always))),
        of(Twice(always)),
        of(Twice(always, 3)),
        of(Twice(never)),
        of(functools.lru_cache(always)),
        of(functools.lru_cache(never)),
    ]
    assert len(set(found)) == len(found)
    assert of(scaled(2)(always)) == found[2]


def test_a_decorated_forward_counts() -> None:
    def program(decorator: Callable[[Any], Any]) -> dspy.Module:
        class Answering(dspy.Module):  # type: ignore[misc]
            @decorator
            def forward(self, question: str) -> Any:
                return question

        return Answering()

    found = [
        program_of(program(d)) for d in (scaled(2), scaled(3), capped, lambda forward: forward)
    ]
    assert len(set(found)) == 4
    assert program_of(program(scaled(2))) == found[0]


def library(source: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a module that passes for one of an installed package."""
    made = types.ModuleType("dspy.made_up")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec(source, made.__dict__)
    return made


REMEMBERING = """
import functools
def remembered(function, times=1):
    memory, calls = {}, 0
    @functools.wraps(function)
    def inner(*args):
        nonlocal calls
        calls += 1
        if args not in memory:
            memory[args] = times * function(*args)
        return memory[args]
    return inner
@remembered
def plain(*args):
    return 1
"""


def test_a_decorator_of_a_library_counts_without_what_it_remembers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = library(REMEMBERING, monkeypatch)
    found = [of(always), of(made.remembered(always)), of(made.remembered(always, 2))]
    found += [of(made.remembered(never)), of(made.plain)]
    assert len(set(found)) == len(found)
    wrapped = made.remembered(always)
    wrapped(1, 2)
    assert of(wrapped) == found[1]
    assert describe(made.plain)["name"] == "dspy.made_up.plain"


def test_an_adapter_whose_methods_dspy_wraps_is_told_by_their_code() -> None:
    def adapter(words: str) -> Any:
        class Own(dspy.ChatAdapter):  # type: ignore[misc]
            def format(self, signature: Any, demos: Any, inputs: Any) -> Any:
                return [{"role": "user", "content": words}]

        return Own()

    assert of(adapter("a")) == of(adapter("a")) != of(adapter("b"))


def test_each_function_of_a_singledispatch_counts_but_no_call_of_it() -> None:
    @functools.singledispatch
    def rated(value: Any) -> int:
        return 0

    before = of(rated)
    rated(1.0)
    assert of(rated) == before
    rated.register(int, lambda value: 1)
    one = of(rated)
    rated.register(int, lambda value: 2)
    assert len({before, one, of(rated)}) == 3


def test_metrics_without_a_module_are_told_by_their_code() -> None:
    def bare(limit: int) -> Any:
        space: dict[str, Any] = {}
        exec(f"def metric(e, p): return p > {limit}", space)
        return space["metric"]

    assert of(bare(1)) == of(bare(1)) != of(bare(2))


def user_module(name: str, source: str, **held: Any) -> Any:
    module = types.ModuleType(name)
    vars(module).update(held)
    exec(source, vars(module))
    return module


def test_modules_are_told_by_name_wherever_they_stand() -> None:
    def helpers(limit: int, name: str = "users_helpers") -> Any:
        source = f"import dspy, os, sys\ndef right(p):\n    return os.path and p > {limit}\n"
        return user_module(name, source)

    source = "def metric(e, p):\n    return dspy.Prediction(score=helpers.right(p), os=p.os)\n"
    told = describe(_made(source, helpers=helpers(1), dspy=dspy))
    assert len(canonical(told)) < 3_000
    assert canonical(told) == canonical(describe(_made(source, helpers=helpers(1), dspy=dspy)))
    assert canonical(told) != canonical(describe(_made(source, helpers=helpers(2), dspy=dspy)))
    assert len(canonical(describe({"np": np, "own": helpers(1)}))) < 200


def test_what_is_used_of_a_package_of_the_users_counts_at_any_depth() -> None:
    def metric_of(limit: int) -> Any:
        inner = user_module("users_package.rules", f"def right(p):\n    return p > {limit}\n")
        package = user_module("users_package", "", rules=inner)
        inner.package = package
        return _made("def metric(e, p):\n    return package.rules.right(p)\n", package=package)

    assert of(metric_of(1)) == of(metric_of(1)) != of(metric_of(2))


def test_a_global_with_the_name_of_an_attribute_does_not_count() -> None:
    source = "def metric(e, p, trace=None):\n    return e.answer == p.answer\n"
    assert of(_made(source)) == of(_made(source, answer="a later cell of a notebook"))
    read = "def metric(e, p, trace=None):\n    return e.answer == answer\n"
    assert of(_made(read, answer=1)) != of(_made(read, answer=2))


class Colour(enum.Flag):
    RED = 1
    BLUE = 2


def test_what_the_process_itself_changes_does_not_count() -> None:
    logger, local = logging.getLogger("tests.fingerprints"), threading.local()
    weak: Any = weakref.WeakValueDictionary()
    held = [logger, local, weak, weakref.WeakSet(), Colour]
    before = of(held)
    logger.setLevel(logging.DEBUG)
    logger.addHandler(logging.NullHandler())
    local.value = 1
    red = Red()
    weak["a"] = red
    held[3].add(red)
    assert ~Colour.RED | Colour.RED
    assert of(held) == before
    assert of(logger) != of(logging.getLogger("tests.other"))


def test_members_and_values_of_an_enum_count() -> None:
    def kind(low: int) -> Any:
        return enum.Enum("Grade", {"LOW": low, "HIGH": 9})

    found = [of(k) for k in (kind(1), kind(2), kind(1).LOW, kind(2).LOW, kind(1).HIGH)]
    assert len(set(found)) == len(found)
    assert of(Colour.RED | Colour.BLUE) == of(Colour(3)) != of(Colour.RED)


def test_a_predictor_is_the_same_after_it_was_loaded_from_its_own_file(tmp_path: Path) -> None:
    program = dspy.Predict("question -> answer")
    program.demos = [dspy.Example(question="a", answer="b").with_inputs("question")]
    before = program_of(program)
    program.save(str(tmp_path / "program.json"))
    program.load(str(tmp_path / "program.json"))
    assert program_of(program) == before
    program.demos = []
    assert program_of(program) != before


@pytest.mark.parametrize("kind", [dspy.Refine, dspy.BestOfN])
def test_a_program_that_retries_is_the_same_after_failures(kind: Any) -> None:
    program = kind(TwoStages(), N=2, reward_fn=always, threshold=1.0)
    before = program_of(program)
    program.fail_count -= 1
    assert program_of(program) == before
    program.threshold = 0.5
    assert program_of(program) != before


class CountingEngine:
    total = 0
    temperature = 0.5

    def __init__(self, seed: int) -> None:
        self.seed, self.calls = seed, 0
        self.log: list[Any] = []

    def complete(self, request: Any) -> Any:
        self.calls += 1
        type(self).total += 1
        self.log.append(request)


class HotEngine(CountingEngine):
    temperature = 1.0


def test_what_an_engine_counts_does_not_count_but_its_arguments_do() -> None:
    def engine_of(engine: Any) -> str:
        return fingerprint(describe_engine(dspy.LM("own/model", engine=engine)))

    engine = CountingEngine(1)
    before = engine_of(engine)
    engine.complete("x")
    assert engine_of(engine) == before
    found = [before, engine_of(CountingEngine(2)), engine_of(HotEngine(1))]
    assert len(set(found)) == 3


class CountingLM(dspy.BaseLM):  # type: ignore[misc]
    """An LM of one's own with counters that anybody may read."""

    def __init__(self, model: str, scale: float = 1.0) -> None:
        super().__init__(model)
        self.scale, self.calls, self.seen = scale, 0, list[str]()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        self.seen.append(repr(args))


def test_what_an_lm_of_ones_own_counts_does_not_count_but_its_arguments_do() -> None:
    lm = CountingLM("mine/lm")
    before = describe_lm(lm)
    lm.forward("Hello")
    assert describe_lm(lm) == before
    assert describe_lm(CountingLM("mine/lm", scale=2.0)) != before


def test_members_count_whatever_their_names() -> None:
    def of_class(base: type, **members: Any) -> str:
        return of(type("Held", (base,), {"__module__": "users_module", **members}))

    for base in (object, BaseModel):
        plain = of_class(base)
        assert of_class(base, model_score=lambda self: 1) != plain
        assert of_class(base, model_score=lambda self: 1) != of_class(
            base, model_score=lambda self: 2
        )
    lower, upper = (ConfigDict(str_to_lower=flag) for flag in (True, False))
    assert of_class(BaseModel, model_config=lower) != of_class(BaseModel, model_config=upper)


def test_signatures_that_dspy_made_are_told_by_their_fields_and_instructions() -> None:
    lenient, strict = (dspy.Signature("answer -> ok", text) for text in ("Lenient.", "Strict."))
    found = [of(lenient), of(strict), of(dspy.Signature("answer -> ok: bool", "Lenient."))]
    found.append(of(lenient.with_instructions("Else.")))
    assert len(set(found)) == len(found)
    assert of(dspy.Signature("answer -> ok", "Lenient.")) == found[0]


def test_sets_and_object_arrays_are_told_by_their_items() -> None:
    def first(p: Any) -> int:
        return 1

    def second(p: Any) -> Any:
        return first(p)

    assert of({first, second}) == of({second, first}) != of({first})
    arrays = [np.array(items, dtype=object) for items in (["a", None], ["b", None], [first, None])]
    assert len({of(array) for array in arrays}) == 3
    assert of(arrays[0]) == of(arrays[0].copy())


def test_tables_are_told_by_their_data() -> None:
    pd = pytest.importorskip("pandas")

    def frame(*values: Any, **options: Any) -> Any:
        return pd.DataFrame({"a": list(values)}, **options)

    tables = [frame(1, 2), frame(1, 3), frame(1.0, 2.0), frame(1, 2, index=[1, 1])]
    tables += [frame(1, 2).rename(columns={"a": "b"})]
    found = [of(table) for table in tables] + [of(table["a"]) for table in tables[:4]]
    assert len(set(found)) == len(found)
    used = frame(1, 2)
    used.describe(), used["a"].sum()
    assert of(used) == found[0]


class Hidden:
    def __init__(self, limit: int) -> None:
        self.__limit = limit
        self._calls = 0

    def __call__(self, e: Any, p: Any) -> bool:
        self._calls += 1
        return bool(p > self.__limit)

    @functools.cached_property
    def table(self) -> list[int]:
        return [1]


def test_private_arguments_count_and_other_private_state_does_not() -> None:
    judge = Hidden(1)
    before = of(judge)
    assert judge(None, 2) and judge.table
    assert of(judge) == before != of(Hidden(2))


def test_a_dict_that_grows_meanwhile_can_be_told() -> None:
    table: dict[Any, Any] = {}

    class Growing:
        def dump_state(self) -> int:
            table[len(table)] = 0
            return 1

    table.update(a=Growing(), b=Growing())
    assert of(table)


OWN_LM = """
import dspy
API_KEY = "sk-planted"
def answered(text):
    return text * {times}
class Own(dspy.{base}):
    api_key = "sk-planted"
    total = 0
    def __init__(self, model="my/model", prefix="", table=None):
        super().__init__(model)
        self._prefix, self.calls = prefix, 0
    def __call__(self, prompt=None, messages=None, **options):
        self.calls += 1
        Own.total += 1
        return [answered(self._prefix + "{words}" + API_KEY[:0])]
"""


def own_lm(base: str = "BaseLM", *, times: int = 1, words: str = "", **options: Any) -> Any:
    space: dict[str, Any] = {"__name__": "users_module"}
    exec(OWN_LM.format(base=base, times=times, words=words), space)
    return space["Own"](**options)


@pytest.mark.parametrize("base", ["BaseLM", "LM"])
def test_an_lm_class_of_ones_own_is_told_by_its_code_and_its_lms_by_their_state(base: str) -> None:
    def told(**options: Any) -> str:
        return fingerprint(describe_lm(own_lm(base, **options)))

    found = [told(), told(words="a"), told(times=2), told(prefix="a"), told(model="my/other")]
    assert len(set(found)) == len(found)
    assert told() == found[0]


@pytest.mark.parametrize("base", ["BaseLM", "LM"])
def test_a_watched_lm_is_the_one_that_the_user_gave_and_calls_change_nothing(base: str) -> None:
    lm = own_lm(base)
    before = describe_lm(lm)
    gates = [Gate(Meter(), max_in_flight=1) for _ in range(2)]
    watched = gates[1].watch(gates[0].watch(lm))
    assert describe_lm(watched) == before == describe_lm(lm.copy())
    assert of(SimpleNamespace(lm=watched)) == of(SimpleNamespace(lm=lm))
    lm("hi")
    assert (lm.calls, type(lm).total) == (1, 1)
    assert describe_lm(lm) == before
    assert "planted" not in canonical(before)


class BusyLM(dspy.BaseLM):  # type: ignore[misc]
    """An LM of one's own that keeps books, and has texts that are set before it is used."""

    seen: ClassVar[set[str]] = set()

    def __init__(self, model: str = "mine/lm", style: str = "", weights: Any = None) -> None:
        super().__init__(model)
        self.stats, self.memo, self.counter = {"calls": 0}, dict[str, int](), Counter[str]()
        self.models, self.recent = set[str](), deque[str]()
        self.last: Any = None
        self.client: Any = None
        self.options, self.weights = {"style": style}, weights or {}
        self.templates: dict[str, str] = {}

    def forward(self, prompt: Any = None, messages: Any = None, **options: Any) -> Any:
        self.stats["calls"] += 1
        self.client = self.client or object()
        self.last = f"{prompt}"
        options["style"] = self.options["style"], self.templates.get("a")
        self._note(self.last)

    def _note(self, text: str) -> None:
        memo = self.memo
        memo[text] = len(memo)
        self.counter[text] += 1
        self.models.add(text)
        self.seen.add(text)
        self.recent.append(text)
        self.weights["used"] = 1

    def teach(self, name: str, text: str) -> None:
        self.templates[name] = text


def test_what_a_call_changes_of_an_lm_does_not_count_and_all_else_does() -> None:
    lm = BusyLM()
    before = describe_lm(lm)
    lm.forward("Hello")
    lm.weights = {}
    assert describe_lm(lm) == before
    taught, weighed, styled = BusyLM(), BusyLM(weights={"a": 1}), BusyLM(style="short")
    taught.teach("a", "Be short.")
    others = [canonical(describe_lm(other)) for other in (taught, weighed, styled)]
    assert len({canonical(before), *others}) == 4


class BusyEngine:
    totals: ClassVar[dict[str, int]] = {}

    def __init__(self) -> None:
        self.by_model: dict[str, list[int]] = {}
        self.table = {"a": 1}

    def complete(self, request: Any) -> Any:
        self.by_model.setdefault("m", []).append(self.table["a"])
        self.totals["calls"] = self.totals.get("calls", 0) + 1


def test_what_a_call_changes_of_an_engine_does_not_count_and_all_else_does() -> None:
    engine = BusyEngine()
    lm = dspy.LM("own/model", engine=engine)
    before = describe_engine(lm)
    engine.complete("x")
    assert describe_engine(lm) == before
    engine.table["a"] = 2
    assert describe_engine(lm) != before


class Counting(dspy.utils.callback.BaseCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.calls = 0


def test_callbacks_of_an_adapter_do_not_count_but_its_options_do() -> None:
    callback = Counting()
    adapter = dspy.ChatAdapter(callbacks=[callback])
    before = of(adapter)
    callback.calls += 1
    assert of(adapter) == before == of(dspy.ChatAdapter())
    assert of(dspy.ChatAdapter(use_native_function_calling=True)) != before
    assert of(dspy.JSONAdapter()) != before


def test_no_adapter_is_the_one_that_dspy_uses_then() -> None:
    none, default = describe_adapter(None), describe_adapter(dspy.ChatAdapter())
    assert none == default
    others = [dspy.ChatAdapter(use_native_function_calling=True), dspy.JSONAdapter()]
    assert all(describe_adapter(other) != none for other in others)
    with dspy.context(adapter=dspy.ChatAdapter()):
        explicit = score_context(TwoStages(), free=[], scorer_lm=None, metric=always)
    with dspy.context(adapter=None):
        assert score_context(TwoStages(), free=[], scorer_lm=None, metric=always) == explicit


def test_logging_handlers_are_told_by_their_type(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log", delay=True)
    before = of(handler)
    handler.emit(logging.LogRecord("a", 10, "b", 1, "m", (), None))
    handler.close()
    assert of(handler) == before != of(logging.NullHandler())


def test_items_that_look_the_same_and_lead_back_to_their_set_can_be_told() -> None:
    class Node:
        def __init__(self, others: set[Any]) -> None:
            self.others = others

    nodes: set[Any] = set()
    nodes |= {Node(nodes), Node(nodes)}
    assert of(nodes)


# What a metric or program holds


class Doubled(dict[str, float]):
    def __missing__(self, key: str) -> float:
        return 2.0


class Halved(dict[str, float]):
    def __missing__(self, key: str) -> float:
        return 0.5


class Everything(set[int]):
    def __contains__(self, item: object) -> bool:
        return True


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    kind: str = "q"


@dataclasses.dataclass
class Point:
    x: int = 0

    @functools.cached_property
    def size(self) -> int:
        return abs(self.x)


def beside(note: int) -> Point:
    made = Point()
    made.note = note  # type: ignore[attr-defined]
    return made


class Lowering(type):
    def __call__(cls, text: str) -> str:
        return text.lower()


class Raising(type):
    def __call__(cls, text: str) -> str:
        return text.upper()


def chain(length: int, last: str) -> Any:
    """Return the first of so many functions that call each other."""
    lines = [f"def f{i}(a, b): return f{i + 1}(a, b)\n" for i in range(length)]
    space: dict[str, Any] = {"__name__": "users_module"}
    exec("".join([*lines, f"def f{length}(a, b): return {last}\n"]), space)
    return space["f0"]


def nested(value: Any, depth: int = 300) -> Any:
    for _ in range(depth):
        value = {"a": value}
    return value


def linked(value: Any, length: int = 50) -> Any:
    """Return the first of so many objects, each of which holds the next one."""
    for _ in range(length):
        value = SimpleNamespace(next=value)
    return value


HELD: dict[str, list[Any]] = {
    "operators": [
        *(operator.itemgetter("a"), operator.itemgetter("b"), operator.attrgetter("a")),
        *(operator.methodcaller("lower"), operator.methodcaller("upper")),
    ],
    "mappings": [
        *(Doubled(a=1), Halved(a=1), Doubled(a=2), {"a": 1}, MappingProxyType({"a": 1})),
        *(defaultdict(lambda: 1, a=1), defaultdict(lambda: 2, a=1), Counter({"a": 1})),
        *(OrderedDict(a=1, b=2), OrderedDict(b=2, a=1), {"a": 1}.keys(), {"b": 1}.keys()),
        *({"a": 1, "b": 2}, {"b": 2, "a": 1}, {1: 2, 3: 4}, {3: 4, 1: 2}, {"~order": ["b", "a"]}),
        *({"a": 1, "b": 2}.keys(), {"b": 1, "a": 2}.keys(), [{"a": {"c": 1, "b": 2}}]),
        [{"a": {"b": 2, "c": 1}}],
        *({"a": 1}.values(), {"a": 2}.values(), {"a": 1}.items(), {"a": 2}.items()),
        *({"~set": [1]}, {"~value": "1j"}, 1j),
    ],
    "sets": [Everything([1]), {1}, {2}, frozenset({1})],
    "sequences": [
        *(deque([1]), deque([2]), deque([1], 2), array("i", [1]), array("i", [2])),
        *(array("b", [1]), bytes(1), bytearray(1), (1, 2), [1, 2], [(1, 2)], [[1, 2]]),
    ],
    "values": [
        *(timezone.utc, timezone(timedelta(hours=3)), ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")),
        *(ip_address("10.0.0.1"), ip_address("10.0.0.2"), ip_network("10.0.0.0/8")),
        *(ip_network("10.0.0.0/16"), Struct("i"), Struct("q"), float("nan"), "nan"),
        *(re.compile("a" * 300 + "b"), re.compile("a" * 300 + "c"), math.exp, cmath.exp),
    ],
    "insides": [
        *(decimal.Context(prec=2), decimal.Context(prec=3), decimal.Context(2, traps=[])),
        *(ElementTree.fromstring(text) for text in ("<a>1</a>", "<a>2</a>", "<a><b/></a>")),
        ElementTree.ElementTree(ElementTree.fromstring("<a>1</a>")),
        *(functools.cmp_to_key(f) for f in (lambda a, b: a - b, lambda a, b: b - a)),
        *(itertools.repeat(1), itertools.repeat(2)),
    ],
    "models": [Loose(n=1), Loose(n=2), Loose(), beside(1), beside(2), Point()],
    "metaclasses": [Lowering("K", (), {}), Raising("K", (), {})],
    "chains": [chain(n, last) for n in (26, 200) for last in ("a == b", "a != b")],
    "depths": [nested(1), nested(2), linked(1), linked(2), linked(nested(1)), linked(nested(2))],
}


@pytest.mark.parametrize("values", HELD.values(), ids=HELD.keys())
def test_all_that_shows_of_what_a_metric_or_program_holds_counts(values: list[Any]) -> None:
    def holding(value: Any) -> Callable[..., Any]:
        return lambda example, prediction, trace=None: (value, prediction)

    def program(value: Any) -> dspy.Module:
        made = TwoStages()
        made.held = [value]
        return made

    for found in ([of(holding(v)) for v in values], [program_of(program(v)) for v in values]):
        counts = Counter(found)
        assert [v for v, key in zip(values, found, strict=True) if counts[key] > 1] == []
        assert found[0] in (of(holding(values[0])), program_of(program(values[0])))


def weighed(e: Any, p: Any, trace: Any = None) -> Any:
    weighed.calls += 1  # type: ignore[attr-defined]
    return weighed.weight  # type: ignore[attr-defined]


def test_attributes_of_a_function_count_but_not_those_that_it_sets() -> None:
    held: Any = weighed
    held.calls, held.weight, held._seen = 0, 1.0, [0]
    before = of(weighed)
    weighed(None, None)
    held._seen.append(1)
    assert held.calls == 1
    assert of(weighed) == before
    held.weight = 0.5
    assert of(weighed) != before


def test_what_a_decorator_counts_on_the_function_it_wraps_does_not_count() -> None:
    def counted(function: Any) -> Any:
        def inner(*args: Any) -> Any:
            function.calls = getattr(function, "calls", 0) + 1
            return function(*args)

        return inner

    metric = counted(lambda e, p: 1.0)
    before = of(metric)
    metric(1, 2)
    assert of(metric) == before


def test_what_such_an_object_notes_as_it_is_used_does_not_count() -> None:
    context, ones = decimal.Context(prec=2), itertools.repeat(1, 3)
    before = of([context, ones])
    context.divide(decimal.Decimal(1), decimal.Decimal(3))
    next(ones)
    assert of([context, ones]) == before


def test_locks_loggers_and_private_state_of_what_a_metric_holds_do_not_count() -> None:
    judge, point, lock = Hidden(1), Point(3), threading.Lock()
    held = [judge, point, lock, logging.getLogger("tests.held"), threading.Event()]
    before = of(held)
    judge(None, 2)
    held[4].set()  # type: ignore[attr-defined]
    point._memo = {"a": 1}  # type: ignore[attr-defined]
    assert point.size == 3
    with lock:
        assert of(held) == before


def test_objects_that_hold_each_other_far_around_are_told() -> None:
    def ring(value: int) -> Any:
        nodes = [SimpleNamespace(value=0) for _ in range(60)]
        for one, two in pairwise([*nodes, nodes[0]]):
            one.next, two.before = two, one
        nodes[50].value = value
        return nodes[0]

    assert of(ring(1)) == of(ring(1)) != of(ring(2))


def test_objects_with_many_ways_to_each_other_are_told_in_time() -> None:
    def grid(value: int) -> Any:
        nodes = {(x, y): SimpleNamespace(value=0, near=[]) for x in range(12) for y in range(12)}
        for (x, y), node in nodes.items():
            near = [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]
            node.near = [nodes[place] for place in near if place in nodes]
        nodes[11, 11].value = value
        return nodes[0, 0]

    assert of(grid(1)) == of(grid(1)) != of(grid(2))


def test_whether_two_attributes_are_one_object_does_not_count() -> None:
    one, two = SimpleNamespace(a=1), SimpleNamespace(a=1)
    assert of([one, one]) == of([one, two])
