"""`opro-dspy doctor`: whether all that is needed is there."""

import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from textwrap import shorten
from typing import Literal

import typer
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.table import Table

from opro_dspy import CacheDir, ConfigurationError
from opro_dspy.cache import DEFAULT_CACHE, resolve_cache_dir
from opro_dspy.cache.upkeep import cache_info
from opro_dspy.cli import options
from opro_dspy.cli.finding import scorer_of
from opro_dspy.cli.group import FAILED
from opro_dspy.cli.screen import console, say_json
from opro_dspy.filters import shown

PACKAGE = "opro_dspy"
TIMEOUT_S = 20.0

MAX_CHARS = 600
"""Of what an LM's error says."""

EPILOG = options.examples("doctor", "doctor --model openai/gpt-5-mini", words=(options.LM_HELP,))

State = Literal["fine", "absent", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    """"absent" is for what is not needed."""
    seen: str


def doctor(
    model: options.Model = None,
    timeout: options.Timeout = TIMEOUT_S,
    as_json: options.Json = False,
) -> None:
    """Check Python, packages, DSPy, the cache folder, the extras and, with --model, an LM."""
    checks = [_python(), *_packages(), _cache(), *_extras()]
    if model is not None:
        checks.append(_lm(model, timeout))
    if as_json:
        say_json([asdict(check) for check in checks])
    else:
        table = Table(title="What is here", title_justify="left")
        for name in ("", "what", "seen"):
            table.add_column(name)
        for check in checks:
            table.add_row(check.state, shown(check.name), shown(check.seen))
        console().print(table)
    if any(check.state == "wrong" for check in checks):
        raise typer.Exit(FAILED)


def _python() -> Check:
    try:
        needed = metadata(PACKAGE)["Requires-Python"] or ""
    except PackageNotFoundError:
        needed = ""
    here = platform.python_version()
    fine = SpecifierSet(needed).contains(here, prereleases=True)
    return Check(
        name=f"Python {needed}".strip(),
        state="fine" if fine else "wrong",
        seen=f"{here} on {platform.system()}",
    )


def _packages() -> Iterator[Check]:
    """Check what the installed package says it needs; DSPy is among that."""
    try:
        yield Check(name=PACKAGE, state="fine", seen=version(PACKAGE))
    except PackageNotFoundError:
        yield Check(name=PACKAGE, state="wrong", seen=f"not installed: pip install {PACKAGE}")
        return
    for needed in _requirements():
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            yield _installed(needed)


def _installed(needed: Requirement) -> Check:
    name = str(needed).partition(";")[0].strip()
    try:
        here = version(needed.name)
    except PackageNotFoundError:
        return Check(name=name, state="wrong", seen=f"not installed: pip install '{name}'")
    fine = needed.specifier.contains(here, prereleases=True)
    hint = "" if fine else f": pip install '{name}'"
    return Check(name=name, state="fine" if fine else "wrong", seen=here + hint)


def _requirements() -> list[Requirement]:
    return [Requirement(line) for line in requires(PACKAGE) or ()]


def _extras() -> Iterator[Check]:
    try:
        extras = metadata(PACKAGE).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return
    for extra in extras:
        parts = [r for r in _requirements() if r.marker and r.marker.evaluate({"extra": extra})]
        missing = [r.name for r in parts if r.name.replace("-", "_") != PACKAGE and _missing(r)]
        if missing:
            hint = f"without {', '.join(missing)}: pip install '{PACKAGE}[{extra}]'"
            yield Check(name=f"extra {extra}", state="absent", seen=hint)
        else:
            yield Check(name=f"extra {extra}", state="fine", seen="installed")


def _missing(needed: Requirement) -> bool:
    return _installed(needed).state == "wrong"


def _cache() -> Check:
    where = resolve_cache_dir(DEFAULT_CACHE)
    if where is None:
        return Check(name="cache folder", state="absent", seen="off (OPRO_DSPY_CACHE_DIR)")
    folder = where.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            held = cache_info(CacheDir(path=folder))
    except (OSError, ConfigurationError) as error:
        return Check(name="cache folder", state="wrong", seen=f"{folder}: {error}")
    size = f"{held.bytes / 1e6:,.1f} MB, {held.scores:,} scores, {held.answers:,} answers"
    return Check(name="cache folder", state="fine", seen=f"{folder} can be written; {size}")


def _lm(name: str, timeout: float) -> Check:
    """Ask the LM for one word."""
    lm = scorer_of(name, Path.cwd(), [])
    if lm is None:
        raise ConfigurationError(f"there is no LM {name!r}.")
    if "/" in name:  # an LM of yours may have an engine that takes no such options
        lm = lm.copy(cache=False, num_retries=0, timeout=timeout)
    try:
        lm("Answer with the word yes.", max_tokens=16)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
        said = shorten(f"{type(error).__name__}: {error}", MAX_CHARS, placeholder=" …")
        return Check(name=f"LM {name}", state="wrong", seen=said)
    return Check(name=f"LM {name}", state="fine", seen="answered")
