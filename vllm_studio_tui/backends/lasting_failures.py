"""Causes of failure that another try cannot change: what `failures` holds of wrong recipes, models and machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Pattern, reason, title, advice, and where one is known the change of the recipe that answers it.
Row = tuple[str, str, str, str] | tuple[str, str, str, str, Mapping[str, Any]]

FETCH = "Download it where there is a network, or unset HF_HUB_OFFLINE."
_FLAGS = "This version of the engine does not know it: remove it from extra_args or correct its name."

#: Causes that another try cannot change.
FIXED: tuple[Row, ...] = (
    # --- memory of the GPU and the KV cache
    (
        r"max seq len \((\d+)\).{0,20}?\(([\d.]+ GiB) KV.{0,80}?available KV cache memory \(([\d.]+ GiB)\)"
        r".{0,80}?estimated maximum model length is (\d+)",
        "kv_cache_too_small",
        "the KV cache cannot hold one request of {1} tokens: it needs {2} of {3}",
        "Set max_model_len to at most {4}, use kv_cache_dtype fp8, or raise gpu_memory_utilization.",
        {"max_model_len": "{4|16}"},
    ),
    (
        r"max seq len \((\d+)\).{0,20}?\(([\d.]+ GiB) KV.{0,80}?available KV cache memory \(([\d.]+ GiB)\)",
        "kv_cache_too_small",
        "the KV cache cannot hold one request of {1} tokens: it needs {2} of {3}",
        "Lower max_model_len, use kv_cache_dtype fp8, or raise gpu_memory_utilization.",
    ),
    (
        r"estimated maximum model length is (\d+)",
        "kv_cache_too_small",
        "the KV cache holds {1} tokens, fewer than one request may have",
        "Set max_model_len to at most {1}.",
        {"max_model_len": "{1|16}"},
    ),
    (
        r"No available memory for the cache blocks",
        "kv_cache_too_small",
        "weights and activations leave no memory for the KV cache",
        "Raise gpu_memory_utilization, use a smaller model or quantization, or more GPUs.",
    ),
    (
        r"Not enough memory\. Please try to increase --mem-fraction-static",
        "kv_cache_too_small",
        "the static memory pool is too small",
        "Raise gpu_memory_utilization (--mem-fraction-static), or use a smaller model.",
    ),
    (
        r"Available memory on node \S+ \(([\d.]+/[\d.]+ GiB)\) on kv cache allocation is less than requested memory"
        r" for kv \(([\d.]+ GiB)\)",
        "kv_cache_too_small",
        "the host has {1} free, the KV cache was to have {2}",
        "Lower VLLM_CPU_KVCACHE_SPACE.",
    ),
    # --- the model
    (
        r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len"
        r"(?: \(max_position_embeddings=(\d+))?",
        "context_too_long",
        "max_model_len {1} is longer than the model's own context",
        "Set max_model_len to the model's context ({2}) or less, or leave it empty.",
        {"max_model_len": "{2}"},
    ),
    (
        r"failed to create_context with model",
        "context_too_long",
        "there is not enough memory for the context that was asked for",
        "Set a smaller max_model_len (--ctx-size).",
    ),
    (
        r"Model architectures \[(.{1,200}?)\] are not supported",
        "architecture_unsupported",
        "this engine does not know the architecture {1}",
        "Upgrade the engine, try extra_args model_impl: transformers, or another backend.",
    ),
    (
        r"was supported in vLLM until v([\d.]+)",
        "architecture_unsupported",
        "vLLM dropped this architecture after {1}",
        "Use vLLM {1} for it (python_path in the recipe).",
    ),
    (
        r"not supported in-tree anymore.{0,300}plugin at (\S+)",
        "architecture_unsupported",
        "this architecture has moved to a plug-in",
        "Install the plug-in: {1}",
    ),
    (
        r"does not recognize this architecture|model type \S+ but Transformers",
        "architecture_unsupported",
        "the engine's transformers is too old for this model",
        "Upgrade transformers in the engine's environment.",
    ),
    (
        r"(?:set|pass|passing|argument|option)\b[^.]{0,40}trust_remote_code=True|requires you to execute the",
        "remote_code_needed",
        "the model brings code of its own that would have to be run",
        "Read that code first. Then set trust_remote_code and pin the revision in extra_args.",
    ),
    (
        r"GatedRepoError|access a gated repo|is a gated repo|401 Client Error|403 Client Error",
        "gated",
        "the hub refuses this model: its licence is not accepted, or there is no token",
        "Accept the licence on the model's page and set HF_TOKEN (env_vars HF_TOKEN: env:HF_TOKEN).",
    ),
    (
        r"OfflineModeIsEnabled|LocalEntryNotFound|cannot find the requested files in the (?:disk|local) cache",
        "offline",
        "the model is not in the cache and the hub may not be asked",
        FETCH,
    ),
    (
        r"failed to open GGUF file '([^']+)' \((?:No such file|Is a directory)",
        "model_missing",
        "there is no model file {1}",
        "Correct model_path in the recipe.",
    ),
    (
        r"Repo id must be in the form.{0,80}?: '([^']+)'",
        "model_missing",
        "there is no model at {1}: neither a folder of this machine nor a name on the hub",
        "Correct model_path in the recipe.",
    ),
    (
        r"RepositoryNotFound|Invalid repository ID or local directory"
        r"|is not a local folder and is not a valid model identifier",
        "model_missing",
        "there is no such model, or it is private",
        "Correct model_path in the recipe; for a private model set HF_TOKEN.",
    ),
    (
        r"config file at '([^']+\.gguf)' is not a valid JSON",
        "model_format",
        "this engine cannot read GGUF files",
        "Use backend llamacpp, or install vllm-gguf-plugin in the engine's environment.",
        {"backend": "llamacpp"},
    ),
    (
        r"Cannot find any model weights|No safetensors (?:weights|files)|IncompleteSnapshot",
        "model_incomplete",
        "the model folder has no weights that this engine can read",
        "Download it again, or set load_format in extra_args.",
    ),
    (
        r"SafetensorError|header too large|InvalidHeaderDeserialization",
        "model_corrupt",
        "a weight file is cut off, or only a Git LFS pointer",
        "Compare its size with the hub's and download it again.",
    ),
    (
        r"unknown model architecture: '([^']+)'",
        "architecture_unsupported",
        "this llama.cpp does not know the architecture {1}",
        "Use a newer llama-server.",
    ),
    (
        r"invalid magic|not a GGUF file|tensor .{0,200} has wrong shape|gguf_init_from_\w{1,40}: failed to read",
        "model_corrupt",
        "this is no whole GGUF file",
        "Check its size and its shards, download it again, or use a newer llama-server.",
    ),
    # --- GPUs and parallelism
    (
        r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)",
        "tensor_parallel_indivisible",
        "{1} attention heads cannot be split over {2} GPUs",
        "Set tensor_parallel_size to a divisor of {1}.",
    ),
    (
        r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)",
        "too_few_gpus",
        "{1} GPUs are asked for and {2} can be seen",
        "Lower tensor_parallel_size and pipeline_parallel_size, or check `gpus` and CUDA_VISIBLE_DEVICES.",
        {"tensor_parallel_size": "{2}", "pipeline_parallel_size": 1},
    ),
    (
        r"Found no NVIDIA driver|No CUDA GPUs are available|Failed to infer device type|no CUDA-capable device",
        "no_gpu",
        "no GPU can be seen",
        "Check nvidia-smi, the container's runtime and CUDA_VISIBLE_DEVICES.",
    ),
    (
        r"memory capacity is unbalanced",
        "gpus_unequal",
        "the GPUs have different amounts of free memory",
        "Choose GPUs that are equal and free.",
    ),
    (
        r"CUDA driver version is insufficient|NVIDIA driver on your system is too old"
        r"|forward compatibility was attempted",
        "driver_too_old",
        "the NVIDIA driver is older than this engine needs",
        "Upgrade the driver, or use a build for an older CUDA.",
    ),
    (
        r"no kernel image is available|CUDA error: invalid device function",
        "wrong_build",
        "this build of the engine has no kernels for this GPU",
        "Install a build for its compute capability.",
    ),
    (
        r"doesn't support torch\.bfloat16|Bfloat16 is only supported",
        "dtype_unsupported",
        "this GPU has no bfloat16",
        "Set dtype to float16.",
        {"dtype": "float16"},
    ),
    (
        r"quantization method .{0,80} is not supported|Unknown quantization method|minimum capability"
        r"|(?:requires?|needs|at least|minimum).{0,60}compute capability",
        "quantization_unsupported",
        "this engine or GPU does not support the quantization",
        "Use another quantization; for GGUF the llamacpp backend.",
    ),
    (
        r"allow-deprecated-quantization",
        "quantization_unsupported",
        "this quantization is deprecated and must be allowed",
        "Set allow_deprecated_quantization: true in extra_args.",
        {"extra_args.allow_deprecated_quantization": True},
    ),
    (r"Cannot provide a placement group", "ray_resources", "Ray has not got the GPUs", "See `ray status`."),
    # --- the command line
    (r"unrecognized arguments?: (.+)", "unknown_flag", "unknown flag: {1}", _FLAGS),
    (r"error: invalid argument: (-\S+)", "unknown_flag", "unknown flag: {1}", _FLAGS),
    (r"No such option:? (\S+)", "unknown_flag", "unknown flag: {1}", _FLAGS),
    (
        r"invalid choice: '(.{1,200}?)'",
        "invalid_value",
        "{1} is not one of the values this flag takes",
        "The log line lists the values.",
    ),
    (
        r"(?:reasoning|tool) parser .{0,80}not found|invalid (?:tool call|reasoning) parser|KeyError: .{0,80}parser",
        "unknown_parser",
        "this version has no parser of that name",
        "Choose another tool_call_parser or reasoning_parser, or upgrade the engine.",
    ),
    (
        r"could not locate think start/end tokens",
        "unknown_parser",
        "the reasoning parser does not fit the model: its tokenizer has no think tokens",
        "Remove reasoning_parser or choose the one of this model's family.",
        {"reasoning_parser": None},
    ),
    (
        r"chat template .{0,80}(?:not found|error)|TemplateError|jinja2\.exceptions",
        "chat_template",
        "the chat template cannot be used",
        "Give one with chat_template in extra_args.",
    ),
    # --- its environment
    (
        r"ModuleNotFoundError: No module named '(.{1,200}?)'",
        "missing_module",
        "the Python module {1} is missing in the engine's environment",
        "Install it there, or correct python_path in the recipe.",
    ),
    (
        r"PackageNotFoundError: (?:No package metadata was found for )?(\S+)",
        "broken_install",
        "the engine's environment does not hold the package {1} under that name",
        "Install the engine afresh in an environment of its own.",
    ),
    (r"No module named (vllm|sglang)\b", "missing_module", "{1} is not installed there", "Correct python_path."),
    (
        r"undefined symbol: (\S+)|(lib[\w.+-]{1,120}): cannot open shared object file",
        "broken_install",
        "a library of the engine is missing or of another version: {1}{2}",
        "Install the engine afresh in an environment of its own.",
    ),
    (
        r"No space left on device",
        "disk_full",
        "a disk is full",
        "Free space: see `df -h`, the Hugging Face cache and /dev/shm.",
    ),
    (
        r"(?:dev/shm|shared memory).{0,200}(?:insufficient|too small|bus error)|Bus error",
        "shared_memory",
        "shared memory is too small",
        "Give the container more: --shm-size 16g or --ipc=host.",
    ),
    (
        # vLLM's routine warning of a low limit quotes the error.
        r"^(?!.*\b(?:ulimit|WARNING)\b).*Too many open files",
        "too_many_files",
        "too many open files",
        "Raise the limit: ulimit -n 65535.",
    ),
)
