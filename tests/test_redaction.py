"""No credential that is known stands in what an error says, whatever the error is made of."""

import base64
import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import dspy
import pytest
from pydantic import BaseModel

from opro_dspy import OPRO, LMCallError, optimize
from opro_dspy.boundary.cleaning import HIDDEN, redact
from opro_dspy.problems import LinearRegression
from opro_dspy.protocols import Event, Observer, ResultKnown, StepEnded
from tests.fakes import exact, keyword_scorer, questions, scripted_lm

SECRET = "sk-planted-0123456789abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklm"


class Port(BaseModel):
    """Refuses what is no number, and shows the beginning and the end of it."""

    port: int


class Odd(Exception):
    """Says more than its arguments do."""

    def __init__(self, told: str) -> None:
        super().__init__("odd")
        self.told: Callable[[], str] = lambda: told

    def __str__(self) -> str:
        return f"odd {self.told()}"


class Slotted(Exception):
    """Keeps what it says in a slot."""

    __slots__ = ("told",)

    def __init__(self, told: str) -> None:
        super().__init__()
        self.told = told

    def __str__(self) -> str:
        return f"slotted {self.told}"


class Holder:
    """Shows a key."""

    def __repr__(self) -> str:
        return f"Holder({SECRET})"


def noted() -> None:
    error = ValueError("noted")
    error.__notes__ = [f"with {SECRET}"]  # type: ignore[attr-defined]
    raise error


def grouped() -> None:
    raise ExceptionGroup("some", [_of(lambda: Port.model_validate({"port": SECRET})), Odd(SECRET)])  # type: ignore[name-defined]  # noqa: F821


def chained() -> None:
    try:
        Port.model_validate({"port": SECRET})
    except ValueError as error:
        raise RuntimeError("outer") from error


def met() -> None:
    try:
        raise Odd(SECRET)
    except Odd:
        raise RuntimeError("outer")  # noqa: B904


def _raise(error: Exception) -> None:
    raise error


def _of(work: Callable[[], Any]) -> Exception:
    try:
        work()
    except Exception as error:  # noqa: BLE001  (of any shape)
        return error
    raise AssertionError


SHAPES: dict[str, Callable[[], Any]] = {
    "text": lambda: _raise(ValueError(f"denied for {SECRET}")),
    "pydantic": lambda: Port.model_validate({"port": SECRET}),
    "odd": lambda: _raise(Odd(SECRET)),
    "slotted": lambda: _raise(Slotted(SECRET)),
    "object": lambda: _raise(ValueError(Holder(), 3)),
    "bytes": lambda: _raise(ValueError(b"key " + SECRET.encode())),
    "set": lambda: _raise(ValueError({SECRET})),
    "file": lambda: Path("/nowhere", SECRET).read_text(),
    "syntax": lambda: compile(f"key = = '{SECRET}'", "f", "exec"),
    "notes": noted,
    "cause": chained,
    "context": met,
}
if sys.version_info >= (3, 11):
    SHAPES["group"] = grouped


@pytest.fixture(params=SHAPES)
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    found = SHAPES[request.param]
    said = "".join(traceback.format_exception(_of(found)))
    assert SECRET[-8:] in said
    return found


def parts_of(error: BaseException) -> Iterator[str]:
    """Yield all that `error` and what it came from say, at any depth."""
    links, seen = [error], set()
    while links:
        link = links.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield "".join(traceback.format_exception(link))
        yield f"{link} {link!r} {link.args}"
        links += [x for x in (link.__cause__, link.__context__) if x is not None]


def told(where: Path, error: BaseException | None, log: str) -> list[str]:
    """Return where the key, or its end, can be read."""
    texts = {str(p.relative_to(where)): p.read_bytes() for p in where.rglob("*") if p.is_file()}
    texts["log"] = log.encode()
    texts["error"] = b"" if error is None else "\n".join(parts_of(error)).encode()
    assert len(texts) > 4
    return [name for name, text in texts.items() if SECRET[-8:].encode() in text]


def ending(fault: Callable[[], Any], on: type) -> Observer:
    def observe(event: Event) -> None:
        if isinstance(event, on):
            fault()

    return observe


def compiled(where: Path, **options: Any) -> BaseException | None:
    """Return what a run raised."""
    given: dict[str, Any] = {"metric": exact, "provide_traceback": True, "max_errors": 100}
    proposer = scripted_lm(lambda text: "<INS>Say it.</INS>")
    given |= {"prompt_model": proposer, "max_steps": 1, "num_candidates": 2, "verbose": False}
    given |= {
        "lm": keyword_scorer(),
        "log_dir": where / "run",
        "cache_dir": where / "cache",
        **options,
    }
    try:
        with dspy.context(lm=given.pop("lm")):
            student = dspy.Predict("question -> answer")
            OPRO(**given).compile(student, trainset=questions(6), valset=questions(4, start=100))
    except Exception as error:  # noqa: BLE001  (of any shape)
        return error
    return None


