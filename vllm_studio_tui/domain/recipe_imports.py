"""Import recipes of other programs: undo the original system's blanket defaults, and warn of what a launch would do."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Set
from typing import Any

from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.kit.masking import mask_text

#: What the original wrote into every recipe, whether anybody meant it or not.
_BLANKET: tuple[tuple[str, Any, str], ...] = (
    (
        "host",
        "0.0.0.0",  # noqa: S104  # to be reset
        "the original listened on every interface by default; set it again if you mean it",
    ),
    ("port", 8000, "the original wrote 8000 into every recipe; the first free port is used"),
    (
        "trust_remote_code",
        True,
        "the original trusted every model's code by default; switch it on if it is needed",
    ),
)
#: Fields that the original wrote, set or not, and hardly a person writes together.
_WHOLE = frozenset({
    "id", "name", "model_path", "host", "port", "trust_remote_code", "tensor_parallel_size", "pipeline_parallel_size",
    "max_model_len", "gpu_memory_utilization", "kv_cache_dtype", "max_num_seqs", "extra_args",
})  # fmt: skip
_LEFT_OPEN = ("env_vars", "tool_call_parser", "reasoning_parser", "quantization", "dtype", "served_model_name",
              "python_path", "max_thinking_tokens")  # fmt: skip
#: What the original kept beside a recipe.
_BESIDE = frozenset({"status", "created_at", "updated_at", "model_key", "is_default"})
#: Fields that only we have.
_OURS = frozenset({
    "data_parallel_size", "docker", "gpus", "lora_modules", "metrics_style", "restart", "revision", "aliases",
    "on_demand", "ttl", "persistent", "preload", "max_concurrent", "stall_timeout", "params",
    "nodes", "strategy", "handover",
})  # fmt: skip

#: Flags by which vLLM loads Python files or classes that are named to it.
_CODE_FLAGS = frozenset({"tool_parser_plugin", "reasoning_parser_plugin", "middleware", "logits_processors"})


def is_from_original(keys: Set[str], data: Mapping[Any, Any]) -> bool:
    """Whether a recipe has the shape in which the original wrote its own: every field, also those that are left open,
    or what it kept beside them.

    Args:
        keys: Its keys in lower case, with underscores.
    """
    if not _OURS.isdisjoint(keys):
        return False
    return not _BESIDE.isdisjoint(keys) or (keys >= _WHOLE and any(data.get(name, "") is None for name in _LEFT_OPEN))


def reset_original_defaults(out: dict[str, Any], notes: list[FieldNote]) -> None:
    """Remove the values that the original wrote into every recipe."""
    for field, theirs, why in _BLANKET:
        if field in out and out[field] == theirs and type(out[field]) is type(theirs):
            notes.append(FieldNote(field, "changed", why))
            out.pop(field)


def add_warnings(out: Mapping[str, Any], notes: list[FieldNote]) -> None:
    """Add a note for everything that a launch of this recipe would run as the user, or open to other hosts."""
    host = out.get("host")
    if isinstance(host, str) and not is_loopback(host):
        key = "" if out.get("api_key") else ", and there is no api_key"
        notes.append(FieldNote("host", "taken", f"as it was written: other hosts can reach {host}{key}"))
    if out.get("trust_remote_code") is True:
        notes.append(FieldNote("trust_remote_code", "taken", "as it was written: code of the model runs as you"))
    runs = [(name, out.get(name)) for name in ("executable", "python_path")]
    if out.get("backend") == "custom":
        runs.append(("command", out.get("command")))
    docker = out.get("docker") if isinstance(out.get("docker"), Mapping) else {}
    assert isinstance(docker, Mapping)
    runs += [(f"docker.{name}", docker.get(name)) for name in ("image", "args", "volumes")]
    extra = out.get("extra_args")
    for name, value in extra.items() if isinstance(extra, Mapping) else ():
        if str(name).lstrip("-").replace("-", "_") in _CODE_FLAGS:
            runs.append((f"extra_args.{name}", value))
    for name, value in runs:
        if value:
            words = " ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)
            why = f"a launch will use this, as you; look at it before: {mask_text(words)[:200]}"
            notes.append(FieldNote(name, "taken", why))


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
