"""Read servers from the files of other programs: `mcpServers`, VS Code's `servers`, `mcp.servers`, Zed, Codex, lists.

A reader of outside text: nothing makes it raise but a file that holds no servers at all.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.tool_server import RESERVED, TIMEOUT, ToolServer
from vllm_studio_tui.kit.sanitize import clean_line

#: Bytes of a file, servers in it, letters of a name.
MAX_FILE = 4 * 1024 * 1024
MAX_SERVERS = 200
MAX_NAME = 40
#: Seconds that a call may be given.
LONGEST = 3600.0
#: Under which keys servers stand.
KEYS = ("mcpServers", "servers", "mcp_servers", "context_servers")
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")
_INPUT = re.compile(r"\$\{input:([^}]{1,100})\}")
#: Keys that are used; all others are kept as they are.
_USED = {
    "command", "args", "env", "cwd", "url", "serverUrl", "httpUrl", "headers", "type", "transport", "disabled",
    "enabled", "timeout", "timeout_ms", "description", "name", "legacy", "tools",
}  # fmt: skip
_KINDS = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamableHttp": "http",
    "sse": "sse",
}
_NO_SERVERS = "Servers stand under `mcpServers`, `servers` or `mcp.servers`, each with a `command` or a `url`."


def read_servers(raw: bytes, source: str) -> tuple[list[ToolServer], list[str]]:
    """Return the servers of a file, and what was changed or left out, a line each.

    Args:
        source: What the file is called, for messages.

    Raises:
        UsageError: It cannot be read, or holds none.
    """
    if len(raw) > MAX_FILE:
        raise UsageError(f"{source} is too large for a file of MCP servers", cause=f"It has {len(raw)} bytes.")
    document = _parse(raw, source)
    notes: list[str] = []
    found: dict[str, ToolServer] = {}
    for raw_name, entry in _entries(document):
        if len(found) >= MAX_SERVERS:
            notes.append(f"no more than {MAX_SERVERS} servers are read")
            break
        name = _free(server_name(raw_name), found)
        shown = clean_line(raw_name, limit=80)
        if name != raw_name:
            notes.append(f"{shown}: called {name} here")
        try:
            server, more = read_entry(name, entry)
        except UsageError as error:
            notes.append(f"{shown}: left out: {error.title}")
            continue
        found[name] = server
        notes += [f"{name}: {one}" for one in more]
    if not found:
        reasons = "\n".join(notes[:10])
        raise UsageError(f"{source} holds no MCP server that can be used", cause=reasons, advice=_NO_SERVERS)
    return list(found.values()), notes


def server_name(text: str) -> str:
    """Return what a server can be called here."""
    name = _OTHER.sub("-", text).strip("-")[:MAX_NAME].strip("-") or "server"
    return f"{name}-mcp" if name.lower() in RESERVED else name


def read_entry(name: str, entry: Any) -> tuple[ToolServer, list[str]]:
    """Return a server from its entry, and what was changed in it.

    Raises:
        UsageError: It has neither a command nor an address, or something of it cannot be used.
    """
    if not isinstance(entry, Mapping):
        raise UsageError("its entry is no table")
    notes: list[str] = []
    args = entry.get("args")
    command, more = _command(entry.get("command"))
    if args is not None and not isinstance(args, list):
        raise UsageError("`args` is no list")
    url = next((entry[key] for key in ("url", "serverUrl", "httpUrl") if entry.get(key)), "")
    if not isinstance(url, str):
        raise UsageError("`url` is no text")
    if not command and not url:
        raise UsageError("it has neither a `command` nor a `url`")
    kind = _kind(entry, command, url, notes)
    texts = {"command": command, "url": url, "args": [*more, *(_text(one, "args") for one in args or [])]}
    env, headers = _pairs(entry.get("env"), "env", notes), _pairs(entry.get("headers"), "headers", notes)
    cwd = entry.get("cwd")
    if cwd is not None and not isinstance(cwd, str):
        raise UsageError("`cwd` is no text")
    inputs = {found for one in (command, url, *texts["args"], *env.values(), *headers.values())
              for found in _INPUT.findall(one)}  # fmt: skip
    notes += [
        f"asks for {clean_line(one, limit=60)}: set the variable {_variable(one)} before you use it"
        for one in sorted(inputs)
    ]
    notes += [
        f"`{key}` is not taken over: you are asked before each call, until you allow more"
        for key in ("autoApprove", "alwaysAllow", "trust")
        if entry.get(key)
    ]
    if entry.get("envFile"):
        notes.append("`envFile` is not read: name its variables in `env`")
    disabled = entry.get("disabled") is True or entry.get("enabled") is False
    tools = entry.get("tools")
    return (
        ToolServer(
            name,
            kind,
            _plain(command) if kind == "stdio" else "",
            tuple(_plain(one) for one in texts["args"]) if kind == "stdio" else (),
            _plain(cwd) if cwd else None,
            _plain(url) if kind != "stdio" else "",
            {key: _plain(value) for key, value in env.items()} if kind == "stdio" else {},
            {key: _plain(value) for key, value in headers.items()} if kind != "stdio" else {},
            not disabled,
            clean_line(entry["description"], limit=500) if isinstance(entry.get("description"), str) else "",
            tuple(str(one)[:200] for one in tools[:500]) if isinstance(tools, list) else (),
            _timeout(entry, notes),
            entry.get("legacy") is True,
            {str(key): value for key, value in entry.items() if key not in _USED},
        ),
        notes,
    )


# --- the file -------------------------------------------------------------------------------------------


def _parse(raw: bytes, source: str) -> Any:
    text = raw.decode("utf-8-sig", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(without_comments(text))
    except (ValueError, RecursionError) as error:
        wrong = error
    if "=" in text and "[" in text:
        try:
            return tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError, ValueError):
            pass
    where = f"line {wrong.lineno}: {wrong.msg}" if isinstance(wrong, json.JSONDecodeError) else "It nests too deep."
    raise UsageError(f"{source} is neither JSON nor TOML", cause=where, advice=_NO_SERVERS)


def without_comments(text: str) -> str:
    """Return JSON text without the comments and trailing commas that editors allow. Linear in its length."""
    kept: list[str] = []
    place, length = 0, len(text)
    while place < length:
        letter = text[place]
        if letter == '"':
            end = place + 1
            while end < length and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            kept.append(text[place : end + 1])
            place = end + 1
        elif text.startswith("//", place):
            end = text.find("\n", place)
            place = length if end < 0 else end
        elif text.startswith("/*", place):
            end = text.find("*/", place + 2)
            place = length if end < 0 else end + 2
        else:
            if letter in "}]":
                back = len(kept) - 1
                while back >= 0 and kept[back].isspace():
                    back -= 1
                if back >= 0 and kept[back] == ",":
                    kept[back] = " "
            kept.append(letter)
            place += 1
    return "".join(kept)


def _entries(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and entries wherever they stand."""
    if isinstance(document, list):  # as the original product keeps them
        for number, one in enumerate(document):
            name = one.get("name") if isinstance(one, Mapping) else None
            yield (name if isinstance(name, str) and name else f"server-{number + 1}"), one
        return
    if not isinstance(document, Mapping):
        return
    nested = document.get("mcp")
    places = [document, nested if isinstance(nested, Mapping) else {}]
    found = [place[key] for place in places for key in KEYS if isinstance(place.get(key), Mapping | list)]
    if isinstance(document.get("mcp.servers"), Mapping):
        found.append(document["mcp.servers"])
    projects = document.get("projects")  # Claude Code keeps those of a folder under it
    if isinstance(projects, Mapping):
        found += [one["mcpServers"] for one in projects.values()
                  if isinstance(one, Mapping) and isinstance(one.get("mcpServers"), Mapping)]  # fmt: skip
    if not found:  # a bare table of servers, or one server alone
        if "command" in document or "url" in document:
            name = document.get("name")
            yield (name if isinstance(name, str) and name else "server"), document
            return
        found = [document] if any(
            isinstance(one, Mapping) and ("command" in one or "url" in one) for one in document.values()
        ) else []  # fmt: skip
    for one in found:
        if isinstance(one, list):
            yield from _entries(one)
        else:
            yield from ((str(name), entry) for name, entry in one.items())


