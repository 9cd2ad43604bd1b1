"""Causes of failure that another try cannot change: what `failures` holds of what a recipe asks for."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.models import Row

_FLAGS = "This version of the engine does not know it: remove it from extra_args or correct its name."
_LONGER = "Set max_model_len to at most {4}, use kv_cache_dtype fp8, or raise gpu_memory_utilization."
_FEWER = "Set tensor_parallel_size to a smaller number that fits, or use expert_parallel, or another quantization."

#: Memory, context, and how the model is spread over GPUs.
RECIPE: tuple[Row, ...] = (
    # --- memory of the GPU and the KV cache
    (
        r"max seq len \((\d+)\).{0,20}?\(([\d.]+ GiB) KV.{0,80}?available KV cache memory \(([\d.]+ GiB)\)"
        r".{0,80}?estimated maximum model length is (\d+)",
        "kv_cache_too_small",
        "the KV cache cannot hold one request of {1} tokens: it needs {2} of {3}",
        _LONGER,
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
        r"max seq len \((\d+)\) is larger than the maximum number of tokens that can be stored in KV cache \((\d+)\)",
        "kv_cache_too_small",
        "the KV cache holds {2} tokens, fewer than one request of {1} may have",
        "Set max_model_len to at most {2}, or raise gpu_memory_utilization.",
        {"max_model_len": "{2|16}"},
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
        "the memory node has {1} free, the KV cache was to have {2}",
        "Lower VLLM_CPU_KVCACHE_SPACE.",
    ),
    # --- the context
    (
        r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len"
        r"(?: \(max_position_embeddings=(\d+))?",
        "context_too_long",
        "max_model_len {1} is longer than the model's own context",
        "Set max_model_len to the model's context ({2}) or less, or leave it empty.",
        {"max_model_len": "{2}"},
    ),
    (
        r"max_num_batched_tokens \((\d+)\) is smaller than max_model_len \((\d+)\)",
        "batch_too_small",
        "max_num_batched_tokens {1} is smaller than max_model_len {2}",
        "Raise max_num_batched_tokens to {2}, lower max_model_len, or set enable_chunked_prefill: true.",
        {"max_num_batched_tokens": "{2}"},
    ),
    (
        r"max_num_batched_tokens \((\d+)\) must be greater than or equal to max_num_seqs \((\d+)\)",
        "batch_too_small",
        "max_num_batched_tokens {1} is smaller than max_num_seqs {2}",
        "Raise max_num_batched_tokens, or set max_num_seqs to {1} or less.",
        {"max_num_seqs": "{1}"},
    ),
    (
        r"max_tokens_per_mm_item \((\d{1,9})\) is larger than max_num_batched_tokens \((\d{1,9})\)",
        "batch_too_small",
        "one image needs {1} tokens in one batch, and max_num_batched_tokens is {2}",
        "Raise max_num_batched_tokens to {1} or more, or set limit_mm_per_prompt in extra_args to 0 for what is not "
        "used.",
        {"max_num_batched_tokens": "{1}"},
    ),
    (
        r"max_num_seqs \((\d{1,9})\) exceeds available Mamba cache blocks \((\d{1,9})\)",
        "kv_cache_too_small",
        "the cache has room for the states of {2} requests at once, and max_num_seqs is {1}",
        "Set max_num_seqs to at most {2}, lower max_model_len, or raise gpu_memory_utilization.",
        {"max_num_seqs": "{2}"},
    ),
    # --- parallelism and quantization
    (
        r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)",
        "tensor_parallel_indivisible",
        "{1} attention heads cannot be split over {2} GPUs",
        "Set tensor_parallel_size to a divisor of {1}.",
    ),
    (
        r"\w{1,60} = (\d{1,12}) is not divisible by "
        r"(?:weight quantization block_[nk]|min_thread_\w+|tile_\w+) ?= ?(\d+)",
        "tensor_parallel_indivisible",
        "split over so many GPUs, the quantized weights ({1}) are no multiple of their blocks ({2})",
        _FEWER,
    ),
    (
        r"(?:input|output) size is not aligned with the quantized weight shape"
        r"|is not divisible by (?:the )?group_?size",
        "tensor_parallel_indivisible",
        "the groups of the quantized weights cannot be split over so many GPUs",
        _FEWER,
    ),
    (
        r"\b(\d{1,12}) is not divisible by (\d{1,6})$",
        "tensor_parallel_indivisible",
        "{1} of the model cannot be split into {2} parts",
        "Set tensor_parallel_size (or pipeline_parallel_size, expert_parallel) to a number that divides {1}.",
    ),
    (
        r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)",
        "too_few_gpus",
        "{1} GPUs are asked for and {2} can be seen",
        "Lower tensor_parallel_size and pipeline_parallel_size, or check `gpus` and CUDA_VISIBLE_DEVICES.",
        {"tensor_parallel_size": "{2}", "pipeline_parallel_size": 1},
    ),
    (
        r"doesn't support torch\.bfloat16|Bfloat16 is only supported",
        "dtype_unsupported",
        "this GPU has no bfloat16",
        "Set dtype to float16.",
        {"dtype": "float16"},
    ),
    (
        r"cannot be instantiated under `dtype=(\S+?)`|[Uu]nknown dtype:? ?(\S+)",
        "dtype_unsupported",
        "{1}{2} is no dtype that this engine computes in",
        "Set dtype to auto, bfloat16, float16 or float32.",
        {"dtype": None},
    ),
    (
        r"Expected one of cpu, cuda.{1,200} device string: (\S+)",
        "invalid_value",
        "there is no kind of device {1}",
        "Correct device in extra_args: cpu, cuda, cuda:0 or auto.",
    ),
    (
        r"torch\.\w+ is not supported for quantization method (\w+)",
        "dtype_unsupported",
        "the quantization {1} cannot compute in this dtype",
        "Set dtype to float16 (or auto).",
        {"dtype": "float16"},
    ),
    (
        r"[Qq]uantization method specified in the model config \(([^)]{1,200})\) does not match the quantization "
        r"(?:method specified in the )?(?:`?quantization`? )?argument \(([^)]{1,200})\)",
        "quantization_mismatch",
        "the model is quantized as {1}, and the recipe says {2}",
        "Leave quantization empty: the model's own is found.",
        {"quantization": None},
    ),
    (
        r"Cannot find the config file for (\w+)",
        "quantization_mismatch",
        "the model is not quantized as {1}: it brings no such configuration",
        "Leave quantization empty, or use a model that was quantized so.",
        {"quantization": None},
    ),
    (
        r"Unknown quantization method: ([\w-]+)",
        "quantization_unsupported",
        "this engine does not know the quantization {1}",
        "Leave quantization empty or correct it; upgrade the engine, or use another quantization of the model.",
    ),
    (
        r"Failed to find a kernel that can implement the (\w+) linear layer",
        "quantization_unsupported",
        "this engine or GPU does not support the quantization ({1})",
        "Use another quantization of the model (as a rule of group size 128), or dtype float16; where a size is not "
        "divisible, lower tensor_parallel_size.",
    ),
    (
        r"quantization method .{0,80} is not supported|minimum capability"
        r"|quantization is (?:currently )?not supported|not supported (?:on|for) (?:the current|this) (?:GPU|platform)"
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
)  # fmt: skip

#: The command line and what belongs to it.
ARGUMENTS: tuple[Row, ...] = (
    (r"unrecognized arguments?: (.+)", "unknown_flag", "unknown flag: {1}", _FLAGS),
    (r"error: invalid argument: (-\S+)", "unknown_flag", "unknown flag: {1}", _FLAGS),
    (r"No such option:? '?(-[\w-]+)", "unknown_flag", "unknown flag: {1}", _FLAGS),
    (
        r"argument (-\S+): invalid choice: '(.{1,200}?)'",
        "invalid_value",
        "{2} is not one of the values of {1}",
        "Correct it in the recipe; the log line lists the values.",
    ),
    (
        r"invalid choice: '(.{1,200}?)'",
        "invalid_value",
        "{1} is not one of the values this flag takes",
        "Correct it in the recipe; the log line lists the values.",
    ),
    (
        r"error: argument (-[^\s:]+): (?!\d+ validation error)(.{1,160})",
        "invalid_value",
        "the value of {1} is not valid: {2}",
        "Correct it in the recipe: the field of that name, or extra_args.",
    ),
    (
        r"error while handling argument \"?(-[\w-]+)\"?: (?:error: )?(.{1,160})",
        "invalid_value",
        "the value of {1} is not valid: {2}",
        "Correct it in the recipe: the field of that name, or extra_args.",
    ),
    (
        r"Invalid value for '?(-[^':]{1,200})'?: (.{1,160})",
        "invalid_value",
        "the value of {1} is not valid: {2}",
        "Correct it in the recipe: the field of that name, or extra_args.",
    ),
    (
        r"Unknown attention backend: '(\S+?)'|Invalid attention backend:? '?(\w+)",
        "invalid_value",
        "there is no attention backend {1}{2}",
        "Correct attention_backend in extra_args, or leave it out; the log line lists them.",
    ),
    (
        r"Unsupported attention implementation: '(\S+?)'",
        "invalid_value",
        "there is no attention implementation {1}",
        "Correct attn_implementation in extra_args (sdpa, eager), or leave it out.",
    ),
    (
        r"No \w+ registered for (\w+)='?([^'.]{1,60})",
        "invalid_value",
        "{2} is not one of the values of {1}",
        "Correct {1} in the recipe, mostly in extra_args, or leave it out.",
    ),
    (
        r"yaml\.\w+\.\w+Error: (.{1,120})",
        "config_file",
        "a YAML file that the engine was given cannot be read: {1}",
        "Correct the file that config in extra_args names.",
    ),
    (
        r"enable-auto-tool-choice requires --tool-call-parser",
        "tool_parser_needed",
        "enable_auto_tool_choice needs a tool_call_parser",
        "Set tool_call_parser in the recipe to the one of the model's family, or enable_auto_tool_choice: false.",
        {"enable_auto_tool_choice": False},
    ),
    (
        r"[Rr]easoning parser '?([^'\s]+)'? not found|invalid reasoning parser: (\S+)",
        "unknown_parser",
        "this version has no reasoning parser {1}{2}",
        "Choose another reasoning_parser: the log line lists them. Or upgrade the engine.",
        {"reasoning_parser": None},
    ),
    (
        r"invalid tool call parser: (\S+)|tool parser '?([^'\s]+)'? not found",
        "unknown_parser",
        "this version has no tool parser {1}{2}",
        "Choose another tool_call_parser: the log line lists them. Or upgrade the engine.",
        {"tool_call_parser": None},
    ),
    (
        r"(?:reasoning|tool) parser .{0,80}not found|KeyError: .{0,80}parser",
        "unknown_parser",
        "this version has no parser of that name",
        "Choose another tool_call_parser or reasoning_parser, or upgrade the engine.",
    ),
    (
        r"could not locate think start/end tokens|think_\w{1,20}_token .{0,60}must encode to exactly one token",
        "unknown_parser",
        "the reasoning parser does not fit the model: its tokenizer has no think tokens",
        "Remove reasoning_parser or choose the one of this model's family.",
        {"reasoning_parser": None},
    ),
)
