"""What an edit of a policy file changes, key by key, defaults filled in. Pure; must not say whether it is good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies.document import parse
from policies.load import load_policy
from policies.schema import PolicySpec
from policies.shapes import Spec

ABSENT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """One key that the two files do not agree on; "-" stands for a key that a file does not have."""

    key: str
    old: str
    new: str


def keys_of(text: str, *, source: str) -> dict[str, str]:
    """Return every key of a policy file and its value in words, in the file's order. Raises DocumentError.

    A list of things with names is keyed by them (`routes.fallacy.cache.exact_ttl`), so that a route that moves is the
    same route; durations are seconds. Which models there are is not checked.
    """
    load_policy(text, source=source, groups=None)
    spec = PolicySpec.model_validate(parse(text, source=source).value)
    return dict(_flat("", spec))


def changes(old: dict[str, str], new: dict[str, str]) -> tuple[KeyChange, ...]:
    """Return what differs, in the order of the new file, what is gone last."""
    return tuple(
        KeyChange(key=key, old=old.get(key, ABSENT), new=new.get(key, ABSENT))
        for key in dict.fromkeys((*new, *old))
        if old.get(key, ABSENT) != new.get(key, ABSENT)
    )


def _flat(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Spec):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list) and any(isinstance(item, Spec) for item in value):
        names = [getattr(item, "name", None) for item in value]
        if all(names):
            yield f"{path} (order)", ", ".join(map(str, names))
        for place, (item, name) in enumerate(zip(value, names, strict=True)):
            yield from _flat(f"{path}.{name}" if name else f"{path}[{place}]", item)
    elif value is not None:
        yield path, _text(value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
