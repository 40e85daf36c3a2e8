"""What an engine or an LM was given counts, whatever it is kept as; what a call moves does not."""

import copy
import logging
import threading
from collections.abc import Callable
from typing import Any

import dspy
import pytest

from opro_dspy.fingerprints import describe_lm, fingerprint, without_marks
from opro_dspy.fingerprints.given import given_to
from opro_dspy.identity import told_lm

ENGINE = """
class Made:
    def __init__(self, {given}):
        self.calls, self._seen, self._lock = 0, [], threading.Lock()
        {body}
    def set(self, value):
        self.value = value
    def with_value(self, value):
        made = copy.copy(self)
        made.value = value
        return made
    def complete(self, request):
        self.calls += 1
        self._seen.append(request)
        self._last = request
"""

LM = (
    ENGINE.replace("class Made:", "class Made(dspy.LM):")
    .replace("self.calls, self", "super().__init__('own/model')\n        self.calls, self")
    .replace("def complete(self, request)", "def forward(self, request=None, **options)")
)

WAYS = {
    "private, other name": ("given", "self._url = f'http://{given}:80'"),
    "private, mangled": ("given", "self.__url = [given]"),
    "number": (
        "given",
        "self.value = 0 if given == 1 else given * 0.5",
    ),
    "list": ("given", "self.rules = ['be', given]"),
    "list that grows": ("given", "self.rules = []; self.rules.append(given)"),
    "dict": ("given", "self._by = {}; self._by['url'] = given"),
    "argument that a method sets, too": ("value", "self.value = value"),
    "through a method": ("given", "self.set(given)"),
    "through a branch": ("given", "self._mode = 0\n        if given == 1: self._mode = 1"),
    "closure": ("given", "self._ask = lambda request: given"),
    "any name": ("**given", "self.__dict__.update(given)"),
    "attributes by name": (
        "**given",
        "[setattr(self, f'_{n}', v) for n, v in given.items()]",
    ),
}


def made(source: str, way: str) -> Any:
    given, body = WAYS[way]
    space = {"dspy": dspy, "copy": copy, "threading": threading, "__name__": "users_engines"}
    exec(source.format(given=given, body=body), space)
    return space["Made"]


def engine_lm(kind: Any, *given: Any, **named: Any) -> dspy.LM:
    return dspy.LM("own/model", engine=kind(*given, **named))


def own_lm(kind: Any, *given: Any, **named: Any) -> dspy.LM:
    return kind(*given, **named)


def of(lm: dspy.BaseLM) -> str:
    return fingerprint(describe_lm(lm))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("source", "lm_of"), [(ENGINE, engine_lm), (LM, own_lm)])
def test_what_was_given_counts_however_it_is_kept(
    way: str, source: str, lm_of: Callable[..., dspy.LM]
) -> None:
    kind = made(source, way)

    def lm(value: Any) -> dspy.LM:
        return lm_of(kind, x=value) if WAYS[way][0].startswith("**") else lm_of(kind, value)

    assert of(lm(1)) != of(lm(2))
    used = lm(1)
    before = of(used)
    assert before == of(lm(1))
    used.engine.complete("hi") if source is ENGINE else used.forward("hi")
    assert of(used) == before


class Plain:
    def complete(self, request: Any) -> Any:
        raise NotImplementedError


def test_what_is_set_from_outside_counts() -> None:
    engines = [Plain() for _ in range(4)]
    engines[1]._url = "a"  # type: ignore[attr-defined]
    engines[2]._url = "b"  # type: ignore[attr-defined]
    engines[3].weight = 2  # type: ignore[attr-defined]
    assert len({of(dspy.LM("own/model", engine=engine)) for engine in engines}) == 4


def test_a_class_or_module_that_is_an_engine_counts_by_its_code() -> None:
    def kind(times: int) -> Any:
        return type("Static", (), {"complete": staticmethod(lambda request: "a" * times)})

    found = [of(dspy.LM("own/model", engine=kind(times))) for times in (1, 2, 1)]
    assert found[0] == found[2] != found[1]


class Replaying(Plain):
    def __init__(self, answers: Any, lock: Any = None) -> None:
        self._answers, self.lock = iter(answers), lock


class Speaking(Replaying):
    def dump_state(self) -> Any:
        return {"answers": "all"}


def test_engines_that_cannot_be_told_share_nothing_and_one_warning_says_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="opro_dspy"):
        lms = [dspy.LM("own/model", engine=Replaying([text])) for text in "ab"]
        assert of(lms[0]) == of(lms[0]) != of(lms[1])
    (told,) = [record.getMessage() for record in caplog.records]
    assert "Replaying" in told
    assert "_answers" in told
    assert "`dump_state()`" in told
    assert told_lm(lms[0]) == told_lm(lms[1])
    assert without_marks(describe_lm(lms[0])) == without_marks(describe_lm(lms[1]))
    assert of(engine_lm(Speaking, "a", threading.Lock())) == of(engine_lm(Speaking, "a"))


def test_locks_are_no_reason_to_share_nothing() -> None:
    kind = made(ENGINE, "argument that a method sets, too")
    assert of(engine_lm(kind, threading.Lock())) == of(engine_lm(kind, threading.Lock()))


class Many:
    """All that a constructor may do."""

    def __init__(self, host: str, port: int = 1, *, conf: Any = None, **more: Any) -> None:
        self.a, self.n_calls, self.n_seen = host, 0, list[str]()
        self.b = conf or {}
        if conf is None:
            conf = {}
        self.n_after = 3
        if port:
            self.c = "x"
        else:
            self.d = self.n_calls
        self.e, self.f = TABLE[host], conf["a"]["b"]
        for value in more.values():
            self.g = value
        x, (y, *_) = more.pop("a")
        self.h = y
        self.i = 1 if x else 2
        self.j = [letter for letter in host]
        try:
            self.k = int(host)
        except ValueError:
            self.k = 0
        with threading.Lock():
            self.n_with = 0
        self.n_end = self.n_calls

    @property
    def n_rate(self) -> int:
        return 1

    @n_rate.setter
    def n_rate(self, value: int) -> None:
        self.l = value

    def complete(self, request: Any) -> None:
        self.n_calls += 1
        self.n_last = request


TABLE: dict[str, str] = {}


def test_what_is_made_of_arguments_is_told_by_the_bytecode() -> None:
    assert given_to(Many) == set("abcdefghijkl")
