"""The command line; thin, and the only place that prints."""

from opro_dspy.cli.app import app

__all__ = ["app"]
