"""Every setting of the gateway, merged from flags, environment and a YAML file; the only reader of the environment.

Must not open connections, create directories or print.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    DirectoryPath,
    Field,
    FilePath,
    NonNegativeFloat,
    NonNegativeInt,
    SecretStr,
    ValidationError,
)

import policies
from gateway.cores import available_cores
from gateway.setting_types import (
    AbsolutePath,
    Address,
    Count,
    Number,
    Port,
    Seconds,
    Size,
    address_of,
    embedder_of,
    redis_url_of,
)
from gateway.wait_settings import WaitSettings
from policies.document import DocumentError, parse

PREFIX = "FOREWORD_"
CONFIG_VARIABLE = "FOREWORD_CONFIG"
ADMIN_KEY_VARIABLE = "FOREWORD_ADMIN_KEY"
METRICS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
NOT_SETTINGS = frozenset(
    {
        CONFIG_VARIABLE,
        "FOREWORD_BENCH_CACHE",
        "FOREWORD_DATA",
        "FOREWORD_API_KEY",
        "FOREWORD_BASE_URL",
        "FOREWORD_HYPOTHESIS",
        "FOREWORD_REDIS8",
    }
)
"""Names with our prefix that benchmarks, tests, the demo and the CLI read, and that are no setting of `serve`."""

SHIPPED = Path(policies.__file__ or "policies/__init__.py").parent


class Settings(WaitSettings):
    """What one process of the gateway was told. Seconds are `_s`, sizes bytes (`10MiB` is read too).

    `environment` is the process environment without our own secrets, for `os.environ/NAME` in models.yaml: never print.
    """

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: Port = Field(8080, description="port to listen on; 0 takes any free one")
    workers: Count = Field(available_cores(), le=256, description="worker processes; by default one a processor")
    policies: DirectoryPath = Field(SHIPPED, description="directory of policy files")
    models: FilePath = Field(SHIPPED / "models.yaml", description="LiteLLM model_list file")
    redis_url: Annotated[str | None, AfterValidator(redis_url_of)] = Field(
        None, repr=False, description="Redis to share; without it a private one is started in the data directory"
    )
    data_dir: AbsolutePath = Field(Path(".foreword"), description="where the private Redis and metrics files live")
    ops_bind: Annotated[Address | None, BeforeValidator(address_of)] = Field(
        None, description="HOST:PORT for /metrics and /admin instead of the main port"
    )
    allow_unauthenticated_loopback: bool = Field(False, description="let direct local callers in without a key")
    warmer: bool = Field(True, description="start the warmer process too")
    drain_s: Annotated[NonNegativeFloat, Number] = Field(30.0, description="time for answers to finish on SIGTERM")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level to log")
    admin_key: SecretStr | None = Field(None, min_length=1, description="key of /admin; environment or file only")
    admin_key_file: FilePath | None = Field(None, description="file that holds the key of /admin")
    max_body_bytes: Size = Field(ByteSize(10 * 1024**2), description="largest request body")
    max_header_bytes: Size = Field(ByteSize(16 * 1024), description="largest request header block")
    max_nesting_depth: Count = Field(64, description="deepest JSON nesting of a request")
    max_messages: Count = Field(2000, description="most messages in one request")
    body_read_timeout_s: Seconds = Field(30.0, description="time for a client to send its body")
    max_connections_per_key: Count = Field(1000, description="most connections of one key")
    memory_cache_bytes: Annotated[ByteSize, Number] = Field(
        ByteSize(64 * 1024**2), ge=0, description="memory cache of each worker"
    )
    max_answer_bytes: Size = Field(ByteSize(8 * 1024**2), description="largest provider answer that is held")
    redis_timeout_s: Seconds = Field(0.05, description="longest wait for Redis")
    embedder: Annotated[str, AfterValidator(embedder_of)] = Field(
        "minilm",
        description="what the semantic cache embeds questions with: minilm, litellm:GROUP of models.yaml, or off",
    )
    embedder_timeout_s: Seconds = Field(0.05, description="longest wait for a question's vector")
    semantic_index: Literal["local", "vector_set"] = Field(
        "local", description="where questions are searched: in each worker, or in Redis 8's vector sets"
    )
    semantic_memory_bytes: Size = Field(ByteSize(64 * 1024**2), description="questions in each worker's memory")
    semantic_writes_per_minute: Count = Field(600, description="new questions of one key, per worker and minute")
    retained_bytes: Size = Field(
        ByteSize(64 * 1024**2), description="most that one tenant's requests kept for the warmer may take in Redis"
    )
    simulated_latency_scale: Annotated[NonNegativeFloat, Number] = Field(
        1.0, description="latency of the simulated backend; 0 answers at once"
    )
    simulated_seed: Annotated[NonNegativeInt, Number] = Field(0, description="seed of the simulated backend")
    ledger_max_entries: Count = Field(100_000, description="entries that the ledger keeps in Redis")
    ledger_keep_days: Count = Field(7, description="days that the ledger's files in the data directory go back")
    ledger_max_bytes: Size = Field(ByteSize(1024**3), description="most that the ledger's files may take")
    environment: Mapping[str, str] = Field(default_factory=dict, repr=False, exclude=True)
    first_secret: SecretStr | None = Field(None, exclude=True, description="key of a gateway without any Redis")
    is_alone: bool = Field(False, exclude=True, description="one worker on a Redis of its own")


GIVEN_BY_CODE = frozenset({"environment", "first_secret", "is_alone"})
"""Fields that are no setting: nobody can give them from outside."""
NOT_FLAGS = GIVEN_BY_CODE | {"admin_key"}
NAMES = frozenset(Settings.model_fields) - GIVEN_BY_CODE


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, and for each that is not a default, where its value came from."""

    settings: Settings
    origins: Mapping[str, str]


