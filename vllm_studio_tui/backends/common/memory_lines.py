"""Log lines by which engines tell what they take of memory, see `domain.memory_report.MemoryLine`."""

from __future__ import annotations

from vllm_studio_tui.domain.memory_report import MIB, MemoryLine

#: The rank of the process that writes a line: `(Worker_TP1 pid=7)`; `[2026-05-15 08:40:32 TP0]`.
_WORKER = r"(?:\(Worker_(?P<device>[A-Z]{1,4}\d{1,4})\w{0,20} pid=\d{1,9}\).{0,80}?)?"
_RANK = r"(?:\[[\d :-]{19} (?P<device>[A-Z]{1,4}\d{1,4})[^\]]{0,20}\] )?"
_BUFFER = r"(?P<device>[^\s:]{1,40}) {1,12}"
_N = r"[\d.]{1,20}"
_FREE = rf"{_WORKER}Free memory on device \({_N}/(?P<total>{_N}) GiB\).{{0,80}}?, (?P<limit>{_N}) GiB\).{{0,40}}?"

#: What its workers say, of versions from 0.6 on; sizes are GiB (`gpu_worker.py`, `cpu_worker.py`, `kv_cache_utils.py`).
VLLM = (
    MemoryLine("Model loading took", rf"{_WORKER}Model loading took (?P<weights>{_N}) ?Gi?B"),
    MemoryLine("Available KV cache memory", rf"{_WORKER}Available KV cache memory: (?P<room>{_N}) GiB"),
    MemoryLine(
        "KV cache size",
        r"KV cache size: (?P<kv_tokens>[\d,]{1,24}) tokens"
        rf"(?:, Maximum concurrency for (?P<context>[\d,]{{1,24}}) tokens per request: (?P<concurrency>{_N})x)?",
    ),
    MemoryLine(
        "Maximum concurrency",
        rf"Maximum concurrency for (?P<context>[\d,]{{1,24}}) tokens per request: (?P<concurrency>{_N})x",
    ),
    MemoryLine(
        "Graph capturing finished", rf"{_WORKER}Graph capturing finished in {_N} secs?, took (?P<graphs>{_N}) GiB"
    ),
    MemoryLine(
        "GiB for consumed memory",
        rf"{_FREE}(?P<consumed>{_N}) GiB for consumed memory.{{0,40}}?(?P<activations>{_N}) GiB for peak activation"
        rf"(?:.{{0,20}}?(?P<graphs>{_N}) GiB for CUDAGraph)?",
    ),
    MemoryLine(
        "GiB for non-torch",
        rf"{_FREE}(?P<weights>{_N}) GiB for weight.{{0,20}}?(?P<activations>{_N}) GiB for peak activation"
        rf".{{0,20}}?(?P<overhead>{_N}) GiB for non-torch(?:.{{0,30}}?(?P<graphs>{_N}) GiB for CUDAGraph)?",
    ),
    MemoryLine(
        "model weights take",
        rf"model weights take (?P<weights>{_N})GiB; non_torch_memory takes (?P<overhead>{_N})GiB; "
        rf"PyTorch activation peak memory takes (?P<activations>{_N})GiB; .{{0,60}}KV Cache is (?P<room>{_N})GiB",
    ),
    MemoryLine("GiB for KV cache", rf"(?:Explicitly|Auto) set \((?P<room>{_N})/(?P<total>{_N})\) GiB for KV cache"),
    MemoryLine("memory for KV Cache as specified", rf"reserved (?P<room>{_N}) GiB memory for KV Cache as specified"),
    MemoryLine("LLM engine (v", r"Initializing an? (?:V\d )?LLM engine \(v(?P<version>[\w.+]{1,40})\)"),
)

#: What its schedulers say; what it calls GB is GiB (`model_runner.py`, `memory_pool.py`).
SGLANG = (
    MemoryLine("Load weight end.", rf"{_RANK}Load weight end\..{{0,300}}?mem usage=(?P<weights>{_N}) GB", adds=True),
    MemoryLine(
        ", V size: ",
        rf"{_RANK}KV Cache is allocated\..{{0,200}}?K size: (?P<kv1>{_N}) GB, V size: (?P<kv2>{_N}) GB",
        adds=True,
    ),
    MemoryLine("KV size: ", rf"{_RANK}KV Cache is allocated\..{{0,200}}?KV size: (?P<kv>{_N}) GB", adds=True),
    MemoryLine(
        "Mamba Cache is allocated",
        rf"{_RANK}Mamba Cache is allocated\..{{0,200}}?conv_state size: (?P<kv1>{_N}) ?GB,? "
        rf"ssm_state size: (?P<kv2>{_N}) ?GB",
        adds=True,
    ),
    MemoryLine(
        " end.",
        rf"{_RANK}Capture .{{0,60}}?(?i:cuda graph) end\..{{0,80}}?mem usage=(?P<graphs>{_N}) GB",
        adds=True,
    ),
    MemoryLine(
        "max_total_num_tokens=",
        r"max_total_num_tokens=(?P<kv_tokens>\d{1,20})\b.{0,200}?context_len=(?P<context>\d{1,20})",
    ),
)

#: What it says of its buffers, from log verbosity 4 on; a cache of sliding layers has a line of its own.
LLAMACPP = (
    MemoryLine("model buffer size", rf"{_BUFFER}model buffer size = {{0,12}}(?P<weights>{_N}) MiB", MIB, adds=True),
    MemoryLine("KV buffer size", rf"{_BUFFER}KV buffer size = {{0,12}}(?P<kv>{_N}) MiB", MIB, adds=True),
    MemoryLine("RS buffer size", rf"{_BUFFER}RS buffer size = {{0,12}}(?P<kv>{_N}) MiB", MIB, adds=True),
    MemoryLine("compute buffer size", rf"{_BUFFER}compute buffer size = {{0,12}}(?P<activations>{_N}) MiB", MIB),
    MemoryLine("output buffer size", rf"{_BUFFER}output buffer size = {{0,12}}(?P<outputs>{_N}) MiB", MIB),
    MemoryLine("n_ctx ", r"llama_context: n_ctx {1,24}= (?P<kv_tokens>\d{1,20})$"),
    MemoryLine("n_ctx_", r"llama_context: n_ctx_(?:seq|per_seq) {1,24}= (?P<context>\d{1,20})$"),
    MemoryLine("n_seq_max", r"llama_context: n_seq_max {1,24}= (?P<slots>\d{1,20})$"),
)
