"""Questions whose speakers' names vary: a name becomes its speaker's rank, and back. Must keep nothing.

Speakers are those of the transcript that a question is about, so that "What does OBAMA say?" is, asked of another
debate, "What does BUSH say?" where both speak most.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SLOT = re.compile("\u27e8(\\d+)\u27e9")
_MOST_SPEAKERS = 8


def abstract(question: str, speakers: Sequence[str]) -> str:
    """Return `question` with every whole speaker's name replaced by ⟨rank⟩."""
    for rank, name in enumerate(speakers[:_MOST_SPEAKERS]):
        if name and name in question:
            question = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", f"\u27e8{rank}\u27e9", question)
    return question


def fill(template: str, speakers: Sequence[str]) -> str | None:
    """Return the question with the names of these speakers, None where there are too few of them."""
    ranks = [int(rank) for rank in _SLOT.findall(template)]
    if ranks and max(ranks) >= len(speakers):
        return None
    return _SLOT.sub(lambda found: speakers[int(found.group(1))], template)
