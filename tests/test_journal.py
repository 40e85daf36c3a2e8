"""The journal's file: what was acknowledged is never lost, hostile lines are errors at worst."""

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opro_dspy.errors import ConfigurationError, JournalError, LogDirInUseError, ResumeError
from opro_dspy.foresight import Foresight, Habits
from opro_dspy.journal import JournalFile, Manifest, RunFolder, repair
from opro_dspy.journal.lines import (
    CandidateLine,
    DamagedLine,
    EndLine,
    Line,
    ProposalLine,
    QueryLine,
    ScoreLine,
    from_json,
    learned_of,
    learned_row,
    to_json,
    usage_of,
    usage_rows,
)
from opro_dspy.records import Usage
from tests.helpers import any_text, properties

STAMP: dict[str, Any] = {"session": 1, "t": 1.5}


def score(example: int, **options: Any) -> ScoreLine:
    fields: dict[str, Any] = {"race": 1, "candidate": "ab", "set": "trainset", "key": f"k{example}"}
    return ScoreLine(**STAMP, **{**fields, "example": example, "score": 0.5, **options})


def filled(folder: Path, n: int = 40) -> tuple[Path, list[Line]]:
    path = folder / "journal.jsonl"
    lines: list[Line] = [CandidateLine(**STAMP, id="ab", texts={"self": "Say “ja”.\n\x1b[31m"})]
    lines += [score(i, failed="boom \x00" * (i % 3 == 0) or None) for i in range(n)]
    journal = JournalFile(path)
    for line in lines:
        journal.append(line)
    journal.close()
    return path, lines


def read(path: Path) -> list[Line]:
    journal = JournalFile(path)
    try:
        return journal.read()
    finally:
        journal.close()


@properties
@given(text=any_text, other=any_text, score=st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_survives_a_line_and_no_line_has_more_than_ascii(
    text: str, other: str, score: float
) -> None:
    lines: list[Line] = [
        QueryLine(**STAMP, id="q", step=1, component=other, meta_prompt=text),
        ProposalLine(
            **STAMP, step=1, component=other, sample=0, attempt=1, query="q", raw=text, failed=other
        ),
        CandidateLine(**STAMP, id="c", texts={other: text}),
        ScoreLine(
            **STAMP,
            race=1,
            candidate="c",
            set="valset",
            example=0,
            key="k",
            score=score,
            failed=text,
        ),
    ]
    for line in lines:
        data = to_json(line)
        assert from_json(data) == line
        assert data.count(b"\n") == 1 and all(0x20 <= byte < 0x7F for byte in data[:-1])


def test_a_line_of_a_megabyte_survives() -> None:
    line = QueryLine(**STAMP, id="q", step=1, component="c", meta_prompt="\x1b<b>\ud800" * 200_000)
    assert from_json(to_json(line)) == line


def test_what_was_learned_survives() -> None:
    habits = {"m": Habits(ratio=1.0 + 0.1 / 3, longest=57), "n": Habits()}
    learned = Foresight(tokens=1_500, cost_usd=0.1 + 0.2, habits=habits)
    line = from_json(to_json(score(0, learned=learned_row(learned))))
    assert isinstance(line, ScoreLine) and line.learned is not None
    assert learned_of(line.learned) == learned


def test_usage_survives() -> None:
    usage = (
        Usage(role="optimizer", model="m", calls=2, failures=1, retries=1, cost_usd=0.1 + 0.2),
        Usage(
            role="scorer", model="n", cache_hits=3, input_tokens=4, output_tokens=5, seconds=0.25
        ),
    )
    line = from_json(to_json(score(0, usage=usage_rows(usage))))
    assert isinstance(line, ScoreLine)
    assert usage_of(line.usage) == usage


def test_the_journal_cut_at_every_byte_of_its_last_2_kb_loses_no_earlier_line(
    tmp_path: Path,
) -> None:
    path, lines = filled(tmp_path)
    data = path.read_bytes()
    assert len(data) > 2048
    for size in range(len(data) - 2048, len(data) + 1):
        path.write_bytes(data[:size])
        whole = data[:size].count(b"\n")
        found = read(path)
        assert found == lines[: len(found)]
        assert whole <= len(found) <= whole + 1
        journal = JournalFile(path)
        journal.append(lines[-1])  # and it goes on
        journal.close()
        assert read(path) == [*found, lines[-1]]


@pytest.mark.parametrize("junk", [b"\x00" * 50, b'{"v":1,"type":"sco\n', b"\xff\xfe", b"[[[["])
def test_junk_at_the_end_is_cut_off(junk: bytes, tmp_path: Path) -> None:
    path, lines = filled(tmp_path)
    with path.open("ab") as file:
        file.write(junk)
    assert read(path) == lines
    assert read(path) == lines


HOSTILE = [
    b"",
    b"null",
    b"17",
    b"[]",
    b'"text"',
    b"{}",
    b"{" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"v":1}',
    b'{"v":2,"type":"score"}',
    b'{"v":1,"type":"pickle","data":"gASVHAAAAA"}',
    b'{"v":1,"type":"candidate","id":"x","texts":{"a":1}}',
    b'{"v":1,"type":"candidate","id":"x","texts":{},"more":1}',
    b'{"v":1,"type":"end","reason":"x","t":NaN}',
    b'{"v":1,"type":"end","reason":"x","t":1e999}',
    b'{"v":1,"type":"end","reason":"x","t":' + b"9" * 10_000 + b"}",
    b'{"v":1,"type":"end","reason":"\xff"}',
    b'{"v":1,"type":"end","reason":"x"',
    b"\x80\x04\x95",
    b'{"v":1,"type":"\x1b[31m"}',
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_line_is_an_error_that_names_file_and_line(line: bytes, tmp_path: Path) -> None:
    path, _ = filled(tmp_path, n=4)
    data = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*data[:2], line + b"\n", *data[2:]]))
    with pytest.raises(ResumeError, match=r"journal\.jsonl, line 3 is damaged") as caught:
        read(path)
    assert "\x1b" not in str(caught.value)
    assert f"would drop line 3 ({len(line) + 1:,} bytes) and keep the other 5" in str(caught.value)
    assert path.read_bytes().count(b"\n") == 6  # nothing was touched


