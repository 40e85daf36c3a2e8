"""Two different examples never share a key: all their data count, or it is known that not."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import ipaddress
import itertools
import json
import logging
import operator
import re
import threading
import types
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Generic, NamedTuple, TypeVar

import dspy
import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from opro_dspy import OPRO, OPROResult, ResumeError
from opro_dspy.cache import MemoryStore, ScoreCache
from opro_dspy.cache.scores import ScoreMemory
from opro_dspy.fingerprints import describe_example, fingerprint
from opro_dspy.identity import example_keys
from opro_dspy.memory import Meeting, Score
from opro_dspy.records import Candidate, ScoreReuse
from tests.fakes import field, scripted_lm, word_optimizer
from tests.processes import printed

T = TypeVar("T")


def told(value: Any) -> tuple[str, bool]:
    description, in_full = describe_example(dspy.Example(question=value).with_inputs("question"))
    return fingerprint(description), in_full


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    kind: str = "q"
    _origin: str = PrivateAttr("")

    @functools.cached_property
    def length(self) -> int:
        return 3


def origin(text: str) -> Open:
    made = Open()
    made._origin = text
    return made


class Opaque:
    def __init__(self, text: str) -> None:
        self._t = text

    def text(self) -> str:
        return self._t

    @functools.cached_property
    def length(self) -> int:
        return len(self._t)


class Slotted:
    __slots__ = ("_t",)

    def __init__(self, text: str) -> None:
        self._t = text


class Dated(datetime.datetime):
    """Python pickles it without what is added to it."""

    note: Any


def dated(note: Any) -> Dated:
    made = Dated(2026, 1, 1)
    made.note = note
    return made


class Box(BaseModel, Generic[T]):
    held: T


class Row(NamedTuple):
    a: Any


class Words(list[str]):
    pass


class Table(dict[str, Any]):
    pass


class Zone(datetime.tzinfo):
    def __init__(self, hours: int = 0) -> None:
        self._hours = hours

    def __repr__(self) -> str:
        return "Zone"

    def utcoffset(self, when: Any) -> datetime.timedelta:
        return datetime.timedelta(hours=self._hours)

    def tzname(self, when: Any) -> str:
        return "Zone"

    def dst(self, when: Any) -> None:
        return None


@dataclasses.dataclass
class Point:
    x: int = 0


def beside(note: Any) -> Point:
    made = Point()
    made.note = note  # type: ignore[attr-defined]
    return made


def deep(value: Any, depth: int = 30, wrap: Callable[[Any], Any] = lambda v: [v]) -> Any:
    for _ in range(depth):
        value = wrap(value)
    return value


def ring(*values: Any) -> Any:
    first: list[Any] = []
    last = first
    for value in values:
        last.extend([value, []])
        last = last[1]
    last.append(first)
    return first


class Node:
    def __init__(self, value: Any) -> None:
        self._value, self._others = value, list[Any]()


def graph(value: Any) -> Node:
    nodes = [Node(i) for i in range(60)] + [Node(value)]
    for node in nodes:
        node._others = nodes
    return nodes[0]


def closed(value: Any) -> Callable[[], Any]:
    held = Opaque(value)
    return lambda: held


def in_a_namespace(value: Any) -> Any:
    space = {"__name__": "users_module", "held": Opaque(value)}
    exec("def f(): return held", space)
    return space["f"]


def module_of(value: Any) -> Any:
    made = types.ModuleType("users_module")
    made.value = value  # type: ignore[attr-defined]
    return made


def of_local_classes(value: Any) -> list[Any]:
    """Return objects of classes that cannot be found by their names."""

    class Model(BaseModel):
        held: Any = None
        limit: int = Field(1, gt=0)

        @field_validator("limit")
        @classmethod
        def checked(cls, limit: int) -> int:
            return limit

    @dataclasses.dataclass
    class Record:
        held: Any
        words: list[str] = dataclasses.field(default_factory=list)

        @functools.cached_property
        def size(self) -> int:
            return 1

    class Plain:
        held = Opaque(value)

        @functools.lru_cache  # noqa: B019
        def size(self) -> int:
            return 1

    pair = collections.namedtuple("pair", "a b")
    return [Model(held=value), Record(value), Plain(), Box[int](held=value), pair(value, 1)]


def grade(low: int) -> Any:
    kind: Any = enum.Enum("kind", {"LOW": low})
    return kind.LOW


DIFFERENT: dict[str, list[Any]] = {
    "extra": [Open(n="1"), Open(n="2"), Open(), origin("1"), origin("2")],
    "private": [Opaque("1"), Opaque("2"), Slotted("1"), Slotted("2")],
    "addresses": [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("10.0.0.2"), "10.0.0.1"],
    "networks": [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("10.0.0.0/16")],
    "deques": [collections.deque("1"), collections.deque("2"), collections.deque("1", 3), ["1"]],
    "nested": [deep(1), deep(2), deep([1]), deep(1, 3_000), deep(2, 3_000)],
    "nested dicts": [deep(n, 200, lambda v: {"a": v}) for n in (1, 2)],
    "nested objects": [deep(n, 200, Opaque) for n in (1, 2)],
    "zones": [
        *(datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=3))),
        *(zoneinfo.ZoneInfo("UTC"), zoneinfo.ZoneInfo("Europe/Berlin")),
    ],
    "times": [
        *(datetime.datetime(2026, 1, 1, tzinfo=Zone(n)) for n in (1, 2)),
        *(datetime.datetime(2026, 1, 1, fold=n) for n in (0, 1)),
        *(datetime.datetime(2026, 1, 2), datetime.date(2026, 1, 2), "2026-01-02"),
        *(dated(1), dated(2)),
    ],
    "arrays": [array.array("i", [1]), array.array("i", [2]), array.array("b", [1]), [1]],
    "numpy": [
        *(np.array([1, 2]), np.array([1, 3]), np.array([[1, 2]]), np.array([1.0, 2.0])),
        *(np.array([1, None], dtype=object), np.array([2, None], dtype=object)),
        *(np.ma.array([1, 2], mask=[False, True]), np.ma.array([1, 2], mask=[True, False])),
        *(np.float64(1), np.float32(1), np.random.default_rng(1), np.random.default_rng(2)),
    ],
    "numbers": [
        *(float("nan"), "nan", float("inf"), -float("inf"), 0.0, -0.0, 0, False, 1, True, 1.0),
        *(decimal.Decimal("1"), decimal.Decimal("1.0"), 1j, 10**5000, hex(10**5000), "1", None),
        *(decimal.Context(prec=3), decimal.Context(prec=9)),
    ],
    "containers": [
        *((1, 2), [1, 2], {1, 2}, frozenset({1, 2}), {1: 2}, {"1": 2}, {"a": 1}, Row(1), Row(2)),
        *(Words(["a"]), Words(["b"]), ["a"], Table(a=1), Table(a=2), {"b": 1, "a": 1}),
        *({"~set": [1]}, {1}, {"~told": 0}, {"a": 1, "b": 1}, types.SimpleNamespace(a=1)),
        *(collections.OrderedDict(a=1), collections.defaultdict(int), collections.Counter("a")),
        *(collections.defaultdict(list), collections.ChainMap({"a": 1}, {"b": 1})),
        *(collections.ChainMap({"a": 1}, {"b": 2}), b"a", bytearray(b"a"), "a", slice(1), slice(2)),
    ],
    "rings": [
        ring(1, 2),
        ring(1, 3),
        ring(1),
        graph(1),
        graph(2),
        ring(*range(40)),
        ring(*[1] * 40),
    ],
    "code": [
        *(operator.itemgetter("a"), operator.itemgetter("b"), operator.attrgetter("a")),
        *(operator.methodcaller("lower"), operator.methodcaller("upper"), Opaque, Slotted, len),
        *(functools.partial(int, base=2), functools.partial(int, base=3), Opaque("1").text),
        *(closed(1), closed(2), in_a_namespace(1), in_a_namespace(2), Opaque("2").text),
        *(type("K", (), {"v": Opaque("1")}), type("K", (), {"v": Opaque("2")}), deep, ring),
        *({"a": 1}.get, {"a": 2}.get, abs, operator.abs),
    ],
    "local classes": [*of_local_classes(1), *of_local_classes(2), types.MappingProxyType({"a": 1})],
    "others": [
        *(uuid.UUID(int=1), uuid.UUID(int=2), PurePosixPath("a"), PurePosixPath("b")),
        *(re.compile("a" * 300 + "b"), re.compile("a" * 300 + "c"), re.compile("a", re.IGNORECASE)),
        *(beside(1), beside(2), Point(1), dspy.Example(a=1), dspy.Example(a=2), {"a": 1}),
        dspy.Prediction(a=1),
        grade(1),
        grade(2),
    ],
}


@pytest.mark.parametrize("values", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_examples_that_differ_anywhere_are_told_apart(values: list[Any]) -> None:
    found = [told(value) for value in values]
    assert [value for value, (_, in_full) in zip(values, found, strict=True) if not in_full] == []
    same = collections.Counter(key for key, _ in found)
    assert [v for v, (key, _) in zip(values, found, strict=True) if same[key] > 1] == []


def test_tables_are_told_in_full() -> None:
    pd = pytest.importorskip("pandas")
    base = pd.DataFrame({"a": ["x", "y"], "b": [1, 2]})
    titled = base.copy()
    titled.attrs["title"] = "t"
    values = [
        *(base, base.rename(columns={"a": "c"}), base.set_index("b"), base[["b", "a"]], titled),
        *(base.rename_axis("n"), base.astype({"b": float}), base.astype({"a": "category"})),
        base.astype({"a": pd.CategoricalDtype(["y", "x"])}),
        *(pd.Interval(0, 1), pd.Interval(0, 2), pd.Interval(0, 1, closed="both")),
        *(pd.Timestamp("2026"), pd.Timestamp("2026", tz="UTC"), pd.NaT, pd.NA, pd.Index([1])),
        *(base["a"], base["b"], pd.Index([1], name="n"), pd.Categorical(["a"])),
    ]
    found = [told(value) for value in values]
    assert len(set(found)) == len(found)
    assert all(in_full for _, in_full in found)
    before = told(base)
    base["c"] = base["b"] * 2
    del base["c"]
    assert told(base) == told(base.copy()) == before


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(), iter([1]), itertools.count(), {"a": 1}.keys(), module_of(1),
        threading.local(), (x for x in [1]), scripted_lm(lambda text: ""),
        deep(threading.Lock()), {threading.Lock()}, Open(n=threading.Lock()),
        [1].__iter__().__next__, [Slotted(threading.Lock())],  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_known_to_be_so(value: Any) -> None:
    assert not told(value)[1]
    assert not told([1, value])[1]


def test_equal_examples_are_the_same_however_they_came_about() -> None:
    used, other = Opaque("ab"), Opaque("ab")
    assert used.length == 2
    model, fresh = Open(n=1), Open(n=1)
    assert model.length == 3
    shuffled = Opaque("ab")
    del shuffled._t
    shuffled._u = 1  # type: ignore[attr-defined]
    shuffled._t = "ab"
    ordered = Opaque("ab")
    ordered._u = 1  # type: ignore[attr-defined]
    noon = [datetime.datetime(2026, 1, 1) for _ in range(2)]
    pairs = [(used, other), (model, fresh), (shuffled, ordered), ([noon[0]] * 2, noon)]
    for one, two in pairs:
        assert told(one) == told(two)
    logging.getLogger("tests.data").setLevel(logging.DEBUG)
    assert told(logging.getLogger("tests.data"))[1]


SCRIPT = """
import json
from tests.test_data import DIFFERENT, told
values = {n: [told(v) for v in vs] for n, vs in DIFFERENT.items()}
words = [told({w: {w, w + "x", (w,)} for w in "qwert"}), told({frozenset(w) for w in ("ab", "cd")})]
print(json.dumps([values, words]))
"""


def test_keys_of_examples_are_the_same_in_every_process() -> None:
    found = [json.loads(printed(SCRIPT, hash_seed=seed)) for seed in (1, 2)]
    assert found[0] == found[1]


def test_examples_that_cannot_be_told_have_their_place_in_their_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def examples(*values: Any) -> list[dspy.Example]:
        return [dspy.Example(question=value).with_inputs("question") for value in values]

    keys = example_keys(examples(threading.Lock(), threading.Lock(), "a", "a"))
    assert len(set(keys)) == 4
    assert keys[0].endswith("~0")
    assert keys[1] == keys[0].replace("~0", "~1")
    assert keys[3] == f"{keys[2]}-2"
    assert "2 of 4 examples hold what cannot be told in full" in caplog.text


def test_scores_of_examples_that_cannot_be_told_are_neither_kept_nor_asked_for() -> None:
    scores = ScoreCache(MemoryStore(), "context")
    memory = ScoreMemory(scores, {"trainset": [dspy.Example(question=threading.Lock())]})
    meeting = Meeting(candidate=Candidate({"self": "a"}), set_name="trainset", example=0, race=1)
    memory.note(meeting, Score(value=1.0))
    assert memory.recall(meeting) is None
    assert scores.reuse == ScoreReuse()


# In a run


class Locked:
    """What cannot be told: it holds a lock."""

    def __init__(self, text: str) -> None:
        self._lock, self._t = threading.Lock(), text

    def __deepcopy__(self, memo: Any) -> "Locked":
        return Locked(self._t)


def number(value: Any) -> int:
    while isinstance(value, (list, collections.deque)):
        value = value[0]
    text = getattr(value, "n", None) or getattr(value, "_t", None) or str(value)
    return int(text.split()[-1] if " " in text else text.rpartition(".")[2])


def odd(example: dspy.Example, prediction: Any, trace: Any = None) -> float:
    return float(number(example.question) % 2)


SCORER, OPTIMIZER = scripted_lm(lambda text: field("answer", "1")), word_optimizer()


class Asked(dspy.Signature):  # type: ignore[misc]
    """Answer."""

    question: Any = dspy.InputField()
    answer: str = dspy.OutputField()


MADE: dict[str, Callable[[int], Any]] = {
    "extra": lambda i: Open(n=f"What is {i}"),
    "private": lambda i: Opaque(f"What is {i}"),
    "locked": lambda i: Locked(f"What is {i}"),
    "address": lambda i: ipaddress.ip_address(f"10.0.0.{i}"),
    "deque": lambda i: collections.deque([f"What is {i}"]),
    "deep": lambda i: deep(f"What is {i}"),
    "text": lambda i: f"What is {i}",
}


def run(make: Callable[[int], Any], *, start: int = 0, **options: Any) -> OPROResult:
    examples = [
        dspy.Example(question=make(i), answer="1").with_inputs("question")
        for i in range(start, start + 20)
    ]
    given = {"metric": odd, "max_steps": 0, "num_threads": 1, "verbose": False, **options}
    with dspy.context(lm=SCORER):
        found = OPRO(prompt_model=OPTIMIZER, **given).compile(
            dspy.Predict(Asked), trainset=examples[:10], valset=examples[10:]
        )
    result: OPROResult = found.detailed_results
    return result


@pytest.mark.parametrize("kind", MADE)
def test_no_example_gets_the_score_of_another(kind: str, tmp_path: Path) -> None:
    baseline = run(MADE[kind], cache_dir=tmp_path).baseline
    assert baseline is not None
    assert baseline.score == 0.5


@pytest.mark.parametrize("kind", sorted(MADE.keys() - {"locked"}))
def test_a_resume_with_other_data_is_refused(kind: str, tmp_path: Path) -> None:
    run(MADE[kind], cache_dir=None, log_dir=tmp_path)
    run(MADE[kind], cache_dir=None, log_dir=tmp_path)
    with pytest.raises(ResumeError, match="trainset"):
        run(MADE[kind], start=100, cache_dir=None, log_dir=tmp_path)


def test_a_resume_goes_on_with_examples_that_cannot_be_told(tmp_path: Path) -> None:
    first = run(MADE["locked"], cache_dir=None, log_dir=tmp_path)
    again = run(MADE["locked"], cache_dir=None, log_dir=tmp_path)
    assert again.baseline == first.baseline
