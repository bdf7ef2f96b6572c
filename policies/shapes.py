"""What every mapping of a policy file has in common, and the values that several keys share.

Knows no key of its own: schema.py and rule_schema.py do.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from policies.durations import PATTERN, parse_duration


def _seconds(value: object) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "{reason}", {"reason": str(error)}) from error


Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": PATTERN}, {"const": 0}]}),
]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""Fit for a header and a metric label."""
ModelName = Annotated[str, Field(min_length=1, max_length=128)]
Glob = Annotated[str, Field(min_length=1, max_length=128)]
Tokens = Annotated[int, Field(ge=0)]


class Spec(BaseModel):
    """A mapping of the file: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
