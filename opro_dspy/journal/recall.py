"""What earlier sessions of a run paid for, recalled when the run is run again."""

import threading
from collections.abc import Callable, Mapping, Sequence

from opro_dspy.journal.lines import (
    CandidateLine,
    Line,
    ProposalLine,
    QueryLine,
    ScoreLine,
    usage_of,
    usage_rows,
)
from opro_dspy.journal.past import CellKey, Past, answer_key, short_hash
from opro_dspy.memory import Answer, Meeting, Sample, Score

Append = Callable[[Line], None]


class _Pen:
    """Writes lines, and before the first of each kind the line that says what they refer to.

    Args:
        known: The ids that were introduced before; added to.
        append: Writes a line.
    """

    def __init__(self, known: set[str], append: Append) -> None:
        self._known, self._append, self._lock = known, append, threading.Lock()

    def write(self, line: Line, *, after: CandidateLine | QueryLine) -> None:
        """Write `line`, and `after` before it unless it stands there already."""
        with self._lock:
            if after.id not in self._known:
                self._append(after)
                self._known.add(after.id)
        self._append(line)


class Scores:
    """The memory of scores: a `Memory` of `Meeting` and `Score`.

    Args:
        past: What earlier sessions noted.
        keys: Name of the set to the key of each of its examples.
        append: Writes a line.
    """

    def __init__(self, past: Past, keys: Mapping[str, Sequence[str]], append: Append) -> None:
        self._past, self._keys = past, keys
        self._pen = _Pen(past.known, append)
        self._refused = dict(past.ended)

    def recall(self, meeting: Meeting, /) -> Score | None:
        """Return what came of the meeting; in a race that a cap ended, what had come by then."""
        past, race, cell = self._past, meeting.race, self._cell(meeting)
        past.enter(race)
        line = past.hung.get((race, cell)) or past.scores.get(cell)
        if line is not None and not (race in past.ended and line.race > race):
            past.charge(line)
            return Score(
                value=line.score,
                feedback=line.feedback,
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
        if score.refused is not None:
            known = meeting.race in self._refused
            self._past.refuse(self._refused.setdefault(meeting.race, score.refused))
            if known and not score.usage:
                return
        line = ScoreLine(
            race=meeting.race,
            candidate=candidate,
            set="valset" if set_name == "valset" else "trainset",
            example=meeting.example,
            key=key,
            score=score.value,
            feedback=score.feedback,
            failed=score.failed,
            hung=score.hung,
            refused=score.refused,
            calls=score.calls,
            usage=usage_rows(score.usage),
        )
        self._pen.write(
            line, after=CandidateLine(id=candidate, texts=dict(meeting.candidate.texts))
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
        self._past, self._pen = past, _Pen(past.known, append)

    def recall(self, sample: Sample, /) -> Answer | None:
        """Return what came of the attempt, if the meta-prompt and the temperature were these."""
        key = answer_key(self._line(sample, Answer()))
        line = self._past.answers.get(key)
        if line is None:
            self._past.missed()
            return None
        for spent in self._past.asked[key]:
            self._past.charge(spent)
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
        if answer.refused is not None:
            self._past.refuse(answer.refused)
        query = QueryLine(
            id=line.query, step=line.step, component=line.component, meta_prompt=sample.meta_prompt
        )
        self._pen.write(line, after=query)

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
