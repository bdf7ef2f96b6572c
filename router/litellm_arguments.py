"""Builds LiteLLM's keyword arguments from a client's body: an allow list, and a 400 for what no client may set.

Must not import LiteLLM: what its keyword arguments are called is written down here, and a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from router.errors import ProviderError
from router.types import Call

CHAT = frozenset(
    {
        "messages", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "max_tokens", "modalities", "n", "parallel_tool_calls", "prediction",
        "presence_penalty", "reasoning_effort", "response_format", "seed", "service_tier", "stop", "temperature",
        "thinking", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
    }
)  # fmt: skip
EMBEDDINGS = frozenset({"input", "dimensions", "user"})

# What only hints, and is left out for native providers: none of these changes what an answer means. The encoding of
# embeddings is the backend's own.
_HINTS = frozenset(
    {
        "seed", "user", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
        "prediction", "verbosity", "stream_options", "encoding_format", "frequency_penalty", "presence_penalty",
    }
)  # fmt: skip
_NEUTRAL: Mapping[str, object] = {"n": 1, "logit_bias": {}, "logprobs": False, "tools": [], "functions": [], "stop": []}
# Ours or already dealt with: `cache` is the gateway's own (wire.md); `provider` and the others are OpenRouter's.
_CONSUMED = frozenset({"model", "stream", "cache", "provider", "models", "route", "transforms", "plugins", "usage"})

# LiteLLM hands `extra_body` to these as a field of that name, which they refuse: what they do not know is left out.
_NO_EXTRA_BODY = frozenset({"anthropic", "bedrock"})
_ADDRESS_KEYS = ("url", "image_url", "video_url", "audio_url", "file_id", "file_data", "file_url")

REFUSED_NAMES = frozenset(
    {
        "api_base", "base_url", "base_model", "api_key", "api_version", "api_type", "headers", "extra_headers",
        "extra_query", "default_headers", "default_query", "metadata", "custom_llm_provider", "custom_prompt_dict",
        "model_list", "model_info", "model_config", "model_alias_map", "caching", "caching_groups", "cache_key",
        "client", "shared_session", "organization", "project", "timeout", "stream_timeout", "request_timeout",
        "force_timeout", "num_retries", "max_retries", "retry_policy", "retry_strategy", "max_fallbacks",
        "specific_deployment", "deployment_id", "guardrails", "prompt_id", "prompt_variables", "prompt_label",
        "prompt_version", "prompt_environment", "provider_specific_header", "proxy_server_request", "secret_fields",
        "ssl_verify", "http_client", "hf_model_name", "logger_fn", "verbose", "tags", "tag_regex", "priority", "id",
        "self", "rpm", "tpm", "itpm", "otpm", "order", "weight", "drop_params", "additional_drop_params",
        "allowed_openai_params", "silent_model", "region_name", "region", "token", "tenant_id", "client_id",
        "client_secret", "roles", "bos_token", "eos_token", "final_prompt_value", "text_completion", "acompletion",
        "aembedding", "aimg_generation", "atext_completion", "async_call", "fastest_response", "preset_cache_key",
        "complete_response", "completion_call_id", "attempted_targets", "original_function", "no-log", "rust", "ttl",
        "azure", "cooldown_time", "max_budget", "budget_duration", "tiered_pricing", "vertex_credentials",
        "credentials", "keepalive_seconds", "enable_json_schema_validation", "enable_prompt_caching",
        "ensure_alternating_roles", "enable_tag_filtering", "routing_strategy", "stream_chunk_size",
        "stream_response", "supports_system_message", "data_residency", "search_tool_name", "instance_id",
        "input_type", "deployment", "adapter_id", "allm_passthrough_route", "allowed_model_region",
        "allow_client_keepalive_override", "client_side_timeout", "configurable_clientside_auth_params",
        "default_api_key_rpm_limit", "default_api_key_tpm_limit", "disable_add_transform_inline_image_block",
        "fireworks_forward_user_id", "log_client_error_tracebacks", "max_agentic_loops", "max_file_size_mb",
        "max_parallel_requests", "merge_reasoning_content_in_choices", "model_file_id_mapping",
        "output_vector_size", "provider_affinity_header", "stream_timeout_by_service_tier",
        "timeout_by_service_tier", "turn_off_message_logging", "assistant_continue_message",
        "user_continue_message", "default_fallbacks", "disable_fallbacks", "include_fallback_errors",
    }
)  # fmt: skip
_REFUSED_SHAPES = re.compile(
    r"^_|^(?:mock|litellm|azure|aws|vertex|gcs|s3|watsonx|oci|sagemaker|bedrock|langfuse|langsmith|arize|posthog|dd|wandb"
    r"|weave|newrelic|humanloop|signoz|anthropic|openai|databricks|snowflake|auto_router|adaptive_router|complexity_router"
    r"|quality_router|use|regional)_"
    r"|cost_per_|_cost(?:_|$)|fallback|callback|_api_|api_key|api_base|base_url|_router_|_uplift_"
)


def call_arguments(call: Call) -> dict[str, object]:
    """Return the arguments for LiteLLM's acompletion or aembedding, without model, client and limits.

    Raises ProviderError (400, `param` names the field) for what is never a client's to set, wherever it hides.
    """
    document = call.request.document
    allowed = CHAT if call.request.dialect == "chat" else EMBEDDINGS
    extra = _extra_body(document, allowed)
    _refuse_addresses(document.get("messages"), takes_https=call.deployment.provider == "anthropic")
    arguments: dict[str, object] = {
        name: value
        for name, value in document.items()
        if name in allowed and name not in _HINTS and value is not None and not _is_neutral(name, value)
    }
    if extra and call.deployment.provider not in _NO_EXTRA_BODY:
        arguments["extra_body"] = extra
    if call.request.dialect == "chat":
        arguments["stream"] = call.stream
        if call.stream:
            arguments["stream_options"] = {"include_usage": True}
        if call.max_output_tokens is not None:
            _cap(arguments, call.max_output_tokens)
    return arguments


def is_refused(name: str) -> bool:
    """Tell whether `name` is one of LiteLLM's own arguments: where to send, which key, what to pretend, what to log."""
    folded = name.strip().lower()
    return folded in REFUSED_NAMES or _REFUSED_SHAPES.search(folded) is not None


