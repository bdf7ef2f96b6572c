"""Turn policy files and the models file into frozen values, or into everything that is wrong with them.

Must not keep anything, look at deployments, or stop at the first problem.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from policies.compile_rules import (
    allow_rules,
    budget_rules,
    cascade_rules,
    judge_rules,
    knn_rules,
    latency_rules,
    quality_rules,
    rate_rules,
    rollout_rules,
    semantic_rules,
    shadow_rules,
    tier_rules,
    warming_rules,
)
from policies.complaints import did_you_mean, shape_problems, value_text
from policies.document import MAX_BYTES, Document, DocumentError, Problem, decode, parse
from policies.floors import floor_problems
from policies.idle import idle_problems
from policies.model import REQUESTED, CacheRules, Match, Policy, Route, TokenRange
from policies.names import name_problems
from policies.route_index import index_of
from policies.rules import HedgeRules
from policies.schema import CacheSpec, DefaultsSpec, HedgeSpec, MatchSpec, ObjectiveSpec, PolicySpec, RouteSpec

_ENTRY_KEYS = ("model_name", "litellm_params", "model_info")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One deployment of LiteLLM's `model_list`, as written: `os.environ/NAME` is not resolved here."""

    model_name: str
    litellm_params: Mapping[str, object]
    model_info: Mapping[str, object]
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsFile:
    """LiteLLM's configuration, of which only `model_list` is read; `ignored_sections` names the rest."""

    entries: tuple[ModelEntry, ...]
    ignored_sections: tuple[str, ...]

    @property
    def groups(self) -> frozenset[str]:
        """Every model_name."""
        return frozenset(entry.model_name for entry in self.entries)


