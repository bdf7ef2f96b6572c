from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

import policies
from policies.document import parse
from policies.normalisers import NORMALISERS, Normaliser
from policies.schema import PolicySpec, json_schema_text

FOLDER = Path(policies.__file__).parent
REGENERATE = (
    "python -c 'from policies.schema import json_schema_text; print(json_schema_text(), end=\"\")'"
    " > policies/policy.schema.json"
)


def keys_of(schema: object) -> set[str]:
    """Every property name anywhere in a JSON Schema."""
    found: set[str] = set()
    if isinstance(schema, dict):
        properties = schema.get("properties")
        found |= set(properties) if isinstance(properties, dict) else set()
        for value in schema.values():
            found |= keys_of(value)
    elif isinstance(schema, list):
        for value in schema:
            found |= keys_of(value)
    return found


def test_the_editors_schema_is_current() -> None:
    shipped = (FOLDER / "policy.schema.json").read_text(encoding="utf-8")
    assert shipped == json_schema_text(), f"run: {REGENERATE}"


@pytest.mark.parametrize("name", ["default.yaml", "debate-bot.yaml"])
def test_the_shipped_files_satisfy_the_editors_schema(name: str) -> None:
    document = parse((FOLDER / name).read_text(encoding="utf-8"), source=name)
    jsonschema.validate(document.value, json.loads(json_schema_text()))


def test_the_editors_schema_refuses_an_unknown_key() -> None:
    with pytest.raises(jsonschema.ValidationError, match="hedged"):
        jsonschema.validate(
            {
                "version": 1,
                "policy": "x",
                "routes": [{"name": "a", "match": {"any": True}, "candidates": ["requested"], "hedged": {}}],
            },
            json.loads(json_schema_text()),
        )


def test_every_key_has_a_line_in_the_readme_and_a_description() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    schema = PolicySpec.model_json_schema()
    assert [key for key in sorted(keys_of(schema)) if f"{key}` |" not in readme] == []
    specs = [schema, *schema["$defs"].values()]
    undescribed = [
        key for spec in specs for key, field in spec.get("properties", {}).items() if "description" not in field
    ]
    assert undescribed == []


def test_every_normaliser_is_in_the_table_and_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(NORMALISERS) == set(get_args(Normaliser))
    assert [name for name in NORMALISERS if f"`{name}`" not in readme] == []
