"""What has to be asked for a prediction to come true, as a short name. Must keep no text."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from warmer.types import Event, Known, Prediction


def target_of(prediction: Prediction) -> str:
    """Return the name of what `prediction` expects; events that fulfil it give the same name."""
    if prediction.level == "prefix" and prediction.attachment:
        return f"about:{prediction.attachment}"
    if isinstance(prediction.recipe, Known):
        return f"key:{prediction.recipe.key}"
    return _asked(prediction.recipe.question, prediction.attachment)


def targets_of(event: Event) -> tuple[str, ...]:
    """Return the names of everything that `event` fulfils."""
    names = [f"key:{event.key}"]
    if event.kind == "chat":
        if event.question:
            names.append(_asked(event.question, event.attachment))
        if event.attachment:
            names.append(f"about:{event.attachment}")
    return tuple(names)


@lru_cache(maxsize=8192)
def _asked(question: str, attachment: str) -> str:
    return "asked:" + hashlib.blake2b(f"{attachment}\n{question}".encode(), digest_size=16).hexdigest()
