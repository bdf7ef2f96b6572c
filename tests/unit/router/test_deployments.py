from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from policies.load import ModelEntry, load_models
from router.cost import price_of
from router.deployments import LiteLLMDeployments
from router.entries import checked_base
from router.errors import NoDeployment, ProviderError
from router.types import ChatRequest, Deployment

SHIPPED = Path(__file__).parents[3] / "policies" / "models.yaml"
SHIPPED_ENTRIES = load_models(SHIPPED.read_text(), source="models.yaml").entries
REQUEST = ChatRequest(dialect="chat", body=b"{}", document={}, requested_model="g", stream=False, include_usage=False)
DOWN = ProviderError("down", kind="server_error", source="provider", status=500)


def entry(
    model: str, group: str = "g", *, info: Mapping[str, object] | None = None, **parameters: object
) -> ModelEntry:
    return ModelEntry(model_name=group, litellm_params={"model": model, **parameters}, model_info=info or {}, line=1)


def build(
    *entries: ModelEntry, environment: Mapping[str, str] | None = None, simulate_missing: bool = False
) -> LiteLLMDeployments:
    return LiteLLMDeployments(entries, environment=environment or {}, simulate_missing=simulate_missing)


def shipped(environment: Mapping[str, str]) -> LiteLLMDeployments:
    return LiteLLMDeployments(SHIPPED_ENTRIES, environment=environment, simulate_missing=True)


CHAT_GROUPS = {
    "gpt-4o-mini",
    "gpt-4o",
    "gpt-4.1-mini",
    "gpt-5-mini",
    "claude-haiku-4-5",
    "claude-sonnet-4-5",
    "gemini-2.5-flash",
}


# -- what is found -------------------------------------------------------------------------------------------------


async def test_without_any_key_every_shipped_group_is_simulated_at_the_real_price() -> None:
    deployments = shipped({})
    assert deployments.found == ("simulated",)
    assert set(deployments.catalogue()) == CHAT_GROUPS | {"text-embedding-3-small"}
    for card in deployments.catalogue().values():
        assert card.is_simulated
        assert card.price is not None
        assert card.context_window is not None
    picked = await deployments.pick("claude-haiku-4-5", REQUEST)
    assert (picked.backend, picked.model) == ("simulated", "claude-haiku-4-5")
    assert picked.price == price_of("anthropic/claude-haiku-4-5")


async def test_an_openrouter_key_alone_serves_every_chat_group() -> None:
    deployments = shipped({"OPENROUTER_API_KEY": "k"})
    assert set(deployments.catalogue()) == CHAT_GROUPS
    for group in CHAT_GROUPS:
        picked = await deployments.pick(group, REQUEST)
        assert (picked.backend, picked.api_base) == ("openai_wire", "https://openrouter.ai/api/v1")
        assert picked.price is not None
    assert {left.reason for left in deployments.left_out} == {
        "OPENAI_API_KEY is not set",
        "ANTHROPIC_API_KEY is not set",
        "GEMINI_API_KEY is not set",
    }


