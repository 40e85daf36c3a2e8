"""A program's instructions: found, exchanged in copies, described; examples as exemplars."""

import enum
import logging
import re
import threading
import weakref
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Annotated, Any, Literal, Optional

import dspy
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.errors import ConfigurationError
from opro_dspy.fields import MAX_FIELD_CHARS, as_key, as_text, type_name
from opro_dspy.filters import polish, printable
from opro_dspy.program import Program, as_exemplar, example_key
from opro_dspy.records import Candidate


class City(pydantic.BaseModel):
    name: str
    people: int


class Judge(dspy.Signature):  # type: ignore[misc]
    """Judge the city."""

    city: City = dspy.InputField(desc="where it is")
    hints: list[str] = dspy.InputField()
    verdict: Literal["good", "bad"] = dspy.OutputField()


class Nested(dspy.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.judge = dspy.ChainOfThought(Judge)
        self.many = [dspy.Predict("a -> b"), dspy.Predict("b -> c")]
        self.by_name = {"x": dspy.Predict("c -> d")}
        self.again = self.many[0]


def test_every_predictor_is_found_once() -> None:
    names = list(Program(Nested()).candidate.texts)
    assert names == ["judge.predict", "many[0]", "many[1]", "by_name['x']"]


def test_a_candidate_is_built_into_a_copy_and_shared_predictors_stay_shared() -> None:
    program = Program(Nested())
    texts = {name: f"Do {name}" for name in program.candidate.texts}
    built = program.build(Candidate(texts))
    assert {n: p.signature.instructions for n, p in built.named_predictors()} == texts
    assert built.again is built.many[0]
    assert program.candidate.texts["judge.predict"] == "Judge the city."
    assert Judge.instructions == "Judge the city."


def test_texts_are_normalised_as_signatures_store_them() -> None:
    program = Program(dspy.Predict("question -> answer"))
    assert program.normalize(Candidate({"self": ""})) == program.candidate
    assert program.normalize(Candidate({"self": "a\n    b"})).texts == {"self": "a\nb"}


def test_old_results_come_off_but_a_predictor_of_that_name_stays() -> None:
    class Odd(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.score = dspy.Predict("question -> answer")
            self.trial_logs = {"old": 1}
            self.candidate_programs = [{"program": dspy.Predict("x -> y")}]

    program = Program(Odd())
    built = program.build(program.candidate)
    assert isinstance(built.score, dspy.Predict)
    assert not hasattr(built, "trial_logs") and not hasattr(built, "candidate_programs")


def test_without_an_optimizers_marks_such_names_are_the_programs_own_state() -> None:
    student = Nested()
    student.trial_logs, student.results_latest = ["mine"], {"keep": "me"}
    program = Program(student)
    for copy in (program.build(program.candidate), program.compiled(program.candidate)):
        assert (copy.trial_logs, copy.results_latest) == (["mine"], {"keep": "me"})
        assert copy.trial_logs is not student.trial_logs


def test_the_description_names_fields_types_and_the_place_in_the_program() -> None:
    description = Program(Nested()).describe()["judge.predict"]
    assert "`city` (City): where it is" in description
    assert "`hints`" in description and "`verdict`" in description
    assert "predictor 1 of 4" in description
    single = Program(dspy.Predict("question -> answer")).describe()["self"]
    assert single == "The model that follows the instruction reads `question` and writes `answer`."


@pytest.mark.parametrize(
    ("signature", "reads_and_writes"),
    [
        ("passage, question -> answer", "`passage`, `question` and writes `answer`."),
        (
            "passage, question -> reasoning, answer: bool",
            "`passage`, `question` and writes `reasoning`; `answer` (bool).",
        ),
        ("n: int, question -> a, b", "`n` (int); `question` and writes `a`, `b`."),
    ],
)
def test_fields_are_set_apart_by_semicolons_only_where_one_has_a_remark(
    signature: str, reads_and_writes: str
) -> None:
    description = Program(dspy.Predict(signature)).describe()["self"]
    assert description == f"The model that follows the instruction reads {reads_and_writes}"


def test_exemplars_hold_any_typed_fields_as_text() -> None:
    example = dspy.Example(city=City(name="Ulm", people=3), hints=["a", "b"], verdict="good")
    exemplar = as_exemplar(example.with_inputs("city", "hints"))
    assert exemplar.inputs == {"city": '{"name": "Ulm", "people": 3}', "hints": '["a", "b"]'}
    assert exemplar.outputs == {"verdict": "good"}


def test_exemplars_show_only_the_labels_that_the_program_writes() -> None:
    example = dspy.Example(
        question="q", answer="a", id=7, gold_reasoning="secret chain", dspy_uuid="x"
    ).with_inputs("question")
    program = Program(dspy.ChainOfThought("question -> answer"))
    assert as_exemplar(example, program.output_names).outputs == {"answer": "a"}
    assert set(as_exemplar(example).outputs) == {"answer", "id", "gold_reasoning"}


def test_exemplars_show_all_labels_when_the_program_writes_none_of_them() -> None:
    example = dspy.Example(question="q", gold="a", id=7).with_inputs("question")
    exemplar = as_exemplar(example, Program(dspy.Predict("question -> answer")).output_names)
    assert exemplar.outputs == {"gold": "a", "id": "7"}
    unlabelled = dspy.Example(question="q").with_inputs("question")
    assert as_exemplar(unlabelled, {"answer"}).outputs == {}


def test_what_any_predictor_writes_counts_the_frozen_ones_included() -> None:
    student = Nested()
    student.judge._compiled = True
    assert Program(student).output_names == {"reasoning", "verdict", "b", "c", "d"}


def test_long_values_are_cut() -> None:
    assert len(as_text("x" * 10_000)) == MAX_FIELD_CHARS
    assert as_text(3.5) == "3.5"


class Colour(enum.Enum):
    RED = "red"


class Bare:
    pass


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


IMAGE = dspy.Image(url="data:image/png;base64," + "A" * 3000)


class Photo(pydantic.BaseModel):
    title: str
    image: dspy.Image


def holding_itself() -> list[Any]:
    items: list[Any] = [1]
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([City(name="Ulm", people=3)], '[{"name": "Ulm", "people": 3}]'),
        ({"a": City(name="Ü", people=3)}, '{"a": {"name": "Ü", "people": 3}}'),
        ({(1, 2): 3, None: 4, "b": Colour.RED}, '{"[1, 2]": 3, "null": 4, "b": "red"}'),
        ([dspy.Example(x=1, y=np.float32(0.5))], '[{"x": 1, "y": 0.5}]'),
        ({"b", "a"}, '["a", "b"]'),
        (np.arange(2), "[0, 1]"),
        (date(2024, 2, 1), "2024-02-01"),
        (Colour.RED, "red"),
        (True, "True"),
        (None, "None"),
        (b"\xff", "b'\\xff'"),
        ("a \ud800 b", "a \ufffd b"),
        ([City(name="\ud800", people=3)], '[{"name": "\ufffd", "people": 3}]'),
        (Bare(), "<tests.test_program.Bare object>"),
        ([Rude()], '["<Rude>"]'),
        (holding_itself(), "[1, [...]]"),
        (iter([1]), "<list_iterator object>"),
        ([1 << 40_000], '["0x1' + "0" * 1994 + "…"),
    ],
)
def test_any_value_has_a_text(value: Any, text: str) -> None:
    assert as_text(value) == text
    assert as_key(value) == as_key(value)


