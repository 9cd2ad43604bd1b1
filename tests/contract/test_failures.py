"""Every known failure is recognised by the line its engine prints, and nothing else is taken for one.

The lines are those of engines' sources and of recorded runs. A row without a line here fails the last test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.keeper.causes import find, first_changes, matches, near
from vllm_studio_tui.runs.diagnose import diagnose_bytes

VLLM = "(EngineCore pid=88) ERROR 11-23 14:21:06 [core.py:842] "
#: A line, its reason, words that its title must hold, and the change of the recipe that the row names.
SAMPLES: tuple[tuple[str, str, str, dict[str, object]], ...] = (
    (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of",
        "out_of_memory", "2.50 GiB", {},
    ),
    ("torch.cuda.OutOfMemoryError", "out_of_memory", "out of memory", {}),
    ("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory", "out_of_memory", "memory", {}),
    (
        VLLM + "ValueError: To serve at least one request with the models's max seq len (131072), (20.00 GiB KV cache "
        "is needed, which is larger than the available KV cache memory (2.81 GiB). Based on the available memory, "
        "the estimated maximum model length is 18416.",
        "kv_cache_too_small", "131072 tokens: it needs 20.00 GiB, 2.81 GiB", {"max_model_len": 18416},
    ),
    (
        "ValueError: To serve at least one request with the models's max seq len (32768), (4.00 GiB KV cache is "
        "needed, which is larger than the available KV cache memory (2.81 GiB).",
        "kv_cache_too_small", "32768", {},
    ),
    ("Based on that, the estimated maximum model length is 7001", "kv_cache_too_small", "7001",
     {"max_model_len": 6992}),
    ("ValueError: No available memory for the cache blocks. Try increasing", "kv_cache_too_small", "no memory", {}),
    (
        "ValueError: Free memory on device cuda:0 (20.53/79.10 GiB) on startup is less than desired GPU memory "
        "utilization (0.92, 72.77 GiB).",
        "gpu_memory_taken", "20.53 of 79.10 GiB", {},
    ),
    ("ValueError: Model architectures ['FooForCausalLM'] are not supported for now.", "architecture_unsupported",
     "FooForCausalLM", {}),
    ("Model architecture BarForCausalLM was supported in vLLM until v0.10.2, and", "architecture_unsupported",
     "0.10.2", {}),
    ("Model architectures are not supported in-tree anymore. Please install the plugin at https://e.org/p",
     "architecture_unsupported", "plug-in", {}),
    ("The checkpoint you are trying to load has model type `foo` but Transformers does not recognize this architecture",
     "architecture_unsupported", "transformers is too old", {}),
    ("ValueError: Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
     "remote_code_needed", "code of its own", {}),
    ("Loading org/m requires you to execute the configuration file in that repo", "remote_code_needed", "code", {}),
    ("huggingface_hub.errors.GatedRepoError: 403 Client Error.", "gated", "refuses", {}),
    ("OSError: You are trying to access a gated repo.", "gated", "refuses", {}),
    ("requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url", "gated", "refuses", {}),
    ("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.", "model_missing", "no such model", {}),
    ("ValueError: Invalid repository ID or local directory specified: 'x'", "model_missing", "no such model", {}),
    ("OSError: x is not a local folder and is not a valid model identifier listed on", "model_missing", "no such", {}),
    ("huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': "
     "'/no/model'. Use `repo_type`", "model_missing", "/no/model", {}),
    ("gguf_init_from_file: failed to open GGUF file '/m.gguf' (No such file or directory)", "model_missing",
     "/m.gguf", {}),
    ("RuntimeError: Cannot find any model weights with `/m`", "model_incomplete", "lacks weights", {}),
    ("OSError: It looks like the config file at '/m/x.gguf' is not a valid JSON file.", "model_format", "GGUF",
     {"backend": "llamacpp"}),
    ("huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach", "offline", "not in the cache", {}),
    ("huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot", "offline",
     "not in the cache", {}),
    ("urllib3: Max retries exceeded with url: https://huggingface.co/api", "offline", "cannot be reached", {}),
    ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "offline", "cannot be reached", {}),
    ("OSError: [Errno 28] No space left on device: '/root/.cache/x'", "disk_full", "full", {}),
    ("RuntimeError: unable to write to file </torch_1>: shared memory is insufficient (bus error)", "shared_memory",
     "too small", {}),
    ("ERROR: Unexpected bus error encountered in worker. Bus error (core dumped)", "shared_memory", "too small", {}),
    ("OSError: [Errno 98] Address already in use", "port_in_use", "taken", {}),
    ("ValueError: Chunked MM input disabled but max_tokens_per_mm_item (2496) is larger than max_num_batched_tokens "
     "(2048). Please increase max_num_batched_tokens.", "batch_too_small", "one image needs 2496",
     {"max_num_batched_tokens": 2496}),
    ("ValueError: max_num_seqs (1024) exceeds available Mamba cache blocks (969).", "kv_cache_too_small",
     "969 requests", {"max_num_seqs": 969}),
    ("torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. port: "
     "29500, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use", "port_in_use",
     "port 29500", {}),
    ("Failed: Cuda error /workspace/csrc/custom_all_reduce.cuh:455 'invalid argument'", "nccl", "invalid argument",
     {"extra_args.disable_custom_all_reduce": True}),
    ("[2025-11-18 10:31:52 TP0] Scheduler watchdog timeout (self.watchdog_timeout=300, self.soft=False)", "hang",
     "within 300 s", {}),
    ("Error: writing blob: adding layer with blob \"sha256:76\": processing tar file(potentially insufficient UIDs or "
     "GIDs available in user namespace (requested 0:42 for /etc/shadow)", "container_users", "too few user ids", {}),
    ("ERROR: Cannot install exllamav3==0.0.18 and torch==2.5.0 because these package versions have conflicting "
     "dependencies.", "no_solution", "exllamav3==0.0.18 and torch==2.5.0", {}),
    ("error: externally-managed-environment", "no_python", "system's own Python", {}),
    ("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local "
     "issuer certificate (_ssl.c:1010)", "untrusted", "not trusted", {}),
    ("OSError: Consistency check failed: file should be of size 4976698672 but has size 2147483648 "
     "(model-00001-of-00004.safetensors).", "hub_cut", "model-00001-of-00004.safetensors was cut off", {}),
    ("pynvml.NVMLError_Unknown: Unknown Error", "driver_state", "does not answer", {}),
    ("ERROR: No matching distribution found for exllamav3==0.0.18", "no_solution", "no version of exllamav3==0.0.18",
     {}),
    ("openai_harmony.HarmonyError: error downloading or loading vocab file: failed to download", "offline",
     "o200k_base", {}),
    ("ValueError: Failed to find a kernel that can implement the WNA16 linear layer. Reasons: ",
     "quantization_unsupported", "WNA16", {}),
    ("srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8101", "port_in_use", "taken", {}),
    ("ValueError: Available memory on node 0 (12.31/14.84 GiB) on kv cache allocation is less than requested memory"
     " for kv (640.0 GiB)", "kv_cache_too_small", "the memory node has 12.31/14.84 GiB free", {}),
    ("[Errno 98] error while attempting to bind on address ('127.0.0.1', 8000)", "port_in_use", "taken", {}),
    ("Port 5000 is currently in use. Switching to 5001.", "port_moved", "moved to port 5001", {"port": None}),
    ("ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).",
     "tensor_parallel_indivisible", "28 attention heads cannot be split over 8", {}),
    ("ValueError: World size (8) is larger than the number of available GPUs (2) in this node.", "too_few_gpus",
     "8 GPUs are asked for and 2", {"tensor_parallel_size": 2, "pipeline_parallel_size": 1}),
    ("RuntimeError: NCCL error in: ProcessGroupNCCL.cpp:3384, unhandled system error", "nccl", "NCCL", {}),
    ("torch.distributed.DistBackendError: NCCL communicator was aborted on rank 1.", "nccl", "died or hung", {}),
    ("torch.distributed.DistBackendError: ncclSystemError: System call failed", "nccl", "NCCL", {}),
    ("[rank0]:[E ProcessGroupNCCL.cpp:632] Watchdog caught collective operation timeout: WorkNCCL",
     "collective_timeout", "died or hung", {}),
    ("RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms "
     "for recv operation to complete", "collective_timeout", "died or hung", {}),
    ("RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [10.0.0.2]:27062: Connection "
     "reset by peer. This is typically caused by a remote worker hanging", "peer_lost", "[10.0.0.2]:27062 closed", {}),
    ("RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:3211",
     "peer_lost", "[10.0.0.2]:3211 closed", {}),
    ("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, remote process exited or there was "
     "a network error, NCCL version 2.29.7 ncclRemoteError: A call failed possibly due to a network error or a remote "
     "process exiting prematurely.", "peer_lost", "another rank is gone", {}),
    ("ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
     "peer_lost", "another rank is gone", {}),
    ("torch.distributed.DistNetworkError: failed to recv, got 0 bytes. Connection was likely closed. Did the remote "
     "server shutdown or crash?", "peer_lost", "another rank is gone", {}),
    ("[rank1]:[W1128 TCPStore.cpp:125] [c10d] recvValue failed on SocketImpl(fd=70)", "peer_lost", "gone", {}),
    ("ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.", "ray_worker_lost",
     "on another machine", {}),
    ("torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.",
     "rendezvous", "1 of 2 ranks came together in 601 s", {}),
    ("RuntimeError: Did not receive response from front-end process within 5 minutes", "rendezvous",
     "the first rank did not answer", {}),
    ("ValueError: The memory capacity is unbalanced. min_per_gpu_memory=1.0", "gpus_unequal", "different", {}),
    ("RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.", "kv_cache_too_small",
     "static memory pool", {}),
    ("Exception: Capture cuda graph failed: CUDA error", "out_of_memory", "CUDA graphs", {}),
    ("ValueError: The quantization method awq_marlin is not supported for the current GPU. Minimum capability: 80",
     "quantization_unsupported", "quantization", {}),
    ("ValueError: Unknown quantization method: gguf.", "quantization_unsupported", "quantization", {}),
    ("RuntimeError: FP8 MoE requires a GPU with compute capability >= 8.9", "quantization_unsupported", "quant", {}),
    ("fbgemm_fp8 is deprecated and will be removed in a future release. To use it pass --allow-deprecated-quantization",
     "quantization_unsupported", "deprecated", {"extra_args.allow_deprecated_quantization": True}),
    ("ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4",
     "dtype_unsupported", "bfloat16", {"dtype": "float16"}),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "wrong_build",
     "no kernels", {}),
    ("RuntimeError: The NVIDIA driver on your system is too old (found version 12080).", "driver_too_old", "older", {}),
    ("CUDA driver version is insufficient for CUDA runtime version", "driver_too_old", "older", {}),
    ("RuntimeError: Found no NVIDIA driver on your system.", "no_gpu", "no GPU", {}),
    ("RuntimeError: Failed to infer device type", "no_gpu", "no GPU", {}),
    ("RuntimeError: CUDA error: device-side assert triggered", "gpu_crash", "kernel crashed", {}),
    ("CUDA error: an illegal memory access was encountered", "gpu_crash", "kernel crashed", {}),
    ("pydantic: Value error, User-specified max_model_len (100000) is greater than the derived max_model_len "
     "(max_position_embeddings=8192.0 or model_max_length=None in model's config.json).", "context_too_long",
     "100000", {"max_model_len": 8192}),
    ("llama_init_from_model: failed to create_context with model '/m.gguf'", "context_too_long", "memory", {}),
    ("Available memory on node 0 (11.09/13.96 GiB) on kv cache allocation is less than requested memory for kv "
     "(64.0 GiB). Decrease", "kv_cache_too_small", "11.09/13.96 GiB free", {}),
    ("vllm: error: unrecognized arguments: --swap-space 4", "unknown_flag", "--swap-space 4", {}),
    ("error: invalid argument: --bogus", "unknown_flag", "--bogus", {}),
    ("Error: No such option: --tensor-parallel", "unknown_flag", "--tensor-parallel", {}),
    ("vllm serve: error: argument --dtype: invalid choice: 'int3' (choose from 'auto')", "invalid_value", "int3", {}),
    ("ModuleNotFoundError: No module named 'flash_attn'", "missing_module", "flash_attn", {}),
    ("/usr/bin/python3: No module named sglang", "missing_module", "sglang", {}),
    ("ImportError: /lib/x.so: undefined symbol: _ZN3c10", "broken_install", "_ZN3c10", {}),
    ("OSError: libcudart.so.13: cannot open shared object file: No such file", "broken_install", "libcudart", {}),
    ("importlib.metadata.PackageNotFoundError: No package metadata was found for vllm", "broken_install", "vllm", {}),
    ("safetensors_rust.SafetensorError: Error while deserializing header: header too large", "model_corrupt",
     "cut off", {}),
    ("llama_model_load: error loading model: unknown model architecture: 'qwen9'", "architecture_unsupported",
     "qwen9", {}),
    ("gguf_init_from_file: invalid magic characters 'abcd', expected 'GGUF'", "model_corrupt", "GGUF", {}),
    ("main: exiting due to model loading error", "model_unreadable", "cannot be loaded", {}),
    ("jinja2.exceptions.TemplateSyntaxError: unexpected '}'", "chat_template", "template", {}),
    (VLLM + "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
     "engine_died", "died", {}),
    ("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.", "engine_died", "died", {}),
    ("run_vllm.sh: line 3: 12345 Killed                  vllm serve", "killed", "SIGKILL", {}),
    ("TimeoutError: Timed out waiting for engine core processes to start.", "start_timeout", "in time", {}),
    ("ValueError: Cannot provide a placement group requiring 8 GPUs", "ray_resources", "Ray", {}),
    ("OSError: [Errno 24] Too many open files", "too_many_files", "open files", {}),
    ("KeyError: 'invalid tool call parser: hermes2 (chose from { hermes })'", "unknown_parser", "parser",
     {"tool_call_parser": None}),
    ("RuntimeError: DeepSeekR1ReasoningParser could not locate think start/end tokens in the tokenizer!",
     "unknown_parser", "does not fit", {"reasoning_parser": None}),
    ("Value error, max_num_batched_tokens (64) must be greater than or equal to max_num_seqs (256).",
     "batch_too_small", "64 is smaller than max_num_seqs 256", {"max_num_seqs": 64}),
    ("0.00.1 E llama_adapter_lora_init: failed to apply lora adapter: model arch and LoRA arch mismatch",
     "lora_unreadable", "arch mismatch", {}),
    ("0.00.1 E common_init: failed to load lora adapter '/l.gguf'", "lora_unreadable", "/l.gguf", {}),
    ("0.00.1 E srv load_model: failed to load draft model, '/d.gguf'", "draft_unreadable", "/d.gguf", {}),
    ("0.00.1 E common_speculative: the target and draft vocabs are not compatible", "draft_misfit", "vocab", {}),
    ("0.00.1 E srv load_model: failed to load multimodal model, '/p.gguf'", "mmproj_unreadable", "/p.gguf", {}),
    ("error loading model: CLIP cannot be used as main model, use it with --mmproj instead", "mmproj_as_model",
     "projector", {}),
    ("0.1 E llama_init_from_model: quantized V cache was requested, but this requires Flash Attention", "invalid_value",
     "Flash Attention", {"kv_cache_dtype": "auto"}),
    ("ValueError: the chat template was not found: the chat template /x is not supported", "chat_template",
     "cannot be used", {}),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/etc/tls/key.pem'", "ssl_file", "/etc/tls/key.pem", {}),
    ("0.00.1 E srv init: the server is built without SSL support", "no_https", "cannot serve https", {}),
    ("HTTPS is not supported. Please rebuild with one of:", "no_https", "cannot download", {}),
    ("gguf_init_from_file: failed to open GGUF file '/m.gguf' (Permission denied)", "file_denied", "/m.gguf", {}),
    ("OSError: org/m does not appear to have a file named preprocessor_config.json. Checkout", "model_incomplete",
     "preprocessor_config.json", {}),
    ("ValueError: Following weights were not initialized from checkpoint: 'model.layers.30.mlp'", "model_incomplete",
     "model.layers.30", {}),
    ("error loading model vocabulary: unknown pre-tokenizer type: 'new-bpe'", "architecture_unsupported",
     "new-bpe", {}),
    ("0.1 E gguf_init_from_reader: this GGUF file is version 9 but this software only supports up to version 3",
     "gguf_version", "version 9", {}),
    ("error loading model: missing tensor 'blk.3.attn_q.weight'", "model_corrupt", "blk.3.attn_q.weight", {}),
    ("ggml_cuda_init: ggml was not compiled with any CUDA arch <= 750", "wrong_build", "llama.cpp", {}),
    ('error while handling argument "--device": invalid device: CUDA7', "too_few_gpus", "CUDA7", {}),
    ("RuntimeError: Ninja is required to load C++ extensions", "no_compiler", "ninja", {}),
    ("ImportError: tokenizers>=0.22,<0.23 is required for a normal functioning of this module",
     "transformers_version", "do not fit", {}),
    ("ImportError: numpy.core.multiarray failed to import", "broken_install", "numpy", {}),
    ("ValueError: invalid literal for int() with base 10: 'GPU-1234'", "too_few_gpus", "UUIDs", {}),
    ("ERROR: [Errno 13] error binding to port 80: bind: Permission denied", "port_denied", "may not listen",
     {"port": None}),
    ("UnicodeEncodeError: 'ascii' codec can't encode character", "locale", "locale", {"env_vars.LC_ALL": "C.UTF-8"}),
    ("error: argument: invalid choice: 'x' (choose from 'y')", "invalid_value", "x is not one", {}),
    ('error while handling argument "--ctx-size": stoi', "invalid_value", "--ctx-size is not valid: stoi", {}),
    ("KeyError: 'no such tool call parser'", "unknown_parser", "no parser of that name", {}),
    ("OSError: [Errno 27] File too large", "disk_quota", "larger", {}),
    ("OSError: [Errno 30] Read-only file system: '/root/.cache'", "read_only", "nothing may be written", {}),
    ("HfHubHTTPError: 503 Server Error: Service Unavailable for url: https://huggingface.co/x", "hub_busy",
     "fault", {}),
    ("terminate called after throwing an instance of 'std::bad_alloc'", "system_ram_oom", "memory", {}),
    ("PermissionError: [Errno 13] Permission denied: '/models/m/config.json'", "file_denied", "config.json", {}),
    ("E llama_model_load: error loading model: key not found in model: llama.context_length", "model_unreadable",
     "key not found", {}),
    ("RuntimeError: CUDA error: initialization error", "gpu_crash", "initialization error", {}),
    ("docker: Error response from daemon: Conflict. The container name is in use", "docker", "Conflict", {}),
    ("Segmentation fault (core dumped)", "native_crash", "native code", {}),
    ("Worker proc VllmWorker-1 died unexpectedly (exit code: -11), shutting down executor.", "native_crash",
     "signal 11", {}),
    ("./start.sh: line 7: 41872 Bus error               (core dumped) llama-server -m /mnt/nas/m.gguf", "bus_error",
     "bus error", {}),
    ("OSError: libcuda.so.1: cannot open shared object file: No such file or directory", "no_gpu", "libcuda.so.1", {}),
    ("llama-server: error while loading shared libraries: libggml-cuda.so: cannot open shared object file: No such",
     "broken_install", "llama.cpp itself is missing: libggml-cuda.so", {}),
    ("llama-server: error while loading shared libraries: libamdhip64.so.6: cannot open shared object file: No such",
     "broken_install", "software of the GPU is missing", {}),
    ("ImportError: libGL.so.1: cannot open shared object file: No such file or directory", "broken_install",
     "a library of the system is missing: libGL.so.1", {}),
    ("ImportError: libfoo.so.3: cannot open shared object file: No such file or directory", "broken_install",
     "of the engine is missing or of another version: libfoo.so.3", {}),
    ("  what():  vk::createInstance: ErrorIncompatibleDriver", "no_gpu", "Vulkan", {}),
    ("/x/vendor.cuh:10:10: fatal error: infiniband/verbs.h: No such file or directory", "no_compiler",
     "the header infiniband/verbs.h is missing", {}),
    ("/x/reduce.cuh:10:10: fatal error: cub/cub.cuh: No such file or directory", "no_compiler",
     "header cub/cub.cuh of the CUDA toolkit", {}),
    ("AssertionError: V1 CPU offloading requires uva (pin memory) support", "pinned_memory", "under WSL2",
     {"env_vars.VLLM_WSL2_ENABLE_PIN_MEMORY": "1"}),
    ("Memory on the node (IP: 10.0.0.2) was 12.49GB / 13.15GB (0.950003), which exceeds the memory usage threshold of "
     "0.95. Ray killed this worker", "system_ram_oom", "Ray killed a process", {}),
    ("host:1:1 [0] misc/ibvwrap.cc:262 NCCL WARN Call to ibv_reg_mr failed with error Cannot allocate memory",
     "memory_lock", "memlock", {}),
    ("CUDA call failed lazily at initialization with error: device >= 0 && device < num_gpus INTERNAL ASSERT FAILED",
     "too_few_gpus", "not there", {}),
    ("RuntimeError: Gloo connectFullMesh failed with [../third_party/gloo/gloo/transport/tcp/pair.cc:144] no error",
     "rendezvous", "could not reach each other", {}),
    ("RuntimeError: Prefill out of memory. Try to lower your batch size.", "kv_cache_full", "(Prefill)", {}),
    ("docker: toomanyrequests: You have reached your unauthenticated pull rate limit.", "registry_busy", "pulls", {}),
    ('docker: Error response from daemon: Get "https://registry-1.docker.io/v2/": net/http: TLS handshake timeout',
     "offline", "registry-1.docker.io", {}),
    ("failed to initialize router models: error: '/nope' does not exist or is not a directory", "file_missing",
     "there is no /nope", {}),
    ("FATAL:   could not open image /i/v.sif: failed to retrieve path for /i/v.sif: lstat /i/v.sif: no such file",
     "file_missing", "there is no /i/v.sif", {}),
    ("RuntimeError: FlashAttention only supports Ampere GPUs or newer.", "gpu_too_old", "only supports Ampere", {}),
    ("AssertionError: Paged attention required Flash Attention 2.5.7 or later", "package_version",
     "Flash Attention 2.5.7 or later", {}),
    ("CondaError: Run 'conda init' before 'conda activate'", "no_python", "was not activated", {}),
    ("error: Failed to spawn: `vllm`", "program_missing", "uv runs has no program vllm", {}),
    ("nvidia-container-cli: device error: 3: unknown device: unknown", "too_few_gpus", "not there: 3", {}),
    ("nvidia-container-cli: mount error: file creation failed: /var/lib/docker/overlay2/x: operation not permitted",
     "no_gpu", "mount error", {}),
    ("docker: no matching manifest for linux/arm64/v8 in the manifest list entries", "docker_image", "arm64", {}),
    ('docker: Error response from daemon: Conflict. The container name "/vllm" is already in use by container "9c4".',
     "docker_name", "name vllm", {}),
    ("docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create failed: "
     "unable to start container process: error during container init: error mounting x", "docker",
     "refused it: error mounting x", {}),
    ("llama-server.service: Failed at step CHDIR spawning /opt/llama-server: No such file or directory", "service",
     "/opt/llama-server (CHDIR): No such file", {}),
    ("slurmstepd: error: *** JOB 412 ON gpu07 CANCELLED AT 2026-05-01T10:00:00 DUE TO TIME LIMIT ***", "terminated",
     "TIME LIMIT", {}),
    ("llama.service: A process of this unit has been killed by the OOM killer.", "killed", "lack of memory", {}),
    ("srun: error: Unable to create step for job 412: Invalid generic resource (gres) specification", "launcher",
     "srun refused or ended it: Unable to create step", {}),
    ("conda: error: argument COMMAND: invalid choice", "launcher", "conda refused", {}),
    ("ggml_cuda: ROCm error: unspecified error", "gpu_crash", "unspecified error", {}),
    ("0.1 E srv  llama_server: exiting due to HTTP server error", "server_error", "HTTP server", {}),
)  # fmt: skip
#: Lines of healthy engines that look like trouble.
HARMLESS = (
    "[2025-11-18 10:02:11 TP0] Decode out of memory happened. #retracted_reqs: 1, #new_token_ratio: 0.14 -> 0.18",
    "(raylet) 0 Workers (tasks / actors) killed due to memory pressure (OOM), 1 Workers crashed due to other reasons",
    "WARNING 11-23 08:01:02 [api_server.py:93] Found ulimit of 1024 ... OSError: [Errno 24] Too many open files",
    "(APIServer pid=1) INFO 11-23 08:01:02 [x.py:1] prompt: 'CUDA out of memory. Tried to allocate 2 GiB'",
    "INFO:     Shutting down",
    "0.00.466.076 W srv: no slot is free",
    "UserWarning: No CUDA GPUs are available",
    "INFO 11-23 [cuda.py:1] GPU compute capability 9.0",
)
LOGS = Path(__file__).parents[1] / "fixtures" / "failures"


@pytest.mark.parametrize(
    ("line", "reason", "words", "fix"), SAMPLES, ids=[f"{row[1]}-{at}" for at, row in enumerate(SAMPLES)]
)
def test_the_line_is_known(line: str, reason: str, words: str, fix: dict[str, object]) -> None:
    found = find(["INFO 11-23 starting", line, "INFO 11-23 shutting down"], FAILURES)
    assert found is not None
    assert (found.failure.reason, found.index) == (reason, 1)
    assert words in found.title
    assert found.advice
    assert "{" not in found.title + found.advice
    assert first_changes(found.fixes) == fix


def test_every_row_has_a_line_of_its_own() -> None:
    # A row that only catches another form of an earlier cause is named by its pattern.
    reached = _reached()
    assert [failure.pattern for failure in FAILURES if failure.pattern not in reached] == []


def _reached() -> set[str]:
    """Patterns that are the first to match a line of the samples, or of the logs of failures."""
    first: set[str] = set()
    for lines in ([line for line, *_ in SAMPLES], *(log.read_text().split("\n") for log in LOGS.glob("*.txt"))):
        for index, rows in near(lines, FAILURES):
            first.update([row.pattern for row in rows if matches(row, lines[index])][:1])
    return first


@pytest.mark.parametrize("line", HARMLESS)
def test_a_healthy_line_is_no_cause(line: str) -> None:
    assert find([line], FAILURES) is None
    assert diagnose_bytes(line.encode(), FAILURES).reason is None


def test_lasting_causes_are_not_retried_and_passing_ones_are() -> None:
    retried = {row.reason: row.restart for row in FAILURES}
    for reason in ("kv_cache_too_small", "gated", "remote_code_needed", "tensor_parallel_indivisible", "unknown_flag",
                   "architecture_unsupported"):  # fmt: skip
        assert retried[reason] is False
    assert retried["out_of_memory"]
    assert retried["nccl"]


def test_fixes_name_fields_of_a_recipe_and_rules_that_there_are() -> None:
    from vllm_studio_tui.domain.recipe import Recipe
    from vllm_studio_tui.services.launching.fixes import FROM_GROUPS, FROM_RECIPE

    fixes = [fix for row in FAILURES for fix in row.fixes]
    changed = {name.partition(".")[0] for fix in fixes if not isinstance(fix, str) for name in fix}
    assert len(changed) >= 8
    assert changed <= set(Recipe.model_fields)
    assert {fix for fix in fixes if isinstance(fix, str)} == {*FROM_GROUPS, *FROM_RECIPE}


def test_the_reference_lists_every_cause_once() -> None:
    from vllm_studio_tui.backends.failures.reference import markdown_table

    head, rule, *rows = markdown_table().splitlines()
    assert (head, rule) == ("| reason | title | advice |", "|---|---|---|")
    assert {row.split("`")[1] for row in rows} == {failure.reason for failure in FAILURES}
    assert len(rows) == len(set(rows)) == len({(row.reason, row.title, row.advice) for row in FAILURES})
    assert all(row.replace("\\|", "").count("|") == 4 for row in rows)
    assert not any("{1}" in row for row in rows)