async def test_a_base_url_takes_every_openai_entry_with_or_without_a_key() -> None:
    for environment in ({}, {"OPENAI_API_KEY": "k"}):
        deployments = shipped({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1/", **environment})
        picked = await deployments.pick("gpt-4o", REQUEST)
        assert (picked.api_base, picked.secret) == ("http://127.0.0.1:9/v1", environment.get("OPENAI_API_KEY", ""))


async def test_providers_that_speak_openai_are_called_directly_and_others_by_litellm() -> None:
    keys = {"OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": "a", "GEMINI_API_KEY": "g", "OPENROUTER_API_KEY": "r"}
    deployments = shipped(keys)
    assert deployments.backends == {"openai_wire", "litellm"}
    expected = {"gpt-4o": "openai_wire", "claude-haiku-4-5": "litellm", "gemini-2.5-flash": "litellm"}
    assert {group: (await deployments.pick(group, REQUEST)).backend for group in expected} == expected


async def test_the_providers_own_name_for_the_model_keeps_everything_after_its_prefix() -> None:
    deployments = build(entry("groq/openai/gpt-oss-20b", api_key="k"))
    picked = await deployments.pick("g", REQUEST)
    assert (picked.provider, picked.model) == ("groq", "openai/gpt-oss-20b")
    assert picked.api_base == "https://api.groq.com/openai/v1"


async def test_an_explicit_simulated_entry_stands_beside_real_ones() -> None:
    deployments = build(entry("openai/gpt-4o", api_key="k"), entry("simulated/gpt-4o-mini", "s"))
    picked = await deployments.pick("s", REQUEST)
    assert (picked.backend, picked.model, picked.price) == ("simulated", "gpt-4o-mini", price_of("openai/gpt-4o-mini"))
    assert not deployments.catalogue()["g"].is_simulated


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (entry("openai/gpt-4o", api_key="os.environ/NO_SUCH_KEY"), "NO_SUCH_KEY is not set"),
        (entry("openai/gpt-4o"), "OPENAI_API_KEY is not set"),
        (entry("nobody/x", api_key="k"), "knows no such provider"),
        (entry("hosted_vllm/x"), "api_base must be"),
        (entry("hosted_vllm/x", api_base="os.environ/VLLM"), "VLLM is not set"),
        (entry("openai/x", api_key="k", api_base="http://169.254.169.254/v1"), "link-local"),
        (entry("openai/gpt-image-1", api_key="k"), "only chat and embedding models"),
    ],
)
def test_what_cannot_be_used_is_left_out_with_the_reason(one: ModelEntry, reason: str) -> None:
    deployments = build(one)
    (left,) = deployments.left_out
    assert reason in left.reason
    assert not deployments.catalogue()


def test_an_unknown_model_of_a_local_server_is_used_without_price_and_trusted_to_do_everything() -> None:
    deployments = build(entry("openai/my-model", api_base="http://127.0.0.1:8000/v1"))
    card = deployments.catalogue()["g"]
    assert card.price is None
    assert card.capabilities == {"tools", "vision", "audio", "json_schema", "logprobs"}


def test_a_groups_card_is_the_worst_of_its_deployments() -> None:
    deployments = build(entry("openai/gpt-4o", api_key="k"), entry("anthropic/claude-haiku-4-5", api_key="k"))
    card = deployments.catalogue()["g"]
    assert card.context_window == 128_000
    assert "logprobs" not in card.capabilities
    assert card.providers == ("openai", "anthropic")
    assert card.price is not None
    assert (card.price.base.input, card.price.base.output) == (2_500_000, 10_000_000)


def test_keys_appear_in_no_repr() -> None:
    deployments = build(entry("openai/gpt-4o", api_key="sk-very-secret", extra_headers={"X-Key": "also-secret"}))
    picked = deployments._by_id["g@openai"].deployment
    assert picked.secret == "sk-very-secret"
    assert "secret" not in repr(picked).replace("secret=", "")


@pytest.mark.parametrize(
    "base",
    [
        "ftp://api.example.com",
        "api.example.com",
        "https://user:password@api.example.com/v1",
        "https://api.example.com/v1?key=1",
        "http://api.example.com/v1",
        "http://169.254.169.254/v1",
        "http://[fe80::1]/v1",
        "http://[::ffff:169.254.169.254]/v1",
        "http://0.0.0.0/v1",
    ],
)
def test_a_base_that_a_key_must_not_go_to_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="api_base"):
        checked_base(base, allow_plain_http=False)


@pytest.mark.parametrize(
    "base", ["https://api.example.com/v1", "http://127.0.0.1:8000", "http://10.1.2.3/v1", "http://ollama:11434/v1"]
)
def test_a_base_that_a_key_may_go_to_is_kept(base: str) -> None:
    assert checked_base(base + "/", allow_plain_http=False) == base


# -- who is picked -------------------------------------------------------------------------------------------------


def pair(*, cooldown_time: int | None = None) -> LiteLLMDeployments:
    return build(*(entry(model, api_key="k", cooldown_time=cooldown_time) for model in ("openai/a", "openai/b")))


async def picks(deployments: LiteLLMDeployments, times: int = 60) -> Counter[str]:
    return Counter([(await deployments.pick("g", REQUEST)).model for _ in range(times)])


async def other(deployments: LiteLLMDeployments, *, than: Deployment) -> str:
    return (await deployments.pick("g", REQUEST, exclude=frozenset({than.id}))).model


async def test_deployments_of_one_order_share_the_requests() -> None:
    assert set(await picks(pair())) == {"a", "b"}


