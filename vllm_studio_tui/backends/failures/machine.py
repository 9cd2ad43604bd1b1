"""Causes of failure that lie in the machine and in how the engine is installed: what `failures` holds of these."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.models import Row

_DRIVER = "Upgrade the driver, or use a build of the engine for an older CUDA."
_NO_BUILD = (
    "Install a build of the engine for this GPU's compute capability, as a rule a newer one. Of several GPUs leave out "
    "the one that it was not built for (gpus; device in extra_args)."
)
_COMPILER = "Install one (Debian: apt install build-essential), or set enforce_eager: true in extra_args."
_HEADERS = "Install Python's headers (Debian: apt install python3-dev), or set enforce_eager: true in extra_args."
_TOOLKIT = (
    "Install the whole CUDA toolkit, as new as the CUDA of torch (`nvcc --version` shows what is found), and set "
    "CUDA_HOME in env_vars."
)
_NVCC = (
    "Install the CUDA toolkit and set CUDA_HOME in env_vars, or avoid what must be compiled: install a wheel with "
    "compiled kernels for this torch and Python (exllama, flash-attn), or set vLLM's attention_backend FLASH_ATTN in "
    "extra_args and VLLM_USE_FLASHINFER_SAMPLER=0 in env_vars."
)
_AFRESH = "Install the engine afresh in an environment of its own."
_RIGHTS = "Give the user who runs this the right (ls -l shows whose it is), or choose another place."

#: What keeps an engine from starting.
MACHINE: tuple[Row, ...] = (
    # --- GPUs and drivers: why none can be seen before that none can
    (
        r"CUDA driver version is insufficient|NVIDIA driver on your system is too old"
        r"|forward compatibility was attempted",
        "driver_too_old",
        "the NVIDIA driver is older than this engine needs",
        _DRIVER,
    ),
    (
        r"Found no NVIDIA driver|No CUDA GPUs are available|Failed to infer device type|no CUDA-capable device"
        r"|NVMLError_(?:DriverNotLoaded|LibraryNotFound)|No HIP GPUs are available"
        r"|Cannot access accelerator device|failed to initialize CUDA",
        "no_gpu",
        "no GPU can be seen",
        "Check nvidia-smi, the container's runtime and CUDA_VISIBLE_DEVICES.",
    ),
    (
        r"Error 803: system has unsupported display driver",
        "driver_mismatch",
        "the CUDA library that was loaded (libcuda) does not fit this machine's driver (error 803)",
        "Mostly a libcuda of the image or of a cuda-compat package comes before the driver's: take its folder out of "
        "LD_LIBRARY_PATH (env_vars). If the driver was upgraded just now, reboot, or start the container again.",
    ),
    (
        r"NVMLError_LibRmVersionMismatch|NVML/RM version mismatch|Driver/library version mismatch",
        "driver_mismatch",
        "the NVIDIA driver in the kernel and its libraries are of different versions",
        "Reboot, or reload the nvidia kernel modules: the driver was upgraded while the machine ran. In a container, "
        "start the container again.",
    ),
    (
        r"provided PTX was compiled with an unsupported toolchain",
        "driver_too_old",
        "the NVIDIA driver is older than the CUDA that this engine's kernels were compiled with",
        _DRIVER,
    ),
    (
        r"ptxas.{0,20}: Value '(sm_\w+)' is not defined|Unsupported gpu architecture '(\w+)'"
        r"|GPU-name '?(sm_\w+)'? is not (?:recognized|defined)",
        "wrong_build",
        "the compiler of kernels (ptxas, nvcc) does not know this GPU: {1}{2}{3}",
        "Use the one of a newer CUDA toolkit: TRITON_PTXAS_PATH=/usr/local/cuda/bin/ptxas in env_vars (for nvcc "
        "CUDA_HOME), or a newer build of the engine.",
        {"env_vars.TRITON_PTXAS_PATH": "/usr/local/cuda/bin/ptxas"},
    ),
    (
        r"no kernel image is available|(?:CUDA|ROCm|HIP|MUSA) error: invalid device function"
        r"|is not compatible with the current PyTorch|hipErrorNoBinaryForGpu",
        "wrong_build",
        "this build of the engine has no kernels for this GPU",
        _NO_BUILD,
    ),
    (
        r"rocBLAS error: Cannot read .{1,300}GPU arch ?: ?(gfx\w+)",
        "wrong_build",
        "this ROCm has no kernels for the GPU {1}",
        "Use a ROCm (or a build of the engine) with {1}, a build for Vulkan, or the kernels of a like GPU: "
        "HSA_OVERRIDE_GFX_VERSION in env_vars. Of several GPUs leave this one out (gpus; device in extra_args).",
    ),
    (
        r"requires GPUs with (sm\d+)",
        "gpu_too_old",
        "a kernel needs a newer GPU: {1} or higher",
        "Choose another attention_backend in extra_args (TRITON_ATTN), or another GPU.",
    ),
    (
        r"out of resource: shared memory",
        "gpu_too_old",
        "a Triton kernel needs more shared memory than this GPU has",
        "Choose another attention_backend in extra_args, or upgrade the engine.",
    ),
    (
        r"Torch not compiled with CUDA enabled|not compiled with (?:CUDA|GPU) support",
        "wrong_build",
        "the torch of this engine was built without CUDA",
        "Install a CUDA build of torch in the engine's environment, or set device: cpu in extra_args.",
    ),
    (
        r"ggml was not compiled with any CUDA arch|ggml_cuda_init: .{0,80}compiled with.{0,80}arch",
        "wrong_build",
        "this build of llama.cpp has no kernels for this GPU",
        "Compile llama.cpp for it (CMAKE_CUDA_ARCHITECTURES), or install another build.",
    ),
    (
        r"CUDA-capable device\S* (?:is/)?are busy or unavailable",
        "gpu_busy",
        "the GPU is kept by another program (exclusive mode), or hangs",
        "See `vllm-studio gpus` and nvidia-smi: end the other program, or set compute mode DEFAULT (nvidia-smi -c 0).",
    ),
    (
        r"invalid device ordinal|device < num_gpus INTERNAL ASSERT",
        "too_few_gpus",
        "a GPU was asked for that is not there",
        "Check gpus in the recipe and CUDA_VISIBLE_DEVICES, and lower tensor_parallel_size.",
    ),
    (
        r"[Ii]nvalid device: (\S+)|unknown buffer type: (\S+)",
        "too_few_gpus",
        "llama.cpp has no device {1}{2}",
        "Correct device (or override_tensor) in extra_args: `llama-server --list-devices` shows what there is.",
    ),
    (
        r"memory capacity is unbalanced",
        "gpus_unequal",
        "the GPUs have different amounts of free memory",
        "Choose GPUs that are equal and free.",
    ),
    (
        r"Not enough allowed NUMA nodes to bind threads of (\d+)",
        "too_few_gpus",
        "this machine has not enough NUMA nodes for {1} processes of the CPU engine",
        "Lower tensor_parallel_size, pipeline_parallel_size and data_parallel_size, or set "
        "VLLM_CPU_OMP_THREADS_BIND in env_vars.",
        {"tensor_parallel_size": 1, "pipeline_parallel_size": 1},
    ),
    # --- what is compiled at the start
    (
        r"Failed to find C compiler|(?:No working|Could not find|unable to find).{0,20} (?:C\+\+|C|cpp) compiler"
        r"|InvalidCxxCompiler|No such file or directory: '(?:gcc|cc|g\+\+|c\+\+|clang)'",
        "no_compiler",
        "there is no C compiler, and this engine compiles at its start",
        _COMPILER,
    ),
    (
        r"fatal error: (Python\.h)",
        "no_compiler",
        "Python's header {1} is missing, and this engine compiles at its start",
        _HEADERS,
    ),
    (
        r"Could not find nvcc|nvcc: (?:command )?not found|No such file or directory: '[^']{0,200}nvcc'"
        r"|CUDA_HOME environment variable is not set|nvcc['\"]? .{0,40}not found",
        "no_compiler",
        "nvcc is missing, and this engine compiles kernels at its start",
        _NVCC,
    ),
    (
        r"fatal error: ((?:cuda|cu(?:blas|rand|fft|sparse|solver)|nvrtc|nvml|cub/|thrust/)\S{0,80}): No such file",
        "no_compiler",
        "the header {1} of the CUDA toolkit is missing, and this engine compiles kernels at its start",
        _TOOLKIT,
    ),
    (
        r"fatal error: (\S+): No such file",
        "no_compiler",
        "the header {1} is missing, and this engine compiles at its start",
        "Install the package that holds it (CUDA toolkit, Python's or the system's headers), or set enforce_eager: "
        "true in extra_args.",
    ),
    (
        r"No such file or directory: '(?:ninja)'|Ninja is required to load C\+\+ extensions",
        "no_compiler",
        "ninja is missing, and this engine compiles kernels at its start",
        "Install it in the engine's environment: pip install ninja.",
    ),
    (
        r"(?:PermissionError|Permission denied).{0,120}/(?:\.cache|\.triton|\.config|\.nv|torchinductor_\w+)",
        "cache_denied",
        "a cache of the engine belongs to another user",
        "Set HOME, HF_HOME, TRITON_CACHE_DIR, TORCHINDUCTOR_CACHE_DIR or VLLM_CACHE_ROOT in env_vars to folders of "
        "your own, or correct the owner.",
    ),
    # --- its environment
    (
        r"ModuleNotFoundError: No module named '(?!common_ops)([^']{1,200})'",
        "missing_module",
        "the Python module {1} is missing in the engine's environment",
        "Install it there, or correct python_path in the recipe.",
    ),
    (
        r"PackageNotFoundError: (?:No package metadata was found for )?(?:The '([^']+)'|(\S+))",
        "broken_install",
        "the engine's environment does not hold the package {1}{2} under that name",
        _AFRESH,
    ),
    (
        r"FlashAttention\d? has been toggled on, but it cannot be used|package for FlashAttention\d? doesn't seem",
        "missing_module",
        "the Python package flash-attn is missing in the engine's environment",
        "Install it there, or leave attn_implementation (or attention_backend) in extra_args to the engine.",
    ),
    (
        r"ImportError: .{1,200}pip install (?:-U |--upgrade )?['\"`]?([\w-]{1,60}\[[\w,-]{1,80}\])",
        "missing_module",
        "the engine's environment lacks packages that {1} brings",
        "Install them there: pip install '{1}'.",
    ),
    (
        r"ImportError: .{1,200}pip install (?:-U |--upgrade )?['\"`]?([\w-]+)",
        "missing_module",
        "the Python package {1} is missing in the engine's environment",
        "Install it there, or leave away what needs it (quantization, extra_args).",
    ),
    (
        r"Failed to import Ray: No module named",
        "missing_module",
        "Ray is not installed in the engine's environment",
        "Install it there (pip install ray), or remove distributed_executor_backend from extra_args.",
        {"extra_args.distributed_executor_backend": "mp"},
    ),
    (r"No module named (vllm|sglang)\b", "missing_module", "{1} is not installed there", "Correct python_path."),
    (
        r"cannot import name '(\w+)' from '(transformers|huggingface_hub|tokenizers)[\w.]*'"
        r"|module '(?:transformers|huggingface_hub|tokenizers)[\w.]*' has no attribute '(\w+)'"
        r"|has no attribute '?(all_special_tokens_extended|max_model_input_sizes)",
        "transformers_version",
        "the transformers package there is of another version than this engine was written for ({1}{3}{4} is missing)",
        "Install the version of transformers that the engine asks for (pip install 'transformers<5', or as its "
        "requirements say), in an environment of its own.",
    ),
    (
        r"(?:transformers|huggingface-hub|tokenizers|numpy)\S{0,40} is required for a normal functioning"
        r"|requires? transformers ?[<>=]",
        "transformers_version",
        "packages of the engine's environment do not fit each other",
        "Install the versions that the line names, or the engine afresh in an environment of its own.",
    ),
    (
        r"'(\w{1,80}Config)' object has no attribute '(\w{1,80})'",
        "transformers_version",
        "engine and transformers there do not fit each other: {1} has no {2}",
        "Install the version of transformers that the engine asks for, or upgrade the engine.",
    ),
    (
        r"numpy\.core\.multiarray failed to import|compiled using NumPy 1\.x cannot be run|numpy\.dtype size changed",
        "broken_install",
        "numpy there is of another version than a package was compiled for",
        "Install numpy<2 (or the version that the engine asks for) in its environment.",
    ),
    (
        r"version `((?:GLIBC|GLIBCXX|CXXABI)_[\d.]+)' not found",
        "system_too_old",
        "this system's C library is older than the engine was built for: {1} is not there",
        "Use a build for this system, compile it here, or run it in a container (runtime docker).",
    ),
    (
        r"^(?!.*\b(?:SIGILL handler)\b).*Illegal instruction",
        "wrong_processor",
        "the engine was built for another processor: illegal instruction",
        "Use a build for this processor, or compile it here (llama.cpp: GGML_NATIVE).",
    ),
    (
        r"cannot execute binary file|Exec format error",
        "wrong_processor",
        "the program was built for another kind of machine, or is no program",
        "Check executable and python_path in the recipe, and that the build is for this architecture (uname -m).",
    ),
    (
        r"can't open file '([^']+)': \[Errno 2\]|: (?:-m|-c|-u): invalid option|invalid option -- 'm'"
        r"|unrecognized option '-m'|Unknown option: -?[mu]\b",
        "no_python",
        "what python_path names is no Python that has this engine",
        "Correct python_path (or executable) in the recipe: the interpreter of the engine's own environment.",
    ),
    (
        r"bad interpreter: .{0,40}No such file|env: .?python[\d.]*.?: No such file",
        "no_python",
        "the interpreter that the program names in its first line is gone",
        "The environment was moved or its Python removed: install it afresh, or name python_path in the recipe.",
    ),
    (
        r"FLASHINFER_DISABLE_VERSION_CHECK|flashinfer\S{0,80} version .{0,80}does not match",
        "broken_install",
        "the packages of flashinfer there are of different versions",
        "Install flashinfer-python, flashinfer-cubin and flashinfer-jit-cache of one version, or set "
        "FLASHINFER_DISABLE_VERSION_CHECK=1 in env_vars.",
        {"env_vars.FLASHINFER_DISABLE_VERSION_CHECK": "1"},
    ),
    (
        r"CUDA_VISIBLE_DEVICES.{0,80}(?:invalid|not valid)|invalid literal for int\(\) with base 10: '(?:GPU|MIG)-",
        "too_few_gpus",
        "the engine cannot read the UUIDs of GPUs",
        "Name GPUs by their indices in gpus.",
    ),
    (r"Cannot provide a placement group", "ray_resources", "Ray has not got the GPUs", "See `ray status`."),
    (
        r"gaierror.{0,20}(?:Name or service not known|No address associated)|Name or service not known$",
        "bad_address",
        "the address in host has no such name in this network",
        "Correct host in the recipe: 127.0.0.1 for this machine only, 0.0.0.0 for all.",
    ),
    (
        r"Cannot assign requested address|\[Errno 99\]",
        "bad_address",
        "the address in host is not one of this machine",
        "Correct host in the recipe: 127.0.0.1 for this machine only, 0.0.0.0 for all.",
    ),
    (
        r"(?:bind|binding|listen).{0,120}Permission denied|\[Errno 13\].{0,40}(?:bind|port)",
        "port_denied",
        "this user may not listen on that port",
        "Choose a port from 1024 on, or leave it empty to have a free one.",
        {"port": None},
    ),
    (
        r"UnicodeEncodeError: 'ascii'|locale\.Error: unsupported locale",
        "locale",
        "the engine runs in a locale that cannot write its text",
        "Set LC_ALL=C.UTF-8 in env_vars.",
        {"env_vars.LC_ALL": "C.UTF-8"},
    ),
)  # fmt: skip

#: What ends engines that serve, too, and what another try does not change before a start.
LATE: tuple[Row, ...] = (
    (
        r"No space left on device",
        "disk_full",
        "a disk is full",
        "Free space: see `df -h`, the Hugging Face cache and /dev/shm.",
    ),
    (
        r"Disk quota exceeded|\[Errno 122\]",
        "disk_quota",
        "this user's quota of disk space is used up",
        "Free space, or put caches elsewhere: HF_HOME and VLLM_CACHE_ROOT in env_vars.",
    ),
    (
        r"File size limit exceeded|\[Errno 27\] File too large",
        "disk_quota",
        "a file became larger than this user may write",
        "Raise the limit: ulimit -f unlimited.",
    ),
    (
        r"Read-only file system(?:: '([^']{1,300})')?",
        "read_only",
        "the engine wants to write where nothing may be written {1}",
        "Set HF_HOME, VLLM_CACHE_ROOT, TRITON_CACHE_DIR and TMPDIR in env_vars to folders that can be written.",
    ),
    (
        r"(?:dev/shm|shared memory).{0,200}(?:insufficient|too small|bus error)|bus error encountered in worker",
        "shared_memory",
        "shared memory is too small",
        "Give the container more: docker.shm in the recipe (--shm-size 16g), or --ipc=host.",
    ),
    (
        r"\bBus error\b",
        "bus_error",
        "memory that stands for a file could not be read or written (bus error)",
        "Look whether the model file is whole, its disk or network share in order (`dmesg`), and /dev/shm not full; in "
        "a container raise docker.shm. llama.cpp: no_mmap in extra_args reads the file instead of mapping it.",
    ),
    (
        # vLLM's routine warning of a low limit quotes the error.
        r"^(?!.*\b(?:ulimit|WARNING)\b).*Too many open files",
        "too_many_files",
        "too many open files",
        "Raise the limit: ulimit -n 65535.",
    ),
    (
        r"libgomp: Thread creation failed|can't start new thread|OpenBLAS blas_thread_init: pthread_create failed"
        r"|Resource temporarily unavailable.{0,40}(?:thread|fork)"
        r"|(?:thread|fork).{0,80}Resource temporarily unavailable"
        r"|thread creation failed",
        "too_many_threads",
        "no more threads or processes may be started",
        "Raise the limit (ulimit -u; pids of the container), or use fewer: OMP_NUM_THREADS in env_vars.",
    ),
    (
        r"uncorrectable ECC error|ECC error.{0,40}uncorrect",
        "gpu_broken",
        "the GPU has an uncorrectable memory error (ECC)",
        "Reset the GPU (nvidia-smi -r) or reboot; if it comes back, the GPU is broken: use another one (gpus).",
    ),
    (
        r"GPU is lost|fallen off the bus|DeviceLost|Unable to determine the device handle|NVMLError_GpuIsLost"
        r"|CUDA error: unspecified launch failure|CUDA error: hardware stack error",
        "gpu_broken",
        "a GPU was lost or crashed",
        "Look for an Xid in `dmesg`; reset the GPU or reboot, and check its power and its seat.",
    ),
)  # fmt: skip
