"""What to do about an error that no row of the table knows, told by its kind, by its words and by what was asked for.

Standard library only. The engine's own proposal comes first, then the options that its words name, then the kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vllm_studio_tui.kit.regex import regex

#: Where an engine logs what it was asked for: vLLM what is not the default, SGLang everything.
_ASKED = r"non-default args: \{(.{1,8000})|server_args=(?:ServerArgs\(|\{)(.{1,8000})"
_OPTION = r"'?\b([a-z][a-z0-9_]{2,60})'?(?:=|: )(?:'([^']{0,80})')?"
_INNER = r"\{[^{}]{0,2000}\}"
_WORD = r"[A-Za-z][\w-]{2,80}"
_NEAR_THE_TOP = 400
_READ = 3000
#: Options whose names or values stand in many messages without being what is wrong.
_NEVER = frozenset(
    (
        "model", "model_tag", "model_path", "tokenizer", "tokenizer_path", "served_model_name", "host", "port",
        "device", "dtype", "seed", "task", "load_format", "revision", "log_level", "quantization_config",
        "trust_remote_code", "rope_parameters",
        # A rank's place, which is none of its recipe's.
        "nnodes", "node_rank", "master_addr", "master_port", "headless", "data_parallel_size_local",
        "data_parallel_address", "data_parallel_rpc_port", "dist_init_addr",
    )
)  # fmt: skip
_PROPOSAL = (
    r"(?:^|[.:;,!] )((?:Please (?!see|refer|report|file|open|check the (?:log|stack)|visit|track|follow)|Consider |Try "
    r"|You (?:can|may|should|need to) )[^\n]{8,300})"
)
_TRACEBACK = "The first traceback of its log shows where."
#: Words of an error and what they ask for, the particular before the general.
_WORDS: tuple[tuple[str, str], ...] = (
    (
        r"KeyError: ['\"][\w.]{0,200}\b(?:layers|experts)\.",
        "The weights are named otherwise than this engine's model expects: upgrade the engine, or use another "
        f"quantization (another checkpoint) of the model. {_TRACEBACK}",
    ),
    (
        r"cluster was started with",
        "Install the same Ray and the same Python on all machines, and start the Ray cluster afresh from the "
        "engine's environment (ray stop, ray start).",
    ),
    (
        r"connect to GCS|any running Ray instance",
        "No Ray cluster answers there: see `ray status`, start it (ray start --head; on the other machines ray "
        "start --address), correct RAY_ADDRESS in env_vars, and open its port (6379).",
    ),
    (
        r"has no GPU available|placement group|\bray\b.{0,80}\bGPUs?\b",
        "Ray has no free GPU where one is needed: compare `ray status` with what the recipe asks for "
        "(tensor_parallel_size, pipeline_parallel_size). Start it on a machine whose GPUs Ray was given (ray start "
        "--num-gpus), end what holds them, and set VLLM_HOST_IP in env_vars to that machine's address.",
    ),
    (
        r"ActorDiedError|actor died|ActorUnavailable",
        "Ray lost a process of the engine: look at that machine's memory (`dmesg`), and in its "
        "/tmp/ray/session_latest/logs for the last words of the process.",
    ),
    (
        r"\b(?:path|socket|file ?name)\b.{0,300}longer than \d{1,4} characters"
        r"|file name too long|AF_UNIX path too long",
        "A path is too long for a socket or a file: set TMPDIR in env_vars to a short folder such as /tmp (for "
        "vLLM's sockets VLLM_RPC_BASE_PATH, too).",
    ),
    (
        r"NoCredentials|locate credentials|AccessDenied|InvalidAccessKey|SignatureDoesNotMatch",
        "The storage of the model wants to know who asks: set its keys in env_vars (for S3 AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL; env:NAME takes one from the environment), or correct model_path.",
    ),
    (
        r"Failed to apply \w{1,60}Processor",
        "The model's processor of images does not take what the engine gives it: install the version of "
        "transformers that the engine asks for, or upgrade both; limit_mm_per_prompt in extra_args with 0 of each "
        "kind serves text alone.",
    ),
    (
        r"expandable.segments",
        "Take expandable_segments:True out of PYTORCH_CUDA_ALLOC_CONF (and PYTORCH_ALLOC_CONF), in env_vars or in "
        "the shell; or leave out what it does not go with (enable_sleep_mode).",
    ),
    (
        r"not compatible with|\bincompatible (?:with|options|settings)|mutually exclusive|conflicts with"
        r"|cannot be (?:used|combined|enabled|set) (?:together|with|at the same time)",
        "What the line names does not go together: take one of it out of the recipe (extra_args, env_vars), or use "
        "another version of the engine.",
    ),
    (
        r"\b(?:NIXL|DeepGEMM|deep_gemm|DeepEP|deep_ep|LMCache|Mooncake|NVSHMEM|pplx.kernels|bitsandbytes|xformers"
        r"|AITER)\b.{0,40}(?:not|n't|un) ?(?:be )?(?:available|installed|found|imported)",
        "Install that package in the engine's environment (of the version that the engine asks for), or take away "
        "what needs it (extra_args).",
    ),
    (
        r"cannot import name|^(?:ImportError|ModuleNotFoundError)|module '[\w.]{1,80}' has no attribute"
        r"|operator \S{1,80} does not exist|undefined symbol",
        "The packages of the engine's environment do not fit each other: install there the version that the line "
        "names, or the engine afresh in an environment of its own.",
    ),
    (
        r"unknown (?:model )?architecture(?! ['\"]?(?:sm|gfx|compute))|unknown model type",
        "This version of the engine does not know the model: upgrade the engine, or run it with another backend.",
    ),
    (
        r"missing dependency|\blib[\w+-]{1,60}\.so\b.{0,120}(?:not found|cannot|missing|no such|could not)"
        r"|(?:not|cannot|unable to) (?:find|load)\b.{0,60}\blib[\w+-]{1,60}\.so\b",
        "A library is missing, or is there in another version: install the one that the line names, or the package "
        "that asks for it afresh, in a build for the CUDA and torch that are here.",
    ),
    (
        r"\b(?:file|folder|directory|path)\b.{0,60}(?:does not exist|doesn't exist|not found|is missing)",
        "Correct the path in the recipe, or put there what it names.",
    ),
    (
        r"got an unexpected keyword argument|required positional argument",
        "As a rule packages of the engine's environment do not fit each other: install the engine afresh in an "
        f"environment of its own, with the versions that it asks for, or use another version of it. {_TRACEBACK}",
    ),
    (
        r"enough (?:GPU|video) (?:RAM|memory)|dispatched on the CPU",
        "The GPU has not enough memory for the model: use a smaller one or a smaller quantization, more GPUs, or "
        "end what else is on it (`vllm-studio gpus`).",
    ),
    (
        r"stale (?:NFS )?file handle|Input/output error|\[Errno (?:5|116|121)\]",
        "The disk or network share under that path fails: see `dmesg`, mount it again, or copy the model to a "
        "local disk.",
    ),
    (
        r"\b(?:no|not)\b.{0,40}\b(?:librar(?:y|ies)|package|installed)\b",
        "Install it in the engine's environment, or take away what needs it (extra_args).",
    ),
    (
        r"fp8\w{0,12} (?:is )?not supported|(?:fp8|fp4).{0,80}capability",
        "This GPU does not compute in that format: set kv_cache_dtype to auto, or use a quantization (or a model) "
        "that it supports.",
    ),
    (
        r"\bno (?:valid|suitable|supported|available|compatible) [\w -]{0,40}backend",
        "This version has no backend for this model on this GPU; the line says of each why. Upgrade the engine, "
        "use another GPU, or another form of the model (dtype, quantization, kv_cache_dtype).",
    ),
    (
        r"attention.?backend|backends? .{0,60}(?:not valid|supported on|support)|\bsinks?\b|Flash.?Attention"
        r"|FlashInfer|fmha|FlashMLA|\bFA version",
        "Leave attention_backend in extra_args to the engine, or choose another one that fits model and GPU; "
        "upgrade the engine if none does.",
    ),
    (
        r"capability|unsupported (?:gpu )?arch|not supported (?:on|in|by|for) (?:this|the current|your) "
        r"(?:gpu|device|arch|hardware|platform)|\bsm_?\d{2,3}\b|only supported on|no compiled \w",
        "This build has no kernel of that kind for this GPU: install a newer engine, or one that was built for "
        "the GPU's compute capability, or use another quantization of the model.",
    ),
    (
        r"must be (?:a )?multiples? of \d",
        "Set what the line names to such a multiple, where it is a size that can be set (cache_size, block_size, "
        "max_model_len, in the recipe or in extra_args); else lower tensor_parallel_size.",
    ),
    (
        r"not divisible by|must (?:be )?divisible|(?:not|be) a multiple of|cannot be (?:evenly )?(?:split|divided)",
        "A size cannot be divided so: set tensor_parallel_size (or what the line names) to a smaller number that "
        "fits, use expert_parallel, or another quantization of the model.",
    ),
    (
        r"(?:host|cpu|system|pinned) memory",
        "Ask for less of the machine's memory (hicache_size, hicache_ratio, cpu_offload_gb, swap_space in "
        "extra_args), or free some: see `free -h`.",
    ),
    (
        r"lora",
        "The adapter does not fit this model, or what the recipe allows: correct lora_modules (with vLLM and "
        "SGLang also max_lora_rank or lora_target_modules in extra_args).",
    ),
    (
        r"tokenizer|tiktoken|sentencepiece",
        "Download the model's tokenizer files again, name another one in tokenizer, or upgrade the engine's "
        "transformers.",
    ),
    (
        r"timed out|timeout",
        "A part of the engine hangs or is too slow. Look at the lines before it, at nvidia-smi and for an Xid in "
        "`dmesg`; with several GPUs try disable_custom_all_reduce or NCCL_P2P_DISABLE=1, else enforce_eager.",
    ),
    (
        r"download|connection (?:refused|reset|error)|failed to resolve|name resolution",
        "Something that the engine fetches could not be had: give it a network, or put the file into the cache "
        "that the error names.",
    ),
    (
        r"\bCUDA\b.{0,20} (?:error|failure)",
        "The GPU or its driver reports an error: look for an Xid in `dmesg` and at nvidia-smi; with vLLM or SGLang "
        "try enforce_eager, another attention_backend, with several GPUs disable_custom_all_reduce.",
    ),
    (
        r"(?:not|n't|un)[ -]?(?:yet |currently )?support(?:ed)?\b",
        f"The engine cannot do this: take what the line names out of the recipe, or upgrade it. {_TRACEBACK}",
    ),
)
#: Options that a plain start has, too: what the recipe adds is more than these.
_PLAIN = frozenset(
    (
        "max_model_len", "gpu_memory_utilization", "tensor_parallel_size", "pipeline_parallel_size", "max_num_seqs",
        "enforce_eager", "api_key", "mem_fraction_static", "tp_size", "enable_auto_tool_choice", "tool_call_parser",
        "reasoning_parser", "chat_template",
    )
)  # fmt: skip
_FAULT = (
    "A fault of this version of the engine, or a combination that it does not support: use another version (as a rule "
    f"a newer one), or take away what the recipe adds to the plain model: {{}}. {_TRACEBACK}"
)
_ADDS = "speculative, quantized caches, what stands in extra_args"
#: Exceptions of Python whose words say nothing of what to do: the program itself is at fault.
_FAULTS = (
    r"\b(?:Assertion|Attribute|Index|Key|Type|UnboundLocal|Name|ZeroDivision|Recursion|Compilation|NotImplemented)Error"
    r"\b|\bStopIteration\b|\bAssertion (?:error|failed|.{1,160} failed)"
)
#: What was asked for is known, and cannot be had.
_CANNOT = (
    r"(?i)(?:only|not|n't|un)[ -]?(?:yet |currently )?support|not compatible with|incompatible with"
    r"|cannot be (?:used|combined)"
)
#: A proposal that names what is to be written.
_CONCRETE = r"[`'\"]|--\w|\w_\w|\w\[\w"


def hint(text: str, lines: Sequence[str] = ()) -> str:
    """Return what to do about an error with these words; empty where nothing fits. `lines`: the log."""
    text = text[:_READ]
    by_words = next((advice for pattern, advice in _WORDS if regex(pattern, re.IGNORECASE).search(text)), "")
    named = [name for name in _named(text, lines) if name not in by_words]
    proposal = regex(_PROPOSAL).search(text)
    parts = []
    if proposal is not None:
        parts.append(f"The engine proposes: {proposal[1].strip().rstrip('.')}.")
    if named:
        verb = "Leave away or change" if regex(_CANNOT).search(text) else "Correct"
        parts.append(f"{verb} {', '.join(named)} in the recipe: a field of its own, or in extra_args.")
    if proposal is None or not regex(_CONCRETE).search(proposal[1]):
        parts.append("" if named else by_words or _fault(text, lines))
    return " ".join(part for part in parts if part)


def _fault(text: str, lines: Sequence[str]) -> str:
    return _FAULT.replace("{}", ", ".join(_added(lines)) or _ADDS) if regex(_FAULTS).search(text) else ""


def _asked(lines: Sequence[str]) -> str:
    """Return the options with which the engine says that it was started; empty where it does not."""
    match = next(filter(None, (regex(_ASKED).search(line) for line in lines[:_NEAR_THE_TOP])), None)
    return (match[1] or match[2] or "") if match is not None else ""


def _named(text: str, lines: Sequence[str]) -> list[str]:
    """Options that the engine was given and that its error speaks of, by name or by value."""
    spoken = set(regex(_WORD).findall(text))
    names = {word.lower().replace("-", "_").strip("_") for word in spoken}
    plain = text.lower() if regex(_CANNOT).search(text) else ""
    found = []
    for option in regex(_OPTION).finditer(_asked(lines)):
        name, value = option[1], option[2] or ""
        if (
            "_" in name
            and name not in _NEVER
            and (
                name in names
                or (len(value) > 4 and not value.isdigit() and value in spoken)
                or _in_words(name) in plain
            )
        ):
            found.append(name)
    return list(dict.fromkeys(found))[:3]


def _in_words(name: str) -> str:
    """Return what a message may call an option: pipeline parallel for pipeline_parallel_size."""
    text = name.removeprefix("enable_").removesuffix("_size").replace("_", " ")
    return text if " " in text else name


def _added(lines: Sequence[str]) -> list[str]:
    """Options beyond those of a plain start; only vLLM logs them apart from its defaults."""
    asked = _asked(lines)
    if not asked.lstrip().startswith("'"):
        return []
    found = [option[1] for option in regex(_OPTION).finditer(regex(_INNER).sub("''", asked))]
    return [name for name in dict.fromkeys(found) if name not in _NEVER and name not in _PLAIN][:6]
