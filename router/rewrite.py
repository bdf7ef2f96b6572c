"""Turns the client's bytes into the provider's: only what must change changes; values are never decoded and encoded.

Must not validate: what is wrong with the other fields is for the provider to say.
"""

from __future__ import annotations

import re

import msgspec

from router.types import Call

_Fields = dict[str, msgspec.Raw]
_FIELDS = msgspec.json.Decoder(_Fields)
_TRUE = msgspec.Raw(b"true")
_FALSE = msgspec.Raw(b"false")
_ONLY_USAGE = msgspec.Raw(b'{"include_usage":true}')

_UNDECIDED_TIERS = (b"null", b'"auto"')
# OpenAI refuses `max_tokens` for its reasoning models; most other OpenAI-shaped servers know only `max_tokens`.
_WANTS_COMPLETION_TOKENS = re.compile(r"(?:^|/)(?:o[1-9]|gpt-[5-9]|gpt-\d\d)")


def provider_body(call: Call) -> bytes:
    """Return the body to send: `model`, and where needed `stream`, `stream_options`, the output cap and the service
    tier, replaced.

    `cache`, which is for the gateway, is left out.
    Every other value keeps its bytes and its place; of a repeated key the last value stays, so that the provider
    cannot read another one than policy did. Needs a body that is a JSON object (facts.py has seen to it).
    """
    fields = _FIELDS.decode(call.request.body)
    fields["model"] = msgspec.Raw(msgspec.json.encode(call.deployment.model))
    fields.pop("cache", None)  # LiteLLM's wishes to its cache (wire.md): the gateway has obeyed them
    if call.service_tier and bytes(fields.get("service_tier", b"null")) in _UNDECIDED_TIERS:
        fields["service_tier"] = msgspec.Raw(msgspec.json.encode(call.service_tier))
    if call.request.dialect == "chat":
        _set_stream(fields, call)
        if call.max_output_tokens is not None:
            _cap_output(fields, call.max_output_tokens, call.deployment.model)
    # Joined by hand: encoding a dict of Raw with msgspec would copy twice and is no faster.
    return b"{" + b",".join([msgspec.json.encode(name) + b":" + bytes(raw) for name, raw in fields.items()]) + b"}"


def _set_stream(fields: _Fields, call: Call) -> None:
    if call.stream:
        if not call.request.stream:
            fields["stream"] = _TRUE
        fields["stream_options"] = _with_usage(fields.get("stream_options"))
    elif call.request.stream:
        fields["stream"] = _FALSE
        fields.pop("stream_options", None)  # a 400 at OpenAI where nothing streams


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """Return the client's stream options with include_usage on; options that are no object stay, to be refused."""
    if options is None or bytes(options) == b"null":
        return _ONLY_USAGE
    try:
        members = _FIELDS.decode(options)
    except msgspec.ValidationError:
        return options
    members["include_usage"] = _TRUE
    return msgspec.Raw(msgspec.json.encode(members))


def _cap_output(fields: _Fields, cap: int, model: str) -> None:
    """Lower whichever limit the client has set; without one, set the one that the model understands.

    A limit that is no plain number up to the cap counts as unlimited (vLLM reads -1 so, and some read "9999").
    """
    limit = msgspec.Raw(str(cap).encode())
    used = [name for name in ("max_completion_tokens", "max_tokens") if bytes(fields.get(name, b"null")) != b"null"]
    for name in used:
        if not _is_within(bytes(fields[name]), cap):
            fields[name] = limit
    if not used:
        fields["max_completion_tokens" if _WANTS_COMPLETION_TOKENS.search(model) else "max_tokens"] = limit


def _is_within(number: bytes, cap: int) -> bool:
    return number.isdigit() and int(number) <= cap
