"""The OpenAPI document, made from the table of routes, and a page that shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from aiohttp import web

from vllm_studio_tui import __version__
from vllm_studio_tui.http.answers import document
from vllm_studio_tui.http.route import Call, Route

_PLACE = re.compile(r"\{([A-Za-z_]+)(?::[^{}]*)?\}")
_ERROR = {
    "description": "Refused: what, why, and what to do.",
    "content": {"application/json": {"schema": {"type": "object", "required": ["error"]}}},
}
_KEYS: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]
_STYLE = """:root{color-scheme:light dark}
body{font:15px/1.45 sans-serif;max-width:64rem;margin:2rem auto;padding:0 1em}
h2{margin:2rem 0 .4rem}table{border-collapse:collapse;width:100%}td{padding:.15rem .8rem .15rem 0;vertical-align:top}
code{font:13px ui-monospace,monospace}.m{width:4rem}.s{opacity:.65;white-space:nowrap}"""


def openapi(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a table of routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(plain_path(route), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vllm-studio",
            "version": __version__,
            "description": "One address for every model of this machine, and for the studio itself.",
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            }
        },
    }


def plain_path(route: Route) -> str:
    """Return a path with the names of its places alone."""
    return _PLACE.sub(r"{\1}", route.path)


def _operation(route: Route) -> dict[str, Any]:
    answer = dict(route.answer or {"type": "object"})
    kind = "application/json"
    if answer.get("type") == "string":
        kind = "text/event-stream" if "event-stream" in str(answer.get("description")) else "text/plain"
    places = _PLACE.findall(route.path)
    operation: dict[str, Any] = {
        "operationId": _name(route),
        "tags": [route.tag],
        "summary": route.summary,
        "responses": {
            "200": {"description": "Done.", "content": {kind: {"schema": answer}}},
            "default": _ERROR,
        },
        "security": _KEYS if route.scope is not None else [],
    }
    if route.scope is not None:
        operation["description"] = f"Needs a key with the scope `{route.scope}`."
    parameters = [
        *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in places),
        *(
            {"name": name, "in": "query", "description": what, "schema": {"type": "string"}}
            for name, what in route.query.items()
        ),
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        kinds = "*/*" if "type" not in route.body else "application/json"
        operation["requestBody"] = {"content": {kinds: {"schema": dict(route.body)}}}
    return operation


def _name(route: Route) -> str:
    """Return a name of an operation that no other has."""
    words = re.findall(r"[A-Za-z0-9]+", _PLACE.sub(r"by \1", route.path))
    return "_".join([route.method.lower(), *words]) or route.method.lower()


def page(routes: Sequence[Route]) -> str:
    """Return a page for people: every path under its heading. Nothing of it comes from elsewhere."""
    parts = []
    for tag in dict.fromkeys(route.tag for route in routes):
        parts.append(f"<h2>{escape(tag)}</h2><table>")
        for route in routes:
            if route.tag == tag:
                query = "&amp;".join(escape(name) for name in route.query)
                path = escape(plain_path(route)) + (f"?{query}" if query else "")
                scope = escape(str(route.scope)) if route.scope is not None else "open"
                parts.append(
                    f'<tr><td class="m"><code>{route.method}</code></td><td><code>{path}</code></td>'
                    f'<td>{escape(route.summary)}</td><td class="s">{scope}</td></tr>'
                )
        parts.append("</table>")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>vllm-studio</title><style>{_STYLE}</style>'
        f"<h1>vllm-studio {escape(__version__)}</h1><p>A key goes into <code>Authorization: Bearer KEY</code> or"
        " <code>x-api-key</code>; the last column is the scope that it needs."
        ' <a href="openapi.json">openapi.json</a></p>'
        f"{''.join(parts)}</html>"
    )


def documented(routes: Sequence[Route]) -> tuple[Route, ...]:
    """Return the routes that tell of the others, and of themselves."""

    async def _openapi(_: Call) -> web.StreamResponse:
        return document(openapi((*routes, *made)))

    async def _page(_: Call) -> web.StreamResponse:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return web.Response(text=page((*routes, *made)), content_type="text/html", headers=headers)

    html = {"type": "string", "description": "A page for people."}
    made = (
        Route("GET", "/openapi.json", _openapi, None, "This API as an OpenAPI document", "Studio"),
        Route("GET", "/docs", _page, None, "This API for people", "Studio", answer=html),
    )
    return made
