"""`python -m opro_dspy`, or `opro-dspy`."""

from opro_dspy.cli import app

app()
