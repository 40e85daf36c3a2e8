"""JSON in one way only, and its hash."""

import hashlib
import json
from typing import Any


def canonical(description: Any) -> str:
    """Return JSON data as text: equal data, equal text. ASCII only; any text survives."""
    return json.dumps(description, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def fingerprint(description: Any) -> str:
    """Return the sha256 of JSON data, in hex; the same in every process."""
    return hashlib.sha256(canonical(description).encode("ascii")).hexdigest()
