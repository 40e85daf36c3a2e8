"""`opro-dspy repair`: drop what is damaged in a run's journal."""

from dataclasses import asdict
from typing import Annotated

import typer

from opro_dspy.cli import options
from opro_dspy.cli.screen import say, say_json
from opro_dspy.journal import repair as repair_journal

EPILOG = options.examples("repair runs/1")


def repair(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run (--log-dir).")],
    as_json: options.Json = False,
) -> None:
    """Drop the damaged lines of a run's journal, so that it can go on.

    What they held is paid for again. The journal as it was stays beside it, as `….damaged`
    (`….damaged-2` the next time).
    """
    dropped = repair_journal(run)
    if as_json:
        say_json([asdict(damage) for damage in dropped])
        return
    if not dropped:
        say("Nothing is damaged.")
    for damage in dropped:
        say(f"line {damage.number}: {damage.size:,} bytes dropped; {damage.why}")