# --- parts of an entry ----------------------------------------------------------------------------------


def _free(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name[: MAX_NAME - 4]}-{number}"
    return free


def _command(given: Any) -> tuple[str, list[str]]:
    """Return program and first arguments: some files hold a table, or a list with the arguments in it."""
    if isinstance(given, Mapping):
        more = given.get("args")
        return _command(given.get("path"))[0], [_text(one, "args") for one in more] if isinstance(more, list) else []
    if isinstance(given, list):
        parts = [_text(one, "command") for one in given]
        return (parts[0], parts[1:]) if parts else ("", [])
    if given is not None and not isinstance(given, str):
        raise UsageError("`command` is no text")
    return given or "", []


def _kind(entry: Mapping[str, Any], command: str, url: str, notes: list[str]) -> str:
    said = entry.get("type") or entry.get("transport")
    kind = _KINDS.get(said) if isinstance(said, str) else None
    if said is not None and kind is None:
        notes.append("its type is none that is known here; it is told by its command or address")
    if kind in ("http", "sse") and not url:
        raise UsageError("its type needs a `url`")
    if kind == "stdio" and not command:
        raise UsageError("its type needs a `command`")
    if kind is None:
        kind = "stdio" if command else "http"
        path = ""
        if url:
            try:
                path = urlsplit(url).path
            except ValueError:
                raise UsageError("its address is none") from None
        if kind == "http" and path.rstrip("/").endswith("/sse") and not entry.get("httpUrl"):
            kind = "sse"
    if kind != "stdio" and not url.startswith(("http://", "https://", "${")):
        raise UsageError("its address does not begin with http:// or https://")
    return kind


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, Mapping | list):
        if isinstance(value, bool):
            return "true" if value else "false"
        raise UsageError(f"`{where}` holds something that is no text")
    text = str(value)
    if "\0" in text:
        raise UsageError(f"`{where}` holds a zero byte")
    return text


