"""What is a credential, by its name or its place in a URL, and parameters without any."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

_SECRET = re.compile(
    r"(api|access|private|account|auth|service|subscription|openai|anthropic|azure|google|gemini"
    r"|signing|together|groq|mistral|cohere|deepseek|fireworks|openrouter|ssh)"
    r"[-_]?key|secret|passw|credential|authorization|bearer|cookie"
    r"|(^|[-_])(token|auth|oauth2?|jwt)$|token_provider|headers?$",
    re.IGNORECASE,
)
_DOUBTFUL = re.compile(
    r"^(?!(max|min|num|n|stop)[-_])(.*(key|tokens?|auth|jwt|signature|pwd)|(.*[-_])?(sig|pass))$",
    re.IGNORECASE,
)

URLS = ("api_base", "base_url")
"""Parameters that say where an LM is reached."""

_LOGIN = re.compile(r'(?<=://)[^/?#\s"<>]*@')
_QUERY = re.compile(r'(?<=://)([^?\s#"<>]*)\?([^\s#"<>]*)')


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Tell whether a parameter or attribute of that name holds a credential or headers.

    It is neither shown nor has it a part in what an LM is.
    """
    return _SECRET.search(name) is not None


@lru_cache(maxsize=4096)
def may_be_secret(name: str) -> bool:
    """Tell whether text under that name may be a credential (`key`, `my_token`, `signature`).

    It is not shown. As `cache_key` is no credential, it has its part in what an LM is.
    """
    return is_secret(name) or _DOUBTFUL.search(name) is not None


def without_credentials(url: object) -> str:
    """Return `url` without user, password, and query parameters that hold a secret."""
    text = str(url) if "://" in str(url) else f"://{url}"
    place, _, query = clean_urls(text).removeprefix("://").partition("#")[0].partition("?")
    return place.rstrip("/") + (f"?{query}" if query else "")


def clean_urls(text: str) -> str:
    """Return `text`, the URLs in it as in `without_credentials`."""
    if "://" not in text:
        return text
    return _QUERY.sub(_without_secret_parameters, _LOGIN.sub("", text))


def _without_secret_parameters(url: re.Match[str]) -> str:
    parameters = re.split("[&;]", url[2])
    kept = [parameter for parameter in parameters if not _tells(parameter)]
    if kept == parameters:
        return url[0]
    return f"{url[1]}?{'&'.join(kept)}" if kept else url[1]


def secrets_in_urls(text: str, *, users: bool = True) -> Iterator[str]:
    """Yield the credentials in the URLs in `text`, as they stand there and decoded.

    Args:
        text: Anything.
        users: Whether a user with a password is one of them.
    """
    if "://" not in text:
        return
    for login in _LOGIN.findall(text):
        name, colon, password = login[:-1].partition(":")
        parts = [password] if colon else [name]
        for part in [*parts, name] if users else parts:
            yield from (part, unquote(part))
    for _, query in _QUERY.findall(text):
        for parameter in filter(_tells, re.split("[&;]", query)):
            value = parameter.partition("=")[2]
            yield from (value, unquote(value))


def _tells(parameter: str) -> bool:
    name = unquote(parameter.partition("=")[0])
    return may_be_secret(name) or name.lower() == "code"


def without_logins(parameters: Any) -> Any:
    """Return an LM's parameters without credentials in the URLs among them."""
    if isinstance(parameters, dict):
        return {
            name: without_credentials(item) if name in URLS and item else without_logins(item)
            for name, item in parameters.items()
        }
    if type(parameters) in (list, tuple):
        return type(parameters)(without_logins(item) for item in parameters)
    return clean_urls(parameters) if type(parameters) is str else parameters


def without_secrets(value: Any) -> Any:
    """Return `value` with its dicts and lists, at any depth, without credentials.

    That is without entries that hold one, and with URLs without theirs.
    """
    if isinstance(value, dict):
        return {
            name: without_secrets(item)
            for name, item in value.items()
            if not (isinstance(name, str) and is_secret(name))
        }
    if type(value) in (list, tuple):
        return [without_secrets(item) for item in value]
    return clean_urls(value) if type(value) is str else value
