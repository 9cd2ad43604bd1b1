"""Who may ask: hosts, origins, keys, scopes; requests that are no HTTP; and what no answer may say."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import stat
import threading
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ports import free_port
from tests.unit.http_ground import Ground, serving, until
from vllm_studio_tui import __version__
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.domain.serving import Refusal
from vllm_studio_tui.http import guard, server, watching
from vllm_studio_tui.http.route import Call, Route
from vllm_studio_tui.http.routes import all_routes
from vllm_studio_tui.remote.contract import VERSION_HEADER, calls
from vllm_studio_tui.runs import control
from vllm_studio_tui.services.serving.api_keys import ApiKeys
from vllm_studio_tui.services.serving.here import private_socket

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": []}


@pytest.fixture
async def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    async with serving(tmp_path, monkeypatch) as made:
        yield made


def bearer(secret: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {secret}"}}


async def make_key(ground: Ground, name: str, **grants: Any) -> str:
    """Make a key, and wait until the server knows it."""
    before = len(ground.context.keys)
    secret = (await asyncio.to_thread(lambda: ApiKeys(ground.context.studio.db).add(name, **grants)))[1]
    await until(lambda: len(ground.context.keys) > before, "the server knows the key")
    return secret


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:80", 200), ("[::1]:8080", 200), ("127.9.9.9", 200), ("a.localhost", 200),
     ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("192.168.0.7:8080", 403), ("localhost.evil.example", 403),
     ("", 403)],
)  # fmt: skip
async def test_a_name_that_somebody_lets_point_here_opens_nothing(ground: Ground, host: str, status: int) -> None:
    assert (await ground.get("/v1/models", headers={"Host": host}))[0] == status
    assert (await ground.get("/health", headers={"Host": host}))[0] == status


async def test_pages_of_other_sites_may_not_ask_unless_they_are_named(tmp_path: Path, monkeypatch: Any) -> None:
    origin = "https://page.example"
    async with serving(tmp_path, monkeypatch) as ground:
        status, data, _ = await ground.post(CHAT, ASK, headers={"Origin": origin, "Content-Type": "text/plain"})
        assert (status, data["error"]["code"]) == (403, "origin_not_allowed")
        async with ground.client.options(ground.url + CHAT, headers={"Origin": origin}) as got:
            assert "Access-Control-Allow-Origin" not in got.headers
            assert got.status == 405
        assert ground.engine.asked == []
    async with serving(tmp_path / "b", monkeypatch, settings=f"cors_origins: ['{origin}']\n") as ground:
        status, _, got = await ground.post(CHAT, ASK, headers={"Origin": origin})
        assert (status, got.headers["Access-Control-Allow-Origin"]) == (200, origin)
        async with ground.client.options(ground.url + CHAT, headers={"Origin": origin}) as got:
            assert (got.status, got.headers["Access-Control-Allow-Origin"]) == (204, origin)
            assert "authorization" in got.headers["Access-Control-Allow-Headers"]
        assert (await ground.post(CHAT, ASK, headers={"Origin": "https://other.example"}))[0] == 403


async def test_with_a_key_nobody_asks_without_one(ground: Ground) -> None:
    secret = await make_key(ground, "agent")
    status, data, got = await ground.post(CHAT, ASK)
    assert (status, data["error"]["type"], got.headers["WWW-Authenticate"][:6]) == (
        401,
        "authentication_error",
        "Bearer",
    )
    assert (await ground.post(CHAT, ASK, **bearer(secret)))[0] == 200
    assert (await ground.post(CHAT, ASK, headers={"x-api-key": secret}))[0] == 200
    assert (await ground.post(CHAT, ASK, **bearer(secret[:-1])))[0] == 401
    assert (await ground.get("/requests/live", **bearer(secret)))[0] == 403
    assert (await ground.post("/requests/x/cancel", {}, **bearer(secret)))[0] == 403
    assert [row.key_name for row in ground.rows] == ["anonymous", "agent", "agent", "anonymous"]
    # The host's name no longer matters: whoever lets it point here has no key.
    assert (await ground.get("/v1/models", headers={"Host": "box.lan", "x-api-key": secret}))[0] == 200
    document = (await ground.get("/health"))[1]
    assert (document["status"], document["running_model"]) == ("ok", None), "names of models are for those with a key"


async def test_a_key_is_told_of_no_model_that_it_may_not_ask(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    every = ground.dispatcher.models()
    assert any(one.active for one in every)
    monkeypatch.setattr(
        ground.dispatcher, "models", lambda patterns=(): [one for one in every if not patterns or one.id in patterns]
    )
    for pattern, told in ((every[0].id, every[0].id), ("another", None)):
        secret = await make_key(ground, pattern, models=(pattern,))
        document = (await ground.get("/health", **bearer(secret)))[1]
        assert (document["inference_ready"], document["running_model"]) == (True, told)


async def test_a_look_that_hangs_is_told_as_every_error_is(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PATIENCE", 0.01)
    monkeypatch.setattr(watching.Watching, "_begin", lambda self: None)
    for path in ("/gpus", "/overview", "/metrics"):
        status, data, got = await ground.get(path)
        assert (status, got.content_type) == (504, "application/json")
        assert "were not looked at within 0.01 s" in json.dumps(data)


async def test_the_key_of_the_settings_may_do_everything(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("STUDIO_KEY", "the-owner-s-own-key")
    async with serving(tmp_path, monkeypatch, settings="api_key: env:STUDIO_KEY\n") as ground:
        assert (await ground.get("/requests/live"))[0] == 401
        assert (await ground.get("/requests/live", **bearer("the-owner-s-own-key")))[0] == 200
        assert (await ground.get("/requests/live", **bearer("the-owner-s-own-ke\udcff")))[0] == 401


async def ten_wrong_keys(ground: Ground) -> None:
    """Be refused for the eleventh of them."""
    for _ in range(10):
        assert (await ground.get("/v1/models", **bearer("vs-wrong")))[0] == 401
    status, data, got = await ground.get("/v1/models", **bearer("vs-another"))
    assert (status, data["error"]["code"]) == (429, "too_many_bad_keys")
    assert 0 < int(got.headers["Retry-After"]) <= 60


async def test_ten_wrong_keys_in_a_minute_are_enough_and_lock_nobody_out_who_has_a_right_one(ground: Ground) -> None:
    secret = await make_key(ground, "agent")
    await ten_wrong_keys(ground)
    # Behind a reverse proxy they all come from one address.
    assert (await ground.get("/v1/models", **bearer(secret)))[0] == 200
    assert (await ground.post(CHAT, ASK, headers={"x-api-key": secret}))[0] == 200
    assert (await ground.get("/v1/models", **bearer("vs-wrong")))[0] == 429


@pytest.mark.parametrize(("own", "status"), [("a-long-key-of-my-own-0123456789", 200), ("hunter2", 429)])
async def test_a_key_of_the_settings_that_could_be_guessed_waits_as_wrong_ones_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, status: int
) -> None:
    monkeypatch.setenv("STUDIO_KEY", own)
    async with serving(tmp_path, monkeypatch, settings="api_key: env:STUDIO_KEY\n") as ground:
        assert (await ground.get("/v1/models", **bearer(own)))[0] == 200
        await ten_wrong_keys(ground)
        assert (await ground.get("/v1/models", **bearer(own)))[0] == status


async def test_limits_of_a_key_are_kept(ground: Ground) -> None:
    secret = await make_key(ground, "slow", requests_per_minute=2)
    codes = [(await ground.post(CHAT, ASK, **bearer(secret)))[0] for _ in range(3)]
    assert codes == [200, 200, 429]
    assert [row.finish for row in ground.rows] == ["stop", "stop", "refused"]


async def test_a_client_that_goes_on_asking_over_its_limit_does_not_fill_the_log(ground: Ground) -> None:
    secret = await make_key(ground, "hasty", requests_per_minute=1)
    statuses = [(await ground.post(CHAT, ASK, **bearer(secret)))[0] for _ in range(20)]
    assert statuses == [200, *[429] * 19]
    assert [one.status for one in ground.rows] == [200, 429]
    told = (await ground.post(CHAT, ASK, **bearer(secret)))[1]["error"]["message"]
    assert re.search(r"and may send 1\. Try again in \d+ s\.$", told), told
    admin = await make_key(ground, "admin", scopes=frozenset(Scope))
    text = (await ground.get("/metrics", **bearer(admin)))[1].decode()
    assert 'status="429"} 20.0' in text.replace('key="hasty",', "").replace(',key="hasty"', "")


async def test_a_key_passes_its_patterns_and_its_right_to_launch_on(ground: Ground) -> None:
    secret = await make_key(ground, "small", models=("tiny-*",), may_launch=True)
    await ground.post(CHAT, ASK, **bearer(secret))
    arrival = ground.dispatcher.arrivals[0]
    assert (arrival.patterns, arrival.may_launch) == (("tiny-*",), True)


async def test_the_socket_in_the_home_is_the_owners_and_nobody_elses(ground: Ground) -> None:
    await make_key(ground, "agent")
    path = private_socket(ground.context.studio.places)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client:
        async with client.get("http://localhost/requests/live") as got:
            assert got.status == 200
        async with client.post("http://anything/v1/chat/completions", json=ASK) as got:
            assert got.status == 200
    assert ground.rows[0].key_name == "owner"
    facts = json.loads((path.parent / "serve.json").read_text())
    assert (facts["pid"], facts["url"]) == (os.getpid(), ground.url)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
async def test_it_does_not_listen_for_others_without_a_key(tmp_path: Path, monkeypatch: Any, host: str) -> None:
    with pytest.raises(UsageError, match="there is no key") as error:
        async with serving(tmp_path, monkeypatch, host=host):
            pass
    assert "keys add" in error.value.advice
    if host == "::" and not socket.has_ipv6:
        return
    async with serving(tmp_path / "b", monkeypatch, host="0.0.0.0", insecure=True) as ground:  # noqa: S104
        # Who insists lets others ask models, and nothing else: a recipe that others may write runs their commands.
        assert (await ground.post(CHAT, ASK))[0] == 200
        assert (await ground.get("/v1/models", **bearer("any")))[0] == 200
        assert (await ground.get("/recipes"))[0] == 401
        assert (await ground.post("/launch/x", {}))[0] == 401
        await make_key(ground, "one")
        assert (await ground.post(CHAT, ASK))[0] == 401


@pytest.mark.parametrize(
    "path",
    ["//v1/models", "/v1//models", "/v1/../v1/models", "/%2e%2e/etc/passwd", "/v1/%2e%2e/status", "/V1/models",
     "/v1/models%00",
     "/v1/chat/completions/../../metrics", "/.env", "/v1/files", "/metrics/../health", "/v1/chat%2fcompletions",
     "/%", "/\\"],
)  # fmt: skip
async def test_paths_that_are_not_in_the_table_are_never_passed_on(ground: Ground, path: str) -> None:
    status = await raw(ground, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert status in (400, 404, 405)
    status = await raw(
        ground,
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}".encode(
            "latin-1"
        ),
    )
    assert status in (400, 404, 405)
    assert ground.engine.asked == []


@pytest.mark.parametrize(
    "request_",
    [b"CONNECT engine:8000 HTTP/1.1\r\nHost: localhost\r\n\r\n",
     b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
     b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\n{}",
     b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
     b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
     b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
     b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
     b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}",
     b"POST /v1/completions HTTP/1.1\r\nHost : localhost\r\nContent-Length: 2\r\n\r\n{}",
     b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: a\r\n b\r\n\r\n",
     b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: a\0b\r\n\r\n",
     b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n",
     b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
     b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 1000 + b"\r\n",
     b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n\r\nnonsense\r\n\r\n"],
)  # fmt: skip
async def test_smuggled_and_malformed_requests_are_refused_and_reach_no_engine(ground: Ground, request_: bytes) -> None:
    status = await raw(ground, request_)
    assert status is None or 400 <= status < 500
    assert ground.engine.asked == []
    assert (await ground.get("/health"))[0] == 200


async def test_a_hidden_second_request_is_a_request_of_its_own(ground: Ground) -> None:
    """What follows a body is never part of what an engine gets."""
    body = json.dumps(ASK).encode()
    two = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    hidden = b"GET /requests/live HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    reader, writer = await connect(ground)
    writer.write(two + hidden)
    got = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert got.count(b"HTTP/1.1 ") == 2
    assert b"host_not_allowed" in got
    assert [one.path for one in ground.engine.asked] == ["/v1/completions"]


#: Everything in its place, or something strange there.
HEADERS = st.dictionaries(
    st.sampled_from(["Host", "Origin", "Authorization", "x-api-key", "Content-Type", "Content-Length", "Expect", "X-A",
                     "Transfer-Encoding", "Connection", "Upgrade", "Content-Encoding", "Range", "Cookie", "Prefer",
                     "If-Match", "Last-Event-ID"]),
    st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)
    | st.sampled_from(["chunked", "close", "100-continue", "h2c", "gzip", "bytes=0-", "5", "localhost"]),
    max_size=4,
)  # fmt: skip
NAMES = st.sampled_from(
    ["x", "rec", "run-1", "m", "a-1", "..", "%2e%2e", "%00", "%ff", "%f0%9f%a6%99", "*", "0", "-1", "a%2Fb", "x" * 300]
)
VALUES = NAMES | st.sampled_from(["", "true", "1e999", "99999999999999999999", "nan", "%0d%0a"])
ROUTES = all_routes()
#: What ends a process of somebody else is not called at random.
CALLS = sorted(name for name in calls() if name != "runs.end_foreign")
FIELDS = st.sampled_from(
    sorted(
        {"messages", "stream_options", "temperature", "upsert", "content", "role"}
        | {name for route in ROUTES for name in (route.body or {}).get("properties", ())}
        | {name for shape in calls().values() for name in shape.arguments}
    )
)
BODIES = st.binary(max_size=80) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=8,
).map(lambda data: json.dumps(data).encode())  # fmt: skip
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str], bytes, bytes]:
    """A request of a route that there is, strange in one place or in several."""
    route = draw(st.sampled_from(ROUTES))
    path = route.path
    if path == "/studio/{service}/{method}":
        service, _, method = draw(st.sampled_from(CALLS)).rpartition(".")
        path = f"/studio/{service}/{method}"
    path = re.sub(r"\{[^}]*\}", lambda _: draw(NAMES), path)
    asked = draw(st.dictionaries(st.sampled_from([*route.query, "x"]), VALUES, max_size=3))
    if asked:
        path += "?" + "&".join(f"{name}={value}" for name, value in asked.items())
    headers = draw(st.just({}) | HEADERS)
    if route.path.startswith("/studio"):
        headers = {VERSION_HEADER: __version__, **headers}
    return (
        draw(st.just(route.method) | METHODS),
        path,
        headers,
        draw(BODIES),
        draw(st.just(b"") | st.binary(max_size=9)),
    )


@pytest.mark.parametrize("count", [1500, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_strange_requests_break_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """Each is answered with what it deserves, never with 500, and the server goes on. Every route is reached."""
    reached: Counter[tuple[str, str]] = Counter()

    def counting(route: Route) -> Route:
        async def handler(call: Call) -> web.StreamResponse:
            reached[route.method, route.path] += 1
            return await route.handler(call)

        return replace(route, handler=handler)

    def refuse(*_: Any, **__: Any) -> Any:
        raise StudioError("nothing is started here")

    monkeypatch.setattr(server, "all_routes", lambda: [counting(route) for route in ROUTES])
    monkeypatch.setattr(control, "launch", refuse)
    with asyncio.Runner() as runner:
        going = serving(tmp_path, monkeypatch)
        ground = runner.run(going.__aenter__())
        wrong: list[tuple[int, str, str, bytes]] = []
        sent = 0

        async def send(
            method: str, path: str, headers: dict[str, str], body: bytes, tail: bytes, patience: float = 0.15
        ) -> None:
            nonlocal sent
            headers = {"Host": "localhost", **headers}
            head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            if not {"Content-Length", "Transfer-Encoding"} & headers.keys():
                head += f"Content-Length: {len(body)}\r\n"
            status = await raw(ground, head.encode("latin-1") + b"\r\n" + body + tail, patience=patience)
            sent += 1
            if status is not None and status >= 500 and status != 501:
                wrong.append((status, method, path, body))

        @settings(
            max_examples=count // 100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
        )
        @given(st.lists(requests(), min_size=100, max_size=100))
        def many(some: list[tuple[str, str, dict[str, str], bytes, bytes]]) -> None:
            runner.run(all_of([send(*one) for one in some]))

        with caplog.at_level(logging.ERROR):
            many()
            for route in ROUTES:  # chance may have left one out
                path = re.sub(r"\{[^}]*\}", "x", route.path)
                runner.run(send(route.method, path, {}, b'{"model": []}', b"", patience=20))
        assert sent >= count
        assert wrong == []
        assert [one.message for one in caplog.records if "vllm_studio" in one.name] == []
        assert [route.path for route in ROUTES if not reached[route.method, route.path]] == []
        assert runner.run(ground.get("/health"))[0] == 200
        runner.run(until(lambda: ground.dispatcher.in_flight == 0, "every request has ended"))
        runner.run(going.__aexit__(None, None, None))


async def all_of(tasks: list[Any]) -> None:
    await asyncio.gather(*tasks)


async def test_no_secret_is_in_an_error_a_log_or_a_row(
    ground: Ground, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await make_key(ground, "agent")

    def broken(*_: Any) -> Any:
        raise RuntimeError(" ".join(("boom", secret, ground.dispatcher.endpoint.api_key or "")))

    said = [str(await ground.post(CHAT, ASK, **bearer(secret + "x")))]
    monkeypatch.setattr(ground.dispatcher, "enter", broken)
    with caplog.at_level(logging.DEBUG):
        status, data, _ = await ground.post(CHAT, ASK, **bearer(secret))
    assert (status, data["error"]["code"]) == (500, "internal_error")
    said += [json.dumps(data), str(ground.rows), str(await ground.get("/health")), caplog.text]
    for text in said:
        assert secret not in text
        assert "engine-key" not in text
    root = ground.context.studio.places.state / "serve"
    assert not [one for one in root.iterdir() if one.is_file() and secret.encode() in one.read_bytes()]


async def test_while_the_disk_of_the_log_hangs_requests_are_answered_and_health_says_so(ground: Ground) -> None:
    log = ground.context.log
    hangs, over = threading.Event(), threading.Event()

    def hang() -> None:
        with log._wake:  # as it is while a line is written
            hangs.set()
            over.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    try:
        await asyncio.to_thread(hangs.wait)
        async with asyncio.timeout(30):
            for _ in range(20):
                assert (await ground.post(CHAT, ASK))[0] == 200
            health = (await ground.get("/health"))[1]
        assert (health["status"], health["request_log"]["error"]) == ("degraded", "the disk does not answer")
        assert ground._rows == []
    finally:
        over.set()
        thread.join()
    assert len(ground.rows) == 20
    assert (await ground.get("/health"))[1]["status"] == "ok"


async def test_while_it_is_stopped_answers_end_and_new_requests_are_refused(ground: Ground) -> None:
    ground.context.draining = True
    status, data, got = await ground.post(CHAT, ASK)
    assert (status, data["error"]["code"], got.headers["Retry-After"]) == (503, "shutting_down", "5")
    assert got.headers.get("Connection", "").lower() == "close"


async def test_a_port_that_is_taken_is_said_with_who_has_it(tmp_path: Path, monkeypatch: Any) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        monkeypatch.setattr("tests.unit.http_ground.free_port", lambda: port)
        with pytest.raises(StudioError, match=f"port {port} of 127.0.0.1 is taken") as error:
            server._bind("127.0.0.1", port)
        assert f"process {os.getpid()}" in error.value.cause


async def test_a_socket_that_a_dead_server_left_is_replaced_and_that_of_a_living_one_is_not(
    tmp_path: Path, monkeypatch: Any
) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with serving(tmp_path / "a", monkeypatch, socket=path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(StudioError, match="another server listens"):
            async with serving(tmp_path / "b", monkeypatch, socket=path):
                pass
        assert path.exists()
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(StudioError, match="and no socket"):
        async with serving(tmp_path / "c", monkeypatch, socket=path):
            pass
    assert path.read_text() == "precious"


async def test_a_second_server_of_a_home_only_passes_on(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    async with serving(tmp_path, monkeypatch) as first:
        places = first.context.studio.places
        from vllm_studio_tui.studio import Studio

        said: list[str] = []
        with Studio.open_sync(places) as studio:
            async with server.running(studio, server.Options("127.0.0.1", 0), said.append) as second:
                assert (first.context.primary, second.primary) == (True, False)
                assert any("another `serve`" in one for one in said)
        assert private_socket(places).exists(), "the first one's socket stays"


def test_refusals_of_http_itself_have_words() -> None:
    for status, code in ((404, "not_found"), (405, "method_not_allowed"), (413, "request_too_large")):
        made = guard.http_refusal(status)
        assert isinstance(made, Refusal)
        assert (made.status, made.code) == (status, code)


async def connect(ground: Ground) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = ground.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


async def raw(ground: Ground, data: bytes, patience: float = 10.0) -> int | None:
    """Send bytes, and return the status of the first answer; None where the connection ended without one."""
    reader, writer = await connect(ground)
    try:
        writer.write(data)
        line = await asyncio.wait_for(reader.readline(), patience)
        return int(line.split()[1]) if line.startswith(b"HTTP/") else None
    except (ConnectionError, TimeoutError):
        return None
    finally:
        writer.close()
