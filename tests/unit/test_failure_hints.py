"""What is advised about errors that no row of the table knows: by their kind, their words and what was asked for."""

from __future__ import annotations

import time

import pytest

from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.keeper.hints import hint
from vllm_studio_tui.keeper.own_words import best_lead, shortened
from vllm_studio_tui.runs.diagnose import diagnose_bytes

VLLM = (
    "(APIServer pid=1) INFO 11-18 09:12:03 [utils.py:253] non-default args: {'model_tag': '/models/x', 'port': 8000, "
    "'max_model_len': 8192, 'kv_cache_dtype': 'fp8', 'attention_backend': 'FLASHINFER', 'speculative_config': "
    "{'method': 'eagle3', 'model': '/models/draft', 'num_speculative_tokens': 3}}"
)
SGLANG = "[2025-11-18 10:02:11] server_args=ServerArgs(model_path='/m', tp_size=4, page_size=1, moe_backend='cutlass')"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("RuntimeError: No compiled cutlass_moe_mm for CUDA device capability: 120", "no kernel of that kind"),
        ("ValueError: No valid attention backend found for cuda", "no backend for this model on this GPU"),
        ("AssertionError: Sinks are only supported in FlashAttention 3", "attention_backend"),
        ("RuntimeError: size_k must divisible by BLOCK_SIZE_K", "set tensor_parallel_size"),
        ("RuntimeError: operator torchvision::nms does not exist", "packages of the engine's environment"),
        ("ImportError: cannot import name 'decode' from 'flashinfer'", "packages of the engine's environment"),
        ("RuntimeError: Found no available NVSHMEM library", "Install it"),
        ("ValueError: type fp8e4nv not supported in this architecture", "kv_cache_dtype to auto"),
        ("ValueError: Cannot find target module name for layers.0.lora_A.weight", "lora_target_modules"),
        ("ValueError: Converting from Tiktoken failed", "tokenizer files"),
        ("AssertionError: Unknown architecture Ernie5ForCausalLM in /m/config.json", "upgrade the engine"),
        ("AssertionError: Unknown architecture sm_121a", "fault of this version"),
        ("AssertionError: max_num_tokens must be a multiple of 256.", "Set what the line names to such a multiple"),
        ("RuntimeError: CUDA SETUP ERROR: Missing dependency: libcusparse.so.11", "A library is missing"),
        ("failed to initialize router models: preset file does not exist: /etc/no.ini", "Correct the path"),
        ("TypeError: Router.__init__() got an unexpected keyword argument 'on_startup'", "do not fit each other"),
        ("OSError: libnuma.so: not found", "A library is missing"),
        (
            "ValueError: Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit",
            "smaller quantization",
        ),
        ("OSError: [Errno 116] Stale file handle: '/mnt/nas/m/model.safetensors'", "mount it again"),
        ("RuntimeError: Failed to connect to GCS at address 10.0.0.1:6379 within 5 seconds.", "No Ray cluster answers"),
        ("botocore.exceptions.NoCredentialsError: Unable to locate credentials", "AWS_ACCESS_KEY_ID"),
        ("ValueError: Failed to apply Qwen2_5_VLProcessor on data={'text': ''} with kwargs={}", "limit_mm_per_prompt"),
        ("RuntimeError: This flash attention build does not support tanh softcapping.", "Leave attention_backend"),
        ("ImportError: DeepEP is not installed. Please see its page", "Install that package"),
        ("ValueError: LMCache could not be imported", "Install that package"),
        ("ValueError: chunked prefill and prefix caching cannot be used together", "take one of it out"),
        ("ValueError: The number of required GPUs exceeds those available in the placement group.", "`ray status`"),
        ("RuntimeError: Version mismatch: The cluster was started with: Ray: 2.43", "same Ray"),
        ("OSError: AF_UNIX path too long", "TMPDIR"),
        ("ray.exceptions.ActorDiedError: The actor died unexpectedly", "session_latest"),
        ("TimeoutError: RPC call to execute_model timed out.", "hangs or is too slow"),
        ("ValueError: bitsandbytes quantization with TP or PP is not supported yet.", "cannot do this"),
        ("KeyError: 'layers.0.mlp.down_proj.weight.absmax'", "weights are named otherwise"),
        ("RuntimeError: Assertion error (csrc/jit/kernel_runtime.hpp:45): exit_code == 0", "fault of this version"),
        ("UnboundLocalError: cannot access local variable 'x'", "fault of this version"),
        ("torch._dynamo.exc.BackendCompilerFailed: backend='x' raised: AssertionError: 8==16", "fault of this version"),
    ],
)
def test_the_kind_of_an_error_says_what_to_do(words: str, advice: str) -> None:
    assert advice in hint(words)


