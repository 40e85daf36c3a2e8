"""The store on disk: shared, bounded, and harmless whatever its files hold."""

import json
import multiprocessing
import os
import pickle
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from opro_dspy import ConfigurationError
from opro_dspy.cache import CacheDir, DiskStore, MemoryStore, Store, open_store, resolve_cache_dir
from opro_dspy.cache.store import MAX_WAITING
from opro_dspy.cache.upkeep import cache_info, clear_cache, prune_cache


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    yield DiskStore(CacheDir(path=tmp_path)) if request.param == "disk" else MemoryStore()


VALUES = [
    0, 1.5, "", "a", None, [], {"a": [1, {"b": None}]}, "\ud800\x00\x1b[31m<b>", "é" * 100_000,
    "x" * 1_000_000, {"\udfff": "\u2028"}, True,
]  # fmt: skip


def test_values_come_back_as_they_were(store: Store) -> None:
    for number, value in enumerate(VALUES):
        store.put(f"key:{number}", value)
    assert [store.get(f"key:{number}") for number in range(len(VALUES))] == VALUES
    store.put("key:0", "again")
    assert store.get("key:0") == "again"
    assert store.get("key:unknown") is None


def test_another_process_sees_what_was_stored(tmp_path: Path) -> None:
    DiskStore(CacheDir(path=tmp_path)).put("key", {"a": 1})
    assert DiskStore(CacheDir(path=tmp_path)).get("key") == {"a": 1}


def _hammer(folder: Path, mine: int, failed: Any) -> None:
    store = DiskStore(CacheDir(path=folder))
    for number in range(150):
        store.put(f"shared:{number % 20}", "s" * 40_000)
        store.put(f"own:{mine}:{number}", number)
        if store.get(f"own:{mine}:{number}") != number:
            failed.set()
    if store._kept:
        failed.set()


