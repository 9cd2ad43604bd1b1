"""Causes in what an engine compiles at its start, and the caches of that."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_COMPILER = "Install one (Debian: apt install build-essential), or set enforce_eager: true in extra_args."
_HEADERS = "Install Python's headers (Debian: apt install python3-dev), or set enforce_eager: true in extra_args."
_NVCC = (
    "Install the CUDA toolkit and set CUDA_HOME in env_vars, or avoid what must be compiled: install a wheel with "
    "compiled kernels for this torch and Python (exllama, flash-attn), or set vLLM's attention_backend FLASH_ATTN in "
    "extra_args and VLLM_USE_FLASHINFER_SAMPLER=0 in env_vars."
)
_TOOLKIT = (
    "Install the whole CUDA toolkit, as new as the CUDA of torch (`nvcc --version` shows what is found), and set "
    "CUDA_HOME in env_vars."
)

COMPILERS: tuple[Failure, ...] = (
    # --- what is compiled at the start
    start_failure(
        r"Failed to find C compiler|(?:No working|Could not find|unable to find).{0,20} (?:C\+\+|C|cpp) compiler"
        r"|InvalidCxxCompiler|No such file or directory: '(?:gcc|cc|g\+\+|c\+\+|clang)'",
        "no_compiler",
        "there is no C compiler, and this engine compiles at its start",
        _COMPILER,
    ),
    start_failure(
        r"fatal error: (Python\.h)",
        "no_compiler",
        "Python's header {1} is missing, and this engine compiles at its start",
        _HEADERS,
    ),
    start_failure(
        r"Could not find nvcc|nvcc: (?:command )?not found|No such file or directory: '[^']{0,200}nvcc'"
        r"|CUDA_HOME environment variable is not set|nvcc['\"]? .{0,40}not found",
        "no_compiler",
        "nvcc is missing, and this engine compiles kernels at its start",
        _NVCC,
    ),
    start_failure(
        r"fatal error: ((?:cuda|cu(?:blas|rand|fft|sparse|solver)|nvrtc|nvml|cub/|thrust/)\S{0,80}): No such file",
        "no_compiler",
        "the header {1} of the CUDA toolkit is missing, and this engine compiles kernels at its start",
        _TOOLKIT,
    ),
    start_failure(
        r"fatal error: (\S+): No such file",
        "no_compiler",
        "the header {1} is missing, and this engine compiles at its start",
        "Install the package that holds it (CUDA toolkit, Python's or the system's headers), or set enforce_eager: "
        "true in extra_args.",
    ),
    start_failure(
        r"No such file or directory: '(?:ninja)'|Ninja is required to load C\+\+ extensions",
        "no_compiler",
        "ninja is missing, and this engine compiles kernels at its start",
        "Install it in the engine's environment: pip install ninja.",
    ),
    start_failure(
        r"(?:PermissionError|Permission denied).{0,120}/(?:\.cache|\.triton|\.config|\.nv|torchinductor_\w+)",
        "cache_denied",
        "a cache of the engine belongs to another user",
        "Set HOME, HF_HOME, TRITON_CACHE_DIR, TORCHINDUCTOR_CACHE_DIR or VLLM_CACHE_ROOT in env_vars to folders of "
        "your own, or correct the owner.",
    ),
)