def test_words_of_no_kind_get_no_advice() -> None:
    assert hint("ValueError: an array lies on the wrong GPU") == ""
    assert hint("ValueError: the prompt is longer than 100 characters") == ""
    assert hint("RuntimeError: Incompatible shapes for broadcasting") == ""
    assert hint("ValueError: something else went wrong") == ""


def test_an_option_that_the_error_names_is_what_to_correct() -> None:
    assert hint("ValueError: num_speculative_tokens:3 is odd", [VLLM]).startswith("Correct num_speculative_tokens in")
    assert hint("ValueError: bad --page-size 1", ["", SGLANG]).startswith("Correct page_size in the recipe")
    assert hint("ValueError: cutlass wants more", [SGLANG]).startswith("Correct moe_backend in the recipe")
    assert hint("ValueError: bad num_speculative_tokens") == ""


def test_a_fault_of_the_engine_names_what_the_recipe_adds_to_a_plain_start() -> None:
    found = hint("AssertionError: assert a == b", [VLLM])
    assert "plain model: kv_cache_dtype, attention_backend, speculative_config." in found
    assert "plain model: speculative, " in hint("AssertionError: assert a == b", [SGLANG])


def test_what_the_engine_itself_proposes_comes_first() -> None:
    concrete = hint("ValueError: too old. Please install it with `pip install mistral-common>=1.8.5`.")
    assert concrete == "The engine proposes: Please install it with `pip install mistral-common>=1.8.5`."
    vague = hint("ValueError: Not enough host memory available. Please reduce the size of the cache.")
    assert vague.startswith("The engine proposes: Please reduce the size of the cache. Ask for less")
    assert "proposes" not in hint("RuntimeError: it failed, please check the stack trace above for the root cause")


def test_a_compilers_error_is_told_by_the_exception_that_it_quotes() -> None:
    lines = [
        "triton.compiler.errors.CompilationError: at 1:0:", "def kernel(", "^",
        "ValueError(\"type fp8e4nv not supported in this architecture. ('fp8e5')\")",
    ]  # fmt: skip
    lead = best_lead(lines)
    assert lead is not None
    assert lead.text.endswith("CompilationError: type fp8e4nv not supported in this architecture. ('fp8e5')")
    raised = best_lead(["torch._dynamo.exc.BackendCompilerFailed: backend='x' raised:", "AssertionError: 8==16"])
    assert raised is not None
    assert raised.text.endswith("raised: AssertionError: 8==16")


def test_a_cancelled_wait_and_a_missing_debugger_are_no_causes() -> None:
    lines = ["Failed: Cuda error /csrc/quick.cuh:45 'invalid argument'", "RuntimeError: cancelled"]
    lead = best_lead(lines, FAILURES)
    assert lead is not None
    assert lead.text.startswith("Failed: Cuda error")
    assert (
        best_lead(["[2025-11-18 10:31:52 TP0] Pyspy failed to dump PID 5. Error: /bin/sh: 1: py-spy: not found"])
        is None
    )


def test_a_title_holds_the_reason_and_not_the_values_in_brackets() -> None:
    text = f"ValueError: No backend found for Config({'a=1, ' * 40}). Reasons: none fits"
    assert shortened(text) == "ValueError: No backend found for Config(…). Reasons: none fits"
    assert shortened("ValueError: f(a, b)") == "ValueError: f(a, b)"


def test_the_assertion_of_a_kernel_says_what_its_crash_meant() -> None:
    crash = "RuntimeError: CUDA error: device-side assert triggered"
    index = "/x/Indexing.cu:1289: block: [1,0,0] Assertion `srcIndex < srcSelectDimSize` failed."
    found = diagnose_bytes(f"{index}\n{crash}\n".encode(), FAILURES)
    assert "srcIndex < srcSelectDimSize" in (found.title or "")
    assert "a token that the model does not have" in (found.advice or "")


def test_two_processes_on_one_gpu_are_told_by_nccls_last_error() -> None:
    log = (
        "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690, invalid usage\n"
        "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.\nLast error:\n"
        "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1000\n"
    )
    found = diagnose_bytes(log.encode(), FAILURES)
    assert "Duplicate GPU detected" in (found.title or "")
    assert "given one GPU" in (found.advice or "")


def test_a_soft_watchdog_only_reports() -> None:
    line = "[2025-11-18 10:31:52 TP0] Scheduler watchdog timeout (self.watchdog_timeout=300, self.soft={})"
    assert diagnose_bytes(line.format("True").encode(), FAILURES).reason is None
    assert diagnose_bytes(line.format("False").encode(), FAILURES).reason == "hang"