def read_text(path: Path, *, source: str) -> str:
    """Read a file of at most 1 MiB as UTF-8. Raises DocumentError, also where there is no such file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        problem = _about_file(source, error.strerror or "unreadable", "a file that can be read")
        raise DocumentError((problem,)) from error
    if len(data) > MAX_BYTES:
        raise DocumentError((_about_file(source, f"more than {MAX_BYTES} bytes", f"at most {MAX_BYTES} bytes"),))
    return decode(data, source=source)


def load_policy(text: str, *, source: str, groups: Collection[str] | None) -> Policy:
    """Compile one policy file. Raises DocumentError with every problem found.

    `groups` are the model names of the models file; None (its own problems are reported elsewhere) checks no model.
    """
    document = parse(text, source=source)
    if not isinstance(document.value, dict):
        raise DocumentError((document.problem((), value_text(document.value), "must be a mapping with version: 1"),))
    problems = name_problems(document, groups)
    try:
        spec = PolicySpec.model_validate(document.value)
    except ValidationError as error:
        raise _failed(problems + shape_problems(document, error)) from error
    problems += floor_problems(document, spec) + idle_problems(document, spec)
    if problems:
        raise _failed(problems)
    routes = tuple(_route(route, spec.defaults) for route in spec.routes)
    return Policy(
        name=spec.policy,
        version=hashlib.sha256(text.encode()).hexdigest()[:12],
        source=source,
        models={alias: model.group for alias, model in spec.models.items()},
        routes=routes,
        index=index_of(routes),
        tenants=tuple(spec.tenants),
        quality_priors={model.group: model.quality_prior for model in spec.models.values() if model.quality_prior},
        reference=next((model.group for model in spec.models.values() if model.reference), None),
        sticky=spec.defaults.sticky,
        budgets=tuple(map(budget_rules, spec.budgets)),
        rates=tuple(map(rate_rules, spec.rate_limits)),
        warming=warming_rules(spec.warming),
        rollout=None if spec.rollout is None else rollout_rules(spec.rollout),
        shadow=None if spec.shadow is None else shadow_rules(spec.shadow),
        judge=None if spec.judge is None else judge_rules(spec.judge),
        text=text,
    )


def load_models(text: str, *, source: str) -> ModelsFile:
    """Read a LiteLLM configuration's `model_list`. Raises DocumentError with every problem found.

    Values below litellm_params never appear in a problem: they may be secrets.
    """
    document = parse(text, source=source)
    root = document.value
    if not isinstance(root, dict) or "model_list" not in root:
        raise DocumentError((document.problem(("model_list",), "missing", "required: LiteLLM's list of deployments"),))
    listed = root["model_list"]
    if not isinstance(listed, list) or not listed:
        raise DocumentError((document.problem(("model_list",), "no entries", "must be a list of deployments"),))
    problems: list[Problem] = []
    entries: list[ModelEntry] = []
    ignored = [key for key in root if key != "model_list"]
    for index, item in enumerate(listed):
        found = _model_problems(document, index, item)
        problems += found
        if not found and isinstance(item, dict):
            ignored += [f"model_list[{index}].{key}" for key in item if key not in _ENTRY_KEYS]
            entries.append(
                ModelEntry(
                    model_name=item["model_name"],
                    litellm_params=item["litellm_params"],
                    model_info=item.get("model_info") or {},
                    line=document.line(("model_list", index)),
                )
            )
    if problems:
        raise _failed(problems)
    return ModelsFile(entries=tuple(entries), ignored_sections=tuple(ignored))


def _model_problems(document: Document, index: int, item: object) -> list[Problem]:
    path = ("model_list", index)
    if not isinstance(item, dict):
        return [document.problem(path, type(item).__name__, "must be a mapping with model_name and litellm_params")]
    problems: list[Problem] = []
    for key in ("model_name", "litellm_params"):
        if key not in item:
            near = [other for other in item if other not in _ENTRY_KEYS]
            hint = f"; {did_you_mean(key, near)}" if did_you_mean(key, near).startswith("did") else ""
            problems.append(document.problem((*path, key), "missing", f"required{hint}"))
    name = item.get("model_name", "absent")
    # The name goes into response headers, which know neither spaces at the edges nor other alphabets.
    if not isinstance(name, str) or not name.isascii() or not name.isprintable() or " " in name or len(name) > 128:
        expected = "must be text: printable ASCII without spaces, at most 128 characters"
        problems.append(document.problem((*path, "model_name"), value_text(name), expected))
    elif not name or name == REQUESTED:
        expected = "must not be empty, nor `requested`, which policies use for what the client asked for"
        problems.append(document.problem((*path, "model_name"), value_text(name), expected))
    params = item.get("litellm_params", {"model": "absent"})
    if not isinstance(params, dict):
        problems.append(document.problem((*path, "litellm_params"), type(params).__name__, "must be a mapping"))
    elif not isinstance(params.get("model"), str) or not params["model"]:
        expected = "required: the provider's name for the model, such as openai/gpt-4o"
        problems.append(document.problem((*path, "litellm_params", "model"), "missing or not text", expected))
    if not isinstance(item.get("model_info") or {}, dict):
        problems.append(document.problem((*path, "model_info"), "not a mapping", "must be a mapping"))
    return problems


def _route(spec: RouteSpec, defaults: DefaultsSpec) -> Route:
    objective = spec.objective if isinstance(spec.objective, ObjectiveSpec) else None
    quality = objective.quality if objective else None
    latency = objective.latency if objective else None
    return Route(
        name=spec.name,
        match=_match(spec.match),
        candidates=tuple(spec.candidates),
        selector="quality_floor" if quality else "cheapest" if objective else "fixed",
        fallbacks=tuple(item if isinstance(item, str) else item.model for item in spec.fallbacks),
        deadline_s=defaults.deadline_s if spec.deadline is None else spec.deadline,
        max_output_tokens=defaults.max_output_tokens if spec.max_output_tokens is None else spec.max_output_tokens,
        cache=_cache(spec.cache),
        assemble=spec.assemble,
        on_cut=spec.on_cut,
        epoch=spec.epoch,
        hedge=None if spec.hedge is None else _hedge(spec.hedge),
        quality=None if quality is None else quality_rules(quality),
        latency=None if latency is None else latency_rules(latency),
        knn=None if quality is None else knn_rules(spec.selector),
        below_floor=tuple(item.model for item in spec.fallbacks if not isinstance(item, str) and item.below_floor),
        cascade=None if spec.cascade is None else cascade_rules(spec.cascade),
        tier=None if spec.tier is None else tier_rules(spec.tier),
        allow=None if (allow := spec.allow or defaults.allow) is None else allow_rules(allow),
    )


def _match(spec: MatchSpec) -> Match:
    bounds = spec.input_tokens
    return Match(
        model=spec.model,
        tag=spec.tag,
        tenant=spec.tenant,
        dialect=spec.dialect,
        input_tokens=TokenRange(lt=bounds.lt, lte=bounds.lte, gt=bounds.gt, gte=bounds.gte) if bounds else None,
        all=tuple(_match(item) for item in spec.all or ()),
        any_of=tuple(_match(item) for item in spec.any) if isinstance(spec.any, list) else (),
        none=tuple(_match(item) for item in spec.none or ()),
    )


def _cache(spec: CacheSpec) -> CacheRules:
    return CacheRules(
        exact_ttl_s=spec.exact_ttl,
        max_temperature=spec.max_temperature,
        partition_by_user=spec.partition_by_user,
        normalise=tuple(spec.normalise),
        semantic=semantic_rules(spec.semantic),
        stale_if_error_s=spec.stale_if_error,
        refresh_after_s=spec.refresh_after,
        retain_text=spec.retain_text,
    )


def _hedge(spec: HedgeSpec) -> HedgeRules:
    return HedgeRules(after=int(spec.after.removeprefix("p")) / 100, max=spec.max, budget_ratio=spec.budget_ratio)


def _failed(problems: list[Problem]) -> DocumentError:
    return DocumentError(tuple(sorted(problems, key=lambda problem: (problem.line, problem.key))))


def _about_file(source: str, value: str, expected: str) -> Problem:
    return Problem(source=source, line=1, key="(file)", value=value, expected=expected)
