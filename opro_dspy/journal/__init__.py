"""The run on disk: a folder that a killed run goes on from, readable with jq.

```text
manifest.json   who takes part: versions, settings, LMs, hashes of program, metric and sets
journal.jsonl   one line for each event, in the order in which they came
best.json       the best program so far, for DSPy's `load`; replaced after each step
result.json     the `OPROResult`, written when compile ends, in whatever way
lock            held by the one process that writes; holder.json names it
before-1/       an earlier run that `resume="never"` moved aside
```

Each line of the journal is a JSON object (ASCII) with `v` (1), `type`, `session` (from 1) and `t`,
seconds of the run so far over all sessions. By type:

- `session`: a process took the run up. `time`, `pid`, `host`, `versions`; `scoring` and
  `proposing`: hashes of what scores and answers depend on; `caps` of the budget; `changed`: what
  was changed since the last session, if it was forced.
- `query`: a meta-prompt, before its first answer. `id`, `step`, `component`, `meta_prompt`.
- `proposal`: one attempt at one sample of the optimizer LM. `step`, `component`, `sample`,
  `attempt`, `query`, `temperature`; then `raw`, or `failed` (with `temperature_refused`),
  `refused` (a cap) or `hung`, or nothing of these if it was in vain; `usage`.
- `candidate`: an instruction set, before its first score. `id`, `texts`.
- `score`: a candidate met an example. `race`, `candidate`, `set`, `example` (index), `key` (hash of
  the example and which of its equals it is); then `score` (with `failed`, the error behind it),
  `hung` or `refused`, or nothing of these if it was in vain; `calls`, `usage`.
- `step`: a step is over. `step`, `candidates`, `rejected` (reason to count), `best`, `estimate`.
- `choice`: the final one. `set`, `scores` by candidate, `chosen`.
- `end`: how compile ended. `reason`, `chosen`.

`usage` lists what the LM calls behind a line took: `role`, `model`, `calls`, tokens, cost, and the
marks of answers in the cache.
`learned`, on the lines of proposals and scores, says what calls were seen to need by then, where
that is more than before: the most that was reserved for one, and how each model counts and answers.

A run is resumed by running it again from the start: what the journal holds is recalled in the
place of being paid for, so the same decisions follow. No line depends on another one.
"""

from opro_dspy.journal.file import Damage, JournalFile, read_lines, repair, told
from opro_dspy.journal.folder import RunFolder
from opro_dspy.journal.manifest import FREE, LENGTH, Manifest, changes
from opro_dspy.journal.past import Past
from opro_dspy.journal.recall import Answers, Scores

__all__ = [
    "FREE",
    "LENGTH",
    "Answers",
    "Damage",
    "JournalFile",
    "Manifest",
    "Past",
    "RunFolder",
    "Scores",
    "changes",
    "read_lines",
    "repair",
    "told",
]
