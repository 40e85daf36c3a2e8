"""What the package logs, as a command line tells it: one line on stderr, above the bars."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from opro_dspy.cli.screen import note

PACKAGE = "opro_dspy"

SAID_HERE = "opro_dspy.run.end"
"""Tells who called from Python what a command says in its own words."""


class _Lines(logging.Handler):
    """Prints each record as a line; bars are drawn again below it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print `record`."""
        try:
            with tqdm.external_write_mode(file=sys.stderr):
                note(self.format(record))
        except Exception:  # noqa: BLE001 - as every handler does
            self.handleError(record)


@contextmanager
def told() -> Iterator[None]:
    """Return a context in which warnings of the package are such lines."""
    with silent(SAID_HERE):
        logger, handler = logging.getLogger(PACKAGE), _Lines(logging.WARNING)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


@contextmanager
def silent(name: str) -> Iterator[None]:
    """Return a context in which the logger `name` gives no warnings."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