@given(data=st.binary(max_size=200))
def test_no_bytes_are_anything_but_a_line_or_damaged(data: bytes) -> None:
    try:
        line = from_json(data)
    except DamagedLine:
        return
    assert from_json(to_json(line)) == line


def test_a_repair_drops_damaged_lines_and_keeps_the_file_as_it_was(tmp_path: Path) -> None:
    path, lines = filled(tmp_path, n=4)
    data = path.read_bytes().splitlines(keepends=True)
    broken = b"".join([*data[:2], b"{}\n", *data[2:4], b"\x00\n", *data[4:], b'{"v":1,'])
    path.write_bytes(broken)
    dropped = repair(tmp_path)
    assert [(d.number, d.torn) for d in dropped] == [(3, False), (6, False), (8, True)]
    assert read(path) == lines
    assert (tmp_path / "journal.jsonl.damaged").read_bytes() == broken
    assert repair(tmp_path) == []
    path.write_bytes(path.read_bytes() + b"{}\n")
    assert len(repair(tmp_path)) == 1
    assert (tmp_path / "journal.jsonl.damaged").read_bytes() == broken
    assert (tmp_path / "journal.jsonl.damaged-2").read_bytes().endswith(b"{}\n")
    with pytest.raises(ConfigurationError, match=r"no journal\.jsonl"):
        repair(tmp_path / "elsewhere")


def test_a_full_disk_stops_the_journal_and_earlier_lines_are_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lines = filled(tmp_path)
    journal = JournalFile(path)
    write = os.write
    written: list[int] = []

    def full(file: int, data: bytes) -> int:
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(write(file, data[:7]))
        return 7

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(JournalError, match="No space left on device"):
            journal.append(lines[-1])
    with pytest.raises(JournalError, match="No space left"):  # no gap, even if there is room again
        journal.append(lines[-1])
    journal.close()
    assert read(path) == lines


def test_threads_never_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = JournalFile(path)

    def work(worker: int) -> None:
        for i in range(50):
            journal.append(score(100 * worker + i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    found = [line.example for line in read(path) if isinstance(line, ScoreLine)]
    assert sorted(found) == [100 * worker + i for worker in range(8) for i in range(50)]


def test_a_journal_that_is_a_link_out_of_the_folder_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").symlink_to(tmp_path / "target")
    with pytest.raises(JournalError, match="cannot write"):
        JournalFile(tmp_path / "run" / "journal.jsonl")


def test_one_writer_at_a_time_and_the_second_is_told_of_the_first(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    first.acquire()
    with pytest.raises(LogDirInUseError, match=rf"in use by process {os.getpid()} on .+ since 2"):
        second.acquire()
    (tmp_path / "run" / "holder.json").write_bytes(b'{"pid":"\x1b[31m')
    with pytest.raises(LogDirInUseError, match="in use by another process") as caught:
        second.acquire()
    assert "\x1b" not in str(caught.value)
    first.release()
    second.acquire()
    second.release()


def test_a_folder_that_cannot_be_written_is_free_again_once_it_can(tmp_path: Path) -> None:
    (tmp_path / "holder.json.tmp").mkdir()
    first = RunFolder(tmp_path)
    with pytest.raises(JournalError, match=r"cannot write .*holder\.json"):
        first.acquire()
    (tmp_path / "holder.json.tmp").rmdir()
    RunFolder(tmp_path).acquire()


def test_files_are_replaced_as_a_whole_and_made_with_the_users_umask(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "run")
    before = os.umask(0o027)
    try:
        folder.acquire()
        folder.write("best.json", b"1")
        JournalFile(folder.path / "journal.jsonl").close()
    finally:
        os.umask(before)
        folder.release()
    for name, mode in (("", 0o750), ("best.json", 0o640), ("journal.jsonl", 0o640)):
        assert (folder.path / name).stat().st_mode & 0o777 == mode
    (tmp_path / "outside").write_text("mine")
    (folder.path / "best.json").unlink()
    (folder.path / "best.json").symlink_to(tmp_path / "outside")
    (folder.path / "best.json.tmp").symlink_to(tmp_path / "outside")
    with pytest.raises(JournalError):
        folder.write("best.json", b"2")
    folder.write("best.json", b"2")  # the draft was a link, and is gone
    assert (tmp_path / "outside").read_text() == "mine"
    assert (folder.path / "best.json").read_bytes() == b"2"


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot write in `log_dir`"):
        RunFolder(tmp_path / "file" / "run").acquire()


DEEP = b'{"a":' * 500 + b"1" + b"}" * 500


@pytest.mark.parametrize("text", [b"", b"{}", DEEP, b"[1]", b"{" * 10**5, b'{"format":2}', b"\xff"])
def test_a_hostile_manifest_is_an_error(text: bytes) -> None:
    with pytest.raises(ResumeError, match=r"manifest\.json of this `log_dir` cannot be read"):
        Manifest.from_json(text)


def test_every_line_is_one_json_object_that_tells_its_type(tmp_path: Path) -> None:
    path, _ = filled(tmp_path)
    with path.open("ab") as file:
        file.write(to_json(EndLine(**STAMP, reason="max_steps")))
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    assert {row["type"] for row in rows} == {"candidate", "score", "end"}
    assert all(row["v"] == 1 and row["session"] == 1 for row in rows)
