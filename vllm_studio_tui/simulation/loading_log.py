"""The log of a simulated engine that pretends to run a known model: what it prints while it loads, and how that fails.

Sizes and seconds are those of its `Layout`, so the log says what the GPUs show. Lines are as the engines print them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from vllm_studio_tui.simulation.kinds import GIB, kind_here
from vllm_studio_tui.simulation.models import Layout

#: Version of the engines that are imitated.
VLLM, SGLANG = "0.32.0", "0.5.23"


@dataclass(frozen=True, slots=True)
class Start:
    """One start of an engine.

    Attributes:
        context: The longest request it is asked for.
        began: When it began, in seconds since the epoch; its lines are dated from then.
        others: GiB that others hold on its GPUs.
        missing: GPUs that were asked for and are not there.
    """

    layout: Layout
    path: str
    name: str
    port: int
    pid: int
    context: int
    began: float
    others: float = 0.0
    missing: int = 0

    @property
    def failure(self) -> str | None:
        """Return why it fails: gpus, memory or cache; None: it gets ready."""
        if self.missing:
            return "gpus"
        if kind_here().memory / GIB - self.others < self.layout.limit:
            return "memory"
        if self.layout.cache <= 0:
            return "weights"
        return "cache" if self.layout.needed(self.context) > self.layout.cache else None

    def seconds(self) -> float:
        """Return how long the start takes, or takes until it fails."""
        spans = self.layout.loading_seconds()
        reached = {
            "gpus": ("process", "config"),
            "memory": ("process", "config"),
            "weights": ("process", "config", "weights"),
            "cache": ("process", "config", "weights", "compile", "kv"),
        }
        return sum(spans[one] for one in reached.get(self.failure or "", tuple(spans)))

    def marks(self) -> dict[str, float]:
        """Return the seconds after which each stage of the keeper's begins."""
        spans, at, found = self.layout.loading_seconds(), 0.0, {}
        names = {
            "config": "config",
            "weights": "weights",
            "compile": "compiling",
            "kv": "kv_cache",
            "graphs": "graphs",
            "warmup": "warmup",
        }
        end = self.seconds()
        for name, seconds in spans.items():
            if name in names and at < end - 0.01:
                found[names[name]] = round(at, 2)
            at += seconds
        return found


def lines(style: str, start: Start) -> Iterator[tuple[float, str]]:
    """Yield pairs of seconds after the begin and the line that is printed then, up to being ready or failing."""
    made = sorted(_sglang(start) if style == "sglang" else _vllm(start), key=lambda one: one[0])
    end = start.seconds()
    for at, line in made:
        if start.failure is not None and at >= end - 0.01:
            break
        yield at, line
    if start.failure is not None:
        yield from ((end, line) for line in _failed(style, start))


def stamp(style: str, moment: float) -> str:
    """Return a moment as that engine writes it."""
    return time.strftime("%Y-%m-%d %H:%M:%S" if style == "sglang" else "%m-%d %H:%M:%S", time.localtime(moment))


