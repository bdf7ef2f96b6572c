"""What a good policy file says that nothing will read: worth a note in `policy lint`, no reason to refuse the file.

Works on the file's shape, after it is known to be right.
"""

from __future__ import annotations

from collections.abc import Iterator

from policies.document import Problem, parse
from policies.schema import PolicySpec

_OF_NEIGHBOURS = ("k", "min_similarity")


def unread_keys(text: str, *, source: str) -> tuple[Problem, ...]:
    """Return a note for every such key of a policy file that loads. Raises DocumentError."""
    return tuple(_without_vector(text, source))


def _without_vector(text: str, source: str) -> Iterator[Problem]:
    """A question's neighbours are found by the vector that the semantic cache computes; without it, there are none."""
    document = parse(text, source=source)
    for index, route in enumerate(PolicySpec.model_validate(document.value).routes):
        if route.selector is None or route.cache.semantic:
            continue
        for key in _OF_NEIGHBOURS:
            if key in route.selector.model_fields_set:
                expected = (
                    "is not read: without cache.semantic questions have no vector, and the task's mean alone decides"
                )
                yield document.problem(("routes", index, "selector", key), str(getattr(route.selector, key)), expected)
