"""Writes a run to its folder as it goes, and takes it up again."""

import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opro_dspy.boundary.gate import Gate
from opro_dspy.errors import JournalError
from opro_dspy.fingerprints import fingerprint
from opro_dspy.foresight import Foresight
from opro_dspy.journal import Answers, JournalFile, Manifest, Past, RunFolder, Scores
from opro_dspy.journal import manifest as manifests
from opro_dspy.journal.file import NAME as JOURNAL
from opro_dspy.journal.folder import now
from opro_dspy.journal.lines import (
    ChoiceLine,
    EndLine,
    Line,
    PaidLine,
    SessionLine,
    StepLine,
    learned_row,
)
from opro_dspy.journal.past import short_hash
from opro_dspy.memory import Answer, InOrder, Meeting, Sample, Score
from opro_dspy.protocols import Event, StepEnded
from opro_dspy.records import Candidate, Evaluation, Usage
from opro_dspy.result import RunResult

logger = logging.getLogger(__name__)

BEST, RESULT = "best.json", "result.json"


class RunLog:
    """A run on disk: its memories, and an observer that writes each step down.

    Without a `log_dir` nothing is written, and nothing is remembered.

    Args:
        log_dir: The run's folder, or None.
        resume: "auto", "force" or "never"; see `OPRO`.
        gate: Told of all that is recalled; tells the caps, the run's seconds, and what it learned.
        saved: Returns a candidate's program as JSON, for DSPy's `load`.
        call: What the user called, to be called again.
        advice: By the name of what may have changed, a sentence that says what to do then.
    """

    def __init__(
        self,
        log_dir: str | Path | None,
        resume: str,
        *,
        gate: Gate,
        saved: Callable[[Candidate], bytes],
        call: str = "compile",
        advice: Mapping[str, str] | None = None,
    ) -> None:
        self._advice = advice or {}
        self._call, self._gate, self._saved = call, gate, saved
        self.scores: InOrder[Meeting, Score] = InOrder()
        self.answers: InOrder[Sample, Answer] = InOrder()
        self._folder = None if log_dir is None else RunFolder(log_dir)
        self._resume = resume
        self._file: JournalFile | None = None
        self._best: bytes | None = None
        self._learned = Foresight()
        """What the last line that tells of it says."""
        self._lock = threading.Lock()

    @contextmanager
    def open(
        self, manifest: Callable[[], Manifest], keys: Mapping[str, Sequence[str]]
    ) -> Iterator[None]:
        """Take the folder; go on from what it holds.

        Args:
            manifest: Returns who takes part now.
            keys: Name of the set to the keys of its examples.

        Raises:
            ResumeError: If it holds another run, or cannot be read.
            LogDirInUseError: If somebody else runs there.
            JournalError: If it cannot be written.
        """
        if self._folder is None:
            yield
            return
        self._folder.acquire()
        try:
            self._begin(self._folder, manifest(), keys)
            yield
        finally:
            if self._file is not None:
                self._file.close()
            self._folder.release()

    def _begin(
        self, folder: RunFolder, manifest: Manifest, keys: Mapping[str, Sequence[str]]
    ) -> None:
        if self._resume == "never":
            folder.move_aside((manifests.NAME, JOURNAL, BEST, RESULT))
        force, advice = self._resume == "force", self._advice
        manifest, changed = manifests.taken_up(
            folder, manifest, journal=JOURNAL, force=force, advice=advice
        )
        self._file = JournalFile(folder.path / JOURNAL)
        lines = self._file.read()
        caps = self._gate.budget.caps
        scoring, proposing = _hash(manifest.scoring), _hash(manifest.proposing)
        self._past = Past(
            lines,
            scoring=scoring,
            proposing=proposing,
            caps=caps,
            charge=self._charge,
            refuse=self._gate.budget.refuse,
        )
        self._last: dict[str, Line] = {line.type: line for line in lines}
        self._session: SessionLine | None = SessionLine(
            time=now(),
            pid=os.getpid(),
            host=socket.gethostname(),
            versions=manifest.versions,
            scoring=scoring,
            proposing=proposing,
            caps=caps,
            changed=changed,
        )
        self._number = self._past.num_sessions + 1
        self._gate.pay(manifest.run, self._past.counted)
        self.scores.memories.insert(0, Scores(self._past, keys, self._append))
        self.answers.memories.insert(0, Answers(self._past, self._append))
        if self._past.num_orphans:
            logger.warning(
                "%s: %d lines are paid for again, for the `session` line that says what they "
                "depend on is lost.",
                *(folder.path, self._past.num_orphans),
            )
        if lines:
            logger.info("%s: going on from %d lines.", folder.path, len(lines))

    def _charge(self, usage: Sequence[Usage], elapsed: float, learned: Foresight | None) -> None:
        self._gate.recall(usage, elapsed)
        if learned is not None:
            self._gate.remember(learned)

    def catch_up(self) -> None:
        """Count what earlier sessions took beyond what this one came by."""
        if self._file is not None:
            self._past.missed()

    def _append(self, line: Line) -> None:
        if self._file is None:
            return
        with self._lock:
            elapsed = round(self._gate.budget.elapsed, 3)
            stamp: dict[str, Any] = {"session": self._number, "t": elapsed}
            if self._session is not None:  # only now: a finished run adds nothing to its journal
                first, self._session = self._session, None
                self._file.append(first.model_copy(update=stamp))
            if isinstance(line, PaidLine) and (learned := self._gate.foresight) != self._learned:
                self._learned, stamp["learned"] = learned, learned_row(learned)
            self._file.append(line.model_copy(update=stamp))

    def _append_news(self, line: Line, known: Line | None) -> None:
        """Append `line` unless an earlier session wrote the same."""
        unstamped = {"session", "t"}
        if known is None or line.model_dump(exclude=unstamped) != known.model_dump(
            exclude=unstamped
        ):
            self._append(line)
        else:
            self._gate.budget.advance(known.t)

    def __call__(self, event: Event) -> None:
        """Write the end of a step, and the best program by then."""
        if self._file is None or not isinstance(event, StepEnded):
            return
        trajectory = event.trajectory
        step, best = trajectory.steps[-1], trajectory.best.candidate if len(trajectory) else None
        self._past.settle()
        line = StepLine(
            step=step.index,
            candidates=[short_hash(c.key) for c in step.candidates],
            rejected=Counter(p.rejected.split(":")[0] for p in step.proposals if p.rejected),
            best=None if best is None else short_hash(best.key),
            estimate=None if best is None else trajectory.estimate(best).score,
        )
        self._append_news(line, self._past.steps.get(step.index))
        self._file.sync()
        self._save(best)

    def chosen(self, set_name: str, selection: Mapping[str, Evaluation], best: Candidate) -> None:
        """Write the final choice."""
        if self._file is None:
            return
        line = ChoiceLine(
            set="valset" if set_name == "valset" else "trainset",
            scores={short_hash(key): e.estimate.score for key, e in selection.items()},
            chosen=short_hash(best.key),
        )
        self._append_news(line, self._last.get("choice"))

    def ended(self, result: RunResult, best: Candidate | None, *, failed: bool = False) -> None:
        """Write the result.

        Raises:
            JournalError: If it cannot be written; not if the run has `failed` already.
        """
        if self._file is None or self._folder is None:
            return
        chosen = None if best is None else short_hash(best.key)
        try:
            self._append_news(
                EndLine(reason=result.stop_reason, chosen=chosen), self._last.get("end")
            )
            self._file.sync()
            self._save(best)
            self._folder.write(RESULT, manifests.as_file(result.model_dump(mode="python")))
        except JournalError as error:
            if not failed:
                raise
            logger.warning("The result was not written: %s", error)

    def _save(self, best: Candidate | None) -> None:
        """Replace the best program on disk if it is another one now."""
        if best is None or self._folder is None:
            return
        data = self._saved(best)
        if data != self._best:
            self._folder.write(BEST, data, sync=False)
            self._best = data

    @property
    def how_to_go_on(self) -> str:
        """What to tell the user of a run that stopped early, one sentence; empty without a log."""
        if self._folder is None:
            return ""
        where = f"`log_dir` {str(self._folder.path)!r}"
        return f"Call {self._call} again with {where} to go on from here."


def _hash(value: Any) -> str:
    return fingerprint(value)[:16]
