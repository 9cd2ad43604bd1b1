"""Read the `model_list` of a LiteLLM configuration: an external server for each entry that speaks OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.services.recipes.formats.engine_flags import named
from vllm_studio_tui.services.recipes.formats.format import Found, Source
from vllm_studio_tui.store.original import BrokenRow

#: Providers whose servers answer OpenAI's API, and where each is when the entry does not say.
_PROVIDERS = {
    "openai": "https://api.openai.com/v1", "custom_openai": "", "text-completion-openai": "https://api.openai.com/v1",
    "hosted_vllm": "", "openai_like": "", "llamafile": "http://127.0.0.1:8080/v1", "lm_studio": "http://127.0.0.1:1234/v1",
    "ollama": "http://127.0.0.1:11434/v1", "ollama_chat": "http://127.0.0.1:11434/v1", "litellm_proxy": "",
    "openrouter": "https://openrouter.ai/api/v1", "deepseek": "https://api.deepseek.com/v1",
    "groq": "https://api.groq.com/openai/v1", "mistral": "https://api.mistral.ai/v1", "xai": "https://api.x.ai/v1",
    "together_ai": "https://api.together.xyz/v1", "fireworks_ai": "https://api.fireworks.ai/inference/v1",
    "nvidia_nim": "https://integrate.api.nvidia.com/v1", "cerebras": "https://api.cerebras.ai/v1",
}  # fmt: skip
#: The variable that each of them reads its key from.
_KEYS = {"openai": "OPENAI_API_KEY", "openrouter": "OPENROUTER_API_KEY", "deepseek": "DEEPSEEK_API_KEY",
         "groq": "GROQ_API_KEY", "mistral": "MISTRAL_API_KEY", "xai": "XAI_API_KEY"}  # fmt: skip
#: Parameters of a request that an entry may set.
_PARAMETERS = frozenset({
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "presence_penalty",
    "frequency_penalty", "repetition_penalty", "seed", "stop", "n", "logit_bias", "user", "response_format",
    "reasoning_effort", "chat_template_kwargs", "tool_choice", "parallel_tool_calls", "logprobs", "top_logprobs",
})  # fmt: skip
_ROUTING = "of LiteLLM's choice among several servers of one name"
_PRICE = "prices are settings here: gateway_prices"
_OF_ENTRY = {
    "rpm": _ROUTING, "tpm": _ROUTING, "weight": _ROUTING, "order": _ROUTING, "cooldown_time": _ROUTING,
    "num_retries": "`serve` asks an engine once", "max_retries": "`serve` asks an engine once",
    "input_cost_per_token": _PRICE, "output_cost_per_token": _PRICE, "drop_params": "write params.strip",
    "api_version": "of Azure", "organization": "of OpenAI's own service",
    "extra_headers": "no further headers are sent",
    "headers": "no further headers are sent", "timeout": "`serve` waits as long as an answer comes: stall_timeout",
    "tags": _ROUTING, "cache_control_injection_points": "`serve` keeps no answers",
}  # fmt: skip
_OF_FILE = {
    "router_settings": f"{_ROUTING}: retries, fallbacks and cooldown are LiteLLM's; render litellm makes them anew",
    "litellm_settings": "settings of LiteLLM itself, with fallbacks, caches and callbacks; see docs/guide/gateway.md",
    "general_settings": "settings of LiteLLM itself, its keys and its database; see docs/guide/gateway.md",
    "environment_variables": "set them where the studio is started: recipes name them as env:NAME",
}


class LiteLLM:
    """`config.yaml` of LiteLLM's proxy."""

    name = "litellm"
    title = "a configuration of LiteLLM"

    def read(self, source: Source) -> list[Found] | None:
        config = source.mapping
        entries = config.get("model_list") if config is not None else None
        if config is None or not isinstance(entries, list):
            return None
        found = [_entry(one) for one in entries if isinstance(one, Mapping) and "litellm_params" in one]
        if not found:
            return None
        notes = tuple(_of_file(config))
        return [Found(found[0].data, (*notes, *found[0].notes)), *found[1:]]


def _of_file(config: Mapping[str, Any]) -> Iterator[FieldNote]:
    for key, value in config.items():
        if key == "model_list" or value is None:
            continue
        why = _OF_FILE.get(str(key), "not known of LiteLLM")
        inner = [str(one) for one in value][:12] if isinstance(value, Mapping) else []
        yield FieldNote(str(key), "dropped", f"{', '.join(inner)}: {why}" if inner else why)