def _extra_body(document: Mapping[str, object], allowed: frozenset[str]) -> dict[str, object]:
    """Collect the fields that LiteLLM does not know; they travel in the provider's body alone."""
    extra: dict[str, object] = {}
    known = allowed | _HINTS | _CONSUMED
    _refuse(name for name in document if name not in known)
    inner = document.get("extra_body")
    if isinstance(inner, Mapping):
        _refuse(inner, path="extra_body.", shadowing=known)
        extra |= inner
    elif inner is not None:
        raise _refusal("extra_body", "must be an object")
    extra |= {name: value for name, value in document.items() if name not in known and name != "extra_body"}
    return extra


def _refuse(names: Iterable[str], *, path: str = "", shadowing: frozenset[str] = frozenset()) -> None:
    for name in names:
        if is_refused(name):
            raise _refusal(path + name, "is set by the gateway and cannot come from a request")
        if name in shadowing or (path and name == "extra_body"):
            raise _refusal(path + name, "must stand at the top of the request")


def _refuse_addresses(value: object, *, takes_https: bool, path: str = "messages") -> None:
    """Refuse links in content parts: LiteLLM would fetch them from here, and no client chooses what the gateway calls.

    Anthropic takes https links as they are and fetches them itself.
    """
    items: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    for key, inner in items:
        where = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}"
        if isinstance(inner, str):
            link = inner.strip().lower()
            is_link = key in _ADDRESS_KEYS and ("://" in link[:16] or link.startswith("//"))
            if is_link and not (takes_https and link.startswith("https://")):
                raise _refusal(where, "must be a data: URL; the gateway fetches no links for this provider")
        elif key not in ("arguments", "input"):
            _refuse_addresses(inner, takes_https=takes_https, path=where)


def _refusal(param: str, why: str) -> ProviderError:
    return ProviderError(
        f"{param} {why}",
        kind="bad_request",
        source="gateway",
        status=400,
        code="unsupported_parameter",
        type="invalid_request_error",
        param=param,
    )


def _is_neutral(name: str, value: object) -> bool:
    """Tell whether the value asks for what happens anyway; bots send many such, and not every provider knows them."""
    return name in _NEUTRAL and type(value) is type(_NEUTRAL[name]) and value == _NEUTRAL[name]


def _cap(arguments: dict[str, object], cap: int) -> None:
    stated = arguments.pop("max_completion_tokens", None) or arguments.get("max_tokens")
    is_within = isinstance(stated, int) and not isinstance(stated, bool) and 0 < stated <= cap
    arguments["max_tokens"] = stated if is_within else cap