async def test_weights_are_litellms() -> None:
    deployments = build(entry("openai/a", api_key="k", weight=1), entry("openai/b", api_key="k", weight=0))
    assert set(await picks(deployments)) == {"a"}


async def test_the_lower_order_goes_first_and_the_higher_serves_when_it_is_excluded_or_cooling() -> None:
    deployments = build(entry("openai/a", api_key="k", order=1), entry("openai/b", api_key="k", order=2))
    first = await deployments.pick("g", REQUEST)
    assert first.model == "a"
    assert await other(deployments, than=first) == "b"
    deployments.failed(first, ProviderError("slow down", kind="rate_limited", source="provider", status=429))
    assert set(await picks(deployments, 5)) == {"b"}


async def test_a_group_with_everyone_excluded_has_no_deployment() -> None:
    deployments = build(entry("openai/a", api_key="k"))
    first = await deployments.pick("g", REQUEST)
    with pytest.raises(NoDeployment):
        await deployments.pick("g", REQUEST, exclude=frozenset({first.id}))
    with pytest.raises(NoDeployment):
        await deployments.pick("no-such-group", REQUEST)


# -- what is not read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "unread"),
    [
        ("openai/a", ("tags", "num_retries", "temperature", "mock_response")),
        ("anthropic/claude-haiku-4-5", ("tags", "num_retries", "mock_response")),
    ],
)
def test_parameters_that_change_nothing_are_named(model: str, unread: tuple[str, ...]) -> None:
    bought = entry(
        model,
        api_key="k",
        tags=["x"],
        num_retries=3,
        temperature=0,
        mock_response="hello",
        timeout=5,
        rpm=10,
        input_cost_per_token=1e-6,
    )
    assert list(build(bought).unread.values()) == [unread]


def test_every_parameter_of_the_shipped_models_is_read() -> None:
    keys = {f"{provider}_API_KEY": "k" for provider in ("OPENAI", "OPENROUTER", "ANTHROPIC", "GEMINI")}
    assert shipped(keys).unread == {}


# -- how long ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["openai/a", "anthropic/claude-haiku-4-5", "simulated/openai/gpt-4o"])
@pytest.mark.parametrize(
    ("stated", "timeout_s", "stream_timeout_s"),
    [
        ((None, None), None, None),
        ((30, None), 30.0, 30.0),
        ((30, 0.5), 30.0, 0.5),
        ((None, "5"), None, 5.0),
    ],
)
async def test_an_entry_may_say_how_long_its_answers_take(
    model: str, stated: tuple[object, object], timeout_s: float | None, stream_timeout_s: float | None
) -> None:
    (usable,) = build(entry(model, api_key="k", timeout=stated[0], stream_timeout=stated[1])).usable
    assert (usable.timeout_s, usable.stream_timeout_s) == (timeout_s, stream_timeout_s)


async def test_a_timeout_may_come_from_the_environment() -> None:
    asked = entry("openai/a", api_key="k", timeout="os.environ/PATIENCE", stream_timeout="os.environ/NOT_SET")
    (usable,) = build(asked, environment={"PATIENCE": "30"}).usable
    assert (usable.timeout_s, usable.stream_timeout_s) == (30.0, 30.0)


@pytest.mark.parametrize("wrong", [0, -1, "soon", "inf", "nan", [5]])
@pytest.mark.parametrize("key", ["timeout", "stream_timeout"])
@pytest.mark.parametrize("model", ["openai/a", "simulated/openai/gpt-4o"])
def test_an_entry_with_a_wrong_timeout_is_left_out_and_named(model: str, key: str, wrong: object) -> None:
    params = {"model": model, "api_key": "k", key: wrong}
    bad = ModelEntry(model_name="g", litellm_params=params, model_info={}, line=1)
    deployments = build(bad, entry("openai/b", api_key="k"))
    assert [(one.model, one.reason) for one in deployments.left_out] == [
        (model, f"{key} must be a number of seconds above 0")
    ]


async def test_a_timeout_does_not_reach_litellm_which_would_set_it_above_ours() -> None:
    deployments = build(entry("anthropic/claude-haiku-4-5", api_key="k", timeout=5, stream_timeout=5))
    row = await deployments.router.async_get_available_deployment(model="g", request_kwargs={})
    assert row["litellm_params"]["api_key"] == "k"
    assert not {"timeout", "stream_timeout"} & {key for key, value in row["litellm_params"].items() if value}


