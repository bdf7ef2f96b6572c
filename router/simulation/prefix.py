"""What a provider would find again of a prompt: its beginning, block by block; a pure function of the request.

Modelled on the published rules of automatic prefix caches: whole blocks, none below a least length, tools and the
answer's schema before the messages. Those who charge for writing want to be told where, which nobody here does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

import orjson

from router.simulation import asked
from router.types import Deployment

BLOCK_TOKENS: Final = 128
LEAST_TOKENS: Final = 1024
_BLOCK_BYTES: Final = BLOCK_TOKENS * 4  # as asked.tokens_in counts them


def has_prefix_cache(deployment: Deployment) -> bool:
    """Say whether the model keeps prompts by itself: reading one again is cheaper, and keeping it costs nothing."""
    if deployment.price is None:
        return False
    rates = deployment.price.base
    return rates.cached_input < rates.input and rates.cache_write <= rates.input


def blocks_of(document: Mapping[str, object]) -> tuple[str, ...]:
    """Return a name for each beginning of the prompt that is a whole number of blocks, shortest first.

    Equal names stand for equal beginnings; empty where the prompt is shorter than what is ever kept.
    """
    prompt = b"".join(_prompt(document))
    names: list[str] = []
    mark = b""
    for start in range(0, len(prompt) - _BLOCK_BYTES + 1, _BLOCK_BYTES):
        mark = hashlib.blake2b(mark + prompt[start : start + _BLOCK_BYTES], digest_size=8).digest()
        names.append(mark.hex())
    return tuple(names) if len(names) * BLOCK_TOKENS >= LEAST_TOKENS else ()


def cached_tokens(found_blocks: int, *, prompt_tokens: int) -> int:
    """Return what is billed as cached where the first `found_blocks` blocks were found."""
    tokens = min(found_blocks * BLOCK_TOKENS, prompt_tokens)
    return tokens if tokens >= LEAST_TOKENS else 0


def _prompt(document: Mapping[str, object]) -> Iterator[bytes]:
    for name in ("tools", "functions", "response_format"):
        if name in document:
            yield orjson.dumps(document[name])
    for role, text in asked.messages(document):
        yield f"\n{role}\n{text}".encode("utf-8", "replace")
