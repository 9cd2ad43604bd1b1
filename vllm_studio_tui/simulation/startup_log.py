"""The simulated engine's log while it starts, in the words of the engine that it imitates, and its failures."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

from vllm_studio_tui.simulation.loading_log import stamp

FAILURES = ("oom", "port", "badpath", "unknown-flag")
#: The share of a start at which each failure comes.
FAILS_AT = {"oom": 0.55, "port": 0.05, "badpath": 0.05, "unknown-flag": -1.0}


def log(line: str) -> None:
    """Write a line to the log."""
    print(line, flush=True)


def stages(style: str, model: str, port: int) -> Iterator[tuple[float, str]]:
    """Yield pairs of a share of the loading time, 0-1, and the line that is due then."""
    if style == "llamacpp":
        yield 0.0, "0.00.001.674 I srv  llama_server: initializing ..."
        yield 0.05, f"0.00.007.227 I srv    load_model: loading model '{model}'"
        yield 0.9, "0.00.466.076 I cmn          init: llama threadpool init, n_threads = 2"
        yield (
            0.95,
            "0.00.516.785 I srv    load_model: initializing, n_slots = 4, n_ctx_slot = 4096, kv_unified = 'true'",
        )
        yield 1.0, "0.00.518.650 I srv  llama_server: model loaded"
        yield 1.0, f"0.00.518.665 I srv  llama_server: listening on http://127.0.0.1:{port}"
        return
    if style == "sglang":
        at = f"[{stamp(style, time.time())}]"
        yield 0.0, f"{at} server_args={{'model_path': '{model}', 'port': {port}}}"
        yield 0.1, f"{at} Init torch distributed begin."
        yield 0.2, f"{at} Load weight begin. avail mem=78.50 GB"
        yield from _shards(0.2, 0.6)
        yield (
            0.6,
            f"{at} Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, mem usage=15.0 GB.",
        )
        yield 0.7, f"{at} KV Cache is allocated. #tokens: 46592"
        yield 0.8, f"{at} Capturing batches (bs=8 avail_mem=40.00 GB):  50%|█████     | 4/8"
        yield 1.0, f"{at} The server is fired up and ready to roll!"
        return
    at = stamp(style, time.time())
    api, core = f"(APIServer pid={os.getpid()}) INFO {at}", f"(EngineCore pid={os.getpid()}) INFO {at}"
    yield 0.0, f"{api} [api_utils.py:286] non-default args: {{'model_tag': '{model}', 'port': {port}}}"
    yield 0.1, f"{api} [model.py:733] Resolved architecture: LlamaForCausalLM"
    yield 0.15, f"{core} [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='{model}'"
    yield 0.2, f"{core} [gpu_model_runner.py:2602] Starting to load model {model}..."
    yield from _shards(0.2, 0.6)
    yield 0.6, f"{core} [default_loader.py:268] Loading weights took 2.28 seconds"
    yield 0.65, f"{core} [backends.py:812] Using cache directory: ~/.cache/vllm/torch_compile_cache"
    yield 0.7, f"{core} [monitor.py:34] torch.compile took 4.20 s in total"
    yield (
        0.8,
        f"{core} [kv_cache_utils.py:1229] GPU KV cache size: 46,592 tokens, Maximum concurrency for 2,048 tokens per request: 22.75x",
    )
    yield 0.9, f"{core} [gpu_model_runner.py:3119] Graph capturing finished in 3 secs, took 0.51 GiB"
    yield 0.95, f"{core} [core.py:195] init engine (profile, create kv cache, warmup model) took 4.13 s"
    yield 1.0, f"{api} [launcher.py:29] Application startup complete."


def _shards(begin: float, end: float) -> Iterator[tuple[float, str]]:
    count = 8
    for done in range(count + 1):
        share = begin + (end - begin) * done / count
        percent = 100 * done // count
        yield (
            share,
            f"Loading safetensors checkpoint shards: {percent:3d}% Completed | {done}/{count} [00:0{done}<00:0{count - done}]",
        )


def load(style: str, model: str, port: int, seconds: float, until: float = 1.0) -> None:
    """Write the line of every stage when it is due, within `seconds`; nothing of what comes after the share `until`."""
    begin = time.monotonic()
    for share, line in stages(style, model, port):
        if share > until:
            return
        wait = begin + share * seconds - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        log(line)


def fail(name: str, style: str, model: str, port: int) -> int:
    """Write a failure as that engine does, and return its exit code."""
    core = f"(EngineCore pid={os.getpid()}) ERROR {stamp(style, time.time())} [core.py:842]"
    lines, code = {
        "oom": (
            [
                f"{core} EngineCore failed to start.",
                f"{core} torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 79.65 GiB of which 1.06 GiB is free.",
                "RuntimeError: Engine core initialization failed. See root cause above.",
            ],
            1,
        ),
        "port": (["OSError: [Errno 98] Address already in use"], 1),
        "badpath": (
            [
                f"huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '{model}'."
            ],
            1,
        ),
        "unknown-flag": (["vllm: error: unrecognized arguments: --bogus"], 2),
    }[name]
    if style == "llamacpp":
        lines = {
            "port": [
                f"0.00.006.1 E srv  llama_server: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: {port}"
            ],
            "badpath": [f"0.00.006.884 E srv    load_model: failed to load model, '{model}'"],
            "unknown-flag": ["error: invalid argument: --bogus"],
        }.get(name, lines)
        code = 1
    for line in lines:
        log(line)
    sys.stderr.flush()
    return code
