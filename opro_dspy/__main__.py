"""`python -m opro_dspy`."""

from opro_dspy.cli import app

app()
