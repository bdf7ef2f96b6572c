"""Shell-style patterns over names (`gpt-4*`, `team-?`), case-sensitive. Must not touch the file system."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """Return None for a pattern without wildcards: comparing is enough. fnmatch's own cache holds 256 only."""
    return re.compile(translate(pattern)) if any(sign in pattern for sign in "*?[") else None


def matches(pattern: str, name: str) -> bool:
    """Say whether `pattern` covers the whole of `name`."""
    if pattern == "*":
        return True
    compiled = _compiled(pattern)
    return pattern == name if compiled is None else compiled.match(name) is not None
