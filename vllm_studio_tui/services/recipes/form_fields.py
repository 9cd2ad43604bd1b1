"""The fields of the recipe form: in which section each stands, what it is called, and what is said of it.

The fields themselves come from the model: a new one appears by itself, in the section "More".
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import ENGINE_FIELDS
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.recipe_parts import HANDOVER_FIELDS
from vllm_studio_tui.services.recipes.field_text import as_text

SECTIONS: dict[str, tuple[str, ...]] = {
    "Model": ("model_path", "backend", "base_url", "command", "id", "name", "served_model_name", "revision",
              "tokenizer", "trust_remote_code", "description", "tags", "extends"),
    "Memory": ("max_model_len", "gpu_memory_utilization", "kv_cache_dtype", "max_num_seqs", "max_num_batched_tokens",
               "enable_prefix_caching", "dtype", "quantization"),
    "Parallel": ("gpus", "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "expert_parallel",
                 "nodes", "strategy"),
    "Serving": ("host", "port", "api_key", "ready_timeout", "health_path", "metrics_style"),
    "Requests": ("aliases", "on_demand", "ttl", "persistent", "preload", "priority", "max_concurrent",
                 "stall_timeout", "params.set", "params.default", "params.strip"),
    "Tools": ("tool_call_parser", "enable_auto_tool_choice", "reasoning_parser", "thinking_mode",
              "max_thinking_tokens", "chat_template_kwargs", "vision"),
    "Speed": ("speculative", "enable_chunked_prefill"),
    "LoRA": ("lora_modules",),
    "Env": ("runtime", "executable", "python_path", "cwd", "env_vars"),
    "Restart": (),
    "Docker": (),
    "Handover": (),
    "All": ("extra_args",),
}  # fmt: skip
#: What each section is called where there is room, and what is in it.
TITLES: dict[str, tuple[str, str]] = {
    "Model": ("Model", "what is run, and what it is called"),
    "Memory": ("Memory and context", "what a GPU gives, and for how long"),
    "Parallel": ("Parallel", "how it is spread over GPUs"),
    "Serving": ("Serving", "where it listens, and who may ask"),
    "Requests": ("Served requests", "through `serve`: when it is started and stopped, what is asked of it"),
    "Tools": ("Tools and thinking", "how calls and thoughts are read"),
    "Speed": ("Speed", "what makes it quicker"),
    "LoRA": ("LoRA", "adapters"),
    "Env": ("Environment", "program, folder and variables"),
    "Restart": ("Restart", "what happens when it ends"),
    "Docker": ("Docker", "for `runs: docker`"),
    "Handover": ("Handover", "for SLURM, Ray Serve, Kubernetes, SkyPilot"),
    "All": ("All other flags", "as on the engine's command line"),
}
LABELS: dict[str, str] = {
    "model_path": "Model", "backend": "Engine", "base_url": "Address", "command": "Command", "id": "Id", "name": "Name",
    "served_model_name": "Name in requests", "revision": "Revision", "tokenizer": "Tokenizer",
    "trust_remote_code": "Run the model's code", "description": "Notes", "tags": "Tags", "extends": "Follows",
    "max_model_len": "Context length", "gpu_memory_utilization": "Memory to use", "kv_cache_dtype": "KV cache type",
    "max_num_seqs": "Users at once", "max_num_batched_tokens": "Tokens a step",
    "enable_prefix_caching": "Reuse of prompts", "dtype": "Type of weights", "quantization": "Quantization",
    "gpus": "GPUs", "tensor_parallel_size": "GPUs for each layer", "pipeline_parallel_size": "Groups of layers",
    "data_parallel_size": "Copies of the model", "expert_parallel": "Spread the experts",
    "host": "Listen on", "port": "Port", "api_key": "Key of clients", "ready_timeout": "A start may take",
    "health_path": "Health path", "metrics_style": "Metrics like",
    "aliases": "Further names", "on_demand": "Start on request", "ttl": "Stop when idle for",
    "persistent": "Never make room", "preload": "Start with serve", "priority": "Priority",
    "max_concurrent": "Asked at once", "stall_timeout": "Silent for at most", "params.set": "Always put in",
    "params.default": "Put in if missing", "params.strip": "Taken out",
    "tool_call_parser": "Tool parser", "enable_auto_tool_choice": "Calls by itself",
    "reasoning_parser": "Thinking parser", "thinking_mode": "Thinking", "max_thinking_tokens": "Thinks at most",
    "chat_template_kwargs": "Template options", "vision": "Pictures",
    "speculative": "Speculative", "enable_chunked_prefill": "Prompts in pieces", "lora_modules": "Adapters",
    "runtime": "Runs", "executable": "Program", "python_path": "Interpreter", "cwd": "Folder",
    "env_vars": "Variables", "extra_args": "Flags",
    "restart.policy": "Start again", "restart.delay": "First wait", "restart.max_delay": "Longest wait",
    "restart.budget": "Failures allowed", "restart.window": "Counted within",
    "restart.stall_after": "No token for", "restart.hang_after": "No answer for",
    "docker.image": "Image", "docker.volumes": "Volumes", "docker.args": "docker run with",
    "docker.shm": "Shared memory",
    "docker.gpus": "Hand in GPUs",
    "nodes": "Hosts", "strategy": "Hosts share it by",
    "handover.to": "Handed over to", "handover.nodes": "Machines a copy", "handover.replicas": "Copies",
    "handover.max_replicas": "Copies at most", "handover.address": "Dashboard", "handover.partition": "Partition",
    "handover.account": "Account", "handover.time_limit": "May run for", "handover.namespace": "Namespace",
    "handover.context": "Context", "handover.accelerator": "Kind of GPU", "handover.cpus": "Processors",
    "handover.memory": "Memory", "handover.setup": "Shell before", "handover.options": "Further options",
}  # fmt: skip
UNITS = {
    "max_model_len": "tokens",
    "max_thinking_tokens": "tokens",
    "gpu_memory_utilization": "of each GPU",
    "ready_timeout": "s",
    "ttl": "s",
    "stall_timeout": "s",
    "max_concurrent": "requests",
    "max_num_seqs": "requests",
    "max_num_batched_tokens": "tokens",
    "restart.delay": "s",
    "restart.max_delay": "s",
    "restart.window": "s",
    "restart.stall_after": "s",
    "restart.hang_after": "s",
    "restart.budget": "failures",
}
HELP = {
    "model_path": "a folder, a GGUF file, or a name on the hub; after / or ~ what is there is offered",
    "id": "short name for commands: a-z 0-9 . _ -; of a new recipe blank: made of the model's name",
    "name": "what is shown; blank: the id",
    "port": "blank: the first free one, from inference_port of the settings on",
    "max_model_len": "the longest prompt and answer together; 32k is understood, -1 lets the engine fit it",
    "max_num_seqs": "how many requests it works on at once; more wait in line",
    "vision": "whether pictures may be sent; blank: by the model",
    "on_demand": "a request to serve may start it; blank: by the setting on_demand",
    "ttl": "without a request, then serve stops it; 0: never; blank: by the setting idle_ttl",
    "params.set": 'into every request, as JSON, for example {"temperature": 0.2}',
    "ready_timeout": "blank: as long as it lives",
    "kv_cache_dtype": "fp8 halves the cache",
    "tensor_parallel_size": "GPUs that share every layer",
    "pipeline_parallel_size": "GPUs that share the layers among them",
    "data_parallel_size": "copies of the model, each with GPUs of its own",
    "speculative": 'as JSON, for example {"method": "ngram", "num_speculative_tokens": 4}',
    "chat_template_kwargs": 'as JSON, for example {"enable_thinking": false}',
    "dtype": "of the weights; blank takes the model's own",
    "quantization": "only where the engine does not see it by itself",
    "tags": "words to search by, with blanks between",
    "extends": "the id of another recipe: what both have in common changes with it",
    "thinking_mode": "how freely the model may think",
    "enable_auto_tool_choice": "lets the model decide when to call a tool",
    "tool_call_parser": "how the engine reads tool calls of this family",
    "reasoning_parser": "how the engine splits thinking from the answer",
    "cwd": "where the engine is started",
    "env_vars": "NAME=value, with blanks between; secrets as env:NAME or file:PATH",
    "extra_args": "--flag value, as on the engine's command line",
    "nodes": "as ssh takes them, the first one answers; blank: this machine",
    "strategy": "tp: every layer over all; tp_pp: groups of layers; dp: copies; pd: prompts here, answers there",
    "handover.to": "which system places and runs it; none: this machine, or the hosts named above",
    "handover.max_replicas": "the most copies; blank: their number is fixed",
    "handover.address": "of Ray, as http://HOST:8265; blank: RAY_ADDRESS",
    "handover.partition": "of SLURM",
    "handover.account": "of SLURM, that is charged",
    "handover.time_limit": "of SLURM, as D-HH:MM:SS",
    "handover.namespace": "of Kubernetes",
    "handover.context": "of kubectl",
    "handover.cpus": "a machine",
    "handover.memory": "a machine, for example 64G",
    "restart.policy": "never, on-failure or always",
    "restart.delay": "before the first restart; doubled for each further one",
    "restart.max_delay": "the longest wait",
    "restart.stall_after": "requests run and no token comes: it is started again; 0: never",
    "restart.hang_after": "it lives and does not answer: it is started again; 0: never",
    "restart.budget": "failures within the window, then it is left alone",
    "restart.window": "in which failures are counted",
}
#: What a blank field means, where the recipe has no default of its own.
BLANK = {
    "max_model_len": "the model's own",
    "gpu_memory_utilization": "the engine's own",
    "max_num_seqs": "the engine's own",
    "max_num_batched_tokens": "the engine's own",
    "enable_prefix_caching": "the engine's own",
    "enable_chunked_prefill": "the engine's own",
    "dtype": "the model's own",
    "quantization": "as the model says",
    "tokenizer": "the model's own",
    "revision": "the latest",
    "served_model_name": "the model's own",
    "port": "the first free",
    "gpus": "the engine's choice",
    "api_key": "none is asked for",
    "vision": "by the model",
    "nodes": "this machine",
    "handover.max_replicas": "as many as always",
    "handover.address": "RAY_ADDRESS",
    "handover.partition": "the default one",
    "handover.account": "the default one",
    "handover.time_limit": "the partition's",
    "handover.namespace": "that of the context",
    "handover.context": "the current one",
    "handover.accelerator": "any",
    "handover.cpus": "left to the system",
    "handover.memory": "left to the system",
    "handover.setup": "nothing",
    "handover.options": "none",
    "executable": "looked for",
    "python_path": "looked for",
    "cwd": "that of the studio",
    "tool_call_parser": "none",
    "reasoning_parser": "none",
    "max_thinking_tokens": "no limit",
    "ready_timeout": "no limit",
    "aliases": "none",
    "on_demand": "as the settings say",
    "ttl": "as the settings say",
    "max_concurrent": "no limit",
    "stall_timeout": "no limit",
    "params.set": "nothing",
    "params.default": "nothing",
    "params.strip": "nothing",
    "speculative": "none",
    "lora_modules": "none",
    "extra_args": "none",
    "env_vars": "none",
    "health_path": "the engine's own",
    "name": "the id",
}
CHOICES: dict[str, tuple[str, ...]] = {
    "kv_cache_dtype": ("auto", "fp8", "fp8_e4m3", "fp8_e5m2"),
    "dtype": ("auto", "bfloat16", "float16", "float32"),
}


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of the form.

    Attributes:
        kind: text, number, switch, choice, list, map, json or flags.
        default: What stands there when it is left blank, as text.
        choices: For a choice all values; for text suggestions.
        label: What it is called, in words.
    """

    name: str
    section: str
    kind: str
    help: str = ""
    unit: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    optional: bool = True
    label: str = ""

    def shown(self, text: str) -> str:
        """Return a value as people call it: an engine by its name in tables."""
        return registry.label(text) if self.name == "backend" and text else text

    def stored(self, shown: str) -> str:
        """Return the value of which `shown` is the name."""
        return next((value for value in self.choices if self.shown(value) == shown), shown)


