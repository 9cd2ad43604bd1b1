"""Causes in memory: of the GPU, of the KV cache and the context in it, and of the machine."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_LONGER = "Set max_model_len to at most {4}, use kv_cache_dtype fp8, or raise gpu_memory_utilization."
_MEMORY = (
    "Use a smaller quantization, more GPUs (tensor_parallel_size), or a smaller max_model_len and max_num_seqs; "
    "look for other processes on the GPU."
)
MEMLOCK = "Raise it: ulimit -l unlimited, of a container --ulimit memlock=-1, of a unit of systemd LimitMEMLOCK."
#: vLLM: the longest context that the KV cache could hold.
_ESTIMATE = r"estimated maximum model length is (\d+)"
#: What answers that the KV cache is too small.
_MORE_CACHE = ("smaller_cache", "more_memory", "half_context")
#: What answers that others take memory of the GPU.
_SMALLER_SHARE = ("less_memory", "fewer_requests")
#: What answers that the GPU's memory is used up.
_LESS_MEMORY = (*_SMALLER_SHARE, "half_context")

MEMORY: tuple[Failure, ...] = (
    # --- memory of the GPU and the KV cache
    start_failure(
        r"max seq len \((\d+)\).{0,20}?\(([\d.]+ GiB) KV.{0,80}?available KV cache memory \(([\d.]+ GiB)\)"
        rf".{{0,80}}?{_ESTIMATE}",
        "kv_cache_too_small",
        "the KV cache cannot hold one request of {1} tokens: it needs {2}, {3} is free",
        _LONGER,
        fixes=(
            {"max_model_len": "{4|16}"},
            *_MORE_CACHE,
        ),
    ),
    start_failure(
        r"max seq len \((\d+)\).{0,20}?\(([\d.]+ GiB) KV.{0,80}?available KV cache memory \(([\d.]+ GiB)\)",
        "kv_cache_too_small",
        "the KV cache cannot hold one request of {1} tokens: it needs {2}, {3} is free",
        "Lower max_model_len, use kv_cache_dtype fp8, or raise gpu_memory_utilization.",
        fixes=_MORE_CACHE,
    ),
    start_failure(
        _ESTIMATE,
        "kv_cache_too_small",
        "the KV cache holds {1} tokens, fewer than one request may have",
        "Set max_model_len to at most {1}.",
        fixes=(
            {"max_model_len": "{1|16}"},
            *_MORE_CACHE,
        ),
    ),
    start_failure(
        r"max seq len \((\d+)\) is larger than the maximum number of tokens that can be stored in KV cache \((\d+)\)",
        "kv_cache_too_small",
        "the KV cache holds {2} tokens, fewer than one request of {1} may have",
        "Set max_model_len to at most {2}, or raise gpu_memory_utilization.",
        fixes=(
            {"max_model_len": "{2|16}"},
            *_MORE_CACHE,
        ),
    ),
    start_failure(
        r"No available memory for the cache blocks",
        "kv_cache_too_small",
        "weights and activations leave no memory for the KV cache",
        "Raise gpu_memory_utilization, use a smaller model or quantization, or more GPUs.",
        fixes=_MORE_CACHE,
    ),
    start_failure(
        r"Not enough memory\. Please try to increase --mem-fraction-static",
        "kv_cache_too_small",
        "the static memory pool is too small",
        "Raise gpu_memory_utilization (--mem-fraction-static), or use a smaller model.",
        fixes=_MORE_CACHE,
    ),
    start_failure(
        r"Available memory on node \S+ \(([\d.]+/[\d.]+ GiB)\) on kv cache allocation is less than requested memory"
        r" for kv \(([\d.]+ GiB)\)",
        "kv_cache_too_small",
        "the memory node has {1} free, the KV cache was to have {2}",
        "Lower VLLM_CPU_KVCACHE_SPACE.",
        fixes=(
            "cpu_cache",
            *_MORE_CACHE,
        ),
    ),
    # --- the context
    start_failure(
        r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len"
        r"(?: \(max_position_embeddings=(\d+))?",
        "context_too_long",
        "max_model_len {1} is longer than the model's own context",
        "Set max_model_len to the model's context ({2}) or less, or leave it empty.",
        fixes=({"max_model_len": "{2}"},),
    ),
    start_failure(
        r"max_num_batched_tokens \((\d+)\) is smaller than max_model_len \((\d+)\)",
        "batch_too_small",
        "max_num_batched_tokens {1} is smaller than max_model_len {2}",
        "Raise max_num_batched_tokens to {2}, lower max_model_len, or set enable_chunked_prefill: true.",
        fixes=({"max_num_batched_tokens": "{2}"},),
    ),
    start_failure(
        r"max_num_batched_tokens \((\d+)\) must be greater than or equal to max_num_seqs \((\d+)\)",
        "batch_too_small",
        "max_num_batched_tokens {1} is smaller than max_num_seqs {2}",
        "Raise max_num_batched_tokens, or set max_num_seqs to {1} or less.",
        fixes=({"max_num_seqs": "{1}"},),
    ),
    start_failure(
        r"max_tokens_per_mm_item \((\d{1,9})\) is larger than max_num_batched_tokens \((\d{1,9})\)",
        "batch_too_small",
        "one image needs {1} tokens in one batch, and max_num_batched_tokens is {2}",
        "Raise max_num_batched_tokens to {1} or more, or set limit_mm_per_prompt in extra_args to 0 for what is not "
        "used.",
        fixes=({"max_num_batched_tokens": "{1}"},),
    ),
    start_failure(
        r"max_num_seqs \((\d{1,9})\) exceeds available Mamba cache blocks \((\d{1,9})\)",
        "kv_cache_too_small",
        "the cache has room for the states of {2} requests at once, and max_num_seqs is {1}",
        "Set max_num_seqs to at most {2}, lower max_model_len, or raise gpu_memory_utilization.",
        fixes=(
            {"max_num_seqs": "{2}"},
            *_MORE_CACHE,
        ),
    ),
    start_failure(
        r"UVA is not available|requires uva \(pin memory\)",
        "pinned_memory",
        "the GPU may not use this machine's memory directly (UVA), as vLLM has it under WSL2",
        "Under WSL2 set VLLM_WSL2_ENABLE_PIN_MEMORY=1 in env_vars; or do without what needs it: "
        "VLLM_USE_V2_MODEL_RUNNER=0 in env_vars, no cpu_offload_gb in extra_args.",
        fixes=({"env_vars.VLLM_WSL2_ENABLE_PIN_MEMORY": "1"},),
    ),
    start_failure(
        r"Free memory on device \S*\s*\(([\d.]+)/([\d.]+) GiB\) on startup is less than "
        r"(?:desired GPU memory utilization|the engine's budget.{0,80}) \(([\d.]+)",
        "gpu_memory_taken",
        "only {1} of {2} GiB are free on the GPU, less than gpu_memory_utilization {3} asks for",
        "Something else uses this GPU: see `vllm-studio gpus`. Stop it, or lower gpu_memory_utilization.",
        restart=True,
        fixes=(
            "free_share",
            *_SMALLER_SHARE,
        ),
    ),
    start_failure(
        r"Error in memory profiling|Initial free memory .{0,80}current free memory",
        "gpu_memory_taken",
        "the memory of the GPU was used by another program while this one measured it",
        "Do not start two engines on one GPU at the same time; see `vllm-studio gpus`.",
        restart=True,
        fixes=_SMALLER_SHARE,
    ),
    start_failure(
        r"Capture (?:cuda|prefill CUDA|decode CUDA) graph failed",
        "out_of_memory",
        "there is no memory left for CUDA graphs",
        "Lower gpu_memory_utilization or cuda_graph_max_bs_decode, or switch graphs off.",
        restart=True,
        fixes=_LESS_MEMORY,
    ),
    Failure(
        r"CUDA out of memory.{0,80}?Tried to allocate ([\d.]+ \w+)",
        "out_of_memory",
        "the GPU is out of memory: {1} more were needed",
        _MEMORY,
        fixes=_LESS_MEMORY,
    ),
    Failure(
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|cudaMalloc failed: out of memory"
        r"|unable to allocate \S+ buffer|HIP out of memory|CUDA error: out of memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation|ErrorOutOfDeviceMemory|OUT_OF_DEVICE_MEMORY"
        r"|(?:ROCm|HIP) error: out of memory|[Ii]nsufficient VRAM",
        "out_of_memory",
        "out of memory",
        _MEMORY,
        fixes=_LESS_MEMORY,
    ),
    Failure(
        r"ibv_\w{1,40} failed with error Cannot allocate memory",
        "memory_lock",
        "InfiniBand may not pin as much memory as it needs: the limit of locked memory (memlock) is too low",
        f"{MEMLOCK} NCCL_IB_DISABLE=1 in env_vars does without InfiniBand.",
    ),
    Failure(
        r"DefaultCPUAllocator: can't allocate memory|std::bad_alloc|^(?:\(.{0,40}\) )?MemoryError"
        r"|Cannot allocate memory|GGML_ASSERT\(ctx->mem_buffer != NULL\)",
        "system_ram_oom",
        "this machine, or the limit of this process, has not enough memory",
        "Use a smaller model or max_model_len, end other programs, or raise the limit (ulimit -v, the container's).",
    ),
    Failure(
        # SGLang; "Decode out of memory happened" only tells that a request was put back.
        r"(Decode|Prefill) out of memory\. Try to lower your batch size",
        "kv_cache_full",
        "the KV cache had no room left for the requests that ran ({1})",
        "Set a smaller max_num_seqs (--max-running-requests), give the cache more room (gpu_memory_utilization, "
        "kv_cache_dtype fp8), or upgrade the engine.",
    ),
    Failure(
        r"\b[1-9]\d{0,5} Workers \(tasks / actors\) killed due to memory pressure"
        r"|exceeds the memory usage threshold of",
        "system_ram_oom",
        "Ray killed a process of the engine: the memory (RAM) of its machine was nearly used up",
        "Use less of it (fewer processes on that machine, a smaller cpu_offload_gb or swap_space in extra_args), end "
        "other programs there, or start Ray with a higher RAY_memory_usage_threshold.",
    ),
)
