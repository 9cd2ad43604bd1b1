"""Read a configuration of llama-swap: a recipe for each of its models and for each model of its peers.

Macros are filled in as llama-swap does it, in bounds; nothing of the environment is read: `${env.X}` becomes a
reference where a recipe can hold one. What `cmd` runs is only read.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from vllm_studio_tui.backends import registry
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.domain.recipe_parts import UNTOUCHED
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.services.recipes.formats.command import from_words
from vllm_studio_tui.services.recipes.formats.engine_flags import named, of_words, without_own
from vllm_studio_tui.services.recipes.formats.format import Found, Source
from vllm_studio_tui.services.recipes.formats.llama_swap_macros import MARK_PORT, Macros, environment_name

_ROUTING = "of llama-swap's own choice of who makes room; `serve` decides by memory, persistent and priority"
_OWN = "a setting of llama-swap itself"
#: Keys of the whole file, and why a recipe has none of them.
_WHOLE = {
    "apiKeys": "keys of llama-swap's clients: make keys of `serve` with `vllm-studio keys add`",
    "startPort": "the first free port is used",
    "profiles": "names that llama-swap turns into others at run time: write them as aliases",
    "selectors": "names that stand for one of several models: `serve` has none",
    "logLevel": _OWN, "logTimeFormat": _OWN, "logToStdout": _OWN, "logRequests": _OWN, "store": _OWN, "ui": _OWN,
    "metricsMaxInMemory": _OWN, "captureBuffer": _OWN, "performance": _OWN, "upstream": _OWN,
    "sendLoadingState": _OWN, "includeAliasesInList": _OWN, "unloadTimeout": _OWN,
}  # fmt: skip
#: Keys of a model, and why a recipe has none of them.
_OF_MODEL = {
    "unlisted": "every recipe is listed", "metadata": "only shown to llama-swap's clients",
    "timeouts": "of llama-swap's connections", "unloadTimeout": "an engine is asked to end, and waited for",
    "sendLoadingState": _OWN, "compat": _OWN,
    "cmdStop": "the studio ends an engine by a signal, a container by `docker stop`",
}  # fmt: skip


class LlamaSwap:
    """`config.yaml` of llama-swap."""

    name = "llama-swap"
    title = "a configuration of llama-swap"

    def read(self, source: Source) -> list[Found] | None:
        config = source.mapping
        if config is None or not _is_one(config):
            return None
        reader = _Reader(config)
        found = [*reader.models(), *reader.peers()]
        if not found:
            return None
        first = found[0]
        return [Found(first.data, (*reader.notes_of_file(), *first.notes)), *found[1:]]


def _is_one(config: Mapping[str, Any]) -> bool:
    models, peers = config.get("models"), config.get("peers")
    by_model = isinstance(models, Mapping) and any(isinstance(one, Mapping) and "cmd" in one for one in models.values())
    return by_model or (
        isinstance(peers, Mapping) and any(isinstance(one, Mapping) and "proxy" in one for one in peers.values())
    )


class _Reader:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.macros = Macros(_mapping(config.get("macros")))
        routing = _mapping(config.get("routing"))
        router = _mapping(_mapping(routing.get("router")).get("settings"))
        self.groups = _mapping(config.get("groups")) or _mapping(router.get("groups"))
        scheduler = _mapping(_mapping(routing.get("scheduler")).get("settings"))
        self.priority = _mapping(_mapping(scheduler.get("fifo")).get("priority"))
        hooks = _mapping(_mapping(config.get("hooks")).get("on_startup"))
        self.preload = {str(one).strip() for one in _list(hooks.get("preload"))}
        self.forever = {
            str(member)
            for one in self.groups.values()
            if _mapping(one).get("persistent") is True
            for member in _list(_mapping(one).get("members"))
        }

    def notes_of_file(self) -> Iterator[FieldNote]:
        for key, value in self.config.items():
            name = str(key)
            if name in ("models", "peers", "globalTTL", "healthCheckTimeout"):
                continue
            if name == "macros":
                yield FieldNote(name, "changed", "filled in where they stand")
            elif name in ("groups", "matrix", "routing"):
                taken = "persistent and priority are taken, the rest is " if name != "matrix" else ""
                yield FieldNote(name, "changed" if taken else "dropped", f"{taken}{_ROUTING}")
            elif name == "hooks":
                yield FieldNote(name, "changed", "now preload of the recipes that it names")
            elif value is not None:
                yield FieldNote(name, "dropped", _WHOLE.get(name, "not known of llama-swap"))

    def models(self) -> Iterator[Found]:
        for name, one in _mapping(self.config.get("models")).items():
            if isinstance(one, Mapping):
                yield self._model(str(name), one)

    def _model(self, name: str, raw: Mapping[str, Any]) -> Found:
        macros = self.macros.of_model(name, _mapping(raw.get("macros")))
        model = {str(key): macros.filled(value, str(key)) for key, value in raw.items() if key not in ("macros", "cmd")}
        notes: list[FieldNote] = []
        if raw.get("macros"):
            notes.append(FieldNote("macros", "changed", "filled in where they stand"))
        data = _command(macros.command(str(raw.get("cmd") or "")), notes)
        data = {**data, **named({}, name), **self._plain(name, model, notes)}
        _environment(data, model.get("env"), notes)
        _address(data, model, notes)
        _requests(data, _mapping(model.get("filters")), notes, "filters")
        if name in self.preload | (set(_strings(model.get("aliases"))) & self.preload):
            data["preload"] = True
        if name in self.forever:
            data["persistent"] = True
        if isinstance(self.priority.get(name), int):
            data["priority"] = self.priority[name]
        backend = registry.backends().get(str(data.get("backend")))
        if backend is not None:
            data = without_own(backend, data, notes)
        notes += macros.notes
        return Found(data, tuple(notes))

    def _plain(self, name: str, model: Mapping[str, Any], notes: list[FieldNote]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        ttl = model.get("ttl", -1)
        if ttl == -1 and self.config.get("globalTTL"):
            ttl = self.macros.filled(self.config["globalTTL"], "globalTTL")
            notes.append(FieldNote("globalTTL", "changed", "now ttl"))
        if ttl != -1:
            data["ttl"] = ttl
        wait = self.config.get("healthCheckTimeout")
        if wait is not None:
            data["ready_timeout"] = self.macros.filled(wait, "healthCheckTimeout")
            notes.append(FieldNote("healthCheckTimeout", "changed", "now ready_timeout"))
        for key, field in (("name", "name"), ("description", "description")):
            if model.get(key):
                data[field] = str(model[key])
        aliases = [one for one in _strings(model.get("aliases")) if one not in (name, model.get("useModelName"))]
        if aliases:
            data["aliases"] = aliases
        if model.get("concurrencyLimit"):
            data["max_concurrent"] = model["concurrencyLimit"]
            notes.append(
                FieldNote("concurrencyLimit", "changed", "now max_concurrent: more wait, they are not refused")
            )
        capabilities = _mapping(model.get("capabilities"))
        if capabilities:
            if "in" in capabilities:
                data["vision"] = "image" in _strings(capabilities["in"])
            notes.append(FieldNote("capabilities", "changed", "vision is taken, the rest is only shown to clients"))
        known = {
            "env", "proxy", "checkEndpoint", "useModelName", "filters", "name", "description", "aliases", "ttl",
            "concurrencyLimit", "capabilities",
        }  # fmt: skip
        for key, value in model.items():
            if key not in known and value is not None:
                notes.append(FieldNote(key, "dropped", _OF_MODEL.get(key, "not known of llama-swap")))
        return data

    def peers(self) -> Iterator[Found]:
        for name, raw in _mapping(self.config.get("peers")).items():
            if not isinstance(raw, Mapping):
                continue
            peer = {str(key): self.macros.filled(value, str(key)) for key, value in raw.items()}
            models = _strings(peer.get("models"))
            for model in models:
                title = str(name) if len(models) == 1 else f"{name}-{model.replace('/', '-')}"
                yield self._peer(title, model, peer)

    def _peer(self, title: str, model: str, peer: Mapping[str, Any]) -> Found:
        notes = [FieldNote("proxy", "changed", "now base_url")]
        address = str(peer.get("proxy") or "").rstrip("/")
        data = named({"backend": "external", "served_model_name": model}, title)
        data["base_url"] = address if address.endswith("/v1") else f"{address}/v1"
        key = peer.get("apiKey")
        if key:
            variable = environment_name(str(key))
            data["api_key"] = f"env:{variable}" if variable else str(key)
        _requests(data, _mapping(peer.get("filters")), notes, "filters")
        for name, value in peer.items():
            if name not in ("proxy", "apiKey", "models", "filters") and value is not None:
                notes.append(FieldNote(name, "dropped", _OF_MODEL.get(name, "not known of llama-swap")))
        return Found(data, tuple(notes))


def _command(text: str, notes: list[FieldNote]) -> dict[str, Any]:
    """Return the fields of what llama-swap would run: of an engine that is known, or a custom command."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    bare, env = _without_env(words)
    found = of_words(bare, notes)
    if found is None and words and (other := from_words(words)) is not None:  # in a container, or by a wrapper
        notes += other.notes
        found = dict(other.data)
    if found is not None:
        if env and "env_vars" not in found:
            found["env_vars"] = env
        return _without_port(found, notes)
    notes.append(FieldNote("cmd", "changed", "no engine that is known: now a custom command"))
    literal = shlex.join(words).replace("{", "{{").replace("}", "}}").replace(MARK_PORT, "{port}")
    return {"backend": "custom", "command": literal}