@pytest.mark.parametrize("part", ["fp8", "sm_", "backend ", "no ", "(", "f(", "Please ", "'a': ", "Config({", "not "])
def test_hints_cost_time_in_proportion_to_the_words(part: str) -> None:
    text = "ValueError: " + part * 100_000
    asked = "non-default args: {" + part * 100_000
    begun = time.process_time()
    hint(text, [asked])
    shortened(text)
    best_lead([text])
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("last", "advice"),
    [
        ("Bootstrap : no socket interface found", "names no network interface"),
        ("socketPollConnect: connect to 10.0.0.2<4711> returned No route to host, exceeded error retry count", "ports"),
        ("Call to ibv_reg_mr failed with error Cannot allocate memory", "memlock"),
        ("Error while creating shared memory segment /dev/shm/nccl-x (size 9637888)", "docker.shm"),
        ("Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1000", "given one GPU"),
        ("Cuda failure 999 'unknown error'", "NCCL_DEBUG=INFO"),
    ],
)
def test_the_last_word_of_nccl_says_what_to_do(last: str, advice: str) -> None:
    log = (
        f"torch.distributed.DistBackendError: NCCL error in: x.cpp:77\nncclSystemError: failed.\nLast error:\n{last}\n"
    )
    found = diagnose_bytes(log.encode(), FAILURES)
    assert found.reason == "nccl"
    assert last in (found.title or "")
    assert advice in (found.advice or "")


def test_what_is_listed_below_a_colon_belongs_to_the_message() -> None:
    lines = ["RuntimeError: Version mismatch: started with:", "    Ray: 2.43.0", "    Python: 3.11", "", "INFO 1 ready"]
    lead = best_lead(lines)
    assert lead is not None
    assert lead.text == "RuntimeError: Version mismatch: started with: Ray: 2.43.0 Python: 3.11"
    other = best_lead(["ValueError: these are wrong:", "Process EngineCore_DP0:"])
    assert other is not None
    assert other.text == "ValueError: these are wrong:"


def test_a_title_holds_no_long_paths_dictionaries_nor_addresses_of_objects() -> None:
    long = "x" * 90
    assert shortened(f'no "/scratch/project/{long}/{long}/engine1.sock" here') == 'no "/scratch/pro…engine1.sock" here'
    assert shortened("no GPU. have={" + "'a': 1.0, " * 30 + "}. Stop") == "no GPU. have={…}. Stop"
    wrapped = "torch._dynamo.exc.BackendCompilerFailed: backend='<a.B object at 0x7f1c>' raised: ImportError: no key"
    assert shortened(wrapped) == "ImportError: no key"
    assert shortened("TypeError: <a.B object at 0x7f1c> has no length") == "TypeError: … has no length"


def test_an_option_that_cannot_be_had_is_to_be_left_away() -> None:
    asked = "INFO 11-18 [utils.py:1] non-default args: {'model': '/m', 'pipeline_parallel_size': 2, 'api_key': None}"
    found = hint("NotImplementedError: Pipeline parallelism is not supported for this model.", [asked])
    assert found.startswith("Leave away or change pipeline_parallel_size in the recipe")
    assert hint("ValueError: `kv_cache_dtype` is only supported for x", [VLLM]).startswith("Leave away or change kv_c")


def test_a_proposal_that_names_a_package_is_all_there_is_to_say() -> None:
    found = hint("ImportError: Please install vllm[audio] for audio support")
    assert found == "The engine proposes: Please install vllm[audio] for audio support."


def test_a_request_to_watch_an_issue_is_no_proposal() -> None:
    assert "The engine proposes" not in hint("AssertionError: x. Please track https://e.org/issues/1 for updates.")


def test_an_error_of_a_program_that_no_recipe_starts_with_options_is_no_fault_of_the_command_line() -> None:
    found = diagnose_bytes(b"Trying to pull x\nError: initializing source: reading manifest latest: denied\n", FAILURES)
    assert found.reason == "engine_error"
    assert "reading manifest latest: denied" in (found.title or "")


def test_a_number_that_is_none_is_told_in_words() -> None:
    found = diagnose_bytes(b'error while handling argument "-c": stoi\n\nusage:\n', FAILURES)
    assert found.title == "the value of -c is no number"


def test_a_refused_token_is_told_from_a_licence_that_was_not_accepted() -> None:
    refused = b"requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/x\n"
    assert "licence" in (diagnose_bytes(refused, FAILURES).title or "")
    found = diagnose_bytes(refused + b"\nInvalid credentials in Authorization header\n", FAILURES)
    assert (found.reason, found.title) == ("gated", "the hub refuses the token: it is wrong or has expired")
    assert "new token" in (found.advice or "")


def test_a_model_that_the_disk_cannot_give_is_not_to_be_downloaded_again() -> None:
    raw = (
        b"0.00.1 I srv    load_model: loading model '/mnt/m.gguf'\n"
        b"0.04.902.118 E llama_model_load: error loading model: read error: Input/output error\n"
        b"0.04.903.000 E srv  llama_server: exiting due to model loading error\n"
    )
    found = diagnose_bytes(raw, FAILURES)
    assert found.reason == "model_unreadable"
    assert "mount it again" in (found.advice or "")
