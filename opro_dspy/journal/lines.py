"""The lines of a journal: one model for each type, to JSON and back. Described in the package."""

import json
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from opro_dspy.foresight import Foresight, Habits
from opro_dspy.records import Usage

VERSION = 1


class DamagedLine(ValueError):
    """What stands there is no line of a journal; says why."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    v: Literal[1] = 1
    session: PositiveInt = 0
    t: FiniteFloat = Field(default=-1.0, ge=0.0)


class UsageRow(BaseModel):
    """A `Usage` in a line."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    role: str
    model: str
    calls: NonNegativeInt = 0
    cache_hits: NonNegativeInt = 0
    failures: NonNegativeInt = 0
    retries: NonNegativeInt = 0
    input_tokens: NonNegativeInt = 0
    output_tokens: NonNegativeInt = 0
    cost_usd: Annotated[FiniteFloat, Field(ge=0.0)] | None = None
    seconds: FiniteFloat = Field(default=0.0, ge=0.0)
    input_tokens_saved: NonNegativeInt = 0
    output_tokens_saved: NonNegativeInt = 0
    cost_usd_saved: Annotated[FiniteFloat, Field(ge=0.0)] | None = None
    answers: list[str] = []


class HabitsRow(BaseModel):
    """The `Habits` of a model in a line."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    ratio: Annotated[FiniteFloat, Field(ge=1.0)] = 1.0
    longest: NonNegativeInt = 0


class LearnedRow(BaseModel):
    """A `Foresight` in a line."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tokens: NonNegativeInt = 0
    cost_usd: Annotated[FiniteFloat, Field(ge=0.0)] = 0.0
    models: dict[str, HabitsRow] = {}


class SessionLine(_Line):
    """A process took the run up."""

    type: Literal["session"] = "session"
    time: str
    """When, in ISO 8601."""
    pid: int
    host: str
    versions: dict[str, str]
    scoring: str
    proposing: str
    caps: dict[str, FiniteFloat | None]
    changed: list[str] = []


class QueryLine(_Line):
    """A meta-prompt."""

    type: Literal["query"] = "query"
    id: str
    step: NonNegativeInt
    component: str
    meta_prompt: str


class ProposalLine(_Line):
    """One attempt at one sample of the optimizer LM."""

    type: Literal["proposal"] = "proposal"
    step: NonNegativeInt
    component: str
    sample: NonNegativeInt
    attempt: PositiveInt
    query: str
    temperature: FiniteFloat | None = None
    raw: str | None = None
    failed: str | None = None
    temperature_refused: bool = False
    refused: str | None = None
    hung: bool = False
    usage: list[UsageRow] = []
    learned: LearnedRow | None = None
    """What was learned by then of what calls may need; None where that is no more than before."""


class CandidateLine(_Line):
    """An instruction set."""

    type: Literal["candidate"] = "candidate"
    id: str
    texts: dict[str, str]


class ScoreLine(_Line):
    """A candidate met an example."""

    type: Literal["score"] = "score"
    race: PositiveInt
    candidate: str
    set: Literal["trainset", "valset"]
    example: NonNegativeInt
    key: str
    score: FiniteFloat | None = None
    feedback: str = ""
    failed: str | None = None
    hung: bool = False
    refused: str | None = None
    calls: NonNegativeInt = 1
    usage: list[UsageRow] = []
    learned: LearnedRow | None = None
    """As of a `ProposalLine`."""


class StepLine(_Line):
    """A step is over."""

    type: Literal["step"] = "step"
    step: NonNegativeInt
    candidates: list[str]
    rejected: dict[str, PositiveInt] = {}
    best: str | None = None
    estimate: FiniteFloat | None = None


class ChoiceLine(_Line):
    """The final choice."""

    type: Literal["choice"] = "choice"
    set: Literal["trainset", "valset"]
    scores: dict[str, FiniteFloat]
    chosen: str


class EndLine(_Line):
    """How compile ended."""

    type: Literal["end"] = "end"
    reason: str
    chosen: str | None = None


PaidLine = ProposalLine | ScoreLine
"""Something that LMs may have been paid for."""

Line = (
    SessionLine
    | QueryLine
    | ProposalLine
    | CandidateLine
    | ScoreLine
    | StepLine
    | ChoiceLine
    | EndLine
)

_LINES: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="type")])


def to_json(line: Line) -> bytes:
    """Return `line` as JSON with its newline; ASCII, so that any text survives."""
    told = {"v": VERSION, "type": line.type, **line.model_dump(exclude_defaults=True)}
    return json.dumps(told, separators=(",", ":")).encode("ascii") + b"\n"


def from_json(text: bytes) -> Line:
    """Return the line that `text` holds.

    Raises:
        DamagedLine: If it holds none; says why.
    """
    found = parsed(text)
    if isinstance(found, dict) and found.get("v") != VERSION:
        raise DamagedLine(f"its format `v` is {found.get('v')!r:.50}, not {VERSION}")
    try:
        return _LINES.validate_python(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DamagedLine(ascii(f"`{place}`: {first['msg']}"[:200])[1:-1]) from None


def parsed(text: bytes) -> Any:
    """Return the JSON value in `text`.

    Raises:
        DamagedLine: If it is no JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise DamagedLine(f"no JSON: {said}") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_USAGE = [f.name for f in fields(Usage)]


def usage_rows(usage: tuple[Usage, ...]) -> list[UsageRow]:
    """Return `usage` as it stands in a line; seconds to the microsecond."""
    rows = []
    for row in usage:
        told = {name: getattr(row, name) for name in _USAGE}
        told |= {"seconds": round(row.seconds, 6), "answers": list(row.answers)}
        rows.append(UsageRow(**told))
    return rows


def learned_row(learned: Foresight) -> LearnedRow:
    """Return `learned` as it stands in a line."""
    models = {
        model: HabitsRow(ratio=habits.ratio, longest=habits.longest)
        for model, habits in learned.habits.items()
    }
    return LearnedRow(tokens=learned.tokens, cost_usd=learned.cost_usd, models=models)


def learned_of(row: LearnedRow) -> Foresight:
    """Return what `learned_row` was given."""
    habits = {name: Habits(**found.model_dump()) for name, found in row.models.items()}
    return Foresight(tokens=row.tokens, cost_usd=row.cost_usd, habits=habits)


def usage_of(rows: list[UsageRow]) -> tuple[Usage, ...]:
    """Return what `usage_rows` was given."""
    return tuple(Usage(**{**row.model_dump(), "answers": tuple(row.answers)}) for row in rows)
