"""What makes two programs, metrics, examples or LMs the same: descriptions as JSON, and hashes."""

from opro_dspy.fingerprints.describing import (
    describe,
    describe_engine,
    describe_example,
    describe_lm,
    describe_metric,
    describe_program,
    describe_request,
)
from opro_dspy.fingerprints.hashing import canonical, fingerprint
from opro_dspy.fingerprints.lms import endpoint_of, is_secret, without_logins, without_secrets

__all__ = [
    "canonical",
    "describe",
    "describe_engine",
    "describe_example",
    "describe_lm",
    "describe_metric",
    "describe_program",
    "describe_request",
    "endpoint_of",
    "fingerprint",
    "is_secret",
    "without_logins",
    "without_secrets",
]
