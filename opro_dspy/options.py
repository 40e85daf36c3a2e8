"""Settings that users type, checked as they are made."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from opro_dspy.errors import ConfigurationError


class Options(BaseModel):
    """A few settings that belong together; a wrong or unknown one is a `ConfigurationError`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            problems = [
                f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}, got {e['input']!r}"
                for e in error.errors()
            ]
            raise ConfigurationError("; ".join(problems) + ".") from None
