"""Files in which engines, and the tools around them, keep flags: what a reader of such a file has to know of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """How the flags of an engine stand in files.

    Attributes:
        shape: `flags`: YAML with a flag for each key. `sections`: the same, in sections. `presets`: INI with a section
            for each model, and those of `[*]` for all.
        fields: Flags that are fields of a recipe, beyond those of pasted commands; without dashes before.
        model: The flag that names the model where the file does; with `folder` its name in that folder.
        folder: The flag of the folder that the model lies in.
        beside_model: The name of a file of the same shape that lies in the folder of a model, for that model.
        sections: Of a file of the shape `sections`, those that it may have.
        switches: Flags without a value, which a word such as `on` sets, and `off` with `no-` before them; of a file in
            which all values are text.
        words: What tools around it call its flags.
        notes: Keys that are no flags of a launch, and what becomes of them.
        tools: Formats of other tools (`services/recipes/formats/`) that keep flags of this engine.
    """

    shape: Literal["flags", "sections", "presets"]
    fields: Mapping[str, str] = field(default_factory=dict)
    model: str = "model"
    folder: str = ""
    beside_model: str = ""
    sections: frozenset[str] = frozenset()
    switches: frozenset[str] = frozenset()
    words: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    tools: frozenset[str] = frozenset()


VLLM = ConfigFile(
    "flags",
    fields={
        "enable-prefix-caching": "enable_prefix_caching", "enable-chunked-prefill": "enable_chunked_prefill",
        "enable-expert-parallel": "expert_parallel", "lora-modules": "lora_modules",
        "speculative-config": "speculative", "default-chat-template-kwargs": "chat_template_kwargs",
    },
    tools=frozenset({"vllm-cli", "vllm-recipes"}),
)  # fmt: skip
SGLANG = ConfigFile(
    "flags",
    fields={
        "tokenizer-path": "tokenizer", "chunked-prefill-size": "max_num_batched_tokens",
        "dp-size": "data_parallel_size", "lora-paths": "lora_modules",
        "default-chat-template-kwargs": "chat_template_kwargs",
    },
    model="model-path",
)  # fmt: skip
LLAMACPP = ConfigFile(
    "presets",
    fields={
        "parallel": "max_num_seqs", "batch-size": "max_num_batched_tokens", "cache-prompt": "enable_prefix_caching",
        "reasoning-format": "reasoning_parser", "reasoning-budget": "max_thinking_tokens",
        "chat-template-kwargs": "chat_template_kwargs", "hf-repo": "model_path",
    },
    switches=frozenset({
        "swa-full", "perf", "escape", "kv-offload", "repack", "cpu-moe", "check-tensors", "op-offload", "log-disable",
        "offline", "log-prefix", "log-timestamps", "verbose", "ignore-eos", "kv-unified", "cache-idle-slots",
        "context-shift", "warmup", "spm-infill", "mmproj-auto", "mmproj-offload", "ui", "webui", "embeddings",
        "reranking", "cache-prompt", "metrics", "props", "slots", "jinja", "reasoning-preserve", "prefill-assistant",
        "mmap", "mlock", "cont-batching", "backend-sampling", "direct-io",
    }),
    words={
        "num_ctx": "ctx-size", "num_gpu": "n-gpu-layers", "num_thread": "threads", "num_batch": "batch-size",
        "main_gpu": "main-gpu", "use_mmap": "mmap", "use_mlock": "mlock", "num_keep": "keep",
        "draft_num_predict": "spec-draft-n-max", "draft": "spec-draft-model", "projector": "mmproj",
        "offloadRatio": "n-gpu-layers", "contextLength": "ctx-size", "cpuThreadPoolSize": "threads",
        "evalBatchSize": "batch-size", "flashAttention": "flash-attn", "tryMmap": "mmap", "keepModelInMemory": "mlock",
        "numExperts": "override-kv", "seed": "seed",
    },
    notes={
        "load-on-startup": "preload",
        "stop-timeout": "the studio asks an engine to end, and waits as long as the run's settings say",
        "dl-until": "the studio downloads by itself: models pull",
    },
    tools=frozenset({"ollama", "lm-studio"}),
)  # fmt: skip
TABBY = ConfigFile(
    "sections",
    fields={
        "host": "host", "port": "port", "max-seq-len": "max_model_len", "cache-mode": "kv_cache_dtype",
        "max-batch-size": "max_num_seqs", "tool-format": "tool_call_parser",
    },
    model="model-name",
    folder="model-dir",
    sections=frozenset({
        "network", "logging", "model", "draft_model", "sampling", "lora", "embeddings", "memory", "developer",
        "actions", "config",
    }),
    notes={"disable-auth": "on loopback it is switched off by itself where the recipe has no api_key"},
    beside_model="tabby_config.yml",
)  # fmt: skip
