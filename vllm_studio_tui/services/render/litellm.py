"""A configuration of LiteLLM's proxy: an entry for each recipe and one for any other name, all through `serve`.

So that requests are launched for, queued and counted there, and the file stays as it is when a run starts or ends.
Facts of models are always written: for a name that it knows LiteLLM otherwise takes them from its own price table.
"""

from __future__ import annotations

from typing import Any

from vllm_studio_tui.config.setting_types import TokenPrice
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.services.render.source import Files, RenderedRecipe, RenderSource, header
from vllm_studio_tui.services.render.yaml_text import yaml_text

#: The variable of the key by which everything of LiteLLM can be done.
MASTER = "LITELLM_MASTER_KEY"
#: The variable of the key that `serve` is asked with, where it asks for one.
UPSTREAM = "GATEWAY_UPSTREAM_KEY"
#: Variables of LiteLLM, and the setting that refers to what each of them holds.
VARIABLES = {
    UPSTREAM: "api_key",
    MASTER: "gateway_master_key",
    "DATABASE_URL": "gateway_database_url",
    "REDIS_URL": "gateway_redis_url",
}
MILLION = 1_000_000
#: Seconds that a request may take, its model's launch and its queue included.
TIMEOUT = 3600
#: Seconds that an answer is kept in the cache.
TTL = 3600
#: Sent where `serve` asks for no key: LiteLLM sends one in any case.
NO_KEY = "none"


def render(source: RenderSource) -> Files:
    """Return `config.yaml`."""
    told = ["Start: litellm --config config.yaml --host 127.0.0.1, with LITELLM_LOCAL_MODEL_COST_MAP=True"]
    settings = vars(source.settings)
    given = {name for name, key in VARIABLES.items() if settings[key]} | {MASTER}
    needed = [name for name in VARIABLES if name in given or (name == UPSTREAM and source.needs_key)]
    told.append(f"It needs the variables {', '.join(needed)}")
    if source.needs_key:
        told.append(f"{UPSTREAM} holds a key of `serve`; make one: vllm-studio keys add litellm --scope inference")
    return {"config.yaml": header(source, "litellm", *told) + yaml_text(configuration(source))}


def configuration(source: RenderSource, *, callback: str | None = None) -> dict[str, Any]:
    """Return the configuration as plain data.

    Args:
        callback: `MODULE.NAME` of what is told of each request, a file beside the configuration.
    """
    settings = source.settings
    entries = [_entry(one, source) for one in source.recipes]
    entries.append(_entry_of("*", source, {"id": "*", "mode": "chat"}))
    own: dict[str, Any] = {
        "drop_params": False,
        "request_timeout": TIMEOUT,
        "num_retries": 0,
        "telemetry": False,
        **({"callbacks": [callback]} if callback else {}),
        **_cache(settings),
    }
    return {
        "model_list": entries,
        "router_settings": {
            "num_retries": 0,
            "timeout": TIMEOUT,
            "stream_timeout": TIMEOUT,
            # `serve` says what works: a model that failed is not put aside here too.
            "disable_cooldowns": True,
            "model_group_alias": _aliases(source),
        },
        "litellm_settings": own,
        "general_settings": {
            "master_key": f"os.environ/{MASTER}",
            **({"database_url": "os.environ/DATABASE_URL"} if settings.gateway_database_url else {}),
        },
    }


def _entry(one: RenderedRecipe, source: RenderSource) -> dict[str, Any]:
    length = one.recipe.max_model_len
    known = length if length is not None and length > 0 else None
    facts = {
        "id": one.recipe.id,
        "mode": "chat",
        "max_tokens": known,
        "max_input_tokens": known,
        "max_output_tokens": known,
        "supports_vision": bool(one.recipe.vision),
        "supports_function_calling": bool(one.recipe.tool_call_parser),
    }
    return _entry_of(one.recipe.id, source, facts)


def _entry_of(name: str, source: RenderSource, facts: dict[str, Any]) -> dict[str, Any]:
    price = source.settings.gateway_prices.get(name, TokenPrice())
    key = f"os.environ/{UPSTREAM}" if source.needs_key else NO_KEY
    return {
        "model_name": name,
        "litellm_params": {
            "model": f"hosted_vllm/{name}",
            "api_base": f"{source.serve_url}/v1",
            "api_key": key,
            "timeout": TIMEOUT,
            "stream_timeout": TIMEOUT,
            "input_cost_per_token": price.input / MILLION,
            "output_cost_per_token": price.output / MILLION,
        },
        "model_info": facts,
    }


def _aliases(source: RenderSource) -> dict[str, str]:
    """Return further names of recipes: those that no recipe and no other alias has."""
    ids = {one.recipe.id for one in source.recipes}
    wanted = [
        (name, one.recipe.id)
        for one in source.recipes
        for name in dict.fromkeys((one.model, *one.recipe.aliases))
        if name
    ]
    names = [name for name, _ in wanted]
    return {name: recipe for name, recipe in wanted if name not in ids and names.count(name) == 1}


def _cache(settings: Settings) -> dict[str, Any]:
    if not settings.gateway_redis_url:
        return {}
    kinds = ["acompletion", "completion", "aembedding", "embedding"]
    return {
        "cache": True,
        # Where the server is, and its password, LiteLLM reads in REDIS_URL.
        "cache_params": {"type": "redis", "namespace": "litellm:cache", "ttl": TTL, "supported_call_types": kinds},
    }


def gateway_url(settings: Settings) -> str:
    """Return where clients find the gateway."""
    return f"http://127.0.0.1:{settings.gateway_port}/v1"
