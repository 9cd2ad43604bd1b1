"""Causes of a general kind, which count when no particular row does, and lines that only point at an earlier one."""

from __future__ import annotations

from vllm_studio_tui.backends.failures.row import start_failure
from vllm_studio_tui.domain.spec import Failure

GENERAL: tuple[Failure, ...] = (
    start_failure(
        r"Timed out waiting for engine|did not become ready",
        "start_timeout",
        "a part of the engine did not start in time",
        "Raise VLLM_ENGINE_READY_TIMEOUT_S in env_vars.",
        restart=True,
    ),
    Failure(
        # A soft one only reports.
        r"watchdog timeout \(self\.watchdog_timeout=(\d{1,9})(?:\.\d+)?(?:, self\.soft=False)?\)",
        "hang",
        "the scheduler hung: no step ended within {1} s",
        "Look at nvidia-smi, for an Xid in `dmesg` and, with several GPUs, at NCCL (NCCL_DEBUG=INFO, "
        "NCCL_P2P_DISABLE=1); try it without speculative and hierarchical cache, with a newer engine. Raise "
        "watchdog_timeout in extra_args if a step takes that long.",
    ),
    Failure(
        r"(GGML_ASSERT\(.{1,160}\)) failed|\b(?:fatal error|GGML_ABORT): (.{1,160})$",
        "assertion",
        "llama.cpp found a fault of its own: {1}{2}",
        "Use a newer llama-server; try it without flash_attn, with another kv_cache_dtype, or a smaller max_model_len.",
    ),
    # --- lines of a general kind: they count when no particular row does
    start_failure(
        r"^(srun|sbatch|salloc|slurmstepd|mpirun|mpiexec|kubectl|nerdctl|conda|systemd-run): error: (.{1,200})",
        "launcher",
        "{1} refused or ended it: {2}",
        "Correct what launches the engine (command in the recipe, the job's script).",
        weak=True,
    ),
    start_failure(
        r"^(?:\(.{0,40}\) )?[a-z][\w.-]{0,40}(?: [a-z][\w-]{0,40})?: error: (?!argument -\S+: \d+ validation)(.{1,200})"
        r"|^(?-i:error: )(.{1,200})|^Error: ((?:No such|Missing|Invalid|Got unexpected|Option ['\"-]).{1,200})",
        "invalid_argument",
        "the command line was refused: {1}{2}{3}",
        "Correct it in the recipe (mostly in extra_args); `recipes command` shows the command line.",
        weak=True,
    ),
    start_failure(
        r"\[sgl_kernel\] CRITICAL: Could not load any common_ops",
        "wrong_build",
        "sgl_kernel has no build for this GPU, or not for this version of torch",
        "Install sgl-kernel (sglang-kernel) and torch of the versions that this SGLang asks for, built for this GPU.",
        weak=True,
    ),
    start_failure(
        r"PermissionError: \[Errno 13\] Permission denied: '([^']+)'|: (/[^:]{1,200}): Permission denied"
        r"|(?:cannot|failed to) open .{0,60}'([^']+)'.{0,20}Permission denied",
        "file_denied",
        "{1}{2}{3} may not be used by this user",
        "Give the right to it and to the folders above it (chmod, chown), or name another place in the recipe.",
        weak=True,
    ),
    start_failure(
        r"(?:FileNotFoundError|NotADirectoryError|IsADirectoryError): \[Errno \d+\] [\w ]+: '([^']+)'"
        r"|(?:failed to open|cannot open|could not open)(?: file)? '([^']+)'|error: failed to open file '([^']+)'",
        "file_missing",
        "there is no file {1}{2}{3}",
        "Correct the path in the recipe (extra_args), or put the file there.",
        weak=True,
    ),
    start_failure(
        r"'([^']{1,300})' does not exist|\b(?:lstat|stat|open) (/\S{1,300}): no such file",
        "file_missing",
        "there is no {1}{2}",
        "Correct the path in the recipe (extra_args, command), or put the file there.",
        weak=True,
    ),
    start_failure(
        r"(FlashAttention only supports .{1,80}|unsupported GPU .{1,100})",
        "gpu_too_old",
        "the engine does not run on this GPU: {1}",
        "Choose another attention_backend (transformers: attn_implementation sdpa) in extra_args, leave that GPU out "
        "(gpus), or use another engine: llama.cpp runs on older ones.",
        weak=True,
    ),
    start_failure(
        r"requires? (?!GPUs )(\w[\w -]{1,40}? v?\d[\w.]{0,20}) or (?:later|newer|higher|above)"
        r"|required (\w[\w -]{1,40}? v?\d[\w.]{0,20}) or (?:later|newer|higher|above)",
        "package_version",
        "the engine needs {1}{2} or later",
        "Install it in the engine's environment, or leave out what needs it (extra_args).",
        weak=True,
    ),
    start_failure(
        r"Error parsing config for (\S+): (.{1,200}?)(?:, retrying \d of \d)?$",
        "config_invalid",
        "config.json of {1} cannot be used: {2}",
        "Correct it, download it again, or upgrade the engine's transformers.",
        weak=True,
    ),
    start_failure(
        r"JSONDecodeError: (.{1,120})",
        "model_json",
        "JSON that the engine reads is not valid: {1}",
        "Download the files of model_path again, or correct the JSON in extra_args.",
        weak=True,
    ),
    start_failure(
        r"failed to create_context with model|failed to create llama_context|failed to initialize the context",
        "context_too_long",
        "there is not enough memory for the context that was asked for",
        "Set a smaller max_model_len (--ctx-size).",
        restart=True,
        weak=True,
    ),
    start_failure(
        r"error loading model: (?!llama_model_loader: failed to load model)(?:error loading model \w+: )?(.{1,200})",
        "model_unreadable",
        "the model cannot be loaded: {1}",
        "Check the file of model_path and its shards, download it again, or use a newer llama-server.",
        weak=True,
    ),
    start_failure(
        r"Ninja build failed|Error building extension '([^']+)'|ninja: build stopped",
        "compile_failed",
        "kernels could not be compiled {1}",
        "The lines below it say why. Check that CUDA toolkit and torch fit each other, or avoid what must be "
        "compiled: another attention_backend, enforce_eager: true in extra_args.",
        restart=True,
        weak=True,
    ),
    Failure(
        r"(?:CUDA|ROCm|HIP|MUSA|SYCL|rocBLAS|cuBLAS) error: (.{1,120})",
        "gpu_crash",
        "the GPU reports an error: {1}",
        "Look for an Xid in `dmesg` and at nvidia-smi; try another attention_backend or enforce_eager.",
        weak=True,
    ),
    start_failure(
        r"(?:: line \d+|\bsh: \d+|bash): (\S{1,200}): (?:command )?not found|exec: \"?([^\":]{1,200})\"?: "
        r"(?:executable file )?not found",
        "program_missing",
        "there is no program {1}{2}",
        "Correct command, executable or python_path in the recipe.",
        weak=True,
    ),
    start_failure(
        r"docker: (?:Error response from daemon: )?(?:(?:failed to create (?:task for container|shim task)"
        r"|OCI runtime create failed|runc create failed|unable to start container process"
        r"|error during container init): ){0,6}(.{1,200})",
        "docker",
        "Docker refused it: {1}",
        "Correct docker in the recipe; `recipes command` shows the command line.",
        weak=True,
    ),
    start_failure(
        r"SyntaxError: (?:invalid syntax|f-string)|unsupported operand type\(s\) for \|: 'type'",
        "python_too_old",
        "the engine needs a newer Python than the one that runs it",
        "Name another python_path, and install the engine afresh there.",
        weak=True,
    ),
    Failure(
        r"Segmentation fault|Fatal Python error: ([\w ]{1,80})",
        "native_crash",
        "it crashed in native code {1}",
        "Try another attention backend or an eager run, look for an Xid in `dmesg`, and upgrade the engine.",
        weak=True,
    ),
    # --- lines that follow from an earlier cause
    Failure(
        r"DistBackendError",
        "nccl",
        "one of the GPUs' processes died or hung",
        "Look for the first error of any rank above. Where there is none a GPU or its link hangs: see nvidia-smi and "
        "an Xid in `dmesg`; try disable_custom_all_reduce in extra_args, NCCL_P2P_DISABLE=1 in env_vars.",
        pointer=True,
    ),
    Failure(
        r"^(?:.{0,80}: line \d+: +\d+ )?Killed(?:\s|$)|Out of memory: Killed process",
        "killed",
        "killed by SIGKILL",
        "The kernel kills what takes too much memory: see `dmesg` or the memory limit of the container.",
        pointer=True,
    ),
    Failure(
        r"died unexpectedly \(exit code: -9\)",
        "killed",
        "a process of the engine was killed (SIGKILL)",
        "By the kernel, for lack of memory (see `dmesg` and the memory limit of the container), or by somebody.",
        pointer=True,
    ),
    Failure(
        r"died unexpectedly \(exit code: -(\d+)\)",
        "native_crash",
        "a process of the engine crashed (signal {1})",
        "Try another attention backend or an eager run, and look for an Xid in `dmesg`.",
        pointer=True,
    ),
    Failure(
        r"failed to load model|error loading model|exiting due to model loading error",
        "model_unreadable",
        "the model cannot be loaded",
        "Check the file and its shards, or use a newer llama-server.",
        restart=False,
        pointer=True,
    ),
    Failure(
        r"exiting due to HTTP server error|failed to initialize HTTP server",
        "server_error",
        "its HTTP server could not start",
        "See the lines above: host, port, api_key_file or the certificate is wrong.",
        pointer=True,
    ),
    Failure(
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
        pointer=True,
    ),
)