def form_fields() -> tuple[FormField, ...]:
    """Return every field of a recipe, in the order of the form."""
    placed = {name: section for section, names in SECTIONS.items() for name in names}
    found: dict[str, FormField] = {}
    for name, info in Recipe.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for inner, inner_info in annotation.model_fields.items():
                full = f"{name}.{inner}"
                found[full] = _field(full, inner_info, placed.get(full, name.capitalize()))
        else:
            found[name] = _field(name, info, placed.get(name, "More"))
    order = [name for names in SECTIONS.values() for name in names]
    sections = list(SECTIONS)

    def place(one: FormField) -> tuple[int, int]:
        section = sections.index(one.section) if one.section in sections else len(sections)
        return section, order.index(one.name) if one.name in order else len(order)

    return tuple(sorted(found.values(), key=place))


def _field(name: str, info: FieldInfo, section: str) -> FormField:
    annotation = info.annotation
    options = [one for one in get_args(annotation) if one is not types.NoneType]
    is_union = get_origin(annotation) in (Union, types.UnionType)
    inner = options[0] if is_union and options else annotation
    optional = is_union and types.NoneType in get_args(annotation)
    choices: tuple[str, ...] = CHOICES.get(name, ())
    kind = "text"
    if name == "backend":
        kind, choices = "choice", tuple(registry.backends())
    elif get_origin(inner) is Literal:
        kind, choices = "choice", tuple(str(one) for one in get_args(inner))
    elif inner is bool:
        kind = "choice" if optional else "switch"
        choices = ("", "yes", "no") if optional else ()
    elif inner in (int, float) or (get_origin(inner) is not None and get_args(inner)[:1] in ((int,), (float,))):
        kind = "number"
    elif name == "extra_args":
        kind = "flags"
    elif get_origin(inner) is dict and get_args(inner)[1:] == (Any,):
        kind = "json"
    elif get_origin(inner) is dict:
        kind = "map"
    elif get_origin(inner) is tuple or name == "gpus":
        kind = "list"
    default = "" if info.is_required() else as_text(kind, info.get_default(call_default_factory=True))
    words = HELP.get(name, info.description or "")
    label = LABELS.get(name, name.replace("_", " ").replace(".", " ").capitalize())
    return FormField(name, section, kind, words, UNITS.get(name, ""), default, choices, optional, label)