def test_two_processes_that_hammer_one_folder_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    failed = context.Event()
    workers = [context.Process(target=_hammer, args=(tmp_path, n, failed)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert not failed.is_set()
    store = DiskStore(CacheDir(path=tmp_path))
    assert all(store.get(f"own:{w}:{n}") == n for w in range(2) for n in range(150))


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def entries(folder: Path) -> Path:
    return folder / "v1" / "entries"


def plant(folder: Path, **columns: Any) -> None:
    with closing(sqlite3.connect(entries(folder) / "cache.db")) as connection:
        setters = ", ".join(f"{name} = ?" for name in columns)
        connection.execute(f"UPDATE Cache SET {setters}", tuple(columns.values()))
        connection.commit()


@pytest.mark.parametrize("mode", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("where", ["row", "file", "outside"])
def test_a_planted_pickle_is_not_run_and_counts_as_missing(
    tmp_path: Path, mode: int, where: str
) -> None:
    folder, bang = tmp_path / "cache", tmp_path / "bang"
    store = DiskStore(CacheDir(path=folder))
    store.put("key", "x" * 100_000)
    pickled = pickle.dumps(Bomb(bang))
    outside = tmp_path / "outside.val"
    outside.write_bytes(pickled)
    if where == "row":
        plant(folder, mode=mode, value=pickled, filename=None)
    elif where == "file":
        (file,) = entries(folder).rglob("*.val")
        file.write_bytes(pickled)
        plant(folder, mode=mode)
    else:
        plant(folder, mode=mode, filename="../../../outside.val")
    assert store.get("key") is None
    store.put("key", "new")
    assert store.get("key") == "new"
    prune_cache(CacheDir(path=folder), max_bytes=0)
    clear_cache(CacheDir(path=folder))
    assert not bang.exists()
    assert outside.exists()


def test_a_planted_pickled_key_is_not_run_by_any_command(tmp_path: Path) -> None:
    where, bang = CacheDir(path=tmp_path / "cache"), tmp_path / "bang"
    store = DiskStore(where)
    store.put("score:a", 1)
    store.put("score:b", 2)
    with closing(sqlite3.connect(entries(where.folder) / "cache.db")) as connection:
        row = (sqlite3.Binary(pickle.dumps(Bomb(bang))), 0)
        connection.execute("UPDATE Cache SET key = ?, raw = ? WHERE key = 'score:a'", row)
        connection.commit()
    assert store.get("score:b") == 2
    assert cache_info(where).scores == 1
    assert prune_cache(where) == 1
    assert store.get("score:b") == 2
    clear_cache(where)
    assert not bang.exists()


def test_a_file_outside_is_never_read_as_a_value(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('"secret"')
    store = DiskStore(CacheDir(path=tmp_path / "cache"))
    store.put("key", "x" * 100_000)
    plant(tmp_path / "cache", mode=3, filename=str(secret))
    assert store.get("key") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("sqlite_cache_size", "1; DROP TABLE Cache"), ("entries", "x"), ("_disk", "x"), ("size", "x")],
)
def test_planted_settings_are_refused(tmp_path: Path, key: str, value: str) -> None:
    DiskStore(CacheDir(path=tmp_path)).put("key", 1)
    with closing(sqlite3.connect(entries(tmp_path) / "cache.db")) as connection:
        connection.execute("INSERT OR REPLACE INTO Settings VALUES (?, ?)", (key, value))
        connection.commit()
    with pytest.raises(ConfigurationError, match=r"cannot be used .*foreign setting"):
        DiskStore(CacheDir(path=tmp_path))
    with pytest.raises(ConfigurationError, match=r"damaged .*foreign setting"):
        cache_info(CacheDir(path=tmp_path))
    clear_cache(CacheDir(path=tmp_path))
    assert DiskStore(CacheDir(path=tmp_path)).get("key") is None


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_database_is_an_error_at_the_door_until_it_is_cleared(
    tmp_path: Path, content: bytes
) -> None:
    where = CacheDir(path=tmp_path)
    entries(tmp_path).mkdir(parents=True)
    (entries(tmp_path) / "cache.db").write_bytes(content)
    if content:
        with pytest.raises(ConfigurationError, match=r"cannot be used .*cache clear"):
            open_store(where)
        with pytest.raises(ConfigurationError, match="is damaged"):
            cache_info(where)
    clear_cache(where)
    store = open_store(where)
    store.put("key", 1)
    assert store.get("key") == 1


@pytest.mark.skipif(os.name != "posix", reason="there are no such rights")
def test_a_group_that_the_umask_lets_write_can_use_the_cache(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        DiskStore(CacheDir(path=tmp_path / "cache")).put("key", 1)
        files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        assert files
        assert {path.stat().st_mode & 0o777 for path in files} == {0o664}
    finally:
        os.umask(before)


def test_the_advice_for_a_damaged_cache_empties_that_one(tmp_path: Path) -> None:
    folder = tmp_path / "my cache"
    DiskStore(CacheDir(path=folder)).close()
    (entries(folder) / "cache.db").write_bytes(b"garbage" * 100)
    for open_it in (DiskStore, cache_info):
        with pytest.raises(ConfigurationError, match=rf"cache clear --dir '{folder}'`"):
            open_it(CacheDir(path=folder))


def test_no_cache_is_emptied_for_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    DiskStore(CacheDir(path=tmp_path)).close()
    monkeypatch.setattr(sqlite3, "connect", full)
    for open_it in (DiskStore, cache_info):
        with pytest.raises(ConfigurationError, match="disk I/O error") as caught:
            open_it(CacheDir(path=tmp_path))
        assert "clear" not in str(caught.value)


def test_a_damaged_entry_is_missing_and_can_be_written_again(tmp_path: Path) -> None:
    store = DiskStore(CacheDir(path=tmp_path))
    for damage in ("{", "NaN1", "[" * 100_000, ""):
        store.put("key", 1)
        plant(tmp_path, value=damage)
        assert store.get("key") is None
    store.put("key", "x" * 100_000)
    next(entries(tmp_path).rglob("*.val")).write_text("{")
    assert store.get("key") is None
    store.put("key", 2)
    assert store.get("key") == 2


def test_a_full_disk_costs_the_cache_but_not_the_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = DiskStore(CacheDir(path=tmp_path))

    def full(*args: Any, **kwargs: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store.entries, "set", full)
    store.put("a", 1)
    store.put("b", 2)
    assert (store.get("a"), store.get("b")) == (1, 2)
    assert len([r for r in caplog.records if "cannot be written" in r.getMessage()]) == 1


def test_a_folder_that_goes_away_does_not_stop_a_run(tmp_path: Path) -> None:
    store = DiskStore(CacheDir(path=tmp_path))
    store.put("a", "x" * 100_000)
    for file in entries(tmp_path).rglob("*.val"):
        file.unlink()
    (entries(tmp_path) / "cache.db").write_bytes(b"gone" * 1000)
    store.put("b", 1)
    assert store.get("a") is None
    assert store.get("b") == 1


def test_a_file_in_the_place_of_the_folder_is_an_error_at_the_door(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be used .*`cache_dir`"):
        open_store(CacheDir(path=tmp_path / "file"))


def test_a_default_folder_that_cannot_be_written_to_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("OPRO_DSPY_CACHE_DIR", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "file"))
    assert isinstance(open_store(CacheDir()), MemoryStore)
    assert "No cache" in caplog.text


def test_a_full_disk_costs_the_default_folder_but_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("OPRO_DSPY_CACHE_DIR", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path))

    def full(*args: Any, **kwargs: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("diskcache.Cache", full)
    assert isinstance(open_store(CacheDir()), MemoryStore)
    assert "disk is full" in caplog.text
    with pytest.raises(ConfigurationError, match="disk is full"):
        open_store(CacheDir(path=tmp_path))


def test_the_bound_holds_by_dropping_what_was_stored_first(tmp_path: Path) -> None:
    where = CacheDir(path=tmp_path, max_bytes=1_000_000)
    store = DiskStore(where)
    for number in range(60):
        store.put(f"score:{number}", "x" * 40_000)
    assert store.get("score:0") is None
    assert store.get("score:59") is not None
    assert store.entries.volume() <= 1_100_000


def test_info_prune_and_clear(tmp_path: Path) -> None:
    where = CacheDir(path=tmp_path / "none")
    assert cache_info(where).scores == 0
    assert prune_cache(where, max_bytes=0) == 0
    clear_cache(where)
    assert not where.folder.exists()
    store = DiskStore(where)
    for number in range(20):
        store.put(f"answer:{number}", "x" * 40_000)
        store.put(f"score:{number}", number)
    info = cache_info(where)
    assert (info.scores, info.answers) == (20, 20)
    assert info.bytes > 800_000
    assert prune_cache(where, older_than_s=3600) == 0
    assert prune_cache(where, max_bytes=500_000) > 0
    assert store.get("score:19") == 19
    assert prune_cache(where, older_than_s=0) > 0
    assert cache_info(where).answers == 0
    store.put("score:1", 1)
    clear_cache(where)
    assert store.get("score:1") is None


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    store = DiskStore(CacheDir(path=tmp_path / "cache"))
    store.put("../../key", "x" * 100_000)
    store.put("score:\ud800", 1)
    made = {path for path in set(tmp_path.rglob("*")) - before if path != tmp_path / "cache"}
    assert all((tmp_path / "cache") in path.parents for path in made)
    assert store.get("../../key") == "x" * 100_000


def test_what_cache_dir_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_cache_dir(None) is None
    assert resolve_cache_dir(str(tmp_path)) == CacheDir(path=tmp_path)
    monkeypatch.setenv("OPRO_DSPY_CACHE_DIR", str(tmp_path / "env"))
    assert CacheDir().folder == tmp_path / "env"
    for wrong in (3, "", True, b"x"):
        with pytest.raises(ConfigurationError, match="`cache_dir` must be a folder"):
            resolve_cache_dir(wrong)
    with pytest.raises(ConfigurationError, match="reads as a variable"):
        open_store(CacheDir(path=tmp_path / "$HOME"))


def test_values_on_disk_are_json_text(tmp_path: Path) -> None:
    store = DiskStore(CacheDir(path=tmp_path))
    store.put("score:1", {"a": "\ud800"})
    with closing(sqlite3.connect(entries(tmp_path) / "cache.db")) as connection:
        ((value,),) = connection.execute("SELECT value FROM Cache").fetchall()
    assert json.loads(value) == {"a": "\ud800"}
    assert os.path.isdir(tmp_path / "v1" / "locks")


def test_clearing_a_damaged_cache_leaves_what_else_lies_beside_it(tmp_path: Path) -> None:
    where = CacheDir(path=tmp_path)
    DiskStore(where).close()
    (tmp_path / "v1" / "mine").write_text("precious")
    (tmp_path / "v1" / "entries" / "cache.db").write_bytes(b"garbage" * 1000)
    clear_cache(where)
    assert [path.name for path in (tmp_path / "v1").iterdir()] == ["mine"]
    (tmp_path / "v1" / "entries").write_text("a file of the user's")
    with pytest.raises(ConfigurationError, match="cannot be deleted"):
        clear_cache(where)
    assert (tmp_path / "v1" / "entries").read_text() == "a file of the user's"


def test_off_is_not_taken_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPRO_DSPY_CACHE_DIR", "off")
    assert CacheDir().folder.name != "off"


def test_what_is_kept_soon_is_seen_at_once_and_by_others_with_the_next_or_a_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opro_dspy.cache.store.MAX_WAIT_S", float("inf"))
    ours, others = DiskStore(CacheDir(path=tmp_path)), DiskStore(CacheDir(path=tmp_path))
    ours.put("a", 1, soon=True)
    assert (ours.get("a"), others.get("a")) == (1, None)
    ours.put("b", 2)
    assert (others.get("a"), others.get("b")) == (1, 2)
    ours.put("a", 3, soon=True)
    assert (ours.get("a"), others.get("a")) == (3, 1)
    ours.flush()
    assert others.get("a") == 3
    for number in range(MAX_WAITING):
        ours.put(f"c:{number}", number, soon=True)
    assert all(others.get(f"c:{number}") == number for number in range(MAX_WAITING))


def test_what_waited_for_long_is_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = DiskStore(CacheDir(path=tmp_path)), DiskStore(CacheDir(path=tmp_path))
    monkeypatch.setattr("opro_dspy.cache.store.MAX_WAIT_S", -1.0)
    ours.put("a", 1, soon=True)
    assert others.get("a") == 1


def test_threads_that_write_at_once_find_all_written_when_they_are_through(tmp_path: Path) -> None:
    ours, others = DiskStore(CacheDir(path=tmp_path)), DiskStore(CacheDir(path=tmp_path))

    def write(number: int) -> bool:
        ours.put(f"score:{number}", number, soon=True)
        ours.put(f"answer:{number}", number)
        return bool(others.get(f"answer:{number}") == number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(80)))
    assert all(others.get(f"score:{number}") == number for number in range(80))


def test_a_store_in_memory_that_is_bounded_begins_anew_when_it_is_full() -> None:
    store = MemoryStore(max_entries=2)
    for key in "abc":
        store.put(key, key.upper())
    assert [store.get(key) for key in "abc"] == [None, None, "C"]