def _vllm(start: Start) -> Iterator[tuple[float, str]]:
    layout, model, spans = start.layout, start.layout.model, start.layout.loading_seconds()
    workers = [f"(Worker_TP{rank} pid={start.pid + 60 + rank})" for rank in range(layout.ranks)]
    if layout.ranks == 1:
        workers = [f"(EngineCore pid={start.pid + 41})"]

    def api(at: float, text: str) -> tuple[float, str]:
        return at, f"(APIServer pid={start.pid}) INFO {stamp('vllm', start.began + at)} {text}"

    def core(at: float, text: str, who: str = "") -> tuple[float, str]:
        who = who or f"(EngineCore pid={start.pid + 41})"
        return at, f"{who} INFO {stamp('vllm', start.began + at)} {text}"

    at = spans["process"]
    yield api(at, f"[api_utils.py:347]  █▄█▀ █     █     █     █  version {VLLM}, model {start.path}")
    shown = {"model_tag": start.path, "port": start.port, "served_model_name": [start.name]}
    more = {
        "tensor_parallel_size": layout.ranks,
        "max_model_len": start.context,
        "gpu_memory_utilization": layout.share,
    }
    yield api(at, f"[api_utils.py:286] non-default args: {shown | more}")
    yield api(at + 1.1, f"[model.py:733] Resolved architecture: {model.architecture}")
    yield api(at + 1.2, f"[model.py:2152] Using max model len {start.context}")
    yield api(at + 1.3, "[scheduler.py:231] Chunked prefill is enabled with max_num_batched_tokens=8192.")
    config = (
        f"model='{start.path}', max_seq_len={start.context}, tensor_parallel_size={layout.ranks}, dtype=torch.bfloat16"
    )
    yield core(at + 2.4, f"[core.py:133] Initializing a V1 LLM engine (v{VLLM}) with config: {config}")
    at += spans["config"]
    for who in workers:
        yield core(at, f"[gpu_model_runner.py:2602] Starting to load model {start.path}...", who)
    for done in range(model.files + 1):
        share = done / model.files
        yield (
            at + share * (spans["weights"] - 0.3),
            f"{workers[0]} Loading safetensors checkpoint shards: {100 * share:3.0f}% Completed | {done}/{model.files} "
            f"[{_clock(share * spans['weights'])}<{_clock((1 - share) * spans['weights'])}]",
        )
    at += spans["weights"]
    for who in workers:
        yield core(at - 0.1, f"[default_loader.py:501] Loading weights took {spans['weights'] - 0.4:.2f} seconds", who)
        took = f"took {layout.weights:.2f} GiB memory and {spans['weights']:.2f} seconds"
        yield core(at - 0.05, f"[gpu_model_runner.py:2653] Model loading {took}", who)
    yield core(at, "[backends.py:812] Using cache directory: ~/.cache/vllm/torch_compile_cache/5a2f01c7", workers[0])
    yield core(at + 0.35 * spans["compile"], "[backends.py:548] Dynamo bytecode transform time: 8.31 s", workers[0])
    at += spans["compile"]
    yield core(at, f"[monitor.py:34] torch.compile took {spans['compile']:.2f} s in total", workers[0])
    for who in workers:
        yield core(at + 1.8, f"[gpu_worker.py:398] Available KV cache memory: {max(0.0, layout.cache):.2f} GiB", who)
    at += spans["kv"]
    many = layout.tokens / max(1, start.context)
    yield core(at - 0.1, f"[kv_cache_utils.py:2327] GPU KV cache size: {layout.tokens:,} tokens")
    asked = f"Maximum concurrency for {start.context:,} tokens per request: {many:.2f}x"
    yield core(at - 0.1, f"[kv_cache_utils.py:2332] {asked}")
    for done in range(0, 68, 11):
        shapes = f"{100 * done / 67:3.0f}%|{'█' * (done // 7):10s}| {done}/67"
        line = f"{workers[0]} Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): {shapes}"
        yield at + done / 67 * (spans["graphs"] - 0.2), line
    at += spans["graphs"]
    took = f"Graph capturing finished in {spans['graphs']:.0f} secs, took {model.graph_memory:.2f} GiB"
    yield core(at, f"[gpu_model_runner.py:3119] {took}", workers[0])
    at += spans["warmup"]
    whole = spans["compile"] + spans["kv"] + spans["graphs"] + spans["warmup"]
    yield core(at - 0.5, f"[core.py:402] init engine (profile, create kv cache, warmup model) took {whole:.2f} s")
    yield api(at - 0.3, "[entry.py:136] Supported tasks: ['generate']")
    yield api(at - 0.2, f"[entry.py:140] Starting vLLM server on http://127.0.0.1:{start.port}")
    yield at, f"(APIServer pid={start.pid}) INFO:     Started server process [{start.pid}]"
    yield at, f"(APIServer pid={start.pid}) INFO:     Waiting for application startup."
    yield at, f"(APIServer pid={start.pid}) INFO:     Application startup complete."


