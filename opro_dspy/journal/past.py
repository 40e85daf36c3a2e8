"""All that earlier sessions of a run wrote, and what of it is spent by now."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from opro_dspy.foresight import Foresight
from opro_dspy.journal.lines import (
    CandidateLine,
    Line,
    PaidLine,
    ProposalLine,
    QueryLine,
    ScoreLine,
    SessionLine,
    StepLine,
    learned_of,
    to_json,
    usage_of,
)
from opro_dspy.records import Usage

Charge = Callable[[Sequence[Usage], float, Foresight | None], None]
"""Told of what was spent on a line, of the run's seconds by then, and of what was learned."""

Refuse = Callable[[str], None]
"""Told why the budget refused something: the last word stands."""

CellKey = tuple[str, str, str]
"""Candidate id, name of the set, key of the example."""


def answer_key(line: ProposalLine) -> tuple[object, ...]:
    """Return what an answer is recalled by: the attempt, what was asked, and how."""
    sampling = (line.sample, line.attempt, line.query, line.temperature)
    return line.step, line.component, *sampling


def short_hash(text: str) -> str:
    """Return the first 16 hex digits of the text's sha256; any text has one."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Past:
    """All lines of earlier sessions.

    Args:
        lines: In the order in which they were written.
        scoring: Hash of what scores depend on now; scores of sessions with another are not
            recalled.
        proposing: The same for answers of the optimizer LM.
        caps: The budget's caps now; what other caps refused is asked for again.
        charge: Called once for each line: when it is recalled, or when the run leaves what it
            holds.
        refuse: Called when a refusal is recalled, and when one is noted.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        *,
        scoring: str,
        proposing: str,
        caps: Mapping[str, float | None],
        charge: Charge,
        refuse: Refuse,
    ) -> None:
        sessions = {line.session: line for line in lines if isinstance(line, SessionLine)}
        self.num_sessions = max((line.session for line in lines), default=0)
        self.elapsed = max((line.t for line in lines), default=0.0)
        self.known = {line.id for line in lines if isinstance(line, (CandidateLine, QueryLine))}
        self.steps = {line.step: line for line in lines if isinstance(line, StepLine)}
        self.scores: dict[CellKey, ScoreLine] = {}
        self.hung: dict[tuple[int, CellKey], ScoreLine] = {}
        self.ended: dict[int, str] = {}
        """Races that a cap of the budget ended, with the reason."""
        self.refused: dict[int, str] = {}
        """Steps in which a cap refused samples, with the reason."""
        self.refuse = refuse
        self.answers: dict[tuple[object, ...], ProposalLine] = {}
        self.asked: dict[tuple[object, ...], list[ProposalLine]] = {}
        """All lines of an attempt, those in vain too: it may have been made in several sessions."""
        paid = (line for line in lines if isinstance(line, PaidLine))
        self._paid = list({to_json(line): line for line in paid}.values())  # none counts twice
        self.num_orphans = sum(line.session not in sessions for line in self._paid)
        """Lines whose `session` line is lost: what they depend on is not known."""
        self._charge, self._charged, self._lock = charge, set[int](), threading.Lock()
        self._missed = not lines
        self.race = 0
        """The race that the run is in."""
        self._by_race: dict[int, list[ScoreLine]] = {}
        for line in self._paid:
            session = sessions.get(line.session)
            same_caps = session is not None and session.caps == dict(caps)
            if isinstance(line, ScoreLine):
                self._by_race.setdefault(line.race, []).append(line)
                if session is not None and session.scoring == scoring:
                    self._add_score(line, same_caps)
            elif session is not None and session.proposing == proposing:
                self._add_answer(line, same_caps)

    @property
    def counted(self) -> Iterator[str]:
        """The marks of all answers whose usage stands in a line; see `Payer`."""
        return (mark for line in self._paid for row in line.usage for mark in row.answers)

    def _add_score(self, line: ScoreLine, same_caps: bool) -> None:
        cell = (line.candidate, line.set, line.key)
        if line.score is not None:
            self.scores.setdefault(cell, line)
        elif line.hung:
            self.hung[line.race, cell] = line
        elif line.refused is not None and same_caps:
            self.ended.setdefault(line.race, line.refused)

    def _add_answer(self, line: ProposalLine, same_caps: bool) -> None:
        self.asked.setdefault(answer_key(line), []).append(line)
        if line.refused is not None:
            if not same_caps:
                return
            self.refused[line.step] = line.refused
        if line.raw is not None or line.failed is not None or line.refused is not None or line.hung:
            self.answers[answer_key(line)] = line

    def enter(self, race: int) -> None:
        """Note that the run is in `race` now: what earlier ones took is spent."""
        if race > self.race:
            self.settle()
            self.race = race

    def settle(self) -> None:
        """Note that the running race is over."""
        for line in self._by_race.pop(self.race, ()):
            self.charge(line)

    def charge(self, line: PaidLine) -> None:
        """Count what was spent on `line`, once."""
        with self._lock:
            if id(line) in self._charged:
                return
            self._charged.add(id(line))
        learned = None if line.learned is None else learned_of(line.learned)
        self._charge(usage_of(line.usage), line.t, learned)

    def missed(self) -> None:
        """Note that something has to be paid for: all the past is spent by now."""
        with self._lock:
            before, self._missed = self._missed, True
        if not before:
            for line in self._paid:
                self.charge(line)
            self._charge((), self.elapsed, None)