def test_values_of_an_iterator_are_not_used_up() -> None:
    numbers = iter([1, 2])
    as_text(numbers), as_key([numbers])
    assert list(numbers) == [1, 2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (IMAGE, "[Image]"),
        ([IMAGE, "x"], '["[Image]", "x"]'),
        (Photo(title="t", image=IMAGE), '{"title": "t", "image": "[Image]"}'),
        (dspy.Audio(data="AAAA", audio_format="wav"), "[Audio]"),
        (dspy.Code(code="x = 1"), "x = 1"),
        ("<<CUSTOM-TYPE-START-IDENTIFIER>>?<<CUSTOM-TYPE-END-IDENTIFIER>>", "[Custom type]"),
    ],
)
def test_images_and_other_custom_types_show_their_text_or_their_kind(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_a_custom_type_made_of_text_shows_it() -> None:
    class Event(dspy.Type):  # type: ignore[misc]
        name: str

        def format(self) -> list[dict[str, Any]]:
            return [{"type": "text", "text": self.name}, {"type": "input_audio"}]

    assert as_text(Event(name="Fair")) == "Fair [Audio]"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.none() | st.integers() | st.text() | st.tuples(st.text()), inner)
    ),
    max_leaves=10,
)


@given(values)
def test_no_value_makes_a_text_or_a_key_fail(value: Any) -> None:
    as_text(value).encode()
    as_key(value).encode()


