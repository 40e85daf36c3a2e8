"""A run's folder: one writer at a time, whole files or none, and nothing outside of it."""

import json
import logging
import os
import socket
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from opro_dspy.errors import JournalError, LogDirInUseError

logger = logging.getLogger(__name__)

LOCK, HOLDER = "lock", "holder.json"

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_MAX_HOLDER_BYTES = 4096


def now() -> str:
    """Return the time in ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class RunFolder:
    """The folder of a run.

    Args:
        path: Where it is; made on `acquire` if it is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self._lock = FileLock(self.path / LOCK, timeout=0)

    def acquire(self) -> None:
        """Make the folder, and become its only writer until `release`.

        The lock is the operating system's: it goes with its holder, however that ends.

        Raises:
            JournalError: If the folder cannot be made or written.
            LogDirInUseError: If somebody else writes here; names them.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise LogDirInUseError(
                f"{self.path} is in use by {self._holder()}. Wait for it to end, or pass another "
                "`log_dir`."
            ) from None
        except OSError as error:
            raise JournalError(
                f"cannot write in `log_dir` {self.path}: {error.strerror}. Pass a folder that can "
                "be written."
            ) from error
        told = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
        try:
            self.write(HOLDER, json.dumps(told).encode() + b"\n", sync=False)
        except JournalError:
            self._lock.release()
            raise

    def release(self) -> None:
        """Let others write here."""
        with suppress(OSError):  # who comes next writes it anew
            (self.path / HOLDER).unlink()
        self._lock.release()

    def write(self, name: str, data: bytes, *, sync: bool = True) -> None:
        """Replace the file `name` as a whole: who reads it sees the old data or the new.

        Args:
            name: Its name.
            data: What it is to hold.
            sync: Wait until it is on the disk; not for what can be made again.

        Raises:
            JournalError: If it cannot be written; the old data stay.
        """
        path, draft = self.path / name, self.path / f"{name}.tmp"
        if os.path.lexists(draft) and not draft.is_file():  # a pipe would be waited for
            raise JournalError(f"cannot write {path}: {draft} is in the way. Remove it.")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NOFOLLOW
            with os.fdopen(os.open(draft, flags, 0o666), "wb") as file:
                file.write(data)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(draft, path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            raise JournalError(
                f"cannot write {path}: {error.strerror}. Make room or set the rights, then call "
                "compile again with the same `log_dir`."
            ) from error

    def move_aside(self, names: tuple[str, ...]) -> None:
        """Move those of the files `names` that are there into a new folder `before-N`."""
        there = [name for name in names if (self.path / name).exists()]
        if not there:
            return
        number = 1
        while (aside := self.path / f"before-{number}").exists():
            number += 1
        try:
            aside.mkdir()
            for name in there:
                os.replace(self.path / name, aside / name)
        except OSError as error:
            raise JournalError(f"cannot move files to {aside}: {error.strerror}.") from error
        logger.warning("The run in %s was moved to %s.", self.path, aside)

    def _holder(self) -> str:
        try:
            with (self.path / HOLDER).open("rb") as file:
                found = json.loads(file.read(_MAX_HOLDER_BYTES))
            pid, host, since = int(found["pid"]), str(found["host"]), str(found["since"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return "another process"
        return f"process {pid} on {ascii(host)[1:-1]:.100} since {ascii(since)[1:-1]:.40}"
