"""Engines of the original that have no backend here: what runs their recipes instead, and what of them that carries."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.domain.recipe import FieldNote, Recipe

#: What the original added to a command of the user's for ExLlamaV3.
_EXLLAMA = " --host {host} --port {port} --served-model-name {name} --model {model}"
#: Fields that tell an engine how to run a model.
_TUNING = (
    "tensor_parallel_size", "pipeline_parallel_size", "max_model_len", "gpu_memory_utilization", "kv_cache_dtype",
    "max_num_seqs", "max_num_batched_tokens", "enable_prefix_caching", "enable_chunked_prefill", "dtype",
    "quantization", "tool_call_parser", "reasoning_parser", "enable_auto_tool_choice", "max_thinking_tokens",
    "expert_parallel", "thinking_mode",
)  # fmt: skip
#: Those of them that TabbyAPI takes.
_TABBY = frozenset({
    "tensor_parallel_size", "max_model_len", "kv_cache_dtype", "max_num_seqs", "tool_call_parser", "reasoning_parser",
})  # fmt: skip


def convert_backend(out: dict[str, Any], notes: list[FieldNote]) -> None:
    """Convert engines that the original has and we have not.

    A command of the user's for ExLlamaV3 stays that command; without one TabbyAPI serves the model. MLX is served by
    the command of its own package.
    """
    backend, command = out.get("backend"), out.get("command")
    theirs = any(note.field.endswith("exllama_command") for note in notes)
    if backend == "exllamav3" and theirs and isinstance(command, str) and command:
        out["backend"] = "custom"
        out["command"] = _literal(command) + _EXLLAMA
        why = "exllamav3 is no engine here: a custom command, with the arguments that the original gave it"
        notes.append(FieldNote("backend", "changed", why))
    elif backend == "exllamav3":
        out["backend"] = "tabbyapi"
        why = (
            "exllamav3 is no engine here: TabbyAPI serves such models; name its folder in the settings (tabby_dir) "
            "or here (cwd). In requests the model is called as its folder is"
        )
        notes.append(FieldNote("backend", "changed", why))
        _drop(out, notes, [one for one in _TUNING if one not in _TABBY], "TabbyAPI has no such setting")
    elif backend == "mlx":
        _mlx(out, notes)
    elif command and backend != "custom":
        named = backend or Recipe.model_fields["backend"].default
        why = f"kept, but {named} does not use it: set backend custom to launch it"
        notes.append(FieldNote("command", "taken", why))


def _mlx(out: dict[str, Any], notes: list[FieldNote]) -> None:
    """Make a custom command of an MLX recipe: `mlx_lm.server`, with the flags of the recipe that it has."""
    program = "{python} -m mlx_lm.server" if out.get("python_path") else "mlx_lm.server"
    words = [f"{program} --model {{model}} --host {{host}} --port {{port}}"]
    if out.pop("trust_remote_code", False) is True:
        words.append("--trust-remote-code")
        notes.append(
            FieldNote("trust_remote_code", "changed", "now --trust-remote-code: code of the model runs as you")
        )
    template = out.pop("chat_template_kwargs", None)
    if isinstance(template, Mapping) and template:
        words.append(f"--chat-template-args {_literal(shlex.quote(json.dumps(template)))}")
        notes.append(FieldNote("chat_template_kwargs", "changed", "now --chat-template-args of the command"))
    extra = out.pop("extra_args", None)
    for raw, value in extra.items() if isinstance(extra, Mapping) else ():
        words += _flag(str(raw), value)
        notes.append(FieldNote(f"extra_args.{raw}", "changed", "now a flag of the command"))
    given = out.pop("command", None)
    if given:
        notes.append(FieldNote("command", "dropped", "replaced by that of mlx_lm.server"))
    out["backend"], out["command"] = "custom", " ".join(words)
    why = "mlx is no engine here: a custom command with the server of mlx-lm, which must be installed"
    notes.append(FieldNote("backend", "changed", why))
    _drop(out, notes, _TUNING, "mlx_lm.server has no such setting")
    if out.get("served_model_name"):
        _drop(out, notes, ("served_model_name",), "mlx_lm.server calls the model by its path")


def _flag(raw: str, value: Any) -> list[str]:
    name = "--" + raw.lstrip("-").replace("_", "-")
    if value is None or value is False:
        return []
    if value is True:
        return [_literal(shlex.quote(name))]
    text = value if isinstance(value, str) else json.dumps(value)
    return [_literal(shlex.quote(name)), _literal(shlex.quote(text))]


def _drop(out: dict[str, Any], notes: list[FieldNote], names: Any, why: str) -> None:
    """Take fields out; what is no more than the default is not worth a word."""
    for name in names:
        if name not in out:
            continue
        value = out.pop(name)
        if value != Recipe.model_fields[name].default:
            notes.append(FieldNote(name, "dropped", f"{str(value)[:60]}: {why}"))


def _literal(text: str) -> str:
    """Return text as a command template has it, in which braces are placeholders."""
    return text.replace("{", "{{").replace("}", "}}")