def engine_of(texts: Mapping[str, str]) -> str:
    """Return the name of the engine that a form is for."""
    return texts.get("backend", "").strip() or str(Recipe.model_fields["backend"].default)


def is_shown(one: FormField, texts: Mapping[str, str]) -> bool:
    """Return whether a field means something for the engine of the form, or has a text all the same."""
    backend = registry.find(engine_of(texts))
    name = one.name
    if backend is None or texts.get(name, "") not in ("", "no", one.default):
        return True
    if name in ENGINE_FIELDS:
        return name in backend.uses
    custom = "command" in backend.program_fields
    if name in ("executable", "python_path", "command"):
        return name in backend.program_fields
    if name == "base_url":
        return not backend.needs_launch
    if name in ("metrics_style", "health_path"):
        return custom
    if name == "vision":
        return False
    if one.section == "Docker":
        return texts.get("runtime") == "docker"
    if name == "handover.to":
        return backend.needs_launch
    if one.section == "Handover":
        return name in handover_fields(texts.get("handover.to", ""))
    if name == "strategy":
        hosts = texts.get("nodes", "").replace(",", " ").split()
        return len(hosts) > 1 or texts.get("handover.nodes", "1") not in ("", "1")
    started = ("host", "port", "cwd", "gpus", "env_vars", "extra_args", "ready_timeout", "runtime",
               "on_demand", "ttl", "persistent", "preload", "priority", "nodes")  # fmt: skip
    return backend.needs_launch or (name not in started and one.section != "Restart")


