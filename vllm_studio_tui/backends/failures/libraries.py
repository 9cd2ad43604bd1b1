"""Causes in shared libraries and what loads them."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_LD = "LD_LIBRARY_PATH in env_vars"
_AFRESH = "Install the engine afresh in an environment of its own."

LIBRARIES: tuple[Failure, ...] = (
    start_failure(
        r"(lib(?:cuda|nvidia-\w{1,20})\.so[\d.]{0,20}): cannot open shared object",
        "no_gpu",
        "the library of the NVIDIA driver is not there: {1}",
        "Install the driver and see that nvidia-smi works; a container needs the NVIDIA Container Toolkit and its GPUs "
        "(gpus in the recipe). Without a GPU use a build for the processor.",
    ),
    start_failure(
        r"(lib(?:cudart|cublas|cufft|curand|cusparse|cusolver|nvrtc|nvJitLink|cudnn|nccl|cupti|nvToolsExt)[\w.-]{0,60})"
        r": cannot open shared object",
        "broken_install",
        "a library of CUDA is missing, or is there in another version: {1}",
        f"Install CUDA's runtime of that version and name its folder ({_LD}), or install the engine afresh: a build "
        "for the CUDA that is here.",
    ),
    start_failure(
        r"(lib(?:ggml|llama|mtmd)[\w.-]{0,60}): cannot open shared object",
        "broken_install",
        "a library of llama.cpp itself is missing: {1}",
        f"Keep llama-server in the folder of its libraries, or name that folder: {_LD}.",
    ),
    start_failure(
        r"(lib(?:amdhip64|rocblas|hipblas|hsa-runtime64|sycl|ze_|vulkan|OpenCL|svml|imf|mkl)[\w.-]{0,60})"
        r": cannot open shared object",
        "broken_install",
        "the software of the GPU is missing, or is there in another version: {1}",
        "Install it: ROCm for libamdhip64 and librocblas, oneAPI for libsycl and libmkl (source setvars.sh), Debian's "
        f"libvulkan1 for libvulkan. Or name its folder: {_LD}.",
    ),
    start_failure(
        r"(lib(?:gomp|numa|stdc\+\+|openblas|curl|ssl|crypto|GL|glib|atomic|ibverbs|python3)[\w.+-]{0,60})"
        r": cannot open shared object",
        "broken_install",
        "a library of the system is missing: {1}",
        "Install the package that holds it (Debian: libgomp1, libnuma1, libcurl4, libgl1, libibverbs1; "
        "`apt-file search` finds others).",
    ),
    start_failure(
        r"(?:conda|mamba|miniforge|/envs/)\S{0,200}/libstdc\+\+[\w.]{0,20}: version `((?:GLIBCXX|CXXABI)_[\d.]{1,20})'",
        "broken_install",
        "the C++ library of the conda environment is older than a package was built for: {1} is not in its libstdc++",
        "Install a newer one there: conda install -c conda-forge 'libstdcxx-ng>=14'. Or use an environment of venv or "
        f"uv, which takes the system's, and let no {_LD} name conda's.",
    ),
    start_failure(
        r"undefined symbol: ((?:nccl|cudnn|cublas|cusparse|__nvJitLink)\w{1,80})",
        "broken_install",
        "a library of CUDA is there in another version than the engine was built with: {1} is not in it",
        "There are two of it: `pip list | grep nvidia` shows them (leave what torch asks for), or "
        f"{_LD} names an older one: take it out. Else install the engine afresh in an environment of its own.",
    ),
    start_failure(
        r"undefined symbol: (_ZN(?:K?3c10|K?2at|5torch)\S{1,300})",
        "broken_install",
        "a package was compiled for another version of torch: {1}",
        "Install its wheel for the torch, Python and CUDA that are here (the line names the package: flash_attn, "
        "exllamav3, ...), or the engine afresh in an environment of its own.",
    ),
    start_failure(
        r"undefined symbol: (\S+)|(lib[\w.+-]{1,120}): cannot open shared object file",
        "broken_install",
        "a library of the engine is missing or of another version: {1}{2}",
        _AFRESH,
    ),
    start_failure(
        r"ErrorIncompatibleDriver|ggml_vulkan: No devices found",
        "no_gpu",
        "Vulkan finds no driver for a GPU",
        "Install the GPU's driver for Vulkan (AMD, Intel: mesa-vulkan-drivers; `vulkaninfo --summary` lists what there "
        "is); in a container set NVIDIA_DRIVER_CAPABILITIES=all in env_vars, or hand in /dev/dri.",
    ),
    start_failure(
        r"version `((?:GLIBC|GLIBCXX|CXXABI)_[\d.]+)' not found",
        "system_too_old",
        "this system's C library is older than the engine was built for: {1} is not there",
        "Use a build for this system, compile it here, or run it in a container (runtime docker).",
    ),
)