# -- cooldown ------------------------------------------------------------------------------------------------------


async def test_failures_alone_put_a_deployment_into_cooldown_and_the_other_serves() -> None:
    deployments = pair()
    first = await deployments.pick("g", REQUEST)
    for _ in range(4):
        deployments.failed(first, DOWN)
    assert len(await picks(deployments)) == 2
    deployments.failed(first, DOWN)
    assert first.model not in await picks(deployments)
    assert deployments.unhealthy() == frozenset()


async def test_successes_keep_a_deployment_that_sometimes_fails_in_service() -> None:
    deployments = pair()
    first = await deployments.pick("g", REQUEST)
    for _ in range(10):
        deployments.succeeded(first)
        deployments.failed(first, DOWN)
    assert len(await picks(deployments)) == 2


async def test_when_all_are_cooling_the_group_is_unhealthy_and_says_how_long() -> None:
    deployments = pair()
    slow_down = ProviderError("slow", kind="rate_limited", source="provider", status=429, retry_after_s=7)
    for _ in range(2):
        deployments.failed(await deployments.pick("g", REQUEST), slow_down)
    assert deployments.unhealthy() == {"g"}
    with pytest.raises(NoDeployment) as caught:
        await deployments.pick("g", REQUEST)
    assert caught.value.retry_after_s == 7


async def test_an_entrys_own_cooldown_time_beats_the_providers_wish() -> None:
    deployments = pair(cooldown_time=30)
    slow_down = ProviderError("slow", kind="rate_limited", source="provider", status=429, retry_after_s=7)
    for _ in range(2):
        deployments.failed(await deployments.pick("g", REQUEST), slow_down)
    with pytest.raises(NoDeployment) as caught:
        await deployments.pick("g", REQUEST)
    assert caught.value.retry_after_s == 30


async def test_a_refused_key_takes_even_a_groups_only_deployment_out() -> None:
    deployments = build(entry("openai/a", api_key="k"))
    refused = ProviderError("no", kind="auth", source="provider", status=401)
    deployments.failed(await deployments.pick("g", REQUEST), refused)
    assert deployments.unhealthy() == {"g"}


async def test_a_first_cooldown_loads_no_more_of_litellm_onto_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "litellm.integrations.prometheus", raising=False)
    deployments = build(entry("openai/a", api_key="k"))
    before = frozenset(sys.modules)
    deployments.failed(await deployments.pick("g", REQUEST), ProviderError("no", kind="auth", source="provider"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert deployments.unhealthy() == {"g"}
    assert frozenset(sys.modules) - before == frozenset()


@pytest.mark.parametrize("kind", ["bad_request", "context_length", "content_policy"])
async def test_what_is_wrong_with_a_request_is_not_the_deployments_fault(kind: str) -> None:
    deployments = pair()
    first = await deployments.pick("g", REQUEST)
    for _ in range(20):
        deployments.failed(first, ProviderError("no", kind=kind, source="provider", status=400))  # type: ignore[arg-type]
    assert len(await picks(deployments)) == 2


# -- what importing and building do --------------------------------------------------------------------------------

PROBE = """
import sys, threading
opened = []
sys.addaudithook(lambda event, arguments: opened.append(event) if event in ("socket.connect", "open") and (
    event == "socket.connect" or str(arguments[0]).endswith(".env")) else None)
from policies.load import ModelEntry
from router.deployments import LiteLLMDeployments
entries = [ModelEntry(model_name="g", litellm_params={"model": model, "api_key": "k"}, model_info={}, line=1)
           for model in ("openai/gpt-4o", "anthropic/claude-haiku-4-5")]
LiteLLMDeployments(entries, environment={}, simulate_missing=True)
import litellm
callbacks = (litellm.callbacks, litellm.success_callback, litellm.failure_callback, litellm.input_callback,
             litellm._async_success_callback, litellm._async_failure_callback, litellm.service_callback)
assert not opened, opened
assert threading.active_count() == 1, threading.enumerate()
assert not any(callbacks), callbacks
print("quiet")
"""


def test_importing_litellm_and_building_the_router_connects_nowhere_and_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-a-file\n")
    root = str(SHIPPED.parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=tmp_path,
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("quiet\n", 0), done.stderr