def _entry(entry: Mapping[str, Any]) -> Found:
    notes: list[FieldNote] = []
    given = entry.get("litellm_params")
    params: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    name = str(entry.get("model_name") or params.get("model") or "model")
    provider, _, model = str(params.get("model") or "").partition("/")
    custom = params.get("custom_llm_provider")
    if custom:
        provider, model = str(custom), str(params.get("model"))
    elif not model:
        provider, model = "openai", provider
    elif provider not in _PROVIDERS and params.get("api_base"):
        provider, model = "openai", f"{provider}/{model}"
    if provider not in _PROVIDERS:
        why = f"{provider} does not answer OpenAI's API: only such servers can be external here"
        return Found(BrokenRow(name, why))
    data = named({"backend": "external", "served_model_name": model}, name)
    base = _reference(params.get("api_base") or params.get("base_url")) or _PROVIDERS[provider]
    if not base or base.startswith("env:"):
        why = f"api_base is {base or 'missing'}: write the address itself, as http://host:8000/v1"
        return Found(BrokenRow(name, why))
    data["base_url"] = base if re.search(r"/v\d+$", base.rstrip("/")) else f"{base.rstrip('/')}/v1"
    notes += [FieldNote("model", "changed", "now served_model_name"), FieldNote("api_base", "changed", "now base_url")]
    key = params.get("api_key")
    if isinstance(key, str) and key and key.lower() not in ("none", "empty", "dummy"):
        data["api_key"] = _reference(key)
    elif key:
        notes.append(FieldNote("api_key", "dropped", "it stands for no key"))
    elif provider in _KEYS and not params.get("api_base"):
        data["api_key"] = f"env:{_KEYS[provider]}"
        notes.append(FieldNote("api_key", "changed", f"LiteLLM takes it from {_KEYS[provider]}"))
    _rest(data, params, notes)
    _facts(data, entry, notes)
    return Found(data, tuple(notes))


def _rest(data: dict[str, Any], params: Mapping[str, Any], notes: list[FieldNote]) -> None:
    default: dict[str, Any] = {}
    for key, value in params.items():
        name = str(key)
        if name in ("model", "api_base", "base_url", "api_key", "custom_llm_provider") or value is None:
            continue
        if name in _PARAMETERS:
            default[name] = value
        elif name == "max_parallel_requests":
            data["max_concurrent"] = value
            notes.append(FieldNote(name, "changed", "now max_concurrent"))
        elif name == "stream_timeout":
            data["stall_timeout"] = value
            notes.append(FieldNote(name, "changed", "now stall_timeout"))
        elif name == "extra_body" and isinstance(value, Mapping):
            default |= {str(one): given for one, given in value.items() if one not in ("model", "stream")}
            notes.append(FieldNote(name, "changed", "now params.default"))
        else:
            notes.append(FieldNote(name, "dropped", _OF_ENTRY.get(name, "not known of an external server")))
    if default:
        data["params"] = {"default": default}
        taken = [one for one in default if one in params]
        notes += [FieldNote(one, "changed", "now params.default: a request may say otherwise") for one in taken]


def _facts(data: dict[str, Any], entry: Mapping[str, Any], notes: list[FieldNote]) -> None:
    info = entry.get("model_info")
    for key, value in info.items() if isinstance(info, Mapping) else ():
        if key == "supports_vision" and isinstance(value, bool):
            data["vision"] = value
            notes.append(FieldNote("model_info.supports_vision", "changed", "now vision"))
        elif key == "description" and value:
            data["description"] = str(value)
        elif value is not None:
            notes.append(FieldNote(f"model_info.{key}", "dropped", "told to LiteLLM's clients alone"))
    for key, value in entry.items():
        if key not in ("model_name", "litellm_params", "model_info") and value is not None:
            notes.append(FieldNote(str(key), "dropped", _OF_ENTRY.get(str(key), "not known of LiteLLM")))


def _reference(value: Any) -> str:
    """Return `os.environ/NAME` as a reference of ours; other text as it is."""
    text = str(value or "")
    found = re.fullmatch(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)", text)
    return f"env:{found[1]}" if found else text
