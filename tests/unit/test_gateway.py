"""The gateway: its configuration, what its callback writes and what is made of that, its lock file and environment."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_render import CODER, OTHERS, SECRET, recipe, source
from vllm_studio_tui.cli.app import run
from vllm_studio_tui.config.settings import Settings, load_settings
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.gateway_call import GatewayCall
from vllm_studio_tui.domain.usage import CompletedRequest, UsageQuery
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.gateway import inside_callback, inside_start
from vllm_studio_tui.services.gateway.calls import call_of, calls_folder, fold_calls
from vllm_studio_tui.services.gateway.environment import VERSION, Environment
from vllm_studio_tui.services.gateway.gateway import Gateway, gateway_places
from vllm_studio_tui.services.gateway.inside_callback import StudioCallback
from vllm_studio_tui.services.render.litellm import configuration
from vllm_studio_tui.services.render.registry import render
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.gateway_calls import CACHE, GatewayCallRows
from vllm_studio_tui.store.requests import RequestRows
from vllm_studio_tui.studio import Studio

# --- the configuration ----------------------------------------------------------------------------------

EVERYTHING = {
    "api_key": "env:SERVE_KEY",
    "gateway_master_key": "env:MASTER",
    "gateway_redis_url": "env:REDIS",
    "gateway_database_url": "file:/run/secrets/db",
    "gateway_prices": {"coder": {"input": 0.5, "output": 2}},
    "port": 8181,
}


def entries(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["model_name"]: one for one in document["model_list"]}


def test_each_recipe_is_an_entry_through_serve_and_one_takes_every_other_name() -> None:
    found = entries(configuration(source(CODER, OTHERS)))
    assert set(found) == {"coder", "others", "*"}
    for name, one in found.items():
        assert one["litellm_params"]["model"] == f"hosted_vllm/{name}"
        assert one["litellm_params"]["api_base"] == "http://127.0.0.1:8080/v1"
        assert one["model_info"]["id"] == name
        assert one["model_info"]["mode"] == "chat"


def test_facts_of_models_are_always_written() -> None:
    long = recipe(id="long", model_path="org/m", max_model_len=4096)
    found = entries(configuration(source(CODER, long)))
    assert found["long"]["model_info"]["max_input_tokens"] == 4096
    assert found["long"]["model_info"]["max_output_tokens"] == 4096
    assert found["coder"]["model_info"]["max_input_tokens"] is None
    assert found["coder"]["litellm_params"]["input_cost_per_token"] == 0


def test_other_names_of_a_recipe_lead_to_it_unless_somebody_else_has_them() -> None:
    one = recipe(id="one", model_path="org/m", served_model_name="shared", aliases=["uno", "two"])
    two = recipe(id="two", model_path="org/m", served_model_name="shared")
    aliases = configuration(source(one, two))["router_settings"]["model_group_alias"]
    assert aliases == {"uno": "one"}


def test_nothing_is_tried_again_and_no_model_is_put_aside() -> None:
    document = configuration(source(CODER))
    assert document["router_settings"]["num_retries"] == 0
    assert document["litellm_settings"]["num_retries"] == 0
    assert document["router_settings"]["disable_cooldowns"] is True
    assert document["litellm_settings"]["telemetry"] is False
    assert "cache" not in document["litellm_settings"]
    assert "database_url" not in document["general_settings"]


def test_secrets_are_named_and_prices_are_per_token() -> None:
    environ = dict.fromkeys(("SERVE_KEY", "MASTER", "REDIS"), SECRET)
    text = render("litellm", source(CODER, settings=Settings.model_validate(EVERYTHING), **environ))["config.yaml"]
    assert SECRET not in text
    document = yaml.safe_load(text)
    params = entries(document)["coder"]["litellm_params"]
    assert params["api_base"] == "http://127.0.0.1:8181/v1"
    assert params["api_key"] == "os.environ/GATEWAY_UPSTREAM_KEY"
    assert params["input_cost_per_token"] == pytest.approx(0.5e-6)
    assert params["output_cost_per_token"] == pytest.approx(2e-6)
    assert document["general_settings"]["master_key"] == "os.environ/LITELLM_MASTER_KEY"
    assert document["general_settings"]["database_url"] == "os.environ/DATABASE_URL"
    assert document["litellm_settings"]["cache_params"]["type"] == "redis"
    assert "host" not in document["litellm_settings"]["cache_params"]


def test_prices_can_be_set_in_a_variable(tmp_path: Path) -> None:
    environ = {"VLLM_STUDIO_GATEWAY_PRICES": "{coder: {input: 1}}"}
    assert load_settings(Places.under(tmp_path), environ).gateway_prices["coder"].input == 1


# --- the callback ---------------------------------------------------------------------------------------


def told(call: str, **more: Any) -> dict[str, Any]:
    """What LiteLLM hands to a callback, as much of it as counts."""
    payload = {
        "id": "chatcmpl-1", "litellm_call_id": call, "call_type": "acompletion", "model_group": "coder",
        "model_id": "coder", "prompt_tokens": 30, "completion_tokens": 8, "response_cost": 0.25, "cache_hit": False,
        "stream": True, "metadata": {"user_api_key_alias": "team-a"}, "messages": "SECRET PROMPT",
        "error_information": {},
    }  # fmt: skip
    return {"litellm_call_id": call, "standard_logging_object": {**payload, **more}, "messages": "SECRET PROMPT"}


def success(callback: StudioCallback, call: str, response: str = "chatcmpl-1", **more: Any) -> None:
    start = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
    answer = SimpleNamespace(id=response)
    asyncio.run(callback.async_log_success_event(told(call, **more), answer, start, start + timedelta(seconds=1.5)))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def test_the_callback_writes_a_line_without_what_was_said(tmp_path: Path) -> None:
    callback = StudioCallback(str(tmp_path))
    success(callback, "c1")
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (line,) = lines(tmp_path)
    assert line == {
        "v": 1, "call": "c1", "at": 1793534401.5, "status": "success", "response": "chatcmpl-1", "kind": "acompletion",
        "model": "coder", "recipe": "coder", "key": "team-a", "cache_hit": False, "cost": 0.25, "prompt_tokens": 30,
        "completion_tokens": 8, "seconds": 1.5, "streamed": True, "error": None, "http_status": None,
    }  # fmt: skip
    assert "SECRET" not in path.read_text()


def test_of_a_failure_only_its_kind_is_written(tmp_path: Path) -> None:
    callback = StudioCallback(str(tmp_path))
    error = {"error_class": "RateLimitError", "error_code": "429", "error_message": "SECRET"}
    callback.log_failure_event(told("c2", error_information=error, error_str="SECRET"), None, 100.0, 101.0)
    (line,) = lines(tmp_path)
    assert (line["status"], line["error"], line["http_status"]) == ("failure", "RateLimitError", "429")
    assert (line["response"], line["cost"], line["prompt_tokens"]) == (None, None, None)
    assert "SECRET" not in json.dumps(line)


@pytest.mark.parametrize("kwargs", [{}, {"standard_logging_object": None}, None, {"litellm_call_id": object()}])
def test_the_callback_never_fails_a_request(tmp_path: Path, kwargs: Any) -> None:
    asyncio.run(StudioCallback(str(tmp_path)).async_log_success_event(kwargs, object(), None, "x"))
    asyncio.run(StudioCallback(str(tmp_path / "gone")).async_log_success_event(told("c"), None, None, None))


def test_a_full_file_is_followed_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside_callback, "FULL", 500)
    callback = StudioCallback(str(tmp_path))
    for number in range(9):
        success(callback, f"c{number}")
    assert len(list(tmp_path.iterdir())) > 2
    assert [one["call"] for one in lines(tmp_path)] == [f"c{number}" for number in range(9)]


def test_what_runs_in_the_gateway_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    for module in (inside_callback, inside_start):
        text = Path(str(module.__file__)).read_text()
        assert "vllm_studio_tui" not in text
    script = "import runpy, sys; runpy.run_path(sys.argv[1])['callback']"
    subprocess.run([sys.executable, "-I", "-S", "-c", script, str(inside_callback.__file__)], check=True, cwd=tmp_path)


def test_the_environment_is_emptied_before_litellm_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {
        "PATH": "/bin", "OPENAI_API_KEY": "x", "HTTP_PROXY": "y", "LITELLM_SALT_KEY": "z", "MASTER": "m",
        "GATEWAY_KEEP": "MASTER,DATABASE_URL", "VLLM_STUDIO_RUN": "r",
    })  # fmt: skip
    inside_start.empty_environment()
    assert {*os.environ} - {*inside_start.SET} == {"PATH", "MASTER", "VLLM_STUDIO_RUN"}
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"


# --- rows of what it wrote ------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    return Places.of()


@pytest.fixture
def db(places: Places) -> Any:
    opened = Database.open(places.database)
    yield opened
    opened.close()


@pytest.fixture
def callback(places: Places) -> StudioCallback:
    calls_folder(places).mkdir(parents=True)
    return StudioCallback(str(calls_folder(places)))


def by_serve(upstream_id: str) -> CompletedRequest:
    return CompletedRequest(
        1793534401.0, "proxy", "stop", id="row-1", model="coder", upstream_id=upstream_id, prompt_tokens=30,
        completion_tokens=8,
    )  # fmt: skip


def test_a_call_is_joined_to_the_row_of_serve_and_never_counted_again(
    places: Places, db: Database, callback: StudioCallback
) -> None:
    RequestRows(db).record(by_serve("chatcmpl-1"))
    success(callback, "c1")
    for _ in range(3):
        fold_calls(calls_folder(places), db)
    (call,) = GatewayCallRows(db).recent(10)
    assert (call.request_id, call.key_name, call.cost) == ("row-1", "team-a", 0.25)
    assert [one.id for one in RequestRows(db).recent()] == ["row-1"]


def test_the_row_of_serve_may_come_later(places: Places, db: Database, callback: StudioCallback) -> None:
    success(callback, "c1")
    fold_calls(calls_folder(places), db)
    assert GatewayCallRows(db).recent(10)[0].request_id is None
    RequestRows(db).record(by_serve("chatcmpl-1"))
    assert GatewayCallRows(db).recent(10)[0].request_id == "row-1"


def test_what_the_cache_answered_is_a_row_of_its_own_without_tokens(places: Places, callback: StudioCallback) -> None:
    with Studio.open_sync(places) as studio:
        RequestRows(studio.db).record(by_serve("chatcmpl-1"))
        success(callback, "c1")
        success(callback, "c2", cache_hit=True)  # LiteLLM hands the answer out again, with its id
        for _ in range(2):
            assert len(studio.gateway.calls()) == 2
        rows = {one.id: one for one in RequestRows(studio.db).recent()}
        assert set(rows) == {"row-1", "gateway-c2"}
        cached = rows["gateway-c2"]
        assert (cached.source, cached.prompt_tokens, cached.completion_tokens) == (CACHE, None, None)
        assert {one.id: one.request_id for one in studio.gateway.calls()} == {"c1": "row-1", "c2": "gateway-c2"}
        totals = studio.usage.report(UsageQuery()).totals
        assert (totals.prompt_tokens, totals.completion_tokens) == (30, 8)


def test_files_of_a_writer_that_is_gone_are_removed_when_they_are_kept(places: Places, db: Database) -> None:
    folder = calls_folder(places)
    folder.mkdir(parents=True)
    line = json.dumps({"call": "c", "status": "success", "at": 1.0})
    gone, full, current = (folder / name for name in (
        "99999999-1-000000.jsonl", f"{os.getpid()}-1-000000.jsonl", f"{os.getpid()}-1-000001.jsonl",
    ))  # fmt: skip
    for number, path in enumerate((gone, full, current)):
        path.write_text(line.replace('"c"', f'"c{number}"') + "\n" + '{"call": "torn', encoding="utf-8")
    assert fold_calls(folder, db) == 3
    assert list(folder.iterdir()) == [current]
    assert len(GatewayCallRows(db).recent(10)) == 3


def test_whoever_opens_a_home_has_what_the_gateway_wrote(places: Places, callback: StudioCallback) -> None:
    success(callback, "c1")
    with Studio.open_sync(places) as studio:
        assert [one.id for one in GatewayCallRows(studio.db).recent(10)] == ["c1"]


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.dictionaries(
            st.sampled_from(["call", "status", "at", "response", "cost", "prompt_tokens", "cache_hit", "streamed"]),
            st.one_of(
                st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=400),
                st.sampled_from(["success", "failure"]), st.lists(st.integers(), max_size=2),
            ),
        ).map(lambda data: json.dumps(data).encode()),
    )
)  # fmt: skip
def test_no_line_does_harm(line: bytes) -> None:
    found = call_of(line)
    if found is not None:
        assert isinstance(found, GatewayCall)
        json.dumps(found.to_json(), allow_nan=False)
        assert found.prompt_tokens is None or 0 <= found.prompt_tokens < 2**53


# --- the run --------------------------------------------------------------------------------------------


def test_its_run_has_secrets_by_reference_alone_and_is_nobodys_model(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SERVE_KEY", "MASTER", "REDIS"):
        monkeypatch.setenv(name, SECRET)
    made = Settings.model_validate(EVERYTHING)
    with Studio.open_sync(places) as studio:
        gateway = Gateway(places, made, studio.render_source, lambda: studio.db)
        spec = gateway._spec("gateway-1", 4100, Path("/x/config.yaml"))
        assert SECRET not in json.dumps(spec.to_json())
        assert spec.env_refs == {
            "GATEWAY_UPSTREAM_KEY": "env:SERVE_KEY", "LITELLM_MASTER_KEY": "env:MASTER",
            "REDIS_URL": "env:REDIS", "DATABASE_URL": "file:/run/secrets/db",
        }  # fmt: skip
        assert {"LITELLM_MASTER_KEY", "DATABASE_URL"} <= {*spec.env["GATEWAY_KEEP"].split(",")}
        assert spec.argv[1] == "-I"
        assert spec.restart.policy == "on-failure"
        assert gateway_places(places).runs != places.runs
        assert gateway.status()["state"] == "stopped"
        assert studio.runs.all() == []


def test_where_keys_were_made_it_needs_one_and_is_not_started_without(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Environment, "require", lambda self: None)
    monkeypatch.delenv("GATEWAY_UPSTREAM_KEY", raising=False)
    with Studio.open_sync(places) as studio:
        studio.keys.add("somebody")
        gateway = Gateway(places, Settings(), studio.render_source, lambda: studio.db)
        assert "api_key: os.environ/GATEWAY_UPSTREAM_KEY" in gateway.config()
        with pytest.raises(LaunchRefused, match="no key of serve"):
            gateway.start()
        assert gateway.last() is None
        monkeypatch.setenv("GATEWAY_UPSTREAM_KEY", SECRET)
        gateway._require_key(studio.render_source())
        spec = gateway._spec("gateway-1", 4100, Path("/x/config.yaml"), needs_key=True)
        assert spec.env_refs["GATEWAY_UPSTREAM_KEY"] == "env:GATEWAY_UPSTREAM_KEY"
        assert SECRET not in json.dumps(spec.to_json())


def test_the_commands_say_what_is_missing(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gateway", "start"]) == 2
    assert "vllm-studio gateway install" in capsys.readouterr().err
    assert run(["gateway", "stop"]) == 1
    assert "does not run" in capsys.readouterr().err
    assert run(["gateway", "status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["installed"], document["state"], document["litellm"]) == (False, "stopped", VERSION)
    assert not Path(document["master_key"].removeprefix("file:")).exists(), "looking makes no key"
    assert run(["gateway", "calls"]) == 0
    assert "Nothing was asked" in capsys.readouterr().out
    assert run(["gateway", "config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["litellm_settings"]["callbacks"] == ["vllm_studio_callback.callback"]
