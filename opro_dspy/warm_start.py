"""Starting from what an earlier run found: its result, or its folder."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opro_dspy.errors import ConfigurationError
from opro_dspy.journal import JOURNAL, read_lines
from opro_dspy.journal.lines import CandidateLine, ChoiceLine, Line, ScoreLine
from opro_dspy.racing import estimates
from opro_dspy.records import Candidate, Evaluation
from opro_dspy.result import OPROResult


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
    """
    if source is None:
        return ()
    if isinstance(source, OPROResult):
        found = [c.instructions for c in source.ranked]
    elif isinstance(source, (str, os.PathLike)) and str(source):
        found = _of_path(Path(source).expanduser(), log_dir)
    else:
        raise ConfigurationError(
            "`warm_start` must be an OPROResult (a compiled program's `detailed_results`) or the "
            f"path of a run's folder or saved result, got {type(source).__name__}. Texts of your "
            "own go to `initial_instructions`."
        )
    if not found:
        raise ConfigurationError(
            "`warm_start` holds no scored instruction: that run ended before it had one. "
            "Leave it out."
        )
    return tuple(found[:n])


def _of_path(path: Path, log_dir: str | Path | None) -> list[dict[str, str]]:
    if path.is_file():
        return [c.instructions for c in OPROResult.load(path).ranked]
    if log_dir is not None and path.resolve() == Path(log_dir).expanduser().resolve():
        raise ConfigurationError(
            f"`warm_start` and `log_dir` are the same folder, {str(path)!r}. Pass `log_dir` alone "
            "to go on with that run, or another `log_dir` to start from what it found."
        )
    if not (path / JOURNAL).is_file():
        raise ConfigurationError(
            f"`warm_start` is {str(path)!r}, where there is no run: neither a saved result nor a "
            f"folder with a {JOURNAL}. Texts of your own go to `initial_instructions`."
        )
    return _of_journal(read_lines(path / JOURNAL))


def _of_journal(lines: Sequence[Line]) -> list[dict[str, str]]:
    """Return what a journal knows, the last choice first, then by training estimate."""
    texts = {line.id: line.texts for line in lines if isinstance(line, CandidateLine)}
    scores: dict[str, dict[int, float]] = {}
    for line in lines:
        if isinstance(line, ScoreLine) and line.set == "trainset" and line.score is not None:
            scores.setdefault(line.candidate, {})[line.example] = line.score
    met = [key for key in scores if key in texts]
    evaluations = [Evaluation(candidate=Candidate(texts[key]), scores=scores[key]) for key in met]
    n_examples = max((i + 1 for key in met for i in scores[key]), default=0)
    found = estimates(evaluations, n_examples=n_examples)
    score = {key: estimate.score for key, estimate in zip(met, found, strict=True)}
    chosen = [line.chosen for line in lines if isinstance(line, ChoiceLine)][-1:]
    return [texts[key] for key in sorted(met, key=lambda key: (key not in chosen, -score[key]))]