class SettingsError(Exception):
    """Some settings are wrong; `problems` name each one's place, key and what would be right."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class _Given:
    value: object
    origin: str


def load_settings(
    *, flags: Mapping[str, str | bool], environment: Mapping[str, str], config: Path | None = None
) -> Loaded:
    """Merge flags over environment over the file over the defaults.

    `flags` is keyed by field name. `config` falls back to FOREWORD_CONFIG. Raises SettingsError with every problem.
    """
    config_name = config or environment.get(CONFIG_VARIABLE)
    problems: list[str] = []
    given: dict[str, _Given] = {}
    if config_name:
        given.update(_from_file(Path(config_name), problems))
    given.update(_from_environment(environment, problems))
    given.update({name: _Given(value, _flag(name)) for name, value in flags.items()})
    _read_admin_key(given, problems)
    try:
        values = {name: item.value for name, item in given.items()}
        hidden = {ADMIN_KEY_VARIABLE}
        values["environment"] = {name: value for name, value in environment.items() if name not in hidden}
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError((*problems, *_problems(error, given))) from None
    if problems:
        raise SettingsError(tuple(problems))
    return Loaded(settings=settings, origins={name: item.origin for name, item in given.items()})


def keep_libraries_single_threaded() -> None:
    """Stop numpy from starting a thread a core when it is imported: workers are forked from a thread-free process."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def process_environment() -> Mapping[str, str]:
    """Return a copy of this process's environment."""
    return dict(os.environ)


def export_metrics_dir(directory: Path) -> None:
    """Turn on prometheus_client's multiprocess mode; must run before its first import, in the parent of the workers."""
    os.environ[METRICS_DIR_VARIABLE] = str(directory)


def metrics_dir() -> Path | None:
    """Return the directory of multiprocess metrics, None in a process that counts alone."""
    name = os.environ.get(METRICS_DIR_VARIABLE)
    return Path(name) if name else None


def without_password(url: str) -> str:
    """Return `url` with any user and password replaced by `***`."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> dict[str, _Given]:
    """An empty variable counts as unset: compose files pass `${NAME:-}`."""
    given: dict[str, _Given] = {}
    if environment.get("REDIS_URL"):
        given["redis_url"] = _Given(environment["REDIS_URL"], "REDIS_URL")
    for variable, value in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS or not value:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if variable == variable.upper() and name in NAMES:
            given[name] = _Given(value, variable)
        else:
            problems.append(f"{variable}: unknown setting: {_service_link_hint(value)}")
    return given


def _service_link_hint(value: str) -> str:
    if value.startswith("tcp://"):
        return "it looks like a Kubernetes service link; set enableServiceLinks: false in the pod"
    return "see `foreword serve --help` for the names"


def _from_file(path: Path, problems: list[str]) -> dict[str, _Given]:
    try:
        document = parse(path.read_text(encoding="utf-8"), source=str(path))
    except OSError as error:
        raise SettingsError((f"--config: {path}: {error.strerror or error}",)) from None
    except UnicodeDecodeError:
        raise SettingsError((f"--config: {path}: should be UTF-8 text",)) from None
    except DocumentError as error:
        raise SettingsError(tuple(map(str, error.problems))) from None
    content = document.value
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError((f"{path}:1: should be a mapping of settings, for example `port: 8080`",))
    given: dict[str, _Given] = {}
    for key, value in content.items():
        place = f"{path}:{document.line((key,))}: {key}"
        if key == "admin_key":
            problems.append(f"{place}: a secret does not belong here; use admin_key_file or {ADMIN_KEY_VARIABLE}")
        elif key not in NAMES:
            problems.append(f"{place}: unknown setting; see `foreword serve --help` for the names")
        else:
            given[key] = _Given(value, place)
    return given


def _read_admin_key(given: dict[str, _Given], problems: list[str]) -> None:
    """Fill admin_key from the file that admin_key_file names; the variable, if set too, would be a silent choice."""
    named = given.get("admin_key_file")
    if named is None or not isinstance(named.value, str):
        return
    if "admin_key" in given:
        problems.append(f"{named.origin}: {ADMIN_KEY_VARIABLE} is set too; use only one of them")
        return
    try:
        key = Path(named.value).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return  # the field's own check says that the file is not there
    if key:
        given["admin_key"] = _Given(key, f"the file of {named.origin}")
    else:
        problems.append(f"{named.origin}: {named.value}: the file is empty; it should hold the admin key")


def _problems(error: ValidationError, given: Mapping[str, _Given]) -> Iterator[str]:
    for detail in error.errors(include_url=False, include_context=False):
        name = str(detail["loc"][0])
        item = given.get(name)
        message = detail["msg"].removeprefix("Value error, ")
        is_secret = name in {"admin_key", "redis_url"}
        shown = "" if item is None or is_secret else f"{item.value!s:.80}: "
        hint = ""
        if item is not None and isinstance(item.value, str) and item.value.startswith("tcp://"):
            hint = f"; {_service_link_hint(item.value)}"
        yield f"{item.origin if item else name + ' (default)'}: {shown}{message[:1].lower()}{message[1:]}{hint}"
