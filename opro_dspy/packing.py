"""What travels to workers, as bytes: by cloudpickle, and no credential that is known as such."""

import pickle
from collections.abc import Callable, Iterable, Mapping
from io import BytesIO
from typing import Any

import cloudpickle
import dspy

from opro_dspy.boundary.prices import Price
from opro_dspy.boundary.redaction import secrets_held, secrets_of
from opro_dspy.errors import ConfigurationError
from opro_dspy.filters import sentence
from opro_dspy.fingerprints import is_secret, without_logins, without_secrets
from opro_dspy.worker import Kit

LEFT_BEHIND = frozenset(
    {
        *("lm", "trace", "callbacks", "caller_modules", "caller_predict", "usage_tracker"),
        *("send_stream", "stream_listeners"),
    }
)
"""DSPy's settings that belong to the driver."""

SHORTEST_SECRET = 16
"""Shorter values are too common to be looked for in bytes."""


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    """Packs LMs wherever they are, without keys, headers, histories and callbacks."""

    def __init__(self, buffer: BytesIO, secrets: set[str]) -> None:
        super().__init__(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        self._secrets = secrets
        """Takes the credentials that are met."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, dspy.BaseLM):
            self._secrets |= secrets_of(obj, doubtful=False)
            make, args, state, *rest = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
            if isinstance(state, dict):
                own = {name: value for name, value in state.items() if not is_secret(name)}
                kwargs = without_logins(without_secrets(own.get("kwargs")))
                state = {**own, "kwargs": kwargs, "history": [], "callbacks": []}
            return make, args, state, *rest
        if isinstance(obj, dspy.Module):
            self._secrets |= secrets_held(obj, doubtful=False, demos=True)
        return super().reducer_override(obj)


def packed(what: str, value: Any, secrets: set[str] | None = None) -> bytes:
    """Return `value` as bytes.

    Args:
        what: Names it in errors.
        value: Anything.
        secrets: Takes the credentials that its LMs and the environment hold.

    Raises:
        ConfigurationError: If it cannot travel.
    """
    buffer = BytesIO()
    try:
        _Packer(buffer, set() if secrets is None else secrets).dump(value)
    except Exception as error:
        said = sentence(f"{type(error).__name__}: {error}")
        raise ConfigurationError(
            f"{what} cannot travel to the workers of `executor`: {said} Let it make locks, "
            "connections and the like when it needs them, or run on threads (without `executor`)."
        ) from error
    return buffer.getvalue()


def packed_kit(
    *,
    program: dspy.Module,
    metric: Callable[..., Any],
    lm: dspy.BaseLM | None,
    prices: Mapping[str, Price],
) -> bytes:
    """Return a run's `Kit` as bytes, with DSPy's settings as they are here.

    Args:
        program: The student.
        metric: The user's metric.
        lm: The scorer LM.
        prices: Price by model.

    Raises:
        ConfigurationError: If a part cannot travel, which it names, or holds a credential.
    """
    settings = {
        name: value
        for name, value in dspy.settings.config.items()
        if name not in LEFT_BEHIND and not name.startswith("opro_dspy_")
    }
    parts = {"the program": program, "the metric": metric, "the scorer LM": lm}
    parts |= {f"dspy.settings.{name}": value for name, value in settings.items()}
    secrets = secrets_held(settings, *parts.values(), doubtful=False)
    contents = {what: packed(what, part, secrets) for what, part in parts.items()}
    for what, content in contents.items():
        _check_no_secret(what, content, secrets)
    kit = Kit(program=program, metric=metric, lm=lm, settings=settings, prices=dict(prices))
    return packed("the run", kit)


def _check_no_secret(what: str, content: bytes, secrets: Iterable[str]) -> None:
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET and secret.encode() in content:
            raise ConfigurationError(
                f"{what} holds a credential that would travel to the workers of `executor`. Let it "
                "read the key from the workers' environment (os.environ) where it is used."
            )
