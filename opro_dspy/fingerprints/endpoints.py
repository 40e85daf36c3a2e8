"""Where an LM is reached: what its arguments, the environment and LiteLLM's settings say of it."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import dspy

from opro_dspy.fingerprints.credentials import URLS, without_credentials
from opro_dspy.fingerprints.hashing import fingerprint

_SETTING = re.compile(
    r"([A-Z0-9_]+?)_((API_)?BASE|(BASE_)?URL|HOST|ENDPOINT|API_VERSION|REGION|LOCATION"
    r"|PROJECT|RESOURCE|ACCOUNT_ID|WORKSPACE_ID|SPACE_ID)(_[A-Z0-9_]+)?".lower()
)
"""Whose setting it is, and of what, in names like `OPENAI_BASE_URL` and `AWS_REGION`."""

_ALSO = {
    "ai21": "openai",
    "azure": "openai",
    "bedrock": "aws anthropic",
    "chatgpt": "openai",
    "gemini": "google vertexai",
    "hosted": "openai",
    "huggingface": "hf",
    "lm": "openai",
    "palm": "gemini",
    "sagemaker": "aws",
    "vertex": "google gcloud cloudsdk",
    "vllm": "hosted",
    "volcengine": "ark",
    "watsonx": "wx wml hosted",
    "xinference": "openai",
}
"""First word of a provider's name to others whose settings LiteLLM or DSPy read for it, too."""

_UNNAMED = (
    *("openai", "anthropic", "cohere", "replicate", "openrouter", "maritalk", "gemini"),
    *("vertex_ai", "ai21", "aleph_alpha", "baseten", "nlp_cloud", "bedrock", "watsonx"),
)
"""Providers that LiteLLM or DSPy know by the name of the model alone."""

_OF_LITELLM = {
    "api_base": "api_base",
    "api_version": "azure_api_version",
    "gdc_api_base": "gdc_api_base",
    "vertex_location": "vertex_location",
    "vertex_project": "vertex_project",
}
"""Attributes of the module `litellm` to the settings that they stand for."""


def endpoint_of(lm: dspy.BaseLM, call: Mapping[str, Any] | None = None) -> str | None:
    """Return where `lm` is reached if that is not settled by its model's name alone, else None.

    That is its URL, or the settings of its provider in the environment and in LiteLLM, told by
    their hashes: no value of the environment is shown. Which of them wins is LiteLLM's business;
    all count, so that two endpoints are never taken for one.

    Args:
        lm: The LM.
        call: Options of a call, which override those of the LM.
    """
    options = {**(getattr(lm, "kwargs", None) or {}), **(call or {})}
    urls = [without_credentials(options[name]) for name in URLS if options.get(name)]
    if not isinstance(getattr(lm, "engine", None), str):
        return urls[0] if urls else None
    if not urls and (declared := _declared(lm)) is not None:
        return declared
    providers = [name.lower() for name in _providers(lm, options)]
    told = [
        f"{name}:{fingerprint(without_credentials(value))[:16]}"
        for name, value in sorted({**os.environ, **_in_litellm()}.items())
        if value and _counts(name.lower(), providers, has_url=bool(urls))
    ]
    return " ".join([*dict.fromkeys(urls), *told]) or None


def _declared(lm: dspy.LM) -> str | None:
    """Return the URL of the provider of `lm`, if that was declared to DSPy."""
    provider, slash, _ = str(lm.model).partition("/")
    for declared in getattr(lm, "_providers", ()):
        names = (declared.id, *declared.definition.aliases)
        if slash and provider.replace("_", "-") in names:
            return without_credentials(declared.definition.access.base_url)
    return None


def _providers(lm: dspy.LM, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield whom `lm` may be reached through, and others whose settings are read for them."""
    provider, slash, _ = str(lm.model).partition("/")
    named = [provider] if slash else [*_UNNAMED, provider.partition(":")[0]]
    if options.get("custom_llm_provider"):
        named.append(str(options["custom_llm_provider"]))
    if getattr(lm, "model_type", None) == "text":
        named.append("openai")  # by which DSPy asks all of them for texts
    for name in named:
        yield name
        yield from _ALSO.get(re.split("[_-]", name.lower())[0], "").split()
    everywhere = getattr(sys.modules.get("litellm"), "use_litellm_proxy", False)
    if options.get("use_litellm_proxy") or os.environ.get("USE_LITELLM_PROXY") or everywhere:
        yield "litellm_proxy"


def _in_litellm() -> dict[str, str]:
    """Return the settings that the user gave to the module `litellm`, if it was imported."""
    module = sys.modules.get("litellm")
    held = {f"litellm.{name}": getattr(module, name, None) for name in _OF_LITELLM}
    return {name: str(value) for name, value in held.items() if value}


def _counts(name: str, providers: list[str], *, has_url: bool) -> bool:
    """Tell whether the setting `name` has a part in where one of `providers` is reached.

    Args:
        name: Of a variable of the environment, or `litellm.` and an attribute.
        providers: Their names; all in lower case.
        has_url: Whether the LM has a URL of its own.
    """
    name = _OF_LITELLM.get(name.removeprefix("litellm."), "") if "." in name else name
    if name == "api_base":
        return True  # wins over the LM's own for some providers
    setting = _SETTING.fullmatch(name)
    if setting is None or (has_url and setting[2] != "api_version"):
        return False
    return any(_owns(provider, setting[1]) for provider in providers)


def _owns(provider: str, owner: str) -> bool:
    """Tell whether `text-completion-openai` may read what `openai` or `openai_like` owns."""
    words, first = re.split("[_-]", provider), owner.split("_")[0]
    tails = ("".join(words[at:]) for at in range(len(words)))
    return first in words or any(tail.startswith(owner.replace("_", "")) for tail in tails)
