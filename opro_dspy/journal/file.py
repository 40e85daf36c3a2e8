"""The journal's file: lines are appended and flushed, read back, and repaired."""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from opro_dspy.errors import ConfigurationError, JournalError, ResumeError
from opro_dspy.journal.folder import RunFolder
from opro_dspy.journal.lines import DamagedLine, Line, from_json, parsed, to_json

logger = logging.getLogger(__name__)

NAME = "journal.jsonl"

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A line that cannot be read."""

    number: int
    """From 1."""
    size: int
    """Bytes."""
    why: str
    torn: bool
    """Whether it is the last line, cut short when its writer was killed."""


class JournalFile:
    """A file of lines that is only ever appended to.

    A line is one write to the operating system, so that it survives the process once `append`
    returned; `sync` makes it survive the machine. Safe for threads.

    Args:
        path: The file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._broken: str | None = None
        self._syncing: threading.Thread | None = None
        try:
            self._file = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _NOFOLLOW, 0o666
            )  # less the user's umask
            self._size = os.fstat(self._file).st_size
        except OSError as error:
            raise JournalError(f"cannot write {path}: {error.strerror}. {_ADVICE}") from error

    def read(self) -> list[Line]:
        """Return all lines; a torn last one is cut off.

        Raises:
            ResumeError: If another line is damaged; names it, and what a repair would drop.
        """
        data = self.path.read_bytes()
        lines, damaged = _lines(data)
        torn = next((d for d in damaged if d.torn), None)
        others = [d for d in damaged if not d.torn]
        if others:
            first = others[0]
            raise ResumeError(
                f"{self.path}, line {first.number} is damaged: {first.why}. "
                f"`python -m opro_dspy repair {self.path.parent}` would drop {told(damaged)} and "
                f"keep the other {len(lines)}; what was dropped is paid for again."
            )
        if torn is not None:
            logger.warning(
                "%s: the last line was cut short when its writer was stopped; its %d bytes are "
                "dropped.",
                self.path,
                torn.size,
            )
            os.ftruncate(self._file, len(data) - torn.size)
            self._size = len(data) - torn.size
        elif data and not data.endswith(b"\n"):
            self._write(b"\n")
        return lines

    def append(self, line: Line) -> None:
        """Write `line`; when this returns, it survives the end of the process.

        Raises:
            JournalError: If it cannot be written. Nothing of it stays, and nothing more is taken.
        """
        data = to_json(line)
        with self._lock:
            self._write(data)

    def sync(self) -> None:
        """Make what was appended survive the machine, too, in a little while: nobody waits for it.

        Raises:
            JournalError: If an earlier one failed, or the file is not there any more.
        """
        self._wait()
        self._check_there()
        self._syncing = threading.Thread(target=self._sync, name="opro_dspy_sync", daemon=True)
        self._syncing.start()

    def close(self) -> None:
        """Close the file; what was synced is on the disk then. Nothing more is taken."""
        if self._syncing is not None:
            self._syncing.join()
        with self._lock:
            self._broken = f"{self.path} is closed."
            os.close(self._file)

    def _sync(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            with self._lock:
                self._broken = self._broken or str(self._error(error))

    def _wait(self) -> None:
        if self._syncing is not None:
            self._syncing.join()
        if self._broken is not None:
            raise JournalError(self._broken)

    def _check_there(self) -> None:
        """Raise JournalError if the file was deleted or replaced: its lines go nowhere."""
        try:
            there = os.path.samestat(os.stat(self.path), os.fstat(self._file))
        except FileNotFoundError:
            there = False
        if not there:
            with self._lock:
                self._broken = (
                    f"{self.path} was deleted or replaced while the run went on. Call compile "
                    "again with the same `log_dir`: what the cache does not know is paid for again."
                )
            raise JournalError(self._broken)

    def _write(self, data: bytes) -> None:
        if self._broken is not None:
            raise JournalError(self._broken)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            broken = self._error(error)
            self._broken = str(broken)
            if written:
                os.ftruncate(self._file, self._size)
            raise broken from error
        self._size += len(data)

    def _error(self, error: OSError) -> JournalError:
        return JournalError(
            f"cannot write {self.path}: {error.strerror}. All earlier lines are intact. {_ADVICE}"
        )


_ADVICE = "Make room or set the rights, then call compile again with the same `log_dir`."


def _lines(data: bytes) -> tuple[list[Line], list[Damage]]:
    found, damaged = [], []
    rows = data.split(b"\n")
    last = len(rows) if rows[-1] else len(rows) - 1
    for number, row in enumerate(rows[:last], start=1):
        try:
            found.append(from_json(row))
        except DamagedLine as error:
            torn = number == last and not _is_json(row)
            size = len(row) + (0 if number == len(rows) else 1)
            damaged.append(Damage(number=number, size=size, why=str(error), torn=torn))
    return found, damaged


def _is_json(row: bytes) -> bool:
    try:
        return isinstance(parsed(row), dict)
    except DamagedLine:
        return False


def told(damaged: Sequence[Damage]) -> str:
    """Return which lines are damaged, the first ones by name."""
    told = ", ".join(f"line {d.number} ({d.size:,} bytes)" for d in damaged[:5])
    more = len(damaged) - 5
    return told + (f" and {more} more" if more > 0 else "")


def read_lines(path: Path) -> tuple[list[Line], list[Damage]]:
    """Return the lines of a journal that can be read, while somebody may write there, and the rest.

    A torn last line is neither: it may be about to be written.

    Raises:
        ConfigurationError: If the file cannot be read.
    """
    try:
        lines, damaged = _lines(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}.") from error
    return lines, [d for d in damaged if not d.torn]


def repair(log_dir: str | Path) -> list[Damage]:
    """Drop the damaged lines of a run's journal; the file as it was stays as `….damaged`.

    A second time it stays as `….damaged-2`, and so on.

    What a dropped line held will be paid for again.

    Args:
        log_dir: The run's folder.

    Returns:
        What was dropped; empty if nothing was wrong, and then nothing is written.

    Raises:
        ConfigurationError: If there is no journal.
        LogDirInUseError: If somebody writes there.
    """
    folder = RunFolder(log_dir)
    path = folder.path / NAME
    if path.is_symlink() or not path.is_file():
        raise ConfigurationError(f"there is no {NAME} in {log_dir}. Name the folder of a run.")
    folder.acquire()
    try:
        data = path.read_bytes()
        _, damaged = _lines(data)
        dropped = {d.number for d in damaged}
        if damaged:
            rows = enumerate(data.split(b"\n"), start=1)
            kept = b"".join(row + b"\n" for number, row in rows if row and number not in dropped)
            folder.write(_free(path.with_name(f"{NAME}.damaged")).name, data)
            folder.write(NAME, kept)
        return damaged
    finally:
        folder.release()


def _free(path: Path) -> Path:
    """Return `path`, or the first of `path`-2, -3, … that is not there."""
    later = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(each for each in chain([path], later) if not os.path.lexists(each))
