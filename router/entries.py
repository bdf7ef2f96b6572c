"""Turns one entry of models.yaml into a Deployment: its key, address and backend. Must not call anybody or pick.

`os.environ/NAME` is resolved here, from the mapping that was handed in; LiteLLM never looks a name up itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol
from urllib.parse import urlsplit

from router.cost import map_entry, price_of
from router.types import Deployment

OPENAI_SHAPED = frozenset(
    {
        "openai", "openrouter", "groq", "together_ai", "deepseek", "mistral", "xai", "hosted_vllm", "perplexity",
        "cerebras", "nvidia_nim", "sambanova", "deepinfra", "lm_studio", "moonshot", "nebius", "novita",
    }
)  # fmt: skip
"""Providers that take OpenAI's bodies as they are: everything else is translated by LiteLLM. Fireworks is not among
them because its short model names are LiteLLM's own."""

_BASES = {"openai": "https://api.openai.com/v1", "openrouter": "https://openrouter.ai/api/v1"}
_KEYLESS = frozenset(
    {"hosted_vllm", "lm_studio", "ollama", "ollama_chat", "llamafile", "bedrock", "vertex_ai", "sagemaker"}
)
_REFERENCE = "os.environ/"
_REGIONS = ("region_name", "aws_region_name", "vertex_location")
_PICKING = ("weight", "order", "rpm", "tpm")
_READ = frozenset(
    {
        "model", "api_key", "api_base", "base_url", "custom_llm_provider", "extra_headers", "cooldown_time", "timeout",
        "stream_timeout", *_PICKING, *_REGIONS,
    }
)  # fmt: skip
_NOBODYS = ("tags", "max_budget", "budget_duration")
"""What LiteLLM's Router reads only for features that are off here: policies choose, and hold the budgets."""
_NOT_OURS = ("fallback", "mock_", "retries", "callback", "_cost", "cache", "timeout")


class Entry(Protocol):
    """One row of `model_list`, as policies/load.py reads it."""

    @property
    def model_name(self) -> str: ...
    @property
    def litellm_params(self) -> Mapping[str, object]: ...
    @property
    def model_info(self) -> Mapping[str, object]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An entry that cannot be used; `reason` names the key or variable, never its value."""

    group: str
    model: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A usable entry. `listed_model` is its name in LiteLLM's price map, `info` its own model_info.

    `picking` is what the Router weighs it by; `arguments` go with every call of the litellm backend. `region` is where
    its `model_info.region` or LiteLLM's own keys say that it runs, "" where neither does. `unread` are its parameters
    that change nothing here.
    """

    deployment: Deployment
    listed_model: str
    info: Mapping[str, object]
    picking: Mapping[str, object]
    arguments: Mapping[str, object]
    cooldown_s: float | None
    region: str = ""
    unread: tuple[str, ...] = ()


ProviderOf = Callable[[str], tuple[str, str, str | None]]
"""LiteLLM model name -> (provider's own name, provider, default base). Raises ValueError."""


def resolve(entry: Entry, *, environment: Mapping[str, str], provider_of: ProviderOf) -> Resolved | LeftOut:
    """Return the entry's deployment (its id still to be made unique), or why there is none."""
    model = entry.litellm_params.get("model")
    if not isinstance(model, str) or not model:
        return LeftOut(group=entry.model_name, model="", reason="litellm_params.model must be a model's name")
    try:
        if model.startswith("simulated/"):
            return simulated(entry)
        return _resolve(entry, model, environment, provider_of)
    except ValueError as error:
        return LeftOut(group=entry.model_name, model=model, reason=str(error))


def simulated(entry: Entry) -> Resolved:
    """Return a deployment of the simulated backend that stands for the entry's model, at that model's price.

    Raises ValueError for a wrong timeout.
    """
    listed = _listed_model(entry).removeprefix("simulated/")
    deployment = Deployment(
        id=_id(entry, "simulated"),
        group=entry.model_name,
        provider="simulated",
        model=listed.partition("/")[2] or listed,
        backend="simulated",
        api_base="",
        secret="",
        price=price_of(listed, {**entry.litellm_params, **entry.model_info}),
    )
    return _resolved(entry, deployment, listed_model=listed, parameters=entry.litellm_params, arguments={})


def checked_base(base: str, *, allow_plain_http: bool) -> str:
    """Return `base` without trailing slash. Raises ValueError unless a key may be sent there.

    Plain http is for loopback, private and one-label hosts; link-local addresses (cloud metadata) are never right.
    """
    parts = urlsplit(base)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("api_base must be an http:// or https:// address")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("api_base must hold no user, password, query or fragment")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        is_near = host == "localhost" or "." not in host or host.endswith((".local", ".internal", ".localhost"))
    else:
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            raise ValueError(f"api_base must not be the link-local, multicast or unspecified address {host}")
        is_near = address.is_loopback or address.is_private
    if parts.scheme == "http" and not (is_near or allow_plain_http):
        raise ValueError(f"api_base: http://{host} would send the key unencrypted; use https, or allow_plain_http")
    return base.rstrip("/")