class Failing(dspy.BaseLM):  # type: ignore[misc]
    """An LM of the user's own, that raises."""

    def __init__(self, fault: Callable[[], Any]) -> None:
        super().__init__(model="custom/lm")
        self._fault = fault

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self._fault()


PLACES = ["stop", "step", "result", "metric", "metric, always", "lm", "proposer"]


@pytest.mark.parametrize("where", PLACES)
def test_no_key_in_what_users_code_raises_is_told(
    where: str, fault: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="opro_dspy")

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if where == "metric, always" or example.question == questions(6)[3].question:
            fault()
        return 1.0

    options: dict[str, dict[str, Any]] = {
        "stop": {"stop": lambda trajectory: fault()},
        "step": {"observers": [ending(fault, StepEnded)]},
        "lm": {"lm": Failing(fault)},
        "proposer": {"prompt_model": Failing(fault)},
        "result": {"observers": [ending(fault, ResultKnown)]},
    }
    error = compiled(tmp_path, **options.get(where, {"metric": metric}))
    assert (error is None) == (where == "metric")
    assert isinstance(error, LMCallError) == (where in ("lm", "proposer"))
    assert told(tmp_path, error, caplog.text) == []


def test_no_key_in_what_an_observer_of_optimize_raises_is_told(
    fault: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    problem = LinearRegression.random(w=3, b=4, seed=1)
    lm = scripted_lm(lambda text: "w, b = 3, 4")
    with pytest.raises(Exception) as caught:  # noqa: PT011  (of any shape)
        optimize(
            problem,
            prompt_model=lm,
            max_steps=1,
            verbose=False,
            log_dir=tmp_path / "run",
            observers=[ending(fault, StepEnded)],
        )
    assert told(tmp_path, caught.value, caplog.text) == []


KEY = 'sk+pl/nt~ "42"\\é '
BASIC = f"Basic {base64.b64encode(f'someone:{KEY}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (quote(KEY), HIDDEN),
        (quote(KEY, safe=""), HIDDEN),
        (quote_plus(KEY), HIDDEN),
        (re.sub("%..", lambda code: code[0].lower(), quote(KEY)), HIDDEN),
        (json.dumps({"k": KEY}), '{"k": "[redacted]"}'),
        (json.dumps({"k": KEY}, ensure_ascii=False), '{"k": "[redacted]"}'),
        (json.dumps(json.dumps(KEY)), r'"\"[redacted]\""'),
        (repr({"k": KEY}), "{'k': '[redacted]'}"),
        (repr(KEY + "'"), None),
    ],
)
def test_a_credential_is_known_quoted_and_escaped(said: str, left: str | None) -> None:
    told = str(redact(ValueError(said), {KEY}))
    assert left is None or told == left
    assert "nt" not in told


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("key", [KEY + "?>", KEY + "?>~", KEY + "?>~?"])
@pytest.mark.parametrize("before", ["", "u:", "us:", "use:"])
@pytest.mark.parametrize("after", ["", "1", "12"])
def test_a_credential_is_known_in_base64_after_and_before_anything(
    encode: Callable[[bytes], bytes], key: str, before: str, after: str
) -> None:
    said = encode(f"{before}{key}{after}".encode()).decode()
    told = str(redact(ValueError(f"Basic {said}"), {key}))
    assert HIDDEN in told
    assert len(told) <= len(f"Basic {HIDDEN}") + 12


def test_no_quoted_or_encoded_credential_reaches_a_file_or_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said = f"{quote(KEY)} {json.dumps(KEY)} {KEY!r} {BASIC}"

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        raise ValueError(said)

    error = compiled(tmp_path, metric=metric)
    texts = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    texts += [caplog.text.encode(), "\n".join(parts_of(error)).encode() if error else b""]
    assert any(b"[redacted]" in text for text in texts)
    for probe in (b"pl/nt", b"pl%2Fnt", BASIC[16:-4].encode()):
        assert not any(probe in text for text in texts)


def test_an_error_that_can_be_cleaned_stays_itself() -> None:
    error = _of(lambda: Path("/nowhere", SECRET).read_text())
    assert redact(error, {SECRET}) is error
    assert str(error) == "[Errno 2] No such file or directory: '/nowhere/[redacted]'"


def test_what_stands_in_for_an_error_has_its_name_and_its_words() -> None:
    found = redact(_of(SHAPES["pydantic"]), {SECRET})
    assert isinstance(found, RuntimeError)
    assert type(found).__name__ == "ValidationError"
    assert "port: Input should be a valid integer" in str(found)
    assert found.__traceback__ is not None


def test_an_error_without_a_secret_is_left_alone() -> None:
    error = _of(lambda: Port.model_validate({"port": "x"}))
    before = str(error)
    assert redact(error, {SECRET}) is error
    assert str(error) == before


def test_a_list_that_holds_itself_is_no_trap() -> None:
    endless: list[Any] = [SECRET]
    endless.append(endless)
    assert SECRET not in str(redact(ValueError(endless), {SECRET}))
