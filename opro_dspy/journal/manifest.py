"""Who takes part in a run, and what of that may change between its sessions."""

import json
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticSerializationError

from opro_dspy.errors import ResumeError
from opro_dspy.journal.folder import RunFolder
from opro_dspy.journal.lines import DamagedLine, parsed

logger = logging.getLogger(__name__)

NAME = "manifest.json"

LENGTH = frozenset(
    {
        *("max_steps", "patience", "stop_at_score", "max_empty_steps", "num_finalists"),
        *("max_metric_calls", "max_tokens", "max_cost", "max_seconds"),
    }
)
"""Settings that say how far a run goes: when to stop, and among how many to choose."""

FREE = LENGTH | {
    "auto",  # which stands for some of these
    # how fast, and what is shown
    *("num_threads", "requests_per_minute", "timeout"),
    *("verbose", "provide_traceback", "track_stats"),
}
"""Settings that do not shape the search: a run may be resumed with others. With the "linear"
temperature schedule, `max_steps` does shape it."""


class Named(BaseModel):
    """Something that is told by a hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    hash: str


class DataSet(BaseModel):
    """A set of examples."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    n: Annotated[int, Field(ge=0, le=10_000_000)]
    hash: str
    """Of the examples' hashes, in their order."""


class Manifest(BaseModel):
    """Who takes part in a run. No secret, ever."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    run: str = Field(default_factory=lambda: secrets.token_hex(8))
    """A name that no other run has."""
    created: str
    """When, in ISO 8601."""
    versions: dict[str, str]
    settings: dict[str, Any]
    """All settings as JSON values; what a user brings (a callable, …) with its hash."""
    lms: dict[Annotated[str, Field(pattern=r"^\S")], dict[str, Any]]
    """Role, or predictor with an LM of its own, to class, model, parameters, engine, endpoint."""
    adapter: str
    """Hash of DSPy's adapter."""
    program: Named
    instructions: str
    """Hash of the initial instructions, the student's own first."""
    metric: Named
    trainset: DataSet
    valset: DataSet

    @property
    def scoring(self) -> tuple[Any, ...]:
        """What a score depends on, beside candidate and example."""
        lms = {name: lm for name, lm in self.lms.items() if name != "optimizer"}
        failure = self.settings.get("failure_score")
        return lms, self.adapter, self.program.hash, self.metric.hash, failure

    @property
    def proposing(self) -> tuple[Any, ...]:
        """What an answer of the optimizer LM depends on, beside the meta-prompt."""
        return self.lms.get("optimizer"), self.settings.get("seed")

    @classmethod
    def from_json(cls, text: bytes) -> "Manifest":
        """Return the manifest that `text` holds.

        Raises:
            ResumeError: If it holds none.
        """
        try:
            found = cls.model_validate(parsed(text))
            found.model_dump_json()  # what is too deep to write was not written here
            return found
        except (DamagedLine, PydanticSerializationError) as error:
            said = ascii(str(error))[1:-1][:200]
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            said = ascii(".".join(map(str, first["loc"])) + f": {first['msg']}")[1:-1][:200]
        raise ResumeError(
            f"{NAME} of this `log_dir` cannot be read ({said}). Pass another `log_dir`, or "
            'resume="never" to move what is there aside and start anew.'
        )


def changes(old: Manifest, new: Manifest) -> list[str]:
    """Return what shapes the search and differs, each as "name: old → new"."""
    before, after = dict(_flat(old.model_dump())), dict(_flat(new.model_dump()))
    linear = new.settings.get("temperature_schedule") == "linear"
    found = []
    for path in sorted({*before, *after}):
        section, _, rest = path.partition(".")
        setting = rest.partition(".")[0]
        free = setting in FREE and not (setting == "max_steps" and linear)
        if section in ("run", "created", "versions") or (section == "settings" and free):
            continue
        if before.get(path) != after.get(path):
            name = rest if section == "settings" else path
            name = ascii(name)[1:-1]
            found.append(f"{name}: {_shown(before.get(path))} → {_shown(after.get(path))}")
    return found


def version_changes(old: Manifest, new: Manifest) -> list[str]:
    """Return which versions differ, each as "name old → new"."""
    names = sorted({*old.versions, *new.versions})
    pairs = [(name, old.versions.get(name), new.versions.get(name)) for name in names]
    return [f"{name} {_shown(a)} → {_shown(b)}" for name, a, b in pairs if a != b]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:79] + "…"


def taken_up(
    folder: RunFolder,
    new: Manifest,
    *,
    journal: str,
    force: bool,
    advice: Mapping[str, str],
) -> tuple[Manifest, list[str]]:
    """Write the manifest of a folder's run as it goes on from now.

    Args:
        folder: The run's.
        new: Who takes part now.
        journal: Name of the journal's file.
        force: Go on though something has changed that shapes the search.
        advice: By the name of what may have changed, a sentence that says what to do then.

    Returns:
        The manifest that holds from now on, and what it changes.

    Raises:
        ResumeError: If it is another run, and not by `force`, or cannot be read.
        JournalError: If it cannot be written.
    """
    path = folder.path / NAME
    changed: list[str] = []
    if path.is_file():
        old = Manifest.from_json(path.read_bytes())
        changed, versions = changes(old, new), version_changes(old, new)
        if changed and not force:
            raise ResumeError(_refusal(folder.path, changed, versions, advice))
        if versions:
            logger.warning("The run in %s began with %s.", folder.path, "; ".join(versions))
        new = new.model_copy(update={"run": old.run, "created": old.created})
    elif (folder.path / journal).exists():
        raise ResumeError(
            f"{folder.path} has a {journal} but no {NAME}. Pass another `log_dir`, or "
            'resume="never" to move it aside and start anew.'
        )
    folder.write(NAME, as_file(new.model_dump(), indent=2))
    return new, changed


def as_file(value: Any, *, indent: int | None = None) -> bytes:
    """Return JSON data as it stands in a file of its own; a large one is slow to indent."""
    return json.dumps(value, indent=indent).encode("ascii") + b"\n"


def _refusal(
    path: Path, changed: Sequence[str], versions: Sequence[str], advice: Mapping[str, str]
) -> str:
    shown = "; ".join(changed[:8]) + (f"; and {len(changed) - 8} more" if len(changed) > 8 else "")
    also = f" (Versions: {'; '.join(versions)}.)" if versions else ""
    names = [entry.partition(":")[0] for entry in changed]
    advised = "".join(f" {advice[name]}" for name in names if name in advice)
    return (
        f"the run in {path} cannot go on with what has changed since: {shown}.{also} Undo that, "
        'pass another `log_dir`, resume="force" to go on all the same (what still matches is '
        f'recalled), or resume="never" to move it aside and start anew.{advised}'
    )