def _sglang(start: Start) -> Iterator[tuple[float, str]]:
    layout, model, spans = start.layout, start.layout.model, start.layout.loading_seconds()

    def say(at: float, text: str, rank: int | None = None) -> tuple[float, str]:
        return at, f"[{stamp('sglang', start.began + at)}{'' if rank is None else f' TP{rank}'}] {text}"

    free = kind_here().memory / GIB - 0.6
    at = spans["process"]
    arguments = f"'model_path': '{start.path}', 'tp_size': {layout.ranks}, 'port': {start.port}"
    yield say(at, f"server_args={{{arguments}, 'context_length': {start.context}}}")
    yield say(at + 1.2, "Using default HuggingFace chat template with detected content format: string")
    yield say(at + 2.2, "Init torch distributed begin.", 0)
    at += spans["config"]
    yield say(at, f"Load weight begin. avail mem={free:.2f} GB", 0)
    for done in range(model.files + 1):
        share = done / model.files
        yield (
            at + share * (spans["weights"] - 0.3),
            f"Loading safetensors checkpoint shards: {100 * share:3.0f}% Completed | {done}/{model.files} "
            f"[{_clock(share * spans['weights'])}<{_clock((1 - share) * spans['weights'])}]",
        )
    at += spans["weights"]
    mem = f"avail mem={free - layout.weights:.2f} GB, mem usage={layout.weights:.2f} GB."
    yield say(at, f"Load weight end. elapsed={spans['weights']:.2f} s, type={model.architecture}, {mem}", 0)
    at += spans["compile"] + spans["kv"]
    half = max(0.0, layout.cache) / 2
    sizes = f"#tokens: {layout.tokens}, K size: {half:.2f} GB, V size: {half:.2f} GB"
    yield say(at - 0.4, f"KV Cache is allocated. dtype: torch.bfloat16, {sizes}", 0)
    yield say(at - 0.3, f"Memory pool end. avail mem={free - layout.weights - 2 * half:.2f} GB", 0)
    most = f"max_total_num_tokens={layout.tokens}, chunked_prefill_size=8192, context_len={start.context}"
    yield say(at - 0.2, f"{most}, max_running_requests=256", 0)
    for done in range(0, 24, 4):
        text = f"Capturing batches (bs={2 * (23 - done)} avail_mem=4.10 GB): {100 * done / 23:3.0f}%"
        yield at + done / 23 * (spans["graphs"] - 0.2), f"{text}|{'█' * (done // 3):8s}| {done}/23"
    at += spans["graphs"] + spans["warmup"]
    yield say(at - 0.6, f"INFO:     Started server process [{start.pid}]")
    yield say(at - 0.5, "INFO:     Application startup complete.")
    yield say(at - 0.4, f"INFO:     Uvicorn running on http://127.0.0.1:{start.port} (Press CTRL+C to quit)")
    yield say(at, "The server is fired up and ready to roll!")


def _failed(style: str, start: Start) -> Iterator[str]:
    layout, total = start.layout, kind_here().memory / GIB
    at = stamp(style, start.began + start.seconds())
    if start.failure == "gpus":
        error = "torch.AcceleratorError: CUDA error: invalid device ordinal"
    elif start.failure == "weights":
        free = max(0.0, total - layout.weights)
        error = (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of "
            f"{total:.2f} GiB of which {min(free, 1.06):.2f} GiB is free."
        )
    elif start.failure == "memory":
        error = (
            f"ValueError: Free memory on device cuda:0 ({total - start.others:.2f}/{total:.2f} GiB) on startup is less "
            f"than desired GPU memory utilization ({layout.share}, {layout.limit:.2f} GiB). Decrease GPU memory "
            "utilization or reduce GPU memory used by other processes."
        )
    elif style == "sglang":
        error = f"RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current value: {layout.share}"
    else:
        error = (
            f"ValueError: To serve at least one request with the models's max seq len ({start.context}), "
            f"({layout.needed(start.context):.2f} GiB KV cache is needed, which is larger than the available KV cache "
            f"memory ({layout.cache:.2f} GiB). Based on the available memory, the estimated maximum model length is "
            f"{layout.tokens}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing "
            "the engine."
        )
    if style == "sglang":
        yield f"[{at} TP0] Scheduler hit an exception: Traceback (most recent call last):"
        yield '  File "/opt/sglang/sglang/srt/managers/scheduler.py", line 3148, in run_scheduler_process'
        yield error
        return
    core = f"(EngineCore pid={start.pid + 41})"
    marked = f"{core} ERROR {at} [core.py:1510]"
    yield f"{marked} EngineCore failed to start."
    yield f"{marked} Traceback (most recent call last):"
    yield f'{marked}   File "/opt/vllm/lib/python3.12/site-packages/vllm/v1/engine/core.py", line 1482, in run_engine_core'
    yield f"{marked} {error}"
    yield f"{core} Process EngineCore:"
    yield f"(APIServer pid={start.pid}) Traceback (most recent call last):"
    yield f'(APIServer pid={start.pid})   File "/opt/vllm/bin/vllm", line 8, in <module>'
    yield f"(APIServer pid={start.pid})     sys.exit(main())"
    yield (
        f"(APIServer pid={start.pid}) RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {'EngineCore': 1}"
    )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