@given(st.text(st.characters(exclude_categories=())))
def test_lone_surrogates_are_replaced_and_nothing_else(text: str) -> None:
    clean = printable(text)
    assert clean.encode().decode() == clean == printable(clean)
    if not any("\ud800" <= ch <= "\udfff" for ch in text):
        assert clean == text


def test_surrogates_in_pairs_become_their_character() -> None:
    assert printable("\ud83d\ude00 \ud83d") == "😀 \ufffd"
    assert polish("a \ud800") == "A \ufffd"


def test_equal_examples_have_equal_keys() -> None:
    a = dspy.Example(x=1, y=City(name="a", people=1)).with_inputs("x")
    b = dspy.Example(y=City(name="a", people=1), x=1).with_inputs("x")
    assert example_key(a) == example_key(b)
    assert example_key(a) != example_key(dspy.Example(x=2, y=None))


def test_keys_see_content_alone_and_all_of_it() -> None:
    plain = dspy.Example(x="1")
    assert example_key(dspy.Example(x="1", dspy_uuid="a", dspy_split="dev")) == example_key(plain)
    mixed = [dspy.Example(d={1: 2, "b": {"y", "x"}}), dspy.Example(d={"b": {"x", "y"}, 1: 2})]
    assert example_key(mixed[0]) == example_key(mixed[1])
    images = [dspy.Example(x=dspy.Image(url=f"https://x.org/{n}.png")) for n in (1, 2)]
    assert example_key(images[0]) != example_key(images[1])
    long = "x" * MAX_FIELD_CHARS
    assert example_key(dspy.Example(x=long + "a")) != example_key(dspy.Example(x=long + "b"))


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (Literal["a", 1], "Literal['a', 1]"),
        (list[City], "list[City]"),
        (Optional[str], "str | None"),  # noqa: UP045
        (int | None, "int | None"),
        (dict[str, list[City]], "dict[str, list[City]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Annotated[bool, "x"], "bool"),
        (Colour, "Colour"),
        (Any, "Any"),
        (list, "list"),
    ],
)
def test_types_keep_their_parameters(annotation: Any, name: str) -> None:
    assert type_name(annotation) == name


def test_the_description_names_types_with_their_parameters() -> None:
    description = Program(Nested()).describe()["judge.predict"]
    assert "`hints` (list[str])" in description
    assert "`verdict` (Literal['good', 'bad'])" in description


