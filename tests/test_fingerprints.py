"""What is the same has the same fingerprint in every process; what differs has another."""

import copy
import re
import subprocess
import sys
import types
from collections.abc import Callable
from functools import lru_cache, partial, singledispatch, wraps
from types import SimpleNamespace
from typing import Any, Literal

import dspy
import pytest

from opro_dspy.fingerprints import (
    canonical,
    describe,
    describe_example,
    describe_lm,
    describe_metric,
    describe_program,
    fingerprint,
)
from opro_dspy.fingerprints.credentials import clean_urls, without_credentials
from tests.fakes import scripted_lm

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


SCRIPT = """
import dspy
from tests.test_fingerprints import TwoStages, metric, of, program_of
from tests.test_fingerprints import describe_lm, example, fingerprint
lm = dspy.LM("openai/some-model", temperature=1.0, api_key="sk-secret")
print(program_of(TwoStages()), of(metric), of(example()), fingerprint(describe_lm(lm)))
"""


def example(**more: Any) -> dspy.Example:
    fields = {"question": "1 + 1?", "tags": {"b", "a", "c"}, "answer": "2", **more}
    return dspy.Example(**fields).with_inputs("question")


def test_fingerprints_are_the_same_in_every_process() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop().split()) == 4


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


def test_a_global_with_the_name_of_an_attribute_does_not_count() -> None:
    space: dict[str, Any] = {}
    metric: Any = eval("lambda e, p, trace=None: float(e.answer == p.answer)", space)
    before = fingerprint(describe_metric(metric))
    space["answer"] = "17"
    assert fingerprint(describe_metric(metric)) == before


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

    loop: list[Any] = [1]
    loop.append(loop)
    values = [
        object(), loop, float("nan"), float("inf"), 10**5000, b"\x00", 1j, range(3),
        re.compile("a"), "-".join,
        {1: 2, "a": 3}, {(1, 2): {3}}, iter([1]), Refusing(), int, list[int], Literal["a"], len,
        "".join, str.join, type(None), ..., print, dspy.Image, 1, True, 1.0, "1", "\udfff\x00",
    ]  # fmt: skip
    told = [canonical(describe(value)) for value in values]
    assert not re.search("0x[0-9a-f]{6}", "".join(told).replace(hex(10**5000), ""))
    assert len(set(told)) == len(told)


def test_a_description_of_an_example_is_what_describe_says() -> None:
    assert describe_example(example()) == describe(example())
