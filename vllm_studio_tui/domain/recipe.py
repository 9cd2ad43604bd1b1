"""The recipe: how to launch a model. Fields, limits and defaults; `domain.recipe_reading` reads what people wrote.

Field names follow the original system, so that its files can be imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from vllm_studio_tui.domain.recipe_parts import Docker, Handover, Positive, RequestParams, RestartRule, Text, text_of

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
BACKEND = re.compile(r"[a-z][a-z0-9_-]{0,31}")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")
#: A host as ssh takes it; one that begins with a dash would be an option of ssh.
NODE = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,63}@)?[A-Za-z0-9_][A-Za-z0-9._-]{0,252}(?::[0-9]{1,5})?")
#: A further name in requests: command lines separate names by blanks or commas.
ALIAS = re.compile(r"[^\s,\x00-\x1f\x7f]{1,200}")
#: Variables that make a program run other code: imported recipes that set them are pointed out.
RISKY_ENV = frozenset(
    {
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHONHOME",
        "BASH_ENV",
        "ENV",
        "PATH",
    }
)


def _gpus(value: Any) -> Any:
    """Return indices or UUIDs from a list or from text such as `0,1`."""
    if value is None or value == "":
        return ()
    if isinstance(value, bool):
        raise ValueError("GPUs are indices or UUIDs")
    if isinstance(value, int):
        return (str(value),)
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list | tuple):
        return tuple(str(part) for part in value if not isinstance(part, bool))
    raise ValueError("GPUs are a list of indices or UUIDs")


Gpus = Annotated[tuple[str, ...], BeforeValidator(_gpus)]


class Recipe(BaseModel):
    """How to launch a model. None leaves a choice to the engine."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    id: str = Field(description="Short name for commands: a-z 0-9 . _ -")
    name: Text = Field(description="Name to show.")
    model_path: Text = Field("", description="A directory, a file, or a name on the hub.")
    backend: str = Field("vllm", description="Kind of engine.")
    runtime: Literal["native", "docker"] = Field("native", description="How the engine is run.")
    description: Text = Field("", description="What it is for, and which GPUs it needs.")
    tags: tuple[str, ...] = Field((), description="Words to search by.")
    extends: str | None = Field(None, description="Another recipe that it follows in what both have in common.")

    host: str = Field("127.0.0.1", description="Address to listen on. Loopback: only this machine.")
    port: int | None = Field(None, ge=1, le=65535, description="None: the first free one.")
    served_model_name: Text | None = Field(None, description="Name in requests; otherwise the model's own.")
    api_key: str | None = Field(None, description="Reference to the key that clients must send: env:NAME or file:PATH.")
    base_url: str | None = Field(None, description="External servers only: where they are, ending in /v1.")

    aliases: tuple[Text, ...] = Field((), description="Further names in requests to serve, with blanks between.")
    on_demand: bool | None = Field(None, description="A request to serve may start it; None: by the setting on_demand.")
    ttl: float | None = Field(
        None, ge=0, description="Seconds without a request after which serve stops it; 0: never; None: by idle_ttl."
    )
    persistent: bool = Field(False, description="serve never stops it to make room for another.")
    preload: bool = Field(False, description="serve starts it when it begins.")
    priority: int = Field(0, ge=-1000, le=1000, description="Requests for higher ones are loaded first.")
    max_concurrent: Positive | None = Field(None, description="Requests that serve sends at once; more wait.")
    stall_timeout: float | None = Field(
        None, gt=0, description="Seconds without a byte, then serve gives an answer up."
    )
    params: RequestParams = RequestParams()

    revision: Text | None = Field(None, description="Branch, tag or commit on the hub.")
    tokenizer: Text | None = Field(None, description="Another tokenizer than the model's own: a directory or a name.")
    lora_modules: dict[str, str] = Field(default_factory=dict, description="Adapters: name=path, with blanks between.")

    gpus: Gpus = Field((), description="Indices, UUIDs or MIG UUIDs; auto: free ones; empty: the engine chooses.")
    tensor_parallel_size: Positive = Field(1, description="Number of GPUs that share every layer.")
    pipeline_parallel_size: Positive = Field(1, description="Number of GPUs, or groups, that each hold some layers.")
    data_parallel_size: Positive = Field(1, description="Number of copies of the model, each on GPUs of its own.")
    expert_parallel: bool = Field(False, description="Experts of a mixture spread over the GPUs.")
    nodes: tuple[Text, ...] = Field(
        (), description="Hosts that it runs on, over ssh, the first one answers; `localhost` is this one; empty: here."
    )
    strategy: Literal["single", "tp", "tp_pp", "dp", "pd"] = Field(
        "single",
        description="How several machines share it: by layers (tp, tp_pp), copies (dp), or steps (pd).",
    )
    handover: Handover = Handover()
    max_model_len: int | None = Field(None, ge=-1, description="Context in tokens; None: the model's own.")
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1, description="Share of each GPU's memory.")
    kv_cache_dtype: str = Field("auto", description="Type of the KV cache; fp8 halves its memory.")
    max_num_seqs: Positive | None = Field(None, description="Requests at once.")
    max_num_batched_tokens: Positive | None = Field(None, description="Tokens of one step; of a prompt, one chunk.")
    enable_prefix_caching: bool | None = Field(None, description="Reuse of common beginnings.")
    enable_chunked_prefill: bool | None = Field(None, description="Long prompts in pieces, between answers.")
    speculative: dict[str, Any] = Field(default_factory=dict, description="Settings of speculative decoding.")
    dtype: str | None = Field(None, description="Type of the weights; None: the model's own.")
    quantization: str | None = Field(None, description="How the weights are quantized; None: the engine sees it.")
    trust_remote_code: bool = Field(False, description="Lets code of the model's repository run here.")
    tool_call_parser: str | None = Field(None, description="How the engine reads tool calls of this family of models.")
    reasoning_parser: str | None = Field(None, description="How the engine separates thinking from the answer.")
    enable_auto_tool_choice: bool = Field(False, description="Lets the model decide when to call a tool.")
    thinking_mode: Literal["auto", "conservative", "balanced", "aggressive", "disabled"] = Field(
        "conservative", description="How much the model may think, where it has a budget for that."
    )
    max_thinking_tokens: int | None = Field(None, ge=0, description="Budget of thinking, where the model has one.")
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict, description="What the chat template is given.")
    vision: bool | None = Field(None, description="Whether pictures may be sent; None: that is left to the model.")

    executable: str | None = Field(None, description="The engine's program; otherwise looked for.")
    python_path: str | None = Field(None, description="The engine's own interpreter.")
    command: str | None = Field(
        None,
        description="Custom engines: {model} {host} {port} {name} {python} are filled in; on several machines also "
        "{rank} {nodes} {head} {address} {master_port}.",
    )
    cwd: str | None = Field(None, description="The directory in which the engine is started.")
    env_vars: dict[str, str] = Field(default_factory=dict, description="Values, or env:NAME, file:PATH for secrets.")
    extra_args: dict[str, Any] = Field(default_factory=dict, description="Further flags of the engine.")

    health_path: str | None = Field(None, description="Custom engines: what answers 200 when it is up.")
    metrics_style: str | None = Field(None, description="Custom engines: whose metrics and log they speak.")
    ready_timeout: float | None = Field(None, gt=0, description="Seconds a start may take; None: as long as it lives.")
    restart: RestartRule = RestartRule()
    docker: Docker = Docker()

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        if not ID.fullmatch(value):
            raise ValueError("an id is a-z, 0-9, dot, dash, underscore; it begins with a letter or digit; at most 64")
        return value

    @field_validator("extends")
    @classmethod
    def _extends(cls, value: str | None) -> str | None:
        if value and not ID.fullmatch(value):
            raise ValueError("not the id of a recipe")
        return value or None

    @field_validator("backend")
    @classmethod
    def _backend(cls, value: str) -> str:
        if not BACKEND.fullmatch(value):
            raise ValueError("not the name of a backend")
        return value

    @field_validator("api_key")
    @classmethod
    def _api_key(cls, value: str | None) -> str | None:
        if value is not None and not REFERENCE.fullmatch(value):
            raise ValueError("a secret is not written into a recipe: use env:NAME or file:PATH")
        return value

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.rstrip("/")
        if not value.startswith(("http://", "https://")):
            raise ValueError("it begins with http:// or https://")
        if not value.endswith("/v1"):
            raise ValueError("it ends in /v1")
        try:
            readable = bool(urlsplit(value).hostname) and urlsplit(value).port != 0
        except ValueError:
            readable = False
        if not readable:
            raise ValueError("it is no address of a server")
        return value

    @field_validator("aliases", mode="before")
    @classmethod
    def _one_alias(cls, value: Any) -> Any:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("aliases")
    @classmethod
    def _aliases(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not ALIAS.fullmatch(one):
                raise ValueError("a name has no blanks and no commas, and at most 200 characters")
        return tuple(dict.fromkeys(value))

    @field_validator("nodes", mode="before")
    @classmethod
    def _split_nodes(cls, value: Any) -> Any:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("nodes")
    @classmethod
    def _nodes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not NODE.fullmatch(one):
                raise ValueError(f"{one[:40]!r} is not a host as ssh takes it: [user@]host[:port]")
        if len(set(value)) != len(value):
            raise ValueError("a host is named twice")
        return value

    @field_validator("env_vars", mode="before")
    @classmethod
    def _env_vars(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("variables are names with values")
        for name in value:
            if not ENV_NAME.fullmatch(str(name)):
                raise ValueError(f"{str(name)[:40]!r} is not the name of a variable")
        return {str(name): text_of(one) for name, one in value.items() if one is not None}

    @field_validator("model_path", "host", "command", "executable", "python_path", "cwd", mode="after")
    @classmethod
    def _no_nul(cls, value: str | None) -> str | None:
        if value is not None and ("\0" in value or "\n" in value):
            raise ValueError("one line, without NUL")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Recipe:
        if self.backend == "external" and not self.base_url:
            raise ValueError("an external server needs base_url")
        if self.backend == "custom" and not self.command:
            raise ValueError("a custom engine needs command")
        if self.backend not in ("external", "custom") and not self.model_path:
            raise ValueError("model_path is missing")
        if self.runtime == "docker" and not self.docker.image:
            raise ValueError("runtime docker needs docker.image")
        if self.runtime == "docker" and self.backend == "external":
            raise ValueError("an external server is not run by the studio: runtime must be native")
        if self.nodes and self.handover.to != "none":
            raise ValueError("nodes is for ssh: a system that it is handed over to chooses the machines itself")
        if self.backend == "external" and (self.nodes or self.handover.to != "none"):
            raise ValueError("an external server is not run by the studio: it has no nodes and is not handed over")
        if len(self.nodes) > 1 and self.strategy == "single":
            raise ValueError("several nodes need a strategy: tp, tp_pp, dp or pd")
        if self.strategy != "single" and self.node_count == 1:
            raise ValueError(f"strategy {self.strategy} needs several nodes, or handover.nodes")
        if "auto" in self.gpus and len(self.gpus) > 1:
            raise ValueError("gpus is either auto or a list")
        return self

    @property
    def node_count(self) -> int:
        """Return how many machines one copy of it takes."""
        return max(1, len(self.nodes)) if self.handover.to == "none" else self.handover.nodes

    @property
    def elsewhere(self) -> bool:
        """Return whether this machine only follows it: it runs on others, or is a job of a scheduler."""
        return bool(self.nodes) or self.handover.to != "none"

    @property
    def gpu_count(self) -> int:
        """Return how many GPUs the engine takes: one for every rank."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size


@dataclass(frozen=True, slots=True)
class FieldNote:
    """What happened to a field on import: taken, changed or dropped, and why."""

    field: str
    action: str
    why: str = ""


def recipe_to_data(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as JSON-able data: what differs from the defaults, and always id, name, backend, model_path."""
    data = recipe.model_dump(mode="json", exclude_defaults=True)
    for field in ("id", "name", "backend", "model_path"):
        data.setdefault(field, getattr(recipe, field))
    order = list(Recipe.model_fields)
    return dict(sorted(data.items(), key=lambda item: order.index(item[0])))
