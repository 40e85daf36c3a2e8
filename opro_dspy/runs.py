"""Reads a run from disk: a saved result, a finished run's folder, or one that still goes on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from opro_dspy.diagnostics import Diagnostic
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import printable
from opro_dspy.journal import Damage, Manifest, read_lines, told
from opro_dspy.journal import manifest as manifests
from opro_dspy.journal.file import NAME as JOURNAL
from opro_dspy.journal.lines import (
    CandidateLine,
    ChoiceLine,
    EndLine,
    Line,
    ProposalLine,
    QueryLine,
    ScoreLine,
    StepLine,
    usage_of,
)
from opro_dspy.racing import estimates
from opro_dspy.records import (
    Candidate,
    Evaluation,
    Proposal,
    Query,
    Spent,
    Step,
    Usage,
    summed,
)
from opro_dspy.result import CandidateResult, OPROResult
from opro_dspy.trajectory import plain_means

RESULT = "result.json"
UNFINISHED = "unfinished: the run still goes on, or was killed"
NO_CANDIDATE = "became no candidate"


def read_run(path: str | Path) -> OPROResult:
    """Return the result of a run; of an unfinished one, what its journal holds by now.

    Nothing is written, so a run may be read while it goes on. An unfinished result tells of no
    failure signature but a damaged journal, nor which candidates were given up, and finds by their
    words which answer became which candidate; its usage counts what the journal holds.

    Args:
        path: The run's folder (`log_dir`), or a file that `OPROResult.save` wrote.

    Raises:
        ConfigurationError: If there is no run of `OPRO`.
        ResumeError: If the folder's manifest cannot be read.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return OPROResult.load(path)
    result, journal = path / RESULT, path / JOURNAL
    if result.is_file() and not _newer(journal, result):
        return OPROResult.load(result)
    manifest = path / manifests.NAME
    if not manifest.is_file() or not journal.is_file():
        raise ConfigurationError(
            f"there is no run in {path}: it has neither a {RESULT} nor a {manifests.NAME} with a "
            f"{JOURNAL}. Name the `log_dir` of a run, or the JSON of a result."
        )
    lines, damaged = read_lines(journal)
    found = Journalled(Manifest.from_json(manifest.read_bytes()), lines).result()
    if not damaged:
        return found
    share = len(damaged) / (len(lines) + len(damaged))
    return found.model_copy(update={"diagnostics": (_damage(path, damaged, share),)})


def _damage(folder: Path, damaged: Sequence[Damage], share: float) -> Diagnostic:
    return Diagnostic(
        name="damaged journal",
        value=share,
        threshold=0.0,
        seen=f"{told(damaged)} of {JOURNAL} cannot be read; what that held is missing here.",
        advice=f"`python -m opro_dspy repair {folder}` drops it, and the run can go on.",
    )


def _newer(journal: Path, result: Path) -> bool:
    """Tell whether a run was taken up again after its result was written."""
    if not journal.is_file():
        return False
    lines, _ = read_lines(journal)
    return bool(lines) and not isinstance(lines[-1], EndLine)


