"""The table of routes: what it tells of itself, who may do what, and that no secret leaves by any of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web

from tests.functional.stage import snapshot
from tests.unit.http_ground import serving, still, until
from tests.unit.test_serve_controller import call, recipe
from vllm_studio_tui.domain.api_key import Scope
from vllm_studio_tui.http import guard
from vllm_studio_tui.http.openapi import openapi
from vllm_studio_tui.http.route import Route
from vllm_studio_tui.http.routes import all_routes

SCHEMA = Path(__file__).parents[1] / "fixtures" / "schemas" / "openapi-3.1.json"
PLACE = re.compile(r"\{([a-z]+)(?::[^{}]*)?\}")
#: What a key needs for what, beside what everybody may have.
OPEN = {"GET /health", "GET /docs", "GET /openapi.json"}
#: Streams, which do not end.
STREAMS = {"/events", "/logs/{id}/stream"}


def test_the_document_is_valid_and_has_every_route_once() -> None:
    routes = all_routes()
    document = openapi(routes)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    told = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert told == {f"{route.method} " + PLACE.sub(r"{\1}", route.path) for route in routes}
    assert len(told) == len(routes), "no route is there twice"
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for path, methods in document["paths"].items():
        for one in methods.values():
            given = {each["name"] for each in one.get("parameters", ()) if each["in"] == "path"}
            assert given == set(re.findall(r"\{(\w+)\}", path))


def test_no_route_is_open_by_mistake() -> None:
    assert {f"{route.method} {route.path}" for route in all_routes() if route.scope is None} == OPEN
    for route in all_routes():
        changes = route.method != "GET" and not route.path.startswith(
            ("/v1/", "/tokenize", "/detokenize", "/api/title")
        )
        if route.path == "/mcp":  # questions of MCP clients, all of which read
            assert route.scope is Scope.READ
        elif route.path.endswith(("/{tool}", "/calls/{call}")):
            assert route.scope is Scope.TOOLS
        elif changes:
            assert route.scope in (Scope.MANAGE, Scope.ADMIN), route.path
        if route.path.startswith(("/keys", "/upstream")):
            assert route.scope is Scope.ADMIN


async def test_each_route_asks_for_its_scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every route with a key of every scope: refused with 403, or let through to its handler."""
    async with serving(tmp_path, monkeypatch) as ground:
        secrets = {scope: ground.context.studio.keys.add(f"k-{scope}", scopes=(scope,))[1] for scope in Scope}
        await until(lambda: ground.context.keys.check(secrets[Scope.ADMIN]) is not None, "the keys are known")
        reached: list[str] = []

        async def handler(told: Any) -> Any:
            reached.append(told.key.name)
            return web.Response()

        for route in all_routes():
            stub = Route(route.method, route.path, handler, route.scope, route.summary)
            handle = guard.guarded(ground.context, stub)
            for scope in (None, *Scope):
                request = FakeRequest(secrets[scope] if scope is not None else None)
                answered = await handle(request)  # type: ignore[arg-type]
                assert answered.status == expected(route.scope, scope), (route.path, scope)
        _, page, headers = await call(ground, "GET", "/docs")
        assert "http://" not in page.replace(ground.url, "")
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert (await call(ground, "GET", "/openapi.json"))[1] == openapi(all_routes())


class FakeRequest:
    transport = None
    remote = "127.0.0.1"
    host = "127.0.0.1"

    def __init__(self, secret: str | None) -> None:
        self.headers = {"Authorization": f"Bearer {secret}"} if secret is not None else {}


def expected(wanted: Scope | None, held: Scope | None) -> int:
    if wanted is None:
        return 200
    if held is None:
        return 401
    if held in (wanted, Scope.ADMIN) or (wanted is Scope.READ and held is Scope.MANAGE):
        return 200
    return 403


async def test_no_secret_leaves_by_any_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        name: f"{name.lower().replace('_', '-')}-value-0815" for name in ("OWNER_KEY", "ENGINE_KEY", "HF_TOKEN_X")
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    kept = tmp_path / "a-secret"
    kept.write_text("file-secret-value-4711\n")
    values = [*secrets.values(), "file-secret-value-4711", "plain-secret-value-1234"]
    owner = {"Authorization": f"Bearer {secrets['OWNER_KEY']}"}
    async with serving(tmp_path / "home", monkeypatch, settings="api_key: env:OWNER_KEY\n") as ground:
        still(ground, monkeypatch, snapshot(tmp_path / "stage"))
        made = {
            **recipe("mine"), "api_key": "env:ENGINE_KEY",
            "env_vars": {"HF_TOKEN": "env:HF_TOKEN_X", "MY_TOKEN": f"file:{kept}", "OTHER_TOKEN": values[-1]},
        }  # fmt: skip
        assert (await call(ground, "POST", "/recipes", made, headers=owner))[0] == 201
        _, key, _ = await call(ground, "POST", "/keys", {"name": "agent"}, headers=owner)
        values.append(key["key"])
        chat = (await call(ground, "POST", "/chats", {"title": "x"}, headers=owner))[1]["session"]["id"]
        names = {"/recipes": "mine", "/keys": "agent", "/chats": chat, "/launch": "mine"}
        walked = 0
        for route in all_routes():
            if route.method != "GET" or route.path in STREAMS:
                continue
            name = next((one for start, one in names.items() if route.path.startswith(start)), "mine")
            path = PLACE.sub(name, route.path.replace("{path:.*}", "metrics"))
            async with ground.client.get(f"{ground.url}{path}", headers=owner) as answered:
                text = str(answered.headers) + await answered.text()
            assert answered.status < 500 or answered.status == 503, (path, text)
            assert [value for value in values if value in text] == [], path
            walked += 1
        assert walked > 35
