"""What earlier sessions of a run paid for, recalled when the run is run again."""

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence

from opro_dspy.journal.lines import (
    CandidateLine,
    Line,
    ProposalLine,
    QueryLine,
    ScoreLine,
    SessionLine,
    StepLine,
    usage_of,
    usage_rows,
)
from opro_dspy.memory import Answer, Meeting, Sample, Score
from opro_dspy.records import Usage, summed

Charge = Callable[[Sequence[Usage], float], None]
"""Told of what was spent on a line, and of the run's seconds when it was written."""

Refuse = Callable[[str], None]
"""Told why the budget refused something: the last word stands."""

Append = Callable[[Line], None]

CellKey = tuple[str, str, str]
"""Candidate id, name of the set, key of the example."""


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
        self._paid = [line for line in lines if isinstance(line, (ScoreLine, ProposalLine))]
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
    def usage(self) -> tuple[Usage, ...]:
        """What all sessions took, by role and model."""
        return summed(row for line in self._paid for row in usage_of(line.usage))

    def _add_score(self, line: ScoreLine, same_caps: bool) -> None:
        cell = (line.candidate, line.set, line.key)
        if line.score is not None:
            self.scores.setdefault(cell, line)
        elif line.hung:
            self.hung[line.race, cell] = line
        elif line.refused is not None and same_caps:
            self.ended.setdefault(line.race, line.refused)

    def _add_answer(self, line: ProposalLine, same_caps: bool) -> None:
        if line.refused is not None:
            if not same_caps:
                return
            self.refused[line.step] = line.refused
        self.answers[_answer_key(line)] = line

    def enter(self, race: int) -> None:
        """Note that the run is in `race` now: what earlier ones took is spent."""
        if race > self.race:
            self.settle()
            self.race = race

    def settle(self) -> None:
        """Note that the running race is over."""
        for line in self._by_race.pop(self.race, ()):
            self.charge(line)

    def charge(self, line: ScoreLine | ProposalLine) -> None:
        """Count what was spent on `line`, once."""
        with self._lock:
            if id(line) in self._charged:
                return
            self._charged.add(id(line))
        self._charge(usage_of(line.usage), line.t)

    def missed(self) -> None:
        """Note that something has to be paid for: all the past is spent by now."""
        with self._lock:
            before, self._missed = self._missed, True
        if not before:
            for line in self._paid:
                self.charge(line)
            self._charge((), self.elapsed)


class Scores:
    """The memory of scores: a `Memory` of `Meeting` and `Score`.

    Args:
        past: What earlier sessions noted.
        keys: Name of the set to the key of each of its examples.
        append: Writes a line.
    """

    def __init__(self, past: Past, keys: Mapping[str, Sequence[str]], append: Append) -> None:
        self._past, self._keys, self._append = past, keys, append
        self._refused = dict(past.ended)
        self._lock = threading.Lock()

    def recall(self, meeting: Meeting, /) -> Score | None:
        """Return what came of the meeting; in a race that a cap ended, what had come by then."""
        past, race, cell = self._past, meeting.race, self._cell(meeting)
        past.enter(race)
        line = past.hung.get((race, cell)) or past.scores.get(cell)
        if line is not None and not (race in past.ended and line.race > race):
            past.charge(line)
            return Score(
                value=line.score,
                failed=line.failed,
                hung=line.hung,
                calls=line.calls,
                usage=usage_of(line.usage),
            )
        if race in past.ended:
            past.refuse(past.ended[race])
            return Score(refused=past.ended[race], calls=0)
        past.missed()
        return None

    def note(self, meeting: Meeting, score: Score, /) -> None:
        """Write what came of the meeting; a refusal once for each race."""
        candidate, set_name, key = self._cell(meeting)
        with self._lock:
            if score.refused is not None:
                known = meeting.race in self._refused
                self._past.refuse(self._refused.setdefault(meeting.race, score.refused))
                if known and not score.usage:
                    return
            if candidate not in self._past.known:
                self._append(CandidateLine(id=candidate, texts=dict(meeting.candidate.texts)))
                self._past.known.add(candidate)
            self._append(
                ScoreLine(
                    race=meeting.race,
                    candidate=candidate,
                    set="valset" if set_name == "valset" else "trainset",
                    example=meeting.example,
                    key=key,
                    score=score.value,
                    failed=score.failed,
                    hung=score.hung,
                    refused=score.refused,
                    calls=score.calls,
                    usage=usage_rows(score.usage),
                )
            )

    def _cell(self, meeting: Meeting) -> CellKey:
        key = self._keys[meeting.set_name][meeting.example]
        return short_hash(meeting.candidate.key), meeting.set_name, key


class Answers:
    """The memory of the optimizer LM's answers: a `Memory` of `Sample` and `Answer`.

    Args:
        past: What earlier sessions noted.
        append: Writes a line.
    """

    def __init__(self, past: Past, append: Append) -> None:
        self._past, self._append = past, append
        self._lock = threading.Lock()

    def recall(self, sample: Sample, /) -> Answer | None:
        """Return what came of the attempt, if the meta-prompt and the temperature were these."""
        line = self._past.answers.get(_answer_key(self._line(sample, Answer())))
        if line is None:
            self._past.missed()
            return None
        self._past.charge(line)
        if line.refused is not None:
            self._past.refuse(self._past.refused[line.step])
        return Answer(
            raw=line.raw,
            failed=line.failed,
            temperature_refused=line.temperature_refused,
            refused=line.refused,
            hung=line.hung,
            usage=usage_of(line.usage),
        )

    def note(self, sample: Sample, answer: Answer, /) -> None:
        """Write what came of the attempt."""
        line = self._line(sample, answer)
        with self._lock:
            if answer.refused is not None:
                self._past.refuse(answer.refused)
            if line.query not in self._past.known:
                self._append(
                    QueryLine(
                        id=line.query,
                        step=line.step,
                        component=line.component,
                        meta_prompt=sample.meta_prompt,
                    )
                )
                self._past.known.add(line.query)
            self._append(line)

    def _line(self, sample: Sample, answer: Answer) -> ProposalLine:
        return ProposalLine(
            step=sample.step,
            component=sample.component,
            sample=sample.index,
            attempt=sample.attempt,
            query=short_hash(sample.meta_prompt),
            temperature=sample.temperature,
            raw=answer.raw,
            failed=answer.failed,
            temperature_refused=answer.temperature_refused,
            refused=answer.refused,
            hung=answer.hung,
            usage=usage_rows(answer.usage),
        )


def _answer_key(line: ProposalLine) -> tuple[object, ...]:
    sampling = (line.sample, line.attempt, line.query, line.temperature)
    return line.step, line.component, *sampling
