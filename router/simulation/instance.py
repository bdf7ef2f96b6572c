"""The smallest value that fits a JSON Schema, for structured outputs and tool calls; reads only the schema."""

from __future__ import annotations

import math
from collections.abc import Mapping

from router.simulation.asked import mapping, sequence

_FORMATS: Mapping[str, str] = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "simulated@example.com",
    "uri": "https://example.com/simulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}
_MAX_DEPTH = 32
_MAX_FILLER = 10_000


def smallest(schema: object) -> object:
    """Return a small value that fits `schema` as far as its types, enums, bounds and required members say.

    `pattern` and conditional keywords are not solved: such an answer may not fit, as with a real model.
    """
    return _fill(schema, root=mapping(schema), depth=0)


def _fill(node: object, *, root: Mapping[str, object], depth: int) -> object:
    schema = _resolved(mapping(node), root)
    if depth > _MAX_DEPTH:
        return None
    if "const" in schema:
        return schema["const"]
    if choices := sequence(schema.get("enum")):
        return choices[0]
    if "default" in schema:
        return schema["default"]
    for key in ("anyOf", "oneOf"):
        if options := sequence(schema.get(key)):
            plain = [option for option in options if mapping(option).get("type") != "null"]
            return _fill((plain or options)[0], root=root, depth=depth + 1)
    return _typed(schema, root=root, depth=depth)


def _resolved(schema: Mapping[str, object], root: Mapping[str, object]) -> Mapping[str, object]:
    """Follow local references and fold `allOf` into one mapping."""
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        target: object = root
        for part in reference.lstrip("#/").split("/"):
            target = mapping(target).get(part, {}) if part else target
        schema = mapping(target)
    merged = dict(schema)
    for member in sequence(schema.get("allOf")):
        inner = mapping(member)
        properties = {**mapping(merged.get("properties")), **mapping(inner.get("properties"))}
        required = [*sequence(merged.get("required")), *sequence(inner.get("required"))]
        merged |= {**inner, "properties": properties, "required": required}
    return merged


def _typed(schema: Mapping[str, object], *, root: Mapping[str, object], depth: int) -> object:
    kind = schema.get("type")
    names = [name for name in sequence(kind) if name != "null"] or (["null"] if sequence(kind) else [kind])
    match names[0]:
        case "string":
            return _string(schema)
        case "integer":
            return int(_number(schema, step=1.0))
        case "number":
            return _number(schema, step=0.5)
        case "boolean":
            return False
        case "null":
            return None
        case "array":
            return _array(schema, root=root, depth=depth)
        case _ if "items" in schema and names[0] is None:
            return _array(schema, root=root, depth=depth)
        case _:
            properties = mapping(schema.get("properties"))
            wanted = [name for name in sequence(schema.get("required")) if isinstance(name, str)]
            return {name: _fill(properties.get(name, {}), root=root, depth=depth + 1) for name in wanted}


def _array(schema: Mapping[str, object], *, root: Mapping[str, object], depth: int) -> object:
    return [_fill(schema.get("items"), root=root, depth=depth + 1) for _ in range(_count(schema.get("minItems")))]


def _string(schema: Mapping[str, object]) -> str:
    form = schema.get("format")
    text = _FORMATS.get(form, "simulated") if isinstance(form, str) else "simulated"
    shortest, longest = _count(schema.get("minLength")), schema.get("maxLength")
    text = text.ljust(shortest, ".")
    return text[: max(0, longest)] if isinstance(longest, int) else text


def _count(value: object) -> int:
    return min(value, _MAX_FILLER) if isinstance(value, int) and value > 0 else 0


def _number(schema: Mapping[str, object], *, step: float) -> float:
    def bound(name: str) -> float | None:
        value = schema.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    low, above = bound("minimum"), bound("exclusiveMinimum")
    high, below = bound("maximum"), bound("exclusiveMaximum")
    if above is not None:
        low = math.floor(above) + 1.0 if step == 1.0 else above + (step if below is None else (below - above) / 2)
    if below is not None:
        high = math.ceil(below) - 1.0 if step == 1.0 else below - (step if above is None else (below - above) / 2)
    number = 0.0
    if low is not None:
        number = max(number, low)
    if high is not None:
        number = min(number, high)
    return math.ceil(number) if step == 1.0 and high is None else number
