"""A pipeline's YAML file as checked, frozen values; reads no file but the ones it is given and runs nothing."""

from __future__ import annotations

import graphlib
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.pipelines.reduce import ReduceRule
from gateway.pipelines.segments import Sizes
from policies.document import Document, DocumentError, Problem, parse
from policies.document import Path as KeyPath
from policies.model import REQUESTED

PIPELINE_MODEL_PREFIX = "pipeline/"
_FANOUTS = "parallel or leader_follower (prewarm, merged and auto are not built yet)"


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)


class SegmentRule(_Shape):
    """Segment sizes in code points: no cut below `min`, about `target`, never above `max`."""

    min: int = Field(ge=200)
    target: int = Field(ge=400)
    max: int = Field(le=200_000)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min < self.target < self.max:
            raise ValueError("must be min < target < max")
        return self

    @property
    def sizes(self) -> Sizes:
        return Sizes(min=self.min, target=self.target, max=self.max)


class Step(_Shape):
    """One step: an instruction, the JSON Schema of its answer, and what it needs first.

    `quotes` names the lists of the answer whose items carry a `quote` to check. `reduce` has one rule per member of
    the answer and is there exactly when `segment` is. `model` is a model group, or `requested`: what the caller asked.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    instruction: str = Field(min_length=1)
    output_schema: dict[str, object] = Field(alias="schema")
    needs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    model: str = REQUESTED
    required: bool = False
    optional: bool = False
    quotes: tuple[str, ...] = ()
    segment: SegmentRule | None = None
    reduce: dict[str, ReduceRule] = Field(default_factory=dict)
    max_output_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)

    @cached_property
    def validator(self) -> Draft202012Validator:
        """The step's schema, ready to check answers."""
        return Draft202012Validator(self.output_schema)

    @property
    def members(self) -> Mapping[str, object]:
        """The schema's top-level properties."""
        properties = self.output_schema.get("properties")
        return properties if isinstance(properties, dict) else {}


class Pipeline(_Shape):
    """One pipeline file. `digest` is the first 12 hex digits of its text's SHA-256; `key_version` goes into keys."""

    name: str = Field(pattern=r"^[a-z][a-z0-9\-]{0,39}$")
    version: str = Field(pattern=r"^[A-Za-z0-9._\-]{1,20}$")
    input: Literal["transcript"]
    fanout: Literal["parallel", "leader_follower"] = "parallel"
    max_parallel: int = Field(default=16, ge=1, le=256)
    deadline_s: float = Field(default=120.0, gt=0, le=3600)
    system: str = Field(min_length=1)
    steps: tuple[Step, ...] = Field(min_length=1)
    digest: str = ""

    @property
    def key_version(self) -> str:
        return f"{self.version}-{self.digest}"

    def step(self, name: str) -> Step:
        """Return the step of that name. Raises KeyError."""
        return {step.name: step for step in self.steps}[name]

    def selection(self, names: tuple[str, ...] | None) -> tuple[Step, ...]:
        """Return the steps to run, in the file's order: those named and what they need, or all but the optional."""
        wanted = set(names) if names is not None else {step.name for step in self.steps if not step.optional}
        pending = list(wanted)
        while pending:
            new = set(self.step(pending.pop()).needs) - wanted
            wanted |= new
            pending.extend(new)
        return tuple(step for step in self.steps if step.name in wanted)


def load_pipeline(text: str, *, source: str) -> Pipeline:
    """Check one pipeline file. Raises DocumentError with every problem as `file:line: key: value: what is right`."""
    document = parse(text, source=source)
    if not isinstance(document.value, dict):
        raise DocumentError((document.problem((), "no mapping", "a mapping with name, version, input and steps"),))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    if "digest" in document.value:
        raise DocumentError((document.problem(("digest",), "given", "remove it: it is the hash of this text"),))
    try:
        pipeline = Pipeline.model_validate({**document.value, "digest": digest})
    except ValidationError as error:
        raise DocumentError(tuple(_shape_problems(document, error))) from error
    problems = tuple(_problems(document, pipeline))
    if problems:
        raise DocumentError(problems)
    return pipeline


def load_pipelines(directory: Path) -> Mapping[str, Pipeline]:
    """Read every *.yaml of `directory` (blocking), by name. Raises DocumentError, also for a name used twice."""
    pipelines: dict[str, Pipeline] = {}
    for path in sorted(directory.glob("*.yaml")):
        pipeline = load_pipeline(path.read_text("utf-8"), source=str(path))
        if pipeline.name in pipelines:
            twice = Problem(source=str(path), line=1, key="name", value=pipeline.name, expected="a name used once")
            raise DocumentError((twice,))
        pipelines[pipeline.name] = pipeline
    return pipelines


@cache
def shipped_pipelines() -> Mapping[str, Pipeline]:
    """Read the pipelines that ship beside this module (blocking; once a process). Raises DocumentError."""
    return MappingProxyType(load_pipelines(Path(__file__).parent))


def _shape_problems(document: Document, error: ValidationError) -> Iterator[Problem]:
    for each in error.errors(include_url=False):
        path: KeyPath = tuple(each["loc"])
        expected = each["msg"].removeprefix("Value error, ")
        if path == ("fanout",):
            expected = _FANOUTS
        elif each["type"] == "extra_forbidden":
            expected = "no such key here; see gateway/pipelines/debate.yaml for every key"
        value = "missing" if each["type"] == "missing" else repr(each["input"])[:80]
        yield document.problem(path, value, expected)


def _problems(document: Document, pipeline: Pipeline) -> Iterator[Problem]:
    names = [step.name for step in pipeline.steps]
    for at, step in enumerate(pipeline.steps):
        if step.name in names[:at]:
            yield document.problem(("steps", at, "name"), step.name, "a step name used once")
        for index, needed in enumerate(step.needs):
            if needed not in names:
                yield document.problem(("steps", at, "needs", index), needed, f"one of {', '.join(names)}")
        if step.model.startswith(PIPELINE_MODEL_PREFIX):
            yield document.problem(("steps", at, "model"), step.model, "a model group: a step cannot run a pipeline")
        yield from _answer_problems(document, at, step)
    try:
        graphlib.TopologicalSorter({step.name: step.needs for step in pipeline.steps}).prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join(map(str, error.args[1]))
        yield document.problem(("steps",), circle, "steps that do not need each other in a circle")


def _answer_problems(document: Document, at: int, step: Step) -> Iterator[Problem]:
    try:
        Draft202012Validator.check_schema(step.output_schema)
    except SchemaError as error:
        where = ("steps", at, "schema", *error.absolute_path)
        yield document.problem(where, repr(error.instance)[:80], f"a valid JSON Schema (2020-12): {error.message}")
        return
    if step.output_schema.get("type") != "object" or not step.members:
        yield document.problem(("steps", at, "schema"), "no object", "type: object with properties")
    for index, name in enumerate(step.quotes):
        if name not in step.members:
            yield document.problem(("steps", at, "quotes", index), name, f"one of {', '.join(step.members)}")
    if step.segment is None and step.reduce:
        yield document.problem(("steps", at, "reduce"), "given", "only with segment")
    if step.segment is not None:
        for name in step.members.keys() - step.reduce.keys():
            yield document.problem(("steps", at, "reduce"), "incomplete", f"a rule for {name}")
        for name in step.reduce.keys() - step.members.keys():
            yield document.problem(("steps", at, "reduce", name), "given", f"one of {', '.join(step.members)}")
