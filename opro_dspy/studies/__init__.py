"""Studies of how OPRO behaves, for your own LM and task: tables, plots, and what was seen."""

from opro_dspy.studies.cells import Cap
from opro_dspy.studies.context import CONTEXT
from opro_dspy.studies.initialization import INITIALIZATION
from opro_dspy.studies.plotting import plot
from opro_dspy.studies.settings import CANDIDATES, EXEMPLARS, ORDER, SCORES, TEMPERATURE
from opro_dspy.studies.study import Study, Variant, run_study
from opro_dspy.studies.subject import Subject, real_subject, simulated_subject
from opro_dspy.studies.table import StudyTable
from opro_dspy.studies.transfer import TRANSFER

STUDIES = {
    study.name: study
    for study in (
        TEMPERATURE,
        CONTEXT,
        INITIALIZATION,
        CANDIDATES,
        ORDER,
        SCORES,
        EXEMPLARS,
        TRANSFER,
    )
}
"""The studies by name."""

__all__ = [
    "STUDIES",
    "Cap",
    "Study",
    "StudyTable",
    "Subject",
    "Variant",
    "plot",
    "real_subject",
    "run_study",
    "simulated_subject",
]
