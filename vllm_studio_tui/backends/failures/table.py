"""Why engines fail: lines of their logs, the cause in words, and what to do.

One table for all engines, since wrappers, shared libraries and the hub print the same lines in each. The lines were
taken from the engines' sources (vLLM 0.33, SGLang 0.5.23, llama.cpp) and from recorded runs; a warning or the log of
a start that succeeded must match none of them. Patterns are searched in single lines without regard to case; of one
line the first row that matches counts, so the particular stands before the general. Each needs a plain word of some
length in every branch: a row whose words are nowhere in a log costs next to nothing (`keeper.prefilter`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_studio_tui.backends.failures.libraries import LIBRARIES
from vllm_studio_tui.backends.failures.machine import LATE, MACHINE
from vllm_studio_tui.backends.failures.memory import MEMORY, PINNED
from vllm_studio_tui.backends.failures.models import FETCH, FIXED, Row
from vllm_studio_tui.backends.failures.outside import LATE_OUTSIDE, OUTSIDE, PASSING_OUTSIDE
from vllm_studio_tui.backends.failures.recipes import ARGUMENTS, RECIPE
from vllm_studio_tui.backends.failures.surroundings import ENDED, LAUNCH, REGISTRY
from vllm_studio_tui.domain.spec import Failure

_PORT = "Choose another port, or leave it empty to have a free one."

#: Causes that may be gone at the next try, of starts only.
_PASSING_START: tuple[Row, ...] = (
    (
        r"Free memory on device \S*\s*\(([\d.]+)/([\d.]+) GiB\) on startup is less than "
        r"(?:desired GPU memory utilization|the engine's budget.{0,80}) \(([\d.]+)",
        "gpu_memory_taken",
        "only {1} of {2} GiB are free on the GPU, less than gpu_memory_utilization {3} asks for",
        "Something else uses this GPU: see `vllm-studio gpus`. Stop it, or lower gpu_memory_utilization.",
    ),
    (
        r"Error in memory profiling|Initial free memory .{0,80}current free memory",
        "gpu_memory_taken",
        "the memory of the GPU was used by another program while this one measured it",
        "Do not start two engines on one GPU at the same time; see `vllm-studio gpus`.",
    ),
    (
        r"Capture (?:cuda|prefill CUDA|decode CUDA) graph failed",
        "out_of_memory",
        "there is no memory left for CUDA graphs",
        "Lower gpu_memory_utilization or cuda_graph_max_bs_decode, or switch graphs off.",
    ),
    (
        r"DistNetworkError: .{0,120}connect to (\([^)]{1,80}\))|client socket has timed out"
        r"|Gloo connectFullMesh failed",
        "network",
        "the processes of the engine could not reach each other {1}",
        "Start the one at that address first, and see that its port can be reached from here (firewall; containers "
        "with the host's network). Check dist_init_addr in extra_args (SGLang) or VLLM_HOST_IP in env_vars, there "
        "GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME, too.",
    ),
    (
        r"429 (?:Client Error|Too Many Requests)|Too Many Requests for url",
        "hub_busy",
        "the hub answers too many requests from here (429)",
        "Wait some minutes and set HF_TOKEN (env_vars HF_TOKEN: env:HF_TOKEN): who is known may ask more often.",
    ),
    (
        r"Max retries exceeded.{0,300}huggingface|Temporary failure in name resolution"
        r"|Failed to resolve '\S{0,80}huggingface|(?:Connection|Timeout).{0,120}huggingface\.co",
        "offline",
        "the hub cannot be reached",
        FETCH,
    ),
    (
        r"(?:50[0234]|5\d\d) Server Error.{0,120}huggingface",
        "hub_busy",
        "the hub has a fault of its own",
        "Try again later, or name a folder with the model in model_path.",
    ),
    (
        r"Timed out waiting for engine|did not become ready",
        "start_timeout",
        "a part of the engine did not start in time",
        "Raise VLLM_ENGINE_READY_TIMEOUT_S in env_vars.",
    ),
    (
        r"Cannot re-initialize CUDA in forked subprocess",
        "forked_cuda",
        "CUDA was used before the engine forked its processes",
        "Set VLLM_WORKER_MULTIPROC_METHOD=spawn in env_vars.",
        {"env_vars.VLLM_WORKER_MULTIPROC_METHOD": "spawn"},
    ),
)

#: Causes that may be gone at the next try, also of an engine that serves.
_PASSING: tuple[Row, ...] = (
    *MEMORY,
    (
        r"couldn't bind HTTP server socket, hostname: ([^\s,]{1,200}), port: (\d{1,5})",
        "port_in_use",
        "it cannot listen on port {2} of {1}: the port is taken, or that is no address of this machine",
        # It does not take a port over from another engine's closed connections (TIME_WAIT).
        "Wait a minute if another engine was stopped there just now: its closed connections still hold the port. "
        "Otherwise choose another port; correct host if it is not 127.0.0.1 or 0.0.0.0.",
    ),
    (
        r"server socket has failed to listen.{0,80}port: (\d{1,5}).{0,120}(?:EADDRINUSE|in use)",
        "port_in_use",
        "port {1}, over which the engine's own processes find each other, is taken",
        "End the other engine, or name another one: MASTER_PORT in env_vars, dist_init_addr or nccl_port in "
        "extra_args (SGLang).",
    ),
    (
        r"Address already in use|\[Errno 98\]|error while attempting to bind"
        r"|port is already allocated",
        "port_in_use",
        "its port is taken by another program",
        _PORT,
    ),
    (
        r"custom_all_reduce\.\w+:\d+ '([^']{1,80})'",
        "nccl",
        "the GPUs cannot share memory with each other for vLLM's own all-reduce: {1}",
        "Set disable_custom_all_reduce: true in extra_args.",
        {"extra_args.disable_custom_all_reduce": True},
    ),
    (
        # A soft one only reports.
        r"watchdog timeout \(self\.watchdog_timeout=(\d{1,9})(?:\.\d+)?(?:, self\.soft=False)?\)",
        "hang",
        "the scheduler hung: no step ended within {1} s",
        "Look at nvidia-smi, for an Xid in `dmesg` and, with several GPUs, at NCCL (NCCL_DEBUG=INFO, "
        "NCCL_P2P_DISABLE=1); try it without speculative and hierarchical cache, with a newer engine. Raise "
        "watchdog_timeout in extra_args if a step takes that long.",
    ),
    (
        r"ncclUnhandledCudaError|ncclSystemError|ncclRemoteError|NCCL error|ncclInternalError|ncclInvalidUsage",
        "nccl",
        "the GPUs cannot talk to each other (NCCL)",
        "Set NCCL_DEBUG=INFO to see why; try NCCL_P2P_DISABLE=1, NCCL_IB_DISABLE=1, or set NCCL_SOCKET_IFNAME.",
    ),
    (
        r"device-side assert|illegal memory access|CUBLAS_STATUS_(?!SUCCESS)|CUDA error: misaligned address"
        r"|CUDNN_STATUS_(?!SUCCESS)",
        "gpu_crash",
        "a GPU kernel crashed",
        "Try another attention_backend or enforce_eager; look for an Xid in `dmesg`.",
    ),
    (
        r"(GGML_ASSERT\(.{1,160}\)) failed|\b(?:fatal error|GGML_ABORT): (.{1,160})$",
        "assertion",
        "llama.cpp found a fault of its own: {1}{2}",
        "Use a newer llama-server; try it without flash_attn, with another kv_cache_dtype, or a smaller max_model_len.",
    ),
)

#: Lines of a general kind: they count when no particular row does.
_WEAK: tuple[Row, ...] = (
    (
        r"^(srun|sbatch|salloc|slurmstepd|mpirun|mpiexec|kubectl|nerdctl|conda|systemd-run): error: (.{1,200})",
        "launcher",
        "{1} refused or ended it: {2}",
        "Correct what launches the engine (command in the recipe, the job's script).",
    ),
    (
        r"^(?:\(.{0,40}\) )?[a-z][\w.-]{0,40}(?: [a-z][\w-]{0,40})?: error: (?!argument -\S+: \d+ validation)(.{1,200})"
        r"|^(?-i:error: )(.{1,200})|^Error: ((?:No such|Missing|Invalid|Got unexpected|Option ['\"-]).{1,200})",
        "invalid_argument",
        "the command line was refused: {1}{2}{3}",
        "Correct it in the recipe (mostly in extra_args); `recipes command` shows the command line.",
    ),
    (
        r"\[sgl_kernel\] CRITICAL: Could not load any common_ops",
        "wrong_build",
        "sgl_kernel has no build for this GPU, or not for this version of torch",
        "Install sgl-kernel (sglang-kernel) and torch of the versions that this SGLang asks for, built for this GPU.",
    ),
    (
        r"PermissionError: \[Errno 13\] Permission denied: '([^']+)'|: (/[^:]{1,200}): Permission denied"
        r"|(?:cannot|failed to) open .{0,60}'([^']+)'.{0,20}Permission denied",
        "file_denied",
        "{1}{2}{3} may not be used by this user",
        "Give the right to it and to the folders above it (chmod, chown), or name another place in the recipe.",
    ),
    (
        r"(?:FileNotFoundError|NotADirectoryError|IsADirectoryError): \[Errno \d+\] [\w ]+: '([^']+)'"
        r"|(?:failed to open|cannot open|could not open)(?: file)? '([^']+)'|error: failed to open file '([^']+)'",
        "file_missing",
        "there is no file {1}{2}{3}",
        "Correct the path in the recipe (extra_args), or put the file there.",
    ),
    (
        r"'([^']{1,300})' does not exist|\b(?:lstat|stat|open) (/\S{1,300}): no such file",
        "file_missing",
        "there is no {1}{2}",
        "Correct the path in the recipe (extra_args, command), or put the file there.",
    ),
    (
        r"(FlashAttention only supports .{1,80}|unsupported GPU .{1,100})",
        "gpu_too_old",
        "the engine does not run on this GPU: {1}",
        "Choose another attention_backend (transformers: attn_implementation sdpa) in extra_args, leave that GPU out "
        "(gpus), or use another engine: llama.cpp runs on older ones.",
    ),
    (
        r"requires? (?!GPUs )(\w[\w -]{1,40}? v?\d[\w.]{0,20}) or (?:later|newer|higher|above)"
        r"|required (\w[\w -]{1,40}? v?\d[\w.]{0,20}) or (?:later|newer|higher|above)",
        "package_version",
        "the engine needs {1}{2} or later",
        "Install it in the engine's environment, or leave out what needs it (extra_args).",
    ),
    (
        r"Error parsing config for (\S+): (.{1,200}?)(?:, retrying \d of \d)?$",
        "config_invalid",
        "config.json of {1} cannot be used: {2}",
        "Correct it, download it again, or upgrade the engine's transformers.",
    ),
    (
        r"JSONDecodeError: (.{1,120})",
        "model_json",
        "JSON that the engine reads is not valid: {1}",
        "Download the files of model_path again, or correct the JSON in extra_args.",
    ),
    (
        r"failed to create_context with model|failed to create llama_context|failed to initialize the context",
        "context_too_long",
        "there is not enough memory for the context that was asked for",
        "Set a smaller max_model_len (--ctx-size).",
    ),
    (
        r"error loading model: (?!llama_model_loader: failed to load model)(?:error loading model \w+: )?(.{1,200})",
        "model_unreadable",
        "the model cannot be loaded: {1}",
        "Check the file of model_path and its shards, download it again, or use a newer llama-server.",
    ),
    (
        r"Ninja build failed|Error building extension '([^']+)'|ninja: build stopped",
        "compile_failed",
        "kernels could not be compiled {1}",
        "The lines below it say why. Check that CUDA toolkit and torch fit each other, or avoid what must be "
        "compiled: another attention_backend, enforce_eager: true in extra_args.",
    ),
    (
        r"(?:CUDA|ROCm|HIP|MUSA|SYCL|rocBLAS|cuBLAS) error: (.{1,120})",
        "gpu_crash",
        "the GPU reports an error: {1}",
        "Look for an Xid in `dmesg` and at nvidia-smi; try another attention_backend or enforce_eager.",
    ),
    (
        r"(?:: line \d+|\bsh: \d+|bash): (\S{1,200}): (?:command )?not found|exec: \"?([^\":]{1,200})\"?: "
        r"(?:executable file )?not found",
        "program_missing",
        "there is no program {1}{2}",
        "Correct command, executable or python_path in the recipe.",
    ),
    (
        r"docker: (?:Error response from daemon: )?(?:(?:failed to create (?:task for container|shim task)"
        r"|OCI runtime create failed|runc create failed|unable to start container process"
        r"|error during container init): ){0,6}(.{1,200})",
        "docker",
        "Docker refused it: {1}",
        "Correct docker in the recipe; `recipes command` shows the command line.",
    ),
    (
        r"SyntaxError: (?:invalid syntax|f-string)|unsupported operand type\(s\) for \|: 'type'",
        "python_too_old",
        "the engine needs a newer Python than the one that runs it",
        "Name another python_path, and install the engine afresh there.",
    ),
    (
        r"Segmentation fault|Fatal Python error: ([\w ]{1,80})",
        "native_crash",
        "it crashed in native code {1}",
        "Try another attention backend or an eager run, look for an Xid in `dmesg`, and upgrade the engine.",
    ),
)

#: Lines that follow from an earlier cause.
_POINTERS: tuple[Row, ...] = (
    (
        r"Watchdog caught collective operation timeout|DistBackendError",
        "nccl",
        "one of the GPUs' processes died or hung",
        "Look for the first error of any rank above. Where there is none a GPU or its link hangs: see nvidia-smi and "
        "an Xid in `dmesg`; try disable_custom_all_reduce in extra_args, NCCL_P2P_DISABLE=1 in env_vars.",
    ),
    (
        r"^(?:.{0,80}: line \d+: +\d+ )?Killed(?:\s|$)|Out of memory: Killed process",
        "killed",
        "killed by SIGKILL",
        "The kernel kills what takes too much memory: see `dmesg` or the memory limit of the container.",
    ),
    (
        r"died unexpectedly \(exit code: -9\)",
        "killed",
        "a process of the engine was killed (SIGKILL)",
        "By the kernel, for lack of memory (see `dmesg` and the memory limit of the container), or by somebody.",
    ),
    (
        r"died unexpectedly \(exit code: -(\d+)\)",
        "native_crash",
        "a process of the engine crashed (signal {1})",
        "Try another attention backend or an eager run, and look for an Xid in `dmesg`.",
    ),
    (
        r"failed to load model|error loading model|exiting due to model loading error",
        "model_unreadable",
        "the model cannot be loaded",
        "Check the file and its shards, or use a newer llama-server.",
    ),
    (
        r"exiting due to HTTP server error|failed to initialize HTTP server",
        "server_error",
        "its HTTP server could not start",
        "See the lines above: host, port, api_key_file or the certificate is wrong.",
    ),
    (
        # vLLM's async_llm.py names EngineDeadError too when it was stopped in an orderly way while it streamed.
        r"WorkerProc initialization failed|Engine core initialization failed|EngineCore encountered a fatal error"
        r"|(?:proc\S{0,40}|Worker) \S{1,80} died unexpectedly|MPClient: engine core exited unexpectedly"
        r"|^(?!.*async_llm\.py).*EngineDeadError|Received sigquit from a child process"
        r"|MQLLMEngine is already dead|Engine process \(pid \d+\) died|Engine loop has died"
        r"|Got fatal signal from worker processes",
        "engine_died",
        "the engine's core process died",
        "Correct what the error names in the recipe, or use another version of the engine; the first traceback of its "
        "log shows where it arose.",
    ),
)


#: What ends a start although the engine goes on: it would serve otherwise than it was asked to.
_FATAL: tuple[Row, ...] = (
    (
        r"Port (\d+) is currently in use\. Switching to (\d+)",
        "port_moved",
        "port {1} was taken, and the engine silently moved to port {2}",
        _PORT,
        {"port": None},
    ),
)


def _fix(row: Row) -> Mapping[str, Any]:
    return row[4] if len(row) == 5 else {}


#: Weak rows that an engine which serves may end of, too.
_WEAK_LATE = ("gpu_crash", "native_crash")
#: Weak rows that another try may get past.
_WEAK_PASSING = ("gpu_crash", "native_crash", "compile_failed", "context_too_long")

FAILURES: tuple[Failure, ...] = (
    *(Failure(*row[:4], fatal=True, fix=_fix(row)) for row in _FATAL),
    *(
        Failure(*row[:4], restart=False, start_only=True, fix=_fix(row))
        for row in (*LAUNCH, *RECIPE, *FIXED, *LIBRARIES, *OUTSIDE, *MACHINE, *PINNED, *ARGUMENTS)
    ),
    *(Failure(*row[:4], restart=False, fix=_fix(row)) for row in (*ENDED, *LATE_OUTSIDE, *LATE)),
    *(Failure(*row[:4], start_only=True, fix=_fix(row)) for row in (*REGISTRY, *PASSING_OUTSIDE, *_PASSING_START)),
    *(Failure(*row[:4], fix=_fix(row)) for row in _PASSING),
    *(
        Failure(
            *row[:4], restart=row[1] in _WEAK_PASSING, weak=True, start_only=row[1] not in _WEAK_LATE, fix=_fix(row)
        )
        for row in _WEAK
    ),
    *(Failure(*row[:4], restart=row[1] != "model_unreadable", pointer=True) for row in _POINTERS),
)