def handover_fields(to: str) -> frozenset[str]:
    """Return the names of the fields that a system which recipes are handed over to is told."""
    return frozenset(f"handover.{name}" for name in HANDOVER_FIELDS.get(to, ()))


def is_needed(one: FormField, texts: Mapping[str, str]) -> bool:
    """Return whether a recipe of this engine cannot do without the field."""
    backend = registry.find(engine_of(texts))
    if one.name == "model_path":
        return backend is None or (backend.needs_launch and "command" not in backend.program_fields)
    if one.name == "base_url":
        return backend is not None and not backend.needs_launch
    if one.name == "command":
        return backend is not None and "command" in backend.program_fields
    return one.name == "docker.image" and texts.get("runtime") == "docker"


def blank_text(one: FormField, texts: Mapping[str, str], *, new: bool) -> str:
    """Return what a blank field stands for, in words: the default where it is known."""
    if is_needed(one, texts):
        return "needed"
    if one.name == "id":
        return "made of the model's name" if new else "needed"
    backend = registry.find(engine_of(texts))
    if backend is not None and one.name in backend.engine_defaults:
        value = backend.engine_defaults[one.name]
        return f"default {as_text('switch' if isinstance(value, bool) else one.kind, value)}"
    if one.default:
        return f"default {one.shown(one.default)}"
    return BLANK.get(one.name, "")


def flag_of(one: FormField, texts: Mapping[str, str]) -> str:
    """Return the flag of the engine's command line that a field becomes; empty where it is not known."""
    backend = registry.find(engine_of(texts))
    flags = [flag for flag, field in backend.pasted_flags.items() if field == one.name] if backend is not None else []
    return max(flags, key=len, default="")
