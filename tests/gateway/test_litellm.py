"""The gateway with everything real: LiteLLM, Redis, `serve`, a small model. Run with `pytest -m gateway`.

`VLLM_STUDIO_TEST_GATEWAY` names an environment in which the gateway's lock file is installed already; without it, it
is installed (600 MB). A Redis is started where `redis-server` is in PATH.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.process.house import until
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.runs import control, read
from vllm_studio_tui.services import demo
from vllm_studio_tui.services.gateway.environment import LOCK, Environment
from vllm_studio_tui.services.gateway.gateway import gateway_places
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.gateway_calls import CACHE
from vllm_studio_tui.store.requests import RequestRows

OWNER_KEY, MASTER_KEY, REDIS_PASSWORD = "vs-owner-4f2c9a71", "sk-master-83be1d5f", "redis-9d1c77"
#: A name that LiteLLM has in its price table, with a context of its own.
KNOWN_NAME = "gpt-5-nano"


@dataclass
class Stand:
    """A home with a model, `serve` and the gateway in front of it."""

    places: Places
    environ: dict[str, str]
    gateway_port: int
    serve_port: int
    redis: bool
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def studio(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "vllm_studio_tui", *argv], env=self.environ, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, (argv, done.stdout, done.stderr)
        return done

    def document(self, *argv: str) -> Any:
        return json.loads(self.studio(*argv, "--json").stdout)

    def ask(
        self, path: str, body: dict[str, Any] | None = None, *, key: str = MASTER_KEY
    ) -> tuple[int, dict[str, str], str]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.gateway_port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode()

    def chat(self, model: str, text: str, **more: Any) -> tuple[dict[str, Any], dict[str, str]]:
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}
        status, headers, answer = self.ask("/v1/chat/completions", body)
        assert status == 200, answer
        return json.loads(answer), headers

    def calls(self, count: int) -> list[dict[str, Any]]:
        """The last calls, once there are so many, each with the row that counts it where it was answered."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            found[:] = self.document("gateway", "calls")["calls"]
            return len(found) >= count and all(one["request"] for one in found if one["status"] == "success")

        until(enough, f"{count} calls in the database", 60)
        return found

    def rows(self) -> list[Any]:
        db = Database.open(self.places.database)
        try:
            return RequestRows(db).recent(1000)
        finally:
            db.close()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start_redis(stand: Stand, folder: Path) -> None:
    program = shutil.which("redis-server")
    port = free_port()
    config = folder / "redis.conf"
    config.write_text(f'port {port}\nbind 127.0.0.1\nrequirepass {REDIS_PASSWORD}\nsave ""\nappendonly no\n')
    assert program is not None
    stand.started.append(subprocess.Popen([program, str(config)], stdout=subprocess.DEVNULL, cwd=folder))
    until(lambda: answers(port), "Redis")
    stand.environ |= {
        "VLLM_STUDIO_GATEWAY_REDIS_URL": "env:TEST_REDIS",
        "TEST_REDIS": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/0",
    }


