"""Causes in GPUs, their drivers, and how they talk to each other."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

_DRIVER = "Upgrade the driver, or use a build of the engine for an older CUDA."
_NO_BUILD = (
    "Install a build of the engine for this GPU's compute capability, as a rule a newer one. Of several GPUs leave out "
    "the one that it was not built for (gpus; device in extra_args)."
)

GPUS: tuple[Failure, ...] = (
    start_failure(
        r"NVMLError_Unknown|Failed to initialize NVML: Unknown Error",
        "driver_state",
        "the NVIDIA driver does not answer (NVML: Unknown Error)",
        "A container lost its GPUs while it ran (a daemon-reload of systemd does that): start it again. Outside of one "
        "look for an Xid in `dmesg`, see whether nvidia-smi works, and reboot.",
    ),
    start_failure(
        r"CUDA unknown error - this may be due to",
        "driver_state",
        "the NVIDIA driver is there, but CUDA cannot be started (CUDA unknown error)",
        "As a rule the machine slept, or the module nvidia_uvm is not loaded: reload it (sudo rmmod nvidia_uvm; sudo "
        "modprobe nvidia_uvm) or reboot; start a container again. Also check CUDA_VISIBLE_DEVICES.",
    ),
    # --- GPUs and drivers: why none can be seen before that none can
    start_failure(
        r"CUDA driver version is insufficient|NVIDIA driver on your system is too old"
        r"|forward compatibility was attempted",
        "driver_too_old",
        "the NVIDIA driver is older than this engine needs",
        _DRIVER,
    ),
    start_failure(
        r"Found no NVIDIA driver|No CUDA GPUs are available|Failed to infer device type|no CUDA-capable device"
        r"|NVMLError_(?:DriverNotLoaded|LibraryNotFound)|No HIP GPUs are available"
        r"|Cannot access accelerator device|failed to initialize CUDA",
        "no_gpu",
        "no GPU can be seen",
        "Check nvidia-smi, the container's runtime and CUDA_VISIBLE_DEVICES.",
    ),
    start_failure(
        r"Error 803: system has unsupported display driver",
        "driver_mismatch",
        "the CUDA library that was loaded (libcuda) does not fit this machine's driver (error 803)",
        "Mostly a libcuda of the image or of a cuda-compat package comes before the driver's: take its folder out of "
        "LD_LIBRARY_PATH (env_vars). If the driver was upgraded just now, reboot, or start the container again.",
    ),
    start_failure(
        r"NVMLError_LibRmVersionMismatch|NVML/RM version mismatch|Driver/library version mismatch",
        "driver_mismatch",
        "the NVIDIA driver in the kernel and its libraries are of different versions",
        "Reboot, or reload the nvidia kernel modules: the driver was upgraded while the machine ran. In a container, "
        "start the container again.",
    ),
    start_failure(
        r"provided PTX was compiled with an unsupported toolchain",
        "driver_too_old",
        "the NVIDIA driver is older than the CUDA that this engine's kernels were compiled with",
        _DRIVER,
    ),
    start_failure(
        r"ptxas.{0,20}: Value '(sm_\w+)' is not defined|Unsupported gpu architecture '(\w+)'"
        r"|GPU-name '?(sm_\w+)'? is not (?:recognized|defined)",
        "wrong_build",
        "the compiler of kernels (ptxas, nvcc) does not know this GPU: {1}{2}{3}",
        "Use the one of a newer CUDA toolkit: TRITON_PTXAS_PATH=/usr/local/cuda/bin/ptxas in env_vars (for nvcc "
        "CUDA_HOME), or a newer build of the engine.",
        fixes=({"env_vars.TRITON_PTXAS_PATH": "/usr/local/cuda/bin/ptxas"},),
    ),
    start_failure(
        r"no kernel image is available|(?:CUDA|ROCm|HIP|MUSA) error: invalid device function"
        r"|is not compatible with the current PyTorch|hipErrorNoBinaryForGpu",
        "wrong_build",
        "this build of the engine has no kernels for this GPU",
        _NO_BUILD,
    ),
    start_failure(
        r"rocBLAS error: Cannot read .{1,300}GPU arch ?: ?(gfx\w+)",
        "wrong_build",
        "this ROCm has no kernels for the GPU {1}",
        "Use a ROCm (or a build of the engine) with {1}, a build for Vulkan, or the kernels of a like GPU: "
        "HSA_OVERRIDE_GFX_VERSION in env_vars. Of several GPUs leave this one out (gpus; device in extra_args).",
    ),
    start_failure(
        r"requires GPUs with (sm\d+)",
        "gpu_too_old",
        "a kernel needs a newer GPU: {1} or higher",
        "Choose another attention_backend in extra_args (TRITON_ATTN), or another GPU.",
    ),
    start_failure(
        r"out of resource: shared memory",
        "gpu_too_old",
        "a Triton kernel needs more shared memory than this GPU has",
        "Choose another attention_backend in extra_args, or upgrade the engine.",
    ),
    start_failure(
        r"Torch not compiled with CUDA enabled|not compiled with (?:CUDA|GPU) support",
        "wrong_build",
        "the torch of this engine was built without CUDA",
        "Install a CUDA build of torch in the engine's environment, or set device: cpu in extra_args.",
    ),
    start_failure(
        r"ggml was not compiled with any CUDA arch|ggml_cuda_init: .{0,80}compiled with.{0,80}arch",
        "wrong_build",
        "this build of llama.cpp has no kernels for this GPU",
        "Compile llama.cpp for it (CMAKE_CUDA_ARCHITECTURES), or install another build.",
    ),
    start_failure(
        r"CUDA-capable device\S* (?:is/)?are busy or unavailable",
        "gpu_busy",
        "the GPU is kept by another program (exclusive mode), or hangs",
        "See `vllm-studio gpus` and nvidia-smi: end the other program, or set compute mode DEFAULT (nvidia-smi -c 0).",
    ),
    start_failure(
        r"invalid device ordinal|device < num_gpus INTERNAL ASSERT",
        "too_few_gpus",
        "a GPU was asked for that is not there",
        "Check gpus in the recipe and CUDA_VISIBLE_DEVICES, and lower tensor_parallel_size.",
    ),
    start_failure(
        r"[Ii]nvalid device: (\S+)|unknown buffer type: (\S+)",
        "too_few_gpus",
        "llama.cpp has no device {1}{2}",
        "Correct device (or override_tensor) in extra_args: `llama-server --list-devices` shows what there is.",
    ),
    start_failure(
        r"memory capacity is unbalanced",
        "gpus_unequal",
        "the GPUs have different amounts of free memory",
        "Choose GPUs that are equal and free.",
    ),
    start_failure(
        r"Not enough allowed NUMA nodes to bind threads of (\d+)",
        "too_few_gpus",
        "this machine has not enough NUMA nodes for {1} processes of the CPU engine",
        "Lower tensor_parallel_size, pipeline_parallel_size and data_parallel_size, or set "
        "VLLM_CPU_OMP_THREADS_BIND in env_vars.",
        fixes=({"tensor_parallel_size": 1, "pipeline_parallel_size": 1},),
    ),
    start_failure(
        r"CUDA_VISIBLE_DEVICES.{0,80}(?:invalid|not valid)|invalid literal for int\(\) with base 10: '(?:GPU|MIG)-",
        "too_few_gpus",
        "the engine cannot read the UUIDs of GPUs",
        "Name GPUs by their indices in gpus.",
    ),
    start_failure(
        r"Cannot provide a placement group",
        "ray_resources",
        "Ray has not got the GPUs",
        "See `ray status`.",
    ),
    Failure(
        r"vk::DeviceLost|ErrorDeviceLost|ggml_vulkan: device lost",
        "gpu_broken",
        "a GPU was lost or crashed, or its driver was reset (Vulkan: device lost)",
        "Look in `dmesg` for the reset (amdgpu, i915, xe; NVIDIA: Xid). A smaller ubatch_size in extra_args makes its "
        "work shorter; upgrade the kernel and the driver (Mesa), or try another build (ROCm, CUDA, SYCL).",
        restart=False,
    ),
    Failure(
        r"uncorrectable ECC error|ECC error.{0,40}uncorrect",
        "gpu_broken",
        "the GPU has an uncorrectable memory error (ECC)",
        "Reset the GPU (nvidia-smi -r) or reboot; if it comes back, the GPU is broken: use another one (gpus).",
        restart=False,
    ),
    Failure(
        r"GPU is lost|fallen off the bus|DeviceLost|Unable to determine the device handle|NVMLError_GpuIsLost"
        r"|CUDA error: unspecified launch failure|CUDA error: hardware stack error",
        "gpu_broken",
        "a GPU was lost or crashed",
        "Look for an Xid in `dmesg`; reset the GPU or reboot, and check its power and its seat.",
        restart=False,
    ),
    start_failure(
        r"Cannot re-initialize CUDA in forked subprocess",
        "forked_cuda",
        "CUDA was used before the engine forked its processes",
        "Set VLLM_WORKER_MULTIPROC_METHOD=spawn in env_vars.",
        restart=True,
        fixes=({"env_vars.VLLM_WORKER_MULTIPROC_METHOD": "spawn"},),
    ),
    Failure(
        r"custom_all_reduce\.\w+:\d+ '([^']{1,80})'",
        "nccl",
        "the GPUs cannot share memory with each other for vLLM's own all-reduce: {1}",
        "Set disable_custom_all_reduce: true in extra_args.",
        fixes=({"extra_args.disable_custom_all_reduce": True},),
    ),
    Failure(
        r"ncclUnhandledCudaError|ncclSystemError|ncclRemoteError|NCCL error|ncclInternalError|ncclInvalidUsage",
        "nccl",
        "the GPUs cannot talk to each other (NCCL)",
        "Set NCCL_DEBUG=INFO to see why; try NCCL_P2P_DISABLE=1, NCCL_IB_DISABLE=1, or set NCCL_SOCKET_IFNAME.",
    ),
    Failure(
        r"device-side assert|illegal memory access|CUBLAS_STATUS_(?!SUCCESS)|CUDA error: misaligned address"
        r"|CUDNN_STATUS_(?!SUCCESS)",
        "gpu_crash",
        "a GPU kernel crashed",
        "Try another attention_backend or enforce_eager; look for an Xid in `dmesg`.",
    ),
)