def test_a_program_whose_modules_are_all_frozen_is_refused() -> None:
    class Frozen(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = dspy.ChainOfThought("q -> a")
            self.inner._compiled = True

    with pytest.raises(ConfigurationError, match="all its sub-modules are frozen"):
        Program(Frozen())


def test_a_frozen_predictor_keeps_its_instruction_and_its_lm() -> None:
    student, lm = Nested(), dspy.LM("openai/x")
    frozen = student.many[1]
    frozen._compiled, frozen.lm = True, lm
    program = Program(student)
    assert list(program.candidate.texts) == ["judge.predict", "many[0]", "by_name['x']"]
    candidate = Candidate({name: f"Do {name}" for name in program.candidate.texts})
    for copy in (program.build(candidate), program.compiled(candidate)):
        assert copy.many[1].signature.instructions == frozen.signature.instructions
        assert copy.many[1].lm is lm and copy.many[1] is not frozen
        assert copy.many[0].signature.instructions == "Do many[0]"


def test_a_student_that_is_a_frozen_predictor_is_optimized_all_the_same() -> None:
    student = dspy.Predict("q -> a")
    student._compiled = True
    program = Program(student)
    assert program.build(Candidate({"self": "Go."})).signature.instructions == "Go."


def test_a_watched_lm_stands_wherever_the_predictors_lm_stood() -> None:
    lm, watched = dspy.LM("openai/x"), dspy.LM("openai/watched")
    student = Nested()
    student.many[0].lm = student.many[1].lm = lm
    student.many[1]._compiled = True
    program = Program(student)
    program.watch_lms(lambda lm: watched)
    built = program.build(program.candidate)
    assert built.many[0].lm is watched and built.many[1].lm is watched
    assert built.judge.predict.lm is None
    assert program.compiled(program.candidate).many[0].lm is lm
    assert student.many[0].lm is lm


@pytest.mark.parametrize("text", ["", "  ", "  \n  ", "\n  a\n b", "a\n    b", "a \ud800", "a  "])
def test_normalizing_twice_is_normalizing_once(text: str) -> None:
    program = Program(dspy.Predict("question -> answer"))
    once = program.normalize(Candidate({"self": text}))
    assert program.normalize(once) == once
    assert program.build(once).signature.instructions == once.texts["self"]
    once.texts["self"].encode()
    if not text.strip():
        assert once == program.candidate


def test_a_students_own_odd_instruction_is_what_its_copies_hold() -> None:
    for text in (" ", "a \ud800 b", "\n  a\n b"):
        student = dspy.Predict("question -> answer")
        student.signature.instructions = text  # as DSPy's load_state does
        program = Program(student)
        built = program.build(program.candidate)
        assert built.signature.instructions == program.candidate.texts["self"]
        assert program.candidate.texts["self"].strip()


class Stateful(Nested):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.tools = {"lock": threading.Lock(), "predict": dspy.Predict("x -> y")}
        self.seen: list[str] = []


def test_what_cannot_be_copied_is_shared_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    student = Stateful()
    with caplog.at_level(logging.WARNING):
        program = Program(student)
        texts = {name: f"Do {name}" for name in program.candidate.texts}
        copies = [program.build(Candidate(texts)) for _ in range(3)]
        copies.append(program.compiled(Candidate(texts)))
    (record,) = caplog.records
    assert "Stateful.lock, Stateful.tools['lock']" in record.getMessage()
    for copy in copies:
        assert {n: p.signature.instructions for n, p in copy.named_predictors()} == texts
        assert copy.lock is student.lock and copy.tools["lock"] is student.tools["lock"]
        assert copy.again is copy.many[0] and copy.again is not student.again
        assert copy.tools["predict"] is not student.tools["predict"]
    assert len({id(copy.seen) for copy in [student, *copies]}) == 5


class Handled(dspy.Module):  # type: ignore[misc]
    """Reaches its predictor through methods of its own, with a lock beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.ask = dspy.Predict("question -> answer")
        self.handlers = {"ask": self.answer, "with_lock": partial(self.answer, self.lock)}
        self.tools = [dspy.Tool(self.answer), Router(self)]

    def answer(self, question: Any) -> Any:
        """Answer it."""
        return self.ask


class Router:
    """An object, no module, that holds a program and a lock."""

    def __init__(self, program: Handled) -> None:
        self.program, self.lock = program, threading.Lock()


def test_methods_of_the_program_belong_to_the_copy_whatever_stands_beside_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    student = Handled()
    program = Program(student)
    for copy in (program.build(Candidate({"ask": "Go."})), program.compiled(program.candidate)):
        tool, router = copy.tools
        assert copy.handlers["ask"]("?") is copy.ask is not student.ask
        assert tool.func("?") is copy.ask and router.program is copy
        assert copy.handlers["with_lock"].func.__self__ is copy
        assert copy.handlers["with_lock"].args == (student.lock,)
        assert (copy.lock, router.lock) == (student.lock, student.tools[1].lock)
    (record,) = caplog.records
    assert "Handled.lock, Handled.tools[1].lock: " in record.getMessage()


class Client:
    """Cannot be copied, and counts its calls."""

    def __init__(self) -> None:
        self.lock, self.calls = threading.Lock(), 0

    def look_up(self, name: str) -> str:
        """Look it up."""
        return name


def test_a_client_with_a_lock_stays_one_client() -> None:
    class Program_(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.client = Client()
            self.agent = dspy.ReAct("question -> answer", [self.client.look_up])

    student = Program_()
    copy = Program(student).build(Program(student).candidate)
    assert copy.client is student.client
    assert copy.agent.tools["look_up"].func.__self__ is student.client
    assert copy.agent.react is not student.agent.react


class Closed(dspy.Module):  # type: ignore[misc]
    """Holds a function over something of itself."""

    def __init__(self, over: Callable[["Closed"], Any]) -> None:
        super().__init__()
        self.ask, self.frozen = dspy.Predict("question -> answer"), dspy.Predict("q -> a")
        self.frozen._compiled = True
        self.names = ["Ann"]
        self.tools = {"find": over(self)}

    def answer(self) -> Any:
        return self.helped()

    def helped(self) -> Any:
        return self.ask(question="?")

    def look_up(self) -> list[str]:
        return self.names


class Uncopied:
    def __init__(self, program: Closed) -> None:
        self.program = program

    def __deepcopy__(self, memo: dict[int, Any]) -> "Uncopied":
        return self


def with_default(program: Closed) -> Callable[[], Any]:
    def find(ask: Any = program.ask) -> Any:
        return ask(question="?")

    return find


@pytest.mark.parametrize(
    ("over", "where"),
    [
        (lambda program: lambda: program.ask(question="?"), "tools['find'] (program)"),
        (lambda program: lambda: program.answer(), "tools['find'] (program)"),
        (lambda program: lambda: [program.helped() for _ in "ab"], "tools['find'] (program)"),
        (
            lambda program: dspy.Tool(lambda: program.answer(), name="a"),
            "tools['find'].func (program)",
        ),
        (
            lambda program: (lambda answer: lambda: answer())(program.answer),
            "tools['find'] (answer).__self__",
        ),
        (with_default, "tools['find'] (a default)"),
        (weakref.ref, "tools['find']()"),
        (Uncopied, "tools['find'].program"),
    ],
)
def test_copies_that_would_ask_the_students_predictors_are_refused(
    over: Callable[[Closed], Any], where: str
) -> None:
    student = Closed(over)
    with pytest.raises(ConfigurationError, match=re.escape(f"`Closed.{where}` is the student's")):
        Program(student)


def test_a_function_that_names_the_student_as_a_global_is_refused_too() -> None:
    student = Closed(lambda program: None)
    exec("def find(): return student.ask(question='?')", names := {"student": student})
    student.tools["find"] = names["find"]
    with pytest.raises(ConfigurationError, match=r"`Closed.tools\['find'\] \(student\)` is the"):
        Program(student)


@pytest.mark.parametrize(
    "over",
    [lambda program: lambda: program.names, lambda program: lambda: program.look_up()],
)
def test_a_function_that_reads_other_things_of_the_student_is_warned_of(
    over: Callable[[Closed], Any], caplog: pytest.LogCaptureFixture
) -> None:
    Program(Closed(over))
    (record,) = caplog.records
    assert "`Closed.tools['find'] (program)` is the student's own `Closed`" in record.getMessage()


def test_functions_over_what_is_not_optimized_may_stay(caplog: pytest.LogCaptureFixture) -> None:
    for over in (
        lambda program: (lambda frozen: lambda: frozen(q="?"))(program.frozen),
        lambda program: (lambda names: lambda: names)(program.names),
        lambda program: program.helped,
    ):
        Program(Closed(over))
    assert not caplog.records


def test_a_program_that_cannot_be_copied_at_all_is_refused() -> None:
    class Sealed(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("q -> a")

        def __deepcopy__(self, memo: dict[int, Any]) -> None:
            raise TypeError("sealed")

    with pytest.raises(ConfigurationError, match=r"Sealed cannot be copied: TypeError\('sealed'\)"):
        Program(Sealed())


def test_callbacks_come_along_whatever_results_the_student_holds() -> None:
    callback = dspy.utils.callback.BaseCallback()
    student = Nested()
    student.candidate_programs = [{"program": Nested()}]
    student.judge.predict.callbacks = [callback]
    copy = Program(student).compiled(Program(student).candidate)
    assert copy.judge.predict.callbacks == [callback]
    assert copy.many[0].callbacks == []


class Hidden(dspy.Module):  # type: ignore[misc]
    """Most of its predictors lie where DSPy does not look."""

    def __init__(self, *, seen: bool = True) -> None:
        super().__init__()
        self.by_name = {"a": [dspy.Predict("a -> b"), dspy.ChainOfThought("b -> c")]}
        self.pairs = [(dspy.Predict("c -> d"),)]
        frozen = dspy.ChainOfThought("q -> a")
        frozen._compiled = True
        self.frozen = [[frozen]]
        if seen:
            self.ask, self.again = dspy.Predict("x -> y"), self.pairs


def test_predictors_that_dspy_does_not_see_are_named(caplog: pytest.LogCaptureFixture) -> None:
    student = Hidden()
    student.candidate_programs = [{"program": Nested()}]
    assert list(Program(student).predictors) == ["ask"]
    (record,) = caplog.records
    told = "DSPy does not see the predictors by_name[a][0], pairs[0][0], by_name[a][1].predict: "
    assert record.getMessage().startswith(told)


def test_a_program_of_hidden_predictors_alone_is_refused_with_their_names() -> None:
    with pytest.raises(ConfigurationError, match=r"DSPy does not see .*pairs\[0\]\[0\].*: make"):
        Program(Hidden(seen=False))


def test_two_predictors_of_one_name_are_refused() -> None:
    class Numbered(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stages = {1: dspy.Predict("a -> b"), "1": dspy.Predict("b -> c")}

    with pytest.raises(ConfigurationError, match=r"two predictors .* name `self.stages\[1\]`"):
        Program(Numbered())
