"""The closed table of what an exact key may be told to ignore.

Names and meanings only: gateway/cache/key.py does it. Must not touch message text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Normaliser = Literal["clock_in_system", "user_mention_prefix"]

NORMALISERS: Mapping[Normaliser, str] = {
    "clock_in_system": "dates and times in the system prompt count as one placeholder",
    "user_mention_prefix": "a leading `<@id>:` in a user's text is left out",
}
"""Each changes the key alone; what is sent to the provider stays as the client wrote it."""