def install(stand: Stand, folder: Path) -> None:
    """Put the environment in its place: a prepared one, or one that is installed now."""
    prepared = os.environ.get("VLLM_STUDIO_TEST_GATEWAY")
    if not prepared:
        done = stand.studio("gateway", "install", check=False)
        if done.returncode:
            pytest.skip(f"LiteLLM cannot be installed here: {done.stderr[-500:]}")
        return
    made = Environment.of(stand.places)
    made.folder.mkdir(parents=True)
    made.root.symlink_to(prepared)
    made.mark_installed()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    pytest.importorskip("xllamacpp")
    pytest.importorskip("aiohttp")
    folder = tmp_path_factory.mktemp("gateway")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vllm-studio-tests"
    named = os.environ.get("VLLM_STUDIO_TEST_MODEL")
    try:
        model = demo.fetch(Places.under(cache), Path(named) if named else None, lambda progress: None)
    except StudioError as error:
        pytest.skip(f"the small model cannot be had here: {error}")
    places = Places.under(folder / "home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_STUDIO_")}
    made = Stand(places, kept, free_port(), free_port(), shutil.which("redis-server") is not None)
    made.environ |= {
        "VLLM_STUDIO_HOME": str(folder / "home"),
        "VLLM_STUDIO_PORT": str(made.serve_port),
        "VLLM_STUDIO_GATEWAY_PORT": str(made.gateway_port),
        "VLLM_STUDIO_INFERENCE_PORT": str(free_port()),
        "VLLM_STUDIO_API_KEY": OWNER_KEY,
        "VLLM_STUDIO_GATEWAY_MASTER_KEY": "env:TEST_MASTER",
        "TEST_MASTER": MASTER_KEY,
        "VLLM_STUDIO_GATEWAY_PRICES": "{small: {input: 100, output: 200}}",
        "OPENAI_API_KEY": "sk-of-somebody-else",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    try:
        install(made, folder)
        if made.redis:
            start_redis(made, folder)
        settings = ("backend=llamacpp", "on_demand=true", "max_model_len=1024", f"served_model_name={KNOWN_NAME}")
        sets = [word for one in settings for word in ("--set", one)]
        made.studio("recipes", "add", "small", "--model", str(model), *sets, "--set", "aliases=tiny")
        log = (folder / "serve.log").open("wb")
        serve = [sys.executable, "-m", "vllm_studio_tui", "serve"]
        made.started.append(subprocess.Popen(serve, env=made.environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        until(lambda: answers(made.serve_port), "serve")
        made.studio("gateway", "start", "--wait")
        yield made
    finally:
        for runs in (gateway_places(places), places):
            for run in read.live_runs(runs):
                control.stop(run, force=True)
        for one in reversed(made.started):
            one.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(20)


@pytest.mark.gateway
@pytest.mark.timeout(900)
def test_requests_pass_and_are_counted_once(stand: Stand) -> None:
    # The model is not loaded: the first request has `serve` load it.
    plain, headers = stand.chat("small", "Say hello", temperature=0)
    assert plain["model"] == "small"
    assert float(headers["x-litellm-response-cost"]) == pytest.approx(
        (plain["usage"]["prompt_tokens"] + 2 * plain["usage"]["completion_tokens"]) * 1e-4
    )
    alias, _ = stand.chat("tiny", "Say hello to an alias")
    assert alias["model"] == "tiny"
    served, _ = stand.chat(KNOWN_NAME, "Say hello to a name that others have")
    other, _ = stand.chat("SMALL", "Say hello to a name of no entry")
    body = {"model": "small", "messages": [{"role": "user", "content": "Stream"}], "max_tokens": 8, "stream": True}
    status, _, text = stand.ask("/v1/chat/completions", body)
    assert (status, text.count("data: [DONE]")) == (200, 1)
    streamed = json.loads(text.split("\n")[0].removeprefix("data: "))["id"]
    status, _, text = stand.ask("/v1/messages", {**body, "stream": False})
    assert (status, json.loads(text)["type"]) == (200, "message")
    calls = stand.calls(6)
    rows = {one.id: one for one in stand.rows()}
    assert len(calls) == 6
    assert {one["upstream_id"] for one in calls} >= {plain["id"], alias["id"], served["id"], other["id"], streamed}
    joined = [one["request"] for one in calls]
    assert len({*joined}) == 6, "each call has a row of its own"
    assert {*joined} == {*rows}, "and there are no rows but those"
    assert {rows[one].source for one in joined} == {"proxy"}
    by_id = {one["upstream_id"]: one for one in calls}
    assert by_id[plain["id"]]["recipe"] == "small"
    assert by_id[other["id"]]["recipe"] is None
    assert by_id[streamed]["streamed"] is True
    first = rows[by_id[plain["id"]]["request"]]
    assert first.completion_tokens == plain["usage"]["completion_tokens"]
    assert first.load_seconds is not None and first.load_seconds > 0


@pytest.mark.gateway
@pytest.mark.timeout(300)
def test_what_the_cache_answers_costs_no_engine_anything(stand: Stand) -> None:
    if not stand.redis:
        pytest.skip("there is no redis-server here")
    before = len(stand.document("gateway", "calls")["calls"])
    asked = f"Say hello, number {time.time_ns()}"
    first, one = stand.chat("small", asked, temperature=0)
    time.sleep(0.5)  # LiteLLM writes to the cache after it has answered
    again, two = stand.chat("small", asked, temperature=0)
    assert "x-litellm-cache-key" not in one
    assert two["x-litellm-cache-key"]
    assert again["choices"] == first["choices"]
    calls = stand.calls(before + 2)[:2]
    assert [one["cache_hit"] for one in calls] == [True, False]
    assert calls[0]["cost"] == 0
    assert calls[0]["request"] != calls[1]["request"]
    cached = next(row for row in stand.rows() if row.id == calls[0]["request"])
    assert (cached.source, cached.prompt_tokens, cached.completion_tokens) == (CACHE, None, None)
    tokens = sum((row.completion_tokens or 0) for row in stand.rows())
    totals = stand.document("usage")["totals"]
    assert totals["completion_tokens"] == tokens


@pytest.mark.gateway
@pytest.mark.timeout(300)
def test_a_failure_is_told_and_is_no_answer(stand: Stand) -> None:
    before = len(stand.document("gateway", "calls")["calls"])
    body = {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}
    status, _, text = stand.ask("/v1/chat/completions", body)
    assert status in (404, 503), text
    failed = stand.calls(before + 1)[0]
    assert (failed["status"], failed["completion_tokens"], failed["request"]) == ("failure", None, None)
    assert stand.ask("/v1/models", key="sk-wrong")[0] in (400, 401)


@pytest.mark.gateway
@pytest.mark.timeout(300)
def test_what_is_listed_are_our_own_facts(stand: Stand) -> None:
    _, _, text = stand.ask("/v1/models")
    listed = {one["id"]: one for one in json.loads(text)["data"]}
    assert set(listed) == {"small", "tiny", KNOWN_NAME}
    assert {one.get("max_input_tokens") for one in listed.values()} == {1024}


@pytest.mark.gateway
@pytest.mark.timeout(300)
def test_no_secret_is_where_others_read_and_nothing_of_others_is_inside(stand: Stand) -> None:
    status = stand.document("gateway", "status")
    process = Path("/proc") / str(status["pid"])
    run = Path(status["log"]).parent
    for secret in (OWNER_KEY, MASTER_KEY, REDIS_PASSWORD):
        assert secret not in (process / "cmdline").read_text()
        assert secret not in json.dumps(status)
        for path in (*run.iterdir(), *(stand.places.data / "gateway").glob("*.*")):
            if path.is_file():
                assert secret not in path.read_text(errors="replace"), path
    listing = stand.studio("status").stdout + stand.studio("runs", "list").stdout
    assert "gateway" not in listing, "it is nobody's model"
    script = "import os, inside_start as s; s.empty_environment(); print(sorted(os.environ))"
    inside = subprocess.run(
        [sys.executable, "-c", script], env={**stand.environ, "GATEWAY_KEEP": "TEST_MASTER"}, capture_output=True,
        text=True, check=True, cwd=LOCK.parent,
    ).stdout  # fmt: skip
    assert "OPENAI_API_KEY" not in inside
    assert "HTTP_PROXY" not in inside
    # The addresses that it listens on: this machine alone.
    assert status["url"] == f"http://127.0.0.1:{stand.gateway_port}/v1"


@pytest.mark.gateway
@pytest.mark.timeout(300)
def test_it_comes_back_when_it_is_killed_and_ends_when_it_is_told(stand: Stand) -> None:
    pid = stand.document("gateway", "status")["pid"]
    os.kill(pid, 9)

    def back() -> bool:
        now = stand.document("gateway", "status")
        return bool(now["state"] == "ready" and now["pid"] != pid)

    until(back, "the gateway again", 120)
    assert stand.document("gateway", "status")["restarts"] == 1
    stand.studio("gateway", "stop")
    assert stand.document("gateway", "status")["state"] == "exited"
    assert not answers(stand.gateway_port)
    assert "ready" in stand.studio("status").stdout, "the model goes on"
    stand.calls(0)
    assert not list((stand.places.data / "gateway" / "calls").glob("*.jsonl")), "every line is in the database"


@pytest.mark.gateway_db
@pytest.mark.timeout(900)
def test_keys_and_budgets_are_kept_in_postgres(stand: Stand, tmp_path: Path) -> None:
    """As far as Prisma's engine can be had: it is no part of any package, and is fetched from a host of its own."""
    python = Environment.of(stand.places).python
    schema = next(python.parents[1].glob("lib/python3*/site-packages/litellm/proxy/schema.prisma"))
    generated = subprocess.run(
        [str(python.with_name("prisma")), "generate", "--schema", str(schema)], capture_output=True, text=True,
        env={"PATH": f"{python.parent}{os.pathsep}{os.defpath}", "HOME": str(tmp_path)}, timeout=300, check=False,
    )  # fmt: skip
    if generated.returncode:
        pytest.skip(f"Prisma's engine cannot be had here: {(generated.stdout + generated.stderr).strip()[-300:]}")
    url = os.environ.get("VLLM_STUDIO_TEST_POSTGRES")
    if not url:
        pytest.skip("VLLM_STUDIO_TEST_POSTGRES names no database: postgresql://USER:PASSWORD@HOST/NAME")
    stand.environ |= {"VLLM_STUDIO_GATEWAY_DATABASE_URL": "env:TEST_POSTGRES", "TEST_POSTGRES": url}
    stand.studio("gateway", "stop", check=False)
    stand.studio("gateway", "start", "--wait")
    status, _, text = stand.ask("/key/generate", {"key_alias": "team-a", "max_budget": 100})
    assert status == 200, text
    key = json.loads(text)["key"]
    body = {"model": "small", "messages": [{"role": "user", "content": "Whose key"}], "max_tokens": 4}
    assert stand.ask("/v1/chat/completions", body, key=key)[0] == 200
    until(lambda: stand.document("gateway", "calls")["calls"][0]["key"] == "team-a", "the key's name", 30)
