"""Settings that users type, checked as they are made."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from opro_dspy.errors import ConfigurationError
from opro_dspy.names import refuse_unknown


class Options(BaseModel):
    """A few settings that belong together.

    Raises:
        ConfigurationError: If one is wrong.
        UnknownArgumentError: If there is no such setting; names the nearest one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **settings: Any) -> None:
        fields = type(self).model_fields
        refuse_unknown(type(self).__name__, settings.keys() - fields.keys(), fields)
        try:
            super().__init__(**settings)
        except ValidationError as error:
            problems = [
                f"`{'.'.join(map(str, e['loc']))}`{_said(e['msg'])}, got {e['input']!r}"
                for e in error.errors()
            ]
            raise ConfigurationError("; ".join(problems) + ".") from None


def _said(message: str) -> str:
    """Return what pydantic says of a value, to stand behind the value's name."""
    said = message.removeprefix("Value error, ")
    return said.replace("Input should ", " must ") if said.startswith("Input") else f": {said}"