class Journalled:
    """What a journal tells of a run.

    Args:
        manifest: Who takes part.
        lines: The journal's, oldest first.

    Raises:
        ConfigurationError: If it is a run of `optimize`, on a problem, or the two do not fit.
    """

    def __init__(self, manifest: Manifest, lines: Sequence[Line]) -> None:
        if manifest.metric == manifest.program:
            raise ConfigurationError(
                f"this is a run of `optimize` on {manifest.program.name}, which only the problem "
                "can read. Name a run of `OPRO`, or use `Result.load(path, problem)`."
            )
        self._manifest, self._lines = manifest, lines
        self._texts = {
            line.id: Candidate(line.texts) for line in lines if isinstance(line, CandidateLine)
        }
        self._met: dict[str, dict[str, list[ScoreLine]]] = {"trainset": {}, "valset": {}}
        sizes = {"trainset": manifest.trainset.n, "valset": manifest.valset.n}
        for line in lines:
            if isinstance(line, ScoreLine) and line.score is not None:
                if line.example >= sizes[line.set]:
                    raise ConfigurationError(
                        f"the manifest and the journal are not of one run: example {line.example} "
                        f"of the {line.set} was scored, which has {sizes[line.set]:,}."
                    )
                self._met[line.set].setdefault(line.candidate, []).append(line)
        told = {line.step: line for line in lines if isinstance(line, StepLine)}
        self._told = [told[index] for index in sorted(told)]

    def result(self) -> OPROResult:
        """Return what is known by now."""
        manifest, seed = self._manifest, self._manifest.settings.get("seed")
        last = self._lines[-1] if self._lines else None
        end = last if isinstance(last, EndLine) else None
        choice = self._choice()
        born = {known: line.step for line in self._told for known in line.candidates}
        ids = [i for i in born if i in self._texts and self._met["trainset"].get(i)]
        best = choice.chosen if choice else self._told[-1].best if self._told else None
        running = [i for i in self._texts if i not in born]
        return OPROResult(
            candidates=tuple(self._candidates(ids, born, choice)),
            best_index=ids.index(best) if best in ids else None,
            selection_set=choice.set if choice else "training estimates",
            steps=tuple(self._steps()),
            unfinished=tuple(self._evaluation(i) for i in running),
            unfinished_set="trainset" if running else None,
            stop_reason=UNFINISHED if end is None else printable(end.reason),
            usage=summed(self._usage()),
            spent=tuple(self._spent()),
            num_train=manifest.trainset.n,
            num_val=manifest.valset.n,
            settings={
                **manifest.settings,
                "optimizer_lm": str(manifest.lms.get("optimizer", {}).get("model")),
                "scorer_lm": ", ".join(self._scorers()),
            },
            versions=manifest.versions,
            seed=seed if isinstance(seed, int) else 0,
        )

    def _scorers(self) -> Iterable[str]:
        """Return the names of the LMs that predictors run on, each once."""
        found = self._manifest.lms.items()
        roles = [(role, lm) for role, lm in found if role.split()[0] in ("scorer", "predictor")]
        return dict.fromkeys(str(lm.get("model")) for _, lm in roles)

    def _choice(self) -> ChoiceLine | None:
        """Return the final choice, unless the run was continued beyond it."""
        kinds = (ChoiceLine, StepLine)
        last = next((line for line in reversed(self._lines) if isinstance(line, kinds)), None)
        return last if isinstance(last, ChoiceLine) else None

    def _evaluation(self, known: str, set_name: str = "trainset") -> Evaluation:
        lines = self._met[set_name].get(known, ())
        return Evaluation(
            candidate=self._texts[known],
            scores={line.example: line.score for line in lines if line.score is not None},
            failures={line.example: line.failed for line in lines if line.failed is not None},
        )

    def _candidates(
        self, ids: Sequence[str], born: Mapping[str, int], choice: ChoiceLine | None
    ) -> Iterator[CandidateResult]:
        met = [self._evaluation(known) for known in ids]
        races = self._manifest.settings.get("racing") is not None
        train = estimates(met, n_examples=self._manifest.trainset.n) if races else plain_means(met)
        for known, evaluation, estimate in zip(ids, met, train, strict=True):
            chosen_on = None
            if choice is not None and known in choice.scores:
                chosen_on = self._evaluation(known, choice.set)
            yield CandidateResult(
                instructions=evaluation.candidate.texts,
                step=born[known],
                train=estimate,
                scores=evaluation.scores,
                failures=evaluation.failures,
                selection=chosen_on.estimate if chosen_on and chosen_on.scores else None,
                selection_scores=chosen_on.scores if chosen_on else {},
                selection_failures=chosen_on.failures if chosen_on else {},
            )

    def _steps(self) -> Iterator[Step]:
        base: Candidate | None = None
        for line in self._told:
            candidates = [self._texts[i] for i in line.candidates if i in self._texts]
            yield Step(
                index=line.step,
                base=base,
                queries=tuple(self._queries(line.step)),
                proposals=tuple(self._proposals(line.step, candidates)),
                candidates=tuple(candidates),
            )
            base = self._texts.get(line.best or "", base)

    def _samples(self, step: int) -> list[ProposalLine]:
        """Return the last attempt at each sample of a step."""
        lines = (x for x in self._lines if isinstance(x, ProposalLine) and x.step == step)
        return list({(line.component, line.sample): line for line in lines}.values())

    def _queries(self, step: int) -> Iterator[Query]:
        heat = {line.query: line.temperature for line in self._samples(step)}
        for line in self._lines:
            if isinstance(line, QueryLine) and line.step == step and line.id in heat:
                yield Query(
                    component=line.component,
                    meta_prompt=line.meta_prompt,
                    temperature=heat[line.id] or 0.0,
                )

    def _proposals(self, step: int, candidates: Sequence[Candidate]) -> Iterator[Proposal]:
        for line in self._samples(step):
            texts = [c.texts.get(line.component, "") for c in candidates]
            text = next((t for t in texts if len(t) > 1 and t[1:] in (line.raw or "")), None)
            yield Proposal(
                component=line.component,
                raw=line.raw,
                text=text,
                rejected=None if text else line.failed or line.refused or NO_CANDIDATE,
                attempts=line.attempt,
            )

    def _usage(self) -> Iterator[Usage]:
        for line in self._lines:
            if isinstance(line, (ScoreLine, ProposalLine)):
                yield from usage_of(line.usage)

    def _spent(self) -> Iterator[Spent]:
        scored, tokens, cost = 0, 0, 0.0
        found: dict[int, Spent] = {}
        for line in self._lines:
            if isinstance(line, (ScoreLine, ProposalLine)):
                scored += isinstance(line, ScoreLine) and line.score is not None
                rows = usage_of(line.usage)
                tokens += sum(row.input_tokens + row.output_tokens for row in rows)
                cost += sum(row.cost_usd or 0.0 for row in rows)
            elif isinstance(line, StepLine):
                found[line.step] = Spent(metric_calls=scored, tokens=tokens, cost_usd=cost)
        return iter([found[line.step] for line in self._told])