def _without_env(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return a command without `env NAME=value` before it, and the variables."""
    env: dict[str, str] = {}
    rest = words[1:] if words[:1] == ["env"] else words
    while rest and (pair := rest[0].partition("="))[1] and pair[0].isidentifier():
        env[pair[0]] = pair[2]
        rest = rest[1:]
    return rest, env


def _without_port(found: dict[str, Any], notes: list[FieldNote]) -> dict[str, Any]:
    """Leave the port open where llama-swap would choose it."""
    data = {key: value for key, value in found.items() if key not in ("id", "name")}
    if str(data.get("port")) == MARK_PORT:
        data.pop("port")
        notes.append(FieldNote("cmd", "changed", "--port ${PORT}: the first free one is used"))
    elif "port" not in data and data.get("backend") != "custom":
        backend = registry.backends().get(str(data.get("backend")))
        notes.append(FieldNote("cmd", "taken", "it names no port: the first free one is used")) if backend else None
    filled: dict[str, Any] = _port_filled(data)
    return filled


def _port_filled(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(MARK_PORT, "{port}")
    if isinstance(value, Mapping):
        return {key: _port_filled(one) for key, one in value.items()}
    return [_port_filled(one) for one in value] if isinstance(value, list | tuple) else value


def _environment(data: dict[str, Any], given: Any, notes: list[FieldNote]) -> None:
    env = dict(_mapping(data.get("env_vars")))
    for one in _strings(given):
        name, equals, value = one.partition("=")
        if not equals or not name.isidentifier():
            notes.append(FieldNote("env", "dropped", f"{name[:40]} is no NAME=value"))
            continue
        variable = environment_name(value)
        env[name] = f"env:{variable}" if variable else value
    if env:
        data["env_vars"] = env


def _address(data: dict[str, Any], model: Mapping[str, Any], notes: list[FieldNote]) -> None:
    path = model.get("checkEndpoint")
    if path == "none":
        notes.append(FieldNote("checkEndpoint", "dropped", "a recipe's engine is always asked whether it serves"))
    elif path and path != "/health":
        data["health_path"] = str(path)
    proxy = model.get("proxy")
    if proxy:
        try:
            parts = urlsplit(str(proxy))
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if data.get("backend") == "custom" and port and str(port) != MARK_PORT:
            data["port"] = port
        if host not in (None, "localhost", "127.0.0.1", "::1"):
            notes.append(FieldNote("proxy", "dropped", f"{host} is no address of this machine"))
        elif str(port) != MARK_PORT and str(data.get("port", port)) != str(port):
            notes.append(FieldNote("proxy", "dropped", f"the command listens on {data.get('port')}"))
        else:
            notes.append(FieldNote("proxy", "changed", "where the engine listens is known from host and port"))
    name = model.get("useModelName")
    if name and data.get("served_model_name") in (None, name):
        if _own_name(data) == name:
            notes.append(FieldNote("useModelName", "taken", "the engine calls it so by itself"))
        else:
            data["served_model_name"] = str(name)
    elif name:
        notes.append(FieldNote("useModelName", "dropped", f"the engine calls it {data.get('served_model_name')}"))


def _own_name(data: Mapping[str, Any]) -> str | None:
    """Return what the engine calls its model where nobody says; None where that is not known."""
    backend = registry.backends().get(str(data.get("backend")))
    if backend is None or data.get("backend") == "custom":
        return None
    try:
        return backend.model_name(parse_recipe({**named({}, "bare"), **data})[0])
    except StudioError:
        return None


def _requests(data: dict[str, Any], filters: Mapping[str, Any], notes: list[FieldNote], field: str) -> None:
    params: dict[str, Any] = {}
    strip = str(filters.get("stripParams") or "").replace(",", " ").split()
    strip = [one for one in dict.fromkeys(strip) if one not in UNTOUCHED]
    if strip:
        params["strip"] = strip
    chosen = {str(key): value for key, value in _mapping(filters.get("setParams")).items()}
    lost = UNTOUCHED & set(chosen)
    if lost:
        notes.append(FieldNote(f"{field}.setParams", "dropped", f"{', '.join(sorted(lost))} cannot be set"))
    chosen = {key: value for key, value in chosen.items() if key not in UNTOUCHED}
    if chosen:
        params["set"] = chosen
    if params:
        data["params"] = params
    for key, value in filters.items():
        if key not in ("stripParams", "setParams") and value:
            why = "a recipe has one set of parameters: copy it for each name, with params.set"
            notes.append(FieldNote(f"{field}.{key}", "dropped", why if key == "setParamsByID" else "not known"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: Any) -> list[str]:
    return [str(one) for one in _list(value) if isinstance(one, str | int | float) and not isinstance(one, bool)]
