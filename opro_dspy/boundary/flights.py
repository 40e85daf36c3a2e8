"""Who is asking what right now: one asks, others who want the same wait for the answer."""

import hashlib
import os
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

if sys.platform != "win32":
    import fcntl

MAX_WAIT_S = 300.0
"""How long to wait for another process at most: asking twice is better than hanging with it."""

BYTES = sys.platform == "linux" and sys.maxsize > 2**32
"""Whether the system has locks on a byte that belong to an open file."""


class Owner(Protocol):
    """On whose behalf somebody asks."""

    abandoned: bool

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context in which it only waits: that time is not held against it."""
        ...

    def runs_with(self, other: object) -> bool:
        """Tell whether another owner is sure to be given up, should it hang."""
        ...


@dataclass(slots=True, eq=False)
class Flight:
    """A request that is under way."""

    key: str
    owner: Owner | None
    unlock: Callable[[], object]


class Flights:
    """Hands each key to one asker at a time, over threads and processes.

    The one whose task is given up loses its key, and so does a process that ends, however it
    ends: the operating system drops its lock.

    Args:
        locks: A folder that all processes with the same store share; None for this process alone.
    """

    def __init__(self, locks: Path | None) -> None:
        self._locks = None if locks is None else _Locks(locks)
        self._changed = threading.Condition()
        self._flying: dict[str, Flight] = {}
        self._waited: dict[str, float] = {}

    def claim(self, key: str, owner: Owner | None = None) -> Flight | None:
        """Return a flight if nobody asks for `key` now, else None. `land` it, whatever comes."""
        with self._changed:
            other = self._flying.get(key)
            if other is not None:
                if other.owner is None or not other.owner.abandoned:
                    return None
                self._drop(other)
            unlock = self._lock(key)
            if unlock is None:
                return None
            flight = self._flying[key] = Flight(key, owner, unlock)
            return flight

    def under_way(self, key: str) -> Flight | None:
        """Return the flight of this process that asks for `key` now, if one does."""
        with self._changed:
            return self._flying.get(key)

    def holds(self, flight: Flight | None) -> bool:
        """Tell whether nobody else has asked for its key since."""
        with self._changed:
            return flight is not None and self._flying.get(flight.key) is flight

    def land(self, flight: Flight) -> None:
        """Say that the request is over, so that another may ask."""
        with self._changed:
            if self._flying.get(flight.key) is flight:
                self._drop(flight)

    def wait(self, seconds: float) -> None:
        """Wait until a request of this process is over, at most so long."""
        with self._changed:
            self._changed.wait(seconds)

    def _drop(self, flight: Flight) -> None:
        del self._flying[flight.key]
        flight.unlock()
        self._changed.notify_all()

    def _lock(self, key: str) -> Callable[[], object] | None:
        if self._locks is None:
            return lambda: None
        unlock = self._locks.lock(key)
        now = time.monotonic()
        if unlock is None and now - self._waited.setdefault(key, now) > MAX_WAIT_S:
            unlock = lambda: None  # noqa: E731
        if unlock is not None:
            self._waited.pop(key, None)
        return unlock

    def __deepcopy__(self, memo: dict[int, Any]) -> "Flights":
        return self


class _Locks:
    """Locks by key in a folder, which all processes share; whoever ends loses theirs.

    Where it can be (`BYTES`), a key is one byte of one file,
    which nobody has to make or delete for it. Elsewhere each key has a file of its own.

    Args:
        folder: Where. One that cannot be written to locks nothing: at worst a request is sent
            twice.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file, self._owner = -1, -1

    def lock(self, key: str) -> Callable[[], object] | None:
        """Lock `key` and return what unlocks it, or None if another holds it."""
        name = hashlib.sha256(key.encode()).hexdigest()
        try:
            if BYTES:
                return self._byte(int(name[:15], 16))
            path = self._folder / f"{name}.lock"
            return _posix(path) if sys.platform != "win32" else _portable(path)
        except OSError:
            return lambda: None

    def _byte(self, at: int) -> Callable[[], object] | None:
        if sys.platform == "linux":
            if self._owner != os.getpid():  # a child that was forked off opens its own
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._file = os.open(self._folder / "bytes", flags, 0o666)
                self._owner = os.getpid()
                weakref.finalize(self, os.close, self._file)
            file = self._file
            try:
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, _range(fcntl.F_WRLCK, at))
            except (BlockingIOError, PermissionError):
                return None
            return lambda: fcntl.fcntl(file, fcntl.F_OFD_SETLK, _range(fcntl.F_UNLCK, at))
        raise OSError("this system has no locks of open files")


def _range(kind: int, at: int) -> bytes:
    """Return the system's `struct flock` for one byte."""
    return struct.pack("hhqqi0q", kind, os.SEEK_SET, at, 1, 0)


def _posix(path: Path) -> Callable[[], object] | None:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        except OSError:
            os.close(file)
            raise
        if os.fstat(file).st_nlink:  # else the holder before deleted it: lock the new one
            break
        os.close(file)

    def unlock() -> None:
        with suppress(OSError):
            path.unlink()
        os.close(file)

    return unlock


def _portable(path: Path) -> Callable[[], object] | None:
    import filelock

    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return None
    return lock.release
