import csv
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from pyarrow import Table, parquet

from opro_dspy.cli.reading import read_examples
from opro_dspy.errors import ConfigurationError
from tests.cli.conftest import run

ROWS = [{"question": f"What is {i},\n“{i}”?", "answer": str(i)} for i in range(3)]


def rows_of(spec: str, folder: Path, **options: Any) -> list[dict[str, Any]]:
    found = read_examples(spec, ["question"], option="--data", folder=folder, **options)
    assert all(list(example.inputs().keys()) == ["question"] for example in found)
    return [dict(example.items()) for example in found]


def test_every_format_gives_the_same_examples(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows(ROWS)
    parquet.write_table(Table.from_pylist(ROWS), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.json", "a.csv", "a.parquet"):
        assert rows_of(name, tmp_path) == ROWS, name
    assert rows_of(str(tmp_path / "a.csv"), Path("/"), limit=2) == ROWS[:2]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"question": "1"}\n{"question"', r"line 2 is no JSON"),
        ("a.jsonl", "[1]\n", r"row 1 of --data a.jsonl must be an object .* got list"),
        ("a.jsonl", '{"q": 1}\n', r"no field 'question'; it has: q\. Name .* --inputs"),
        ("a.jsonl", "", r"holds no rows"),
        ("a.json", "{}", r"must hold a list of objects, got dict"),
        ("a.csv", "question,answer\n1\n", r"row 1 has not as many cells"),
        ("a.parquet", "no parquet", r"a\.parquet cannot be read"),
        ("a.txt", "text", r"is no set that can be read\. A \.jsonl"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(
    name: str, content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigurationError, match=said):
        rows_of(name, tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.csv does not exist"):
        rows_of("none.csv", tmp_path)


def test_a_name_on_the_hub_has_its_configuration_and_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def load_dataset(name: str, config: str | None, *, split: str) -> list[dict[str, str]]:
        asked.append((name, config, split))
        return ROWS

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    for spec in ("a/b:test", "a/b:main:train[:2]", "a/b:train[10:20]"):
        assert rows_of(spec, tmp_path) == ROWS
    wanted = [("a/b", None, "test"), ("a/b", "main", "train[:2]"), ("a/b", None, "train[10:20]")]
    assert asked == wanted


def test_the_hub_needs_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install \"opro_dspy\[datasets\]\""):
        rows_of("a/b:test", tmp_path)


def test_a_hub_that_is_away_is_said_to_be_asked_and_one_line_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("datasets")

    def load_dataset(name: str, config: str | None, *, split: str) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise ConnectionError("Couldn't reach 'nope' on the Hub.")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.chdir(tmp_path)
    words = ("--trainset", "nope:train", "--metric", "exact_text", "--model", "simulated")
    done = run("compile", "question -> answer", *words)
    first, second = done.stderr.splitlines()
    assert done.exit_code == 2 and first == "Asking the Hugging Face hub for nope:train."
    assert second.startswith("Error: ") and second.endswith("on the Hub.")
