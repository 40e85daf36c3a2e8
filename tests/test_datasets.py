"""Tables as training sets, and the paper's benchmarks from files and from the hub."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest

from opro_dspy import OPRO, ConfigurationError
from opro_dspy.datasets import BBH_TASKS, as_examples, bbh, bbh_metric, gsm8k
from opro_dspy.metrics import exact_number, multiple_choice
from opro_dspy.simulation import optimizer_lm
from tests.fakes import TRAIN, VAL, exact, keyword_scorer

DATA = Path(
    os.environ.get("OPRO_DSPY_DATA") or Path(__file__).parent.parent.parent / "shared" / "data"
)
ROWS = [{"question": e.question, "answer": e.answer} for e in TRAIN]
UNKNOWN: Any = "dev"
UNKNOWN_PATH: Any = 5
UNKNOWN_TASK: Any = ["snarks"]
WORD_PROBLEM = b'{"question": "1 and 1?", "answer": "1+1=2\\n#### 2"}'
VAL_ROWS = [{"question": e.question, "answer": e.answer} for e in VAL]


# --- tables as sets --------------------------------------------------------------------------


def found(trainset: Any, valset: Any, **options: Any) -> Any:
    with dspy.context(lm=keyword_scorer()):
        lm = optimizer_lm(seed=0, cache=False)
        optimizer = OPRO(metric=exact, prompt_model=lm, max_steps=1, num_threads=2)
        student = dspy.Predict("question -> answer")
        program = optimizer.compile(student, trainset=trainset, valset=valset, **options)
    return [c.model_dump() for c in program.detailed_results.candidates]


def test_a_data_set_of_hugging_face_is_a_set() -> None:
    datasets = pytest.importorskip("datasets")
    tables = [datasets.Dataset.from_list(rows) for rows in (ROWS, VAL_ROWS)]
    assert found(*tables, inputs=["question"]) == found(TRAIN, VAL)
    both = datasets.DatasetDict({"train": tables[0], "test": tables[1]})
    with pytest.raises(ConfigurationError, match=r"DatasetDict with \['train', 'test'\]"):
        found(both, None, inputs=["question"])
    with pytest.raises(ConfigurationError, match=r"Pass list\(...\) of what is streamed"):
        found(tables[0].to_iterable_dataset(), None, inputs=["question"])


def test_plain_rows_and_examples_without_inputs_are_sets_too() -> None:
    bare = [dspy.Example(**row) for row in VAL_ROWS]
    assert found(ROWS, bare, inputs=["question"]) == found(TRAIN, VAL)


def test_an_estimate_reads_them_alike() -> None:
    with dspy.context(lm=keyword_scorer()):
        optimizer, student = OPRO(metric=exact), dspy.Predict("question -> answer")
        expected = optimizer.estimate(student, trainset=TRAIN, valset=VAL)
        told = optimizer.estimate(student, trainset=ROWS, valset=VAL_ROWS, inputs=["question"])
    assert told == expected


@pytest.mark.parametrize(
    ("trainset", "inputs", "message"),
    [
        (ROWS, None, r"`trainset\[0\]` must be a dspy.Example, got dict.*inputs=\['question'\]"),
        (ROWS, "question", "must be a list of names of input fields, got 'question'"),
        (ROWS, [], "must be a list of names"),
        (ROWS, ["query"], "has no field 'query'"),
        ([*ROWS, 3], ["question"], r"`trainset\[30\]` must be a dspy.Example, got int"),
        (7, ["question"], "must be a list of dspy.Example, got int"),
        (iter(ROWS), ["question"], "Pass list"),
    ],
)
def test_rows_that_cannot_be_examples_are_refused(trainset: Any, inputs: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        found(trainset, None, inputs=inputs)


def test_a_column_may_have_any_name_that_is_a_text() -> None:
    row = {"base": "10", "self": "me", "question": "?"}
    (made,) = as_examples([row], ["question", "base"])
    assert made.toDict() == row and made.inputs().toDict() == {"base": "10", "question": "?"}
    with pytest.raises(
        ConfigurationError, match=r"`rows\[1\]` has the column 0, but names must be"
    ):
        as_examples([row, {0: "?", "question": "?"}], ["question"])


def test_a_data_frame_is_told_how_to_give_its_rows() -> None:
    pandas = pytest.importorskip("pandas")
    frames = [pandas.DataFrame(rows) for rows in (ROWS, VAL_ROWS)]
    for inputs in (None, ["question"]):
        with pytest.raises(ConfigurationError, match=r'Pass frame.to_dict\("records"\) of pandas'):
            found(*frames, inputs=inputs)
    records = [frame.to_dict("records") for frame in frames]
    assert found(*records, inputs=["question"]) == found(TRAIN, VAL)


def test_rows_are_not_changed() -> None:
    example = dspy.Example(question="?", answer="!")
    (made,) = as_examples([example], ["question"])
    assert set(made.inputs().keys()) == {"question"}
    with pytest.raises(ValueError, match="Inputs have not been set"):
        example.inputs()


# --- the paper's benchmarks ------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, n in (("train", 200), ("test", 5)):
        problems = [
            {"question": f"{i}\u2028and 1 are?", "answer": f"{i}+1={i + 1}\n#### {i + 1:,}"}
            for i in range(995, 995 + n)
        ]
        lines = "\n".join(json.dumps(problem, ensure_ascii=False) for problem in problems)
        (tmp_path / f"{name}.jsonl").write_text(lines + "\n", encoding="utf-8")
    task = {"canary": "…", "examples": [{"input": f"Q{i}", "target": "(A)"} for i in range(50)]}
    (tmp_path / "snarks.json").write_text(json.dumps(task), encoding="utf-8")
    return tmp_path


def test_word_problems_have_numbers_as_answers(folder: Path) -> None:
    test = gsm8k("test", path=folder)
    assert [e.answer for e in test] == ["996", "997", "998", "999", "1000"]
    assert test[0].inputs().keys() == ["question"]
    assert test[-1].solution == "999+1=1000"
    assert gsm8k("test", path=folder / "test.jsonl") == test


def test_the_training_share_is_the_papers_and_drawn_by_the_seed(folder: Path) -> None:
    train = gsm8k(path=folder)
    assert len(train) == 7  # 3.5 percent of 200
    assert gsm8k(path=folder, seed=0) == train != gsm8k(path=folder, seed=1)
    assert len(gsm8k("all", path=folder)) == 200
    assert len(gsm8k(path=folder, share=0.5)) == 100


def test_a_mark_of_the_byte_order_is_no_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(b"\xef\xbb\xbf" + WORD_PROBLEM)
    assert [e.answer for e in gsm8k("test", path=tmp_path)] == ["2"]


def test_a_last_line_that_was_cut_off_is_left_out_and_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = folder / "test.jsonl"
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole[:-20], encoding="utf-8")
    assert len(gsm8k("test", path=folder)) == 4
    assert "Line 5, the last one, of the file at `path`" in caplog.text
    file.write_text("{" + whole, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="line 1 of the file at `path` is no JSON"):
        gsm8k("test", path=folder)


def test_the_file_of_another_task_is_refused(folder: Path) -> None:
    said = r"row 1 has the answer '\(A\)', which is none to 'navigate'\. Is it the file of another"
    with pytest.raises(ConfigurationError, match=said):
        bbh("navigate", path=folder / "snarks.json")


def test_a_task_is_parted_into_a_fifth_and_the_rest(folder: Path) -> None:
    train, test = bbh("snarks", path=folder), bbh("snarks", "test", path=folder)
    assert (len(train), len(test)) == (10, 40)
    questions = {e.question for e in train} | {e.question for e in test}
    assert questions == {e.question for e in bbh("snarks", "all", path=folder)}
    assert bbh_metric("snarks") is multiple_choice


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: bbh("snark", path=path), "Did you mean 'snarks'"),
        (lambda path: bbh("navigate", path=path), r"`path` must be a folder with 'navigate.json'"),
        (lambda path: gsm8k(UNKNOWN, path=path), "`split` must be 'train', 'test' or 'all'"),
        (lambda path: gsm8k(path=path, share=35), r"`share` must be in \(0, 1\], got 35"),
        (lambda path: gsm8k(path=path / "nowhere"), "`path` must be a folder with 'train.jsonl'"),
        (lambda path: gsm8k(path=UNKNOWN_PATH), "`path` must be a path, got 5"),
        (lambda path: bbh(UNKNOWN_TASK, path=path), r"`task` must be one of .* got \['snarks'\]"),
    ],
)
def test_what_is_not_there_is_named(call: Any, message: str, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call(folder)


def test_rows_of_the_hub_are_read_like_those_of_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name: str, config: str, *, split: str) -> Any:
        asked.append((name, config, split))
        if name == "openai/gsm8k":
            text = (folder / f"{split}.jsonl").read_text(encoding="utf-8")
            return datasets.Dataset.from_list(
                [json.loads(line) for line in text.split("\n") if line]
            )
        rows = json.loads((folder / f"{config}.json").read_text(encoding="utf-8"))
        return datasets.Dataset.from_list(rows["examples"])

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert gsm8k() == gsm8k(path=folder)
    assert bbh("snarks") == bbh("snarks", path=folder)
    assert asked == [("openai/gsm8k", "main", "train"), ("lukaemon/bbh", "snarks", "test")]


def test_a_hub_that_is_away_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def away(*args: Any, **options: Any) -> Any:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(ConfigurationError, match=r"was not loaded .* no route .* Pass `path`"):
        gsm8k()


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r'pip install "opro_dspy\[datasets\]"'):
        bbh("snarks")


@pytest.mark.skipif(not DATA.is_dir(), reason="the data sets are not beside the repository")
def test_each_label_of_the_real_files_is_right_by_its_metric() -> None:
    train, test = gsm8k(path=DATA / "gsm8k"), gsm8k("test", path=DATA / "gsm8k")
    assert (len(train), len(test)) == (262, 1319)
    files = sorted((DATA / "bbh").glob("*.json"))
    sets = [(bbh(f.stem, "all", path=f), bbh_metric(f.stem)) for f in files]
    for examples, metric in [(train, exact_number), (test, exact_number), *sets]:
        for e in examples:
            assert metric(e, dspy.Prediction(answer=e.answer))
            assert metric(e, dspy.Prediction(answer=f"The answer is {e.answer}.")) or (
                metric.__name__ == "exact_text" or "(" not in e.answer
            )
    assert set(f.stem for f in files) <= set(BBH_TASKS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"examples": [{"input": "Q", "tar', "is no JSON: .* Download it again"),
        (b'{"canary": "", "rows": []}', r'a list "examples".*got \[\'canary\', \'rows\'\]'),
        (b"[1, 2]", 'a list "examples".*got list'),
        (b'{"examples": 3}', 'a list "examples"'),
        (
            b'{"examples": [{"input": "Q", "target": "A"}, {"q": "Q"}]}',
            r"row 2 .*'input' and 'targ",
        ),
        (b'{"examples": ["Q"]}', "row 1 must have .* got str"),
        (b'{"examples": []}', "there are no examples at `path`"),
        (b'{"examples": [{"input": "Q", "target": null}]}', "row 1 must have texts as"),
        (b"\x89PNG\xff\xfe", "must be a folder with 'snarks.json', or that file.*decode"),
    ],
)
def test_a_file_that_is_no_task_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "snarks.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        bbh("snarks", path=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"question": "Q", "solution": "A"}\n',
            r"row 1 must have 'question' and 'answer', got \[",
        ),
        (b"7\n", "row 1 must have .* got int"),
        (b"", "there are no examples at `path`"),
        (b"<html>404: Not Found</html>", "line 1 of the file at `path` is no JSON"),
        (WORD_PROBLEM + b'\n{"question": "Q" "answer": "#### 3"}\n', "line 2 .* is no JSON"),
        (b'{"question": "Q", "answer": null}\n', r"row 1 must have texts as .* got \['Q', None\]"),
        (
            b'{"question": "Q", "answer": "a lot"}\n',
            "row 1 must have an 'answer' that ends .* 'a lot'",
        ),
        (b"\x80\x81", "must be a folder with 'train.jsonl', or that file.*decode"),
    ],
)
def test_lines_that_are_no_word_problems_are_told(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "train.jsonl").write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        gsm8k(path=tmp_path)


@pytest.mark.parametrize("share", ["a", None, 0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(folder: Path, share: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"`share` must be in \(0, 1\], got"):
        gsm8k(path=folder, share=share)