def _pairs(given: Any, where: str, notes: list[str]) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, list):  # NAME=value, as some write variables
        given = dict(str(one).split("=", 1) for one in given if isinstance(one, str) and "=" in one)
    if not isinstance(given, Mapping):
        raise UsageError(f"`{where}` is no table")
    found = {}
    for key, value in given.items():
        if value is None:
            continue
        name = str(key)
        if not name or "=" in name or any(ord(letter) < 33 or ord(letter) > 126 for letter in name):
            notes.append(f"a name in `{where}` cannot be one, and is left out")
            continue
        text = _text(value, where)
        if where == "headers" and any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
            raise UsageError("`headers` holds a control character")
        found[name] = text
    return found


def _plain(text: str) -> str:
    """Return text with the questions of VS Code as variables."""
    return _INPUT.sub(lambda found: "${" + _variable(found[1]) + "}", text)


def _variable(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").upper() or "INPUT"
    return f"INPUT_{plain}" if plain[0].isdigit() else plain


def _timeout(entry: Mapping[str, Any], notes: list[str]) -> float:
    given, scale = entry.get("timeout_ms"), 0.001
    if given is None:
        given, scale = entry.get("timeout"), 1.0
    if given is None:
        return TIMEOUT
    try:
        if isinstance(given, bool) or (isinstance(given, str) and len(given) > 20):
            raise ValueError
        seconds = float(given) * scale
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if seconds >= 1000 and scale == 1.0:
        seconds /= 1000  # some programs mean milliseconds
    if not 0 < seconds <= LONGEST:
        notes.append(f"its timeout cannot be used: {TIMEOUT:g} s")
        return TIMEOUT
    return seconds