def _resolve(entry: Entry, model: str, environment: Mapping[str, str], provider_of: ProviderOf) -> Resolved:
    declared = entry.litellm_params.get("custom_llm_provider")
    name, provider, default_base = provider_of(f"{declared}/{model}" if isinstance(declared, str) else model)
    parameters = {key: _value(value, environment) for key, value in entry.litellm_params.items()}
    own_base = _stated_base(entry, environment)
    if own_base is None and provider == "openai":
        own_base = environment.get("OPENAI_BASE_URL") or None
    base = own_base or _BASES.get(provider) or default_base or ""
    is_wire = provider in OPENAI_SHAPED
    if base or is_wire:
        base = checked_base(base, allow_plain_http=entry.model_info.get("allow_plain_http") is True)
    key = _key(entry, provider, environment, is_optional=own_base is not None)
    headers = parameters.get("extra_headers")
    deployment = Deployment(
        id=_id(entry, provider),
        group=entry.model_name,
        provider=provider,
        model=name,
        backend="openai_wire" if is_wire else "litellm",
        api_base=base,
        secret=key,
        price=price_of(_listed_model(entry), {**parameters, **entry.model_info}),
        headers={str(k): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {},
    )
    arguments = {
        key: value
        for key, value in parameters.items()
        if value is not None and key not in ("base_url", "api_key") and not _is_kept_back(key)
    }
    arguments |= {"api_base": base} if base and own_base else {}
    arguments |= {"api_key": key} if key else {}
    return _resolved(entry, deployment, listed_model=_listed_model(entry), parameters=parameters, arguments=arguments)


def _resolved(
    entry: Entry,
    deployment: Deployment,
    *,
    listed_model: str,
    parameters: Mapping[str, object],
    arguments: Mapping[str, object],
) -> Resolved:
    """Return the entry resolved; its references are in `parameters`. Raises ValueError for a wrong timeout."""
    timeout_s = _seconds(parameters, "timeout")
    cooldown = entry.litellm_params.get("cooldown_time", entry.model_info.get("cooldown_time"))
    known = {**map_entry(listed_model), **entry.model_info}
    is_simulated = deployment.backend == "simulated"
    return Resolved(
        deployment=replace(
            deployment,
            # Claude thinks only where the request asks for it, which deadlines.py sees.
            is_reasoning=known.get("supports_reasoning") is True and "claude" not in listed_model and not is_simulated,
            takes_prefill=known.get("supports_assistant_prefill") is True and not is_simulated,
            timeout_s=timeout_s,
            stream_timeout_s=_seconds(parameters, "stream_timeout") or timeout_s,
        ),
        listed_model=listed_model,
        info=entry.model_info,
        picking={key: entry.litellm_params[key] for key in _PICKING if entry.litellm_params.get(key) is not None},
        arguments=arguments,
        cooldown_s=float(cooldown) if isinstance(cooldown, int | float) else None,
        region=_region(entry),
        unread=tuple(key for key in parameters if not _is_read(key, deployment.backend)),
    )


def _is_read(key: str, backend: str) -> bool:
    """Say whether a parameter changes anything here; a request's own come from the client, and LiteLLM takes more."""
    if key in _READ or "_cost" in key:  # prices
        return True
    return backend == "litellm" and key not in _NOBODYS and not _is_kept_back(key)


def _is_kept_back(key: str) -> bool:
    """Say whether a parameter is about what the gateway does itself, so that LiteLLM is not told of it."""
    return any(word in key for word in _NOT_OURS)


def _seconds(parameters: Mapping[str, object], key: str) -> float | None:
    """Return a timeout of LiteLLM's, None where none is stated. Raises ValueError unless it is a time above 0."""
    stated = parameters.get(key)
    if stated is None:
        return None
    try:
        seconds = float(str(stated))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < inf:
        raise ValueError(f"{key} must be a number of seconds above 0")
    return seconds


def _key(entry: Entry, provider: str, environment: Mapping[str, str], *, is_optional: bool) -> str:
    """Return the provider key, "" where none is needed. Raises ValueError naming the variable that is missing."""
    stated = entry.litellm_params.get("api_key")
    variable = f"{provider.upper()}_API_KEY"
    if isinstance(stated, str) and stated:
        if not stated.startswith(_REFERENCE):
            return stated
        variable = stated.removeprefix(_REFERENCE)
    elif provider in _KEYLESS or is_optional:
        return ""
    if found := environment.get(variable, "").strip():
        return found
    if provider in _KEYLESS or (is_optional and provider == "openai" and variable == "OPENAI_API_KEY"):
        return ""
    raise ValueError(f"{variable} is not set")


def _value(value: object, environment: Mapping[str, str]) -> object:
    """Resolve references in strings and mappings; one that is not set is None."""
    if isinstance(value, str) and value.startswith(_REFERENCE):
        return environment.get(value.removeprefix(_REFERENCE)) or None
    if isinstance(value, Mapping):
        return {str(key): _value(inner, environment) for key, inner in value.items()}
    return value


def _stated_base(entry: Entry, environment: Mapping[str, str]) -> str | None:
    """Return the entry's own api_base. Raises ValueError where its variable is not set: no default takes its place."""
    stated = entry.litellm_params.get("api_base") or entry.litellm_params.get("base_url")
    if stated is None:
        return None
    found = _value(stated, environment)
    if not isinstance(found, str):
        raise ValueError(f"api_base: {str(stated).removeprefix(_REFERENCE)} is not set")
    return found


def _listed_model(entry: Entry) -> str:
    """Return the name to look prices and limits up by: LiteLLM's `model_info.base_model`, else the model itself."""
    base_model = entry.model_info.get("base_model")
    return base_model if isinstance(base_model, str) else str(entry.litellm_params.get("model", ""))


def _region(entry: Entry) -> str:
    stated = (entry.model_info.get("region"), *(entry.litellm_params.get(key) for key in _REGIONS))
    return next((text.lower() for text in stated if isinstance(text, str) and text), "")


def _id(entry: Entry, provider: str) -> str:
    own = entry.model_info.get("id")
    return own if isinstance(own, str) and own else f"{entry.model_name}@{provider}"
