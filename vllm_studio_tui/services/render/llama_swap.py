"""A configuration of llama-swap that starts the recipes' own commands: config.yaml, as of llama-swap v2026-08.

llama-swap replaces `${..}` everywhere and has no way to write one as it stands. In commands a quote is put between
the two characters; variables whose values have one are set by `env` in the command.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.render.source import (
    Files,
    RenderedCommand,
    RenderedRecipe,
    RenderSource,
    header,
    secret_notes,
    secret_variable,
)
from vllm_studio_tui.services.render.yaml_text import yaml_text

#: Names of variables that its list of variables takes.
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*\Z")
#: What its list of parameters to take out is made of.
_PARAMS = re.compile(r"[a-zA-Z0-9_, ]*")
#: Seconds that a model may take to load where its recipe says nothing; llama-swap itself gives up after 120.
LOADING = 1800


def render(source: RenderSource) -> Files:
    """Return `config.yaml`.

    Raises:
        StudioError: None of the recipes can be started by llama-swap.
    """
    models: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    told: list[str] = []
    for one in source.recipes:
        if one.recipe.base_url is not None and one.model:
            peers[one.recipe.id] = _peer(one)
            continue
        if one.problem or one.command is None or any("\n" in word for word in one.command.argv):
            told.append(f"Left out: {one.recipe.id}: {one.problem or _why_left_out(one)}")
            continue
        models[one.recipe.id] = _model(one, one.command)
        told += [*secret_notes(one, one.command), *_untold(one)]
        if one.recipe.api_key:
            told.append(f"{one.recipe.id} asks for its key: clients of llama-swap must send it.")
    if not models and not peers:
        cause = "\n".join(told) or "There is no recipe."
        raise StudioError("no recipe can be started by llama-swap", cause=cause, advice="See `recipes check`.")
    _add_names(models, source)
    wait = max(
        [int(one.recipe.ready_timeout or LOADING) for one in source.recipes if one.recipe.id in models] or [LOADING]
    )
    config: dict[str, Any] = {"healthCheckTimeout": max(15, wait), "models": models}
    if peers:
        config["peers"] = peers
    config |= _choices([one.recipe for one in source.recipes if one.recipe.id in models])
    return {"config.yaml": header(source, "llama-swap", *told) + yaml_text(config)}


def _choices(recipes: list[Recipe]) -> dict[str, Any]:
    """Return what llama-swap is told of which models are there first, stay, and go before others."""
    made: dict[str, Any] = {}
    preload = [one.id for one in recipes if one.preload]
    if preload:
        made["hooks"] = {"on_startup": {"preload": preload}}
    forever = [one.id for one in recipes if one.persistent]
    if forever:
        made["groups"] = {
            "persistent": {"persistent": True, "swap": False, "exclusive": False, "members": forever},
        }
    priority = {one.id: one.priority for one in recipes if one.priority}
    if priority:
        made["routing"] = {"scheduler": {"use": "fifo", "settings": {"fifo": {"priority": priority}}}}
    return made


def _why_left_out(one: RenderedRecipe) -> str:
    return "its command has a line break" if one.command is not None else "it does not name its model"


def _model(one: RenderedRecipe, command: RenderedCommand) -> dict[str, Any]:
    inline = {name: value for name, value in command.env.items() if not _NAME.match(name) or "${" in value}
    listed = {name: value for name, value in command.env.items() if name not in inline}
    before = ["env", *(f"{name}={value}" for name, value in inline.items())] if inline else []
    made: dict[str, Any] = {
        "name": _text(one.recipe.name, 128),
        "description": _text(one.recipe.description, 1024),
        "cmd": _command((*before, *command.argv)),
        "cmdStop": _command(command.stop_argv),
        "proxy": f"http://{_host(one.recipe.host)}:{one.port}",
        "checkEndpoint": one.health_path,
        "env": [
            *(f"{name}={value}" for name, value in listed.items()),
            *(f"{key}=${{env.{secret_variable(one, key, ref)}}}" for key, ref in command.env_refs.items()),
        ],
        "useModelName": "" if one.model == one.recipe.id else _text(one.model, 1024),
        "concurrencyLimit": one.recipe.max_concurrent or "",
        "filters": _filters(one),
    }
    if one.recipe.vision is not None:
        made["capabilities"] = {"in": ["text", "image"] if one.recipe.vision else ["text"], "out": ["text"]}
    if one.recipe.ttl is not None:  # 0 is never there too
        made["ttl"] = int(one.recipe.ttl)
    return {key: value for key, value in made.items() if value not in ("", [], {})}


def _filters(one: RenderedRecipe) -> dict[str, Any]:
    params = one.recipe.params
    made: dict[str, Any] = {}
    if params.strip and _PARAMS.fullmatch(", ".join(params.strip)):
        made["stripParams"] = ", ".join(params.strip)
    if params.set and "${" not in json.dumps(params.set):
        made["setParams"] = dict(params.set)
    return made


def _untold(one: RenderedRecipe) -> list[str]:
    """Return what of a recipe's parameters of requests llama-swap cannot be told."""
    params, made = one.recipe.params, _filters(one)
    told = {"default": {}, "set": made.get("setParams", {}), "strip": tuple(made.get("stripParams", "").split(", "))}
    lost = [name for name in told if getattr(params, name) and not told[name]]
    lost += ["strip"] if params.strip and told["strip"] != params.strip else []
    return [f"Left out of {one.recipe.id}: params.{', params.'.join(dict.fromkeys(lost))}"] if lost else []


def _peer(one: RenderedRecipe) -> dict[str, Any]:
    made: dict[str, Any] = {
        "proxy": (one.recipe.base_url or "").removesuffix("/v1"),
        "models": [_text(one.model, 1024)],
    }
    if one.recipe.api_key:
        made["apiKey"] = f"${{env.{secret_variable(one, 'api_key', one.recipe.api_key)}}}"
    return made


def _add_names(models: dict[str, Any], source: RenderSource) -> None:
    """Let a recipe be asked for by the name that its engine serves and by its aliases, where they are nobody else's."""
    names = {one.recipe.id: dict.fromkeys((one.model, *one.recipe.aliases)) for one in source.recipes}
    everything = [name for some in names.values() for name in some]
    for recipe_id, some in names.items():
        own = [_text(name, 1024) for name in some if name not in names and everything.count(name) == 1 and name]
        if recipe_id in models and own:
            models[recipe_id]["aliases"] = own


def _command(argv: tuple[str, ...]) -> str:
    quoted = (shlex.quote(word) for word in argv)
    return " ".join(word.replace("${", "$''{") if word.startswith("'") else word for word in quoted)


def _text(text: str, limit: int) -> str:
    return text.replace("${", "$ {")[:limit]


def _host(host: str) -> str:
    if host in ("", "0.0.0.0", "::", "localhost"):  # noqa: S104 - it is written, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
