"""What makes two programs, metrics, examples or LMs the same: descriptions as JSON, and hashes."""

from opro_dspy.fingerprints.books import without_marks
from opro_dspy.fingerprints.credentials import (
    clean_urls,
    is_secret,
    may_be_secret,
    secrets_in_urls,
    without_logins,
    without_secrets,
)
from opro_dspy.fingerprints.describing import (
    describe,
    describe_adapter,
    describe_attributes,
    describe_engine,
    describe_example,
    describe_lm,
    describe_lm_class,
    describe_metric,
    describe_program,
    describe_request,
)
from opro_dspy.fingerprints.endpoints import endpoint_of
from opro_dspy.fingerprints.hashing import canonical, fingerprint
from opro_dspy.fingerprints.lms import standing_for

__all__ = [
    "canonical",
    "clean_urls",
    "describe",
    "describe_adapter",
    "describe_attributes",
    "describe_engine",
    "describe_example",
    "describe_lm",
    "describe_lm_class",
    "describe_metric",
    "describe_program",
    "describe_request",
    "endpoint_of",
    "fingerprint",
    "is_secret",
    "may_be_secret",
    "secrets_in_urls",
    "standing_for",
    "without_logins",
    "without_marks",
    "without_secrets",
]
