"""What policy may know of a model group: one card per deployment, then the worst of each. Pure; must not pick."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from policies.model import Capability, Dialect, ModelCard
from router.cost import dearest, map_entry
from router.entries import Resolved

_FLAGS: Mapping[Capability, str] = {
    "tools": "supports_function_calling",
    "vision": "supports_vision",
    "audio": "supports_audio_input",
    "json_schema": "supports_response_schema",
}
_DIALECTS: Mapping[object, Dialect] = {
    "embedding": "embeddings",
    "chat": "chat",
    "completion": "chat",
    "responses": "chat",
}
EVERYTHING: frozenset[Capability] = frozenset({"tools", "vision", "audio", "json_schema", "logprobs"})


def card_of(resolved: Resolved, *, parameters: Collection[str]) -> ModelCard:
    """Return the card of one deployment; its model_info beats LiteLLM's map. Raises ValueError for images, speech ….

    `parameters` are the OpenAI parameters that the provider takes. A model that the map does not know may be able to do
    everything: its provider will say when it cannot.
    """
    entry = map_entry(resolved.listed_model)
    known = {**entry, **resolved.info}
    mode = known.get("mode") or "chat"
    if mode not in _DIALECTS:
        raise ValueError(f"mode {mode!r}: only chat and embedding models are served")
    capabilities = {name for name, flag in _FLAGS.items() if known.get(flag) is True}
    if not entry:
        capabilities = {name for name in EVERYTHING if known.get(_FLAGS.get(name, "supports_logprobs")) is not False}
    elif "logprobs" in parameters and _DIALECTS[mode] == "chat":
        capabilities.add("logprobs")
    deployment = resolved.deployment
    return ModelCard(
        group=deployment.group,
        providers=(deployment.provider,),
        mode=_DIALECTS[mode],
        price=deployment.price,
        context_window=_count(known.get("max_input_tokens") or known.get("max_tokens")),
        max_output_tokens=_count(known.get("max_output_tokens")),
        capabilities=frozenset(capabilities),
        is_simulated=deployment.backend == "simulated",
        regions=() if deployment.backend == "simulated" else (resolved.region,),
        vector_size=_count(known.get("output_vector_size")),
    )


def worst(cards: Sequence[ModelCard]) -> ModelCard:
    """Merge the cards of one group (at least one): what holds whichever deployment is picked."""
    return ModelCard(
        group=cards[0].group,
        providers=tuple(dict.fromkeys(provider for card in cards for provider in card.providers)),
        mode=cards[0].mode,
        price=dearest(card.price for card in cards),
        context_window=_smallest(card.context_window for card in cards),
        max_output_tokens=_smallest(card.max_output_tokens for card in cards),
        capabilities=frozenset[Capability].intersection(*(card.capabilities for card in cards)),
        is_simulated=all(card.is_simulated for card in cards),
        regions=tuple(dict.fromkeys(region for card in cards for region in card.regions)),
        vector_size=cards[0].vector_size if len({card.vector_size for card in cards}) == 1 else None,
    )


def _smallest(counts: Iterable[int | None]) -> int | None:
    return min((count for count in counts if count is not None), default=None)


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and value > 0 else None
