"""Starting from what an earlier run found: its result, or its folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opro_dspy.errors import ConfigurationError
from opro_dspy.result import OPROResult
from opro_dspy.runs import read_run


def warm_start_texts(
    source: Any, *, n: int, log_dir: str | Path | None = None
) -> tuple[Mapping[str, str], ...]:
    """Return the best instructions of an earlier run, best first.

    Args:
        source: An `OPROResult`, the path of one that was saved, or the folder of a run, which may
            have been killed or be running; None for none.
        n: How many at most.
        log_dir: The folder of the new run.

    Returns:
        Mappings of predictor name to text.

    Raises:
        ConfigurationError: If it is nothing of this, cannot be read, or holds no scored candidate.
        ResumeError: If the manifest of a folder cannot be read.
    """
    if source is None:
        return ()
    if isinstance(source, OPROResult):
        result = source
    elif isinstance(source, (str, os.PathLike)) and str(source):
        result = _of_path(Path(source).expanduser(), log_dir)
    else:
        raise ConfigurationError(
            "`warm_start` must be an OPROResult (a compiled program's `detailed_results`) or the "
            f"path of a run's folder or saved result, got {type(source).__name__}. Texts of your "
            "own go to `initial_instructions`."
        )
    found = [c.instructions for c in result.ranked]
    if not found:
        raise ConfigurationError(
            "`warm_start` holds no scored instruction: that run ended before it had one. "
            "Leave it out."
        )
    return tuple(found[:n])


def if_it_went_on(log_dir: str | Path | None) -> str:
    """Return what to do where the earlier run went on before the one in `log_dir` is resumed."""
    return (
        "If `warm_start` names a run that went on since, pass in its place what it brought then: "
        "`initial_instructions=[c.texts for c in "
        f"opro_dspy.read_run({str(log_dir)!r}).steps[0].candidates]`, or its result of that time."
    )


def _of_path(path: Path, log_dir: str | Path | None) -> OPROResult:
    if log_dir is not None and path.resolve() == Path(log_dir).expanduser().resolve():
        raise ConfigurationError(
            f"`warm_start` and `log_dir` are the same folder, {str(path)!r}. Pass `log_dir` alone "
            "to go on with that run, or another `log_dir` to start from what it found."
        )
    if not path.exists():
        raise ConfigurationError(
            f"`warm_start` is {str(path)!r}, where there is nothing. Name a saved result or the "
            "folder of a run; texts of your own go to `initial_instructions`."
        )
    try:
        return read_run(path)
    except (ConfigurationError, OSError) as error:
        raise ConfigurationError(
            f"`warm_start` is {str(path)!r}, but {error} Pass the `log_dir` of a run, or what "
            "`OPROResult.save` wrote."
        ) from error
