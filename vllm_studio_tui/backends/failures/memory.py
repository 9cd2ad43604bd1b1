"""Causes of failure in memory: of the GPU, of the KV cache, and of the machine."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.models import Row

_MEMORY = (
    "Use a smaller quantization, more GPUs (tensor_parallel_size), or a smaller max_model_len and max_num_seqs; "
    "look for other processes on the GPU."
)
MEMLOCK = "Raise it: ulimit -l unlimited, of a container --ulimit memlock=-1, of a unit of systemd LimitMEMLOCK."

#: Memory that may be there at the next try, also of an engine that serves.
MEMORY: tuple[Row, ...] = (
    (
        r"CUDA out of memory.{0,80}?Tried to allocate ([\d.]+ \w+)",
        "out_of_memory",
        "the GPU is out of memory: {1} more were needed",
        _MEMORY,
    ),
    (
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|cudaMalloc failed: out of memory"
        r"|unable to allocate \S+ buffer|HIP out of memory|CUDA error: out of memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation|ErrorOutOfDeviceMemory|OUT_OF_DEVICE_MEMORY"
        r"|(?:ROCm|HIP) error: out of memory|[Ii]nsufficient VRAM",
        "out_of_memory",
        "out of memory",
        _MEMORY,
    ),
    (
        r"ibv_\w{1,40} failed with error Cannot allocate memory",
        "memory_lock",
        "InfiniBand may not pin as much memory as it needs: the limit of locked memory (memlock) is too low",
        f"{MEMLOCK} NCCL_IB_DISABLE=1 in env_vars does without InfiniBand.",
    ),
    (
        r"DefaultCPUAllocator: can't allocate memory|std::bad_alloc|^(?:\(.{0,40}\) )?MemoryError"
        r"|Cannot allocate memory|GGML_ASSERT\(ctx->mem_buffer != NULL\)",
        "system_ram_oom",
        "this machine, or the limit of this process, has not enough memory",
        "Use a smaller model or max_model_len, end other programs, or raise the limit (ulimit -v, the container's).",
    ),
    (
        # SGLang; "Decode out of memory happened" only tells that a request was put back.
        r"(Decode|Prefill) out of memory\. Try to lower your batch size",
        "kv_cache_full",
        "the KV cache had no room left for the requests that ran ({1})",
        "Set a smaller max_num_seqs (--max-running-requests), give the cache more room (gpu_memory_utilization, "
        "kv_cache_dtype fp8), or upgrade the engine.",
    ),
    (
        r"\b[1-9]\d{0,5} Workers \(tasks / actors\) killed due to memory pressure"
        r"|exceeds the memory usage threshold of",
        "system_ram_oom",
        "Ray killed a process of the engine: the memory (RAM) of its machine was nearly used up",
        "Use less of it (fewer processes on that machine, a smaller cpu_offload_gb or swap_space in extra_args), end "
        "other programs there, or start Ray with a higher RAY_memory_usage_threshold.",
    ),
)

#: Memory that this kind of machine does not offer.
PINNED: tuple[Row, ...] = (
    (
        r"UVA is not available|requires uva \(pin memory\)",
        "pinned_memory",
        "the GPU may not use this machine's memory directly (UVA), as vLLM has it under WSL2",
        "Under WSL2 set VLLM_WSL2_ENABLE_PIN_MEMORY=1 in env_vars; or do without what needs it: "
        "VLLM_USE_V2_MODEL_RUNNER=0 in env_vars, no cpu_offload_gb in extra_args.",
        {"env_vars.VLLM_WSL2_ENABLE_PIN_MEMORY": "1"},
    ),
)
