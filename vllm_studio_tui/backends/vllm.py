"""vLLM: `vllm serve MODEL`. Flags and log lines of version 0.33, which its earlier 0.1x versions share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends.base import Backend, Command, EngineSettings, ForeignEngine, LaunchContext, Problem
from vllm_studio_tui.backends.common import cmdline, config_files, metric_tables, parameters, ranks_vllm, token_calls
from vllm_studio_tui.backends.common.commands import environment, find_program, model_argument, not_found
from vllm_studio_tui.backends.common.flags import FlagStyle, as_json, extra_arguments
from vllm_studio_tui.backends.common.known_names import Known, known
from vllm_studio_tui.backends.common.memory_lines import VLLM as MEMORY_LINES
from vllm_studio_tui.backends.common.memory_rules import MIB, Budget, MemoryRules, gib, read_memory_flags
from vllm_studio_tui.backends.common.parsers import plugin_file
from vllm_studio_tui.backends.common.pasted import Pasted, runs_module, runs_program
from vllm_studio_tui.backends.common.stages import DOWNLOADING, SHARDS
from vllm_studio_tui.backends.common.thinking import thinking_kwargs
from vllm_studio_tui.backends.common.versions import numbers
from vllm_studio_tui.domain.check import Check, warn
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.ranks import DECODE, HTTP, PREFILL, ROUTER
from vllm_studio_tui.domain.spec import CounterNames, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_studio_tui.domain.ranks import RankPart
    from vllm_studio_tui.domain.recipe import Recipe

STYLE = FlagStyle(
    several=frozenset({
        "allowed-media-domains", "api-key", "collect-detailed-traces", "cpu-offload-params", "cudagraph-capture-sizes",
        "ignore-patterns", "kv-cache-dtype-skip-layers", "logits-processors", "lora-modules", "lora-target-modules",
        "middleware", "numa-bind-cpus", "numa-bind-nodes", "offload-params", "served-model-name",
    }),
    aliases={
        "tp": "tensor-parallel-size", "pp": "pipeline-parallel-size", "dp": "data-parallel-size", "q": "quantization",
        "ep": "enable-expert-parallel", "sc": "speculative-config", "cc": "compilation-config",
        "ac": "attention-config",
        "dcp": "decode-context-parallel-size", "pcp": "prefill-context-parallel-size", "n": "nnodes", "r": "node-rank",
        "dpl": "data-parallel-size-local", "dpa": "data-parallel-address", "dpb": "data-parallel-backend",
        "device-memory-utilization": "gpu-memory-utilization", "model-tag": "model",
    },
)  # fmt: skip

STAGES = (
    DOWNLOADING,
    *SHARDS,
    Stage(r"Starting vLLM (?:API )?server|Application startup complete", "serving"),
    Stage(r"init engine \(", "warmup"),
    Stage(r"Capturing CUDA graphs?.{0,120}?(?P<percent>\d{1,3})%", "graphs"),
    Stage(r"Capturing CUDA graphs?|Graph capturing finished", "graphs"),
    Stage(r"Available KV cache memory|KV cache size: [\d,]+ tokens|Initial profiling/warmup run took", "kv_cache"),
    Stage(
        r"Starting torch\.compile|torch\.compile took|torch_compile_cache|Dynamo bytecode transform time"
        r"|Compiling a graph for|Directly load the compiled graph",
        "compiling",
    ),
    Stage(r"Starting to load model|Loading weights took|Model loading took", "weights"),
    Stage(
        r"non-default args:|Resolved architecture:|Using max model len|Initializing an? (?:V\d )?LLM engine", "config"
    ),
)

COUNTERS = CounterNames(
    prompt_tokens=("vllm:prompt_tokens_total",),
    generation_tokens=("vllm:generation_tokens_total",),
    cached_tokens=(
        "vllm:prompt_tokens_cached_total",
        "vllm:prefix_cache_hits_total",
        "vllm:gpu_prefix_cache_hits_total",
    ),
    requests=("vllm:request_success_total",),
    running=("vllm:num_requests_running",),
    progress=("vllm:iteration_tokens_total_count",),
    token_gaps=("vllm:inter_token_latency_seconds_count", "vllm:time_per_output_token_seconds_count"),
    token_seconds=("vllm:inter_token_latency_seconds_sum", "vllm:time_per_output_token_seconds_sum"),
)

PASTED_FLAGS = {
    "--served-model-name": "served_model_name", "--host": "host", "--port": "port",
    "--tensor-parallel-size": "tensor_parallel_size", "-tp": "tensor_parallel_size",
    "--pipeline-parallel-size": "pipeline_parallel_size", "-pp": "pipeline_parallel_size",
    "--max-model-len": "max_model_len", "--gpu-memory-utilization": "gpu_memory_utilization",
    "--kv-cache-dtype": "kv_cache_dtype", "--max-num-seqs": "max_num_seqs", "--dtype": "dtype",
    "--quantization": "quantization", "-q": "quantization", "--tool-call-parser": "tool_call_parser",
    "--reasoning-parser": "reasoning_parser", "--trust-remote-code": "trust_remote_code",
    "--enable-auto-tool-choice": "enable_auto_tool_choice", "--model": "model_path", "--api-key": "api_key",
    "--revision": "revision", "--tokenizer": "tokenizer", "--data-parallel-size": "data_parallel_size",
    "-dp": "data_parallel_size", "--max-num-batched-tokens": "max_num_batched_tokens",
    "--enable-prefix-caching": "enable_prefix_caching", "--enable-chunked-prefill": "enable_chunked_prefill",
    "--enable-expert-parallel": "expert_parallel", "-ep": "expert_parallel", "--lora-modules": "lora_modules",
    "--speculative-config": "speculative", "-sc": "speculative",
    "--default-chat-template-kwargs": "chat_template_kwargs",
}  # fmt: skip

FILE_FLAGS = {
    "ssl-keyfile": "pem", "ssl-certfile": "pem", "ssl-ca-certs": "pem", "config": "any",
    "chat-template": "template", "tool-parser-plugin": "any", "reasoning-parser-plugin": "any",
    "tokenizer": "tokenizer", "lora-modules": "lora", "speculative-config": "speculative",
}  # fmt: skip

#: Earlier versions run code that an unauthenticated request names: CVE-2026-114053, and others before it.
SAFE = (0, 31)

#: Its own defaults (`arg_utils.py`), and what it was seen to take beside weights and cache.
MEMORY = MemoryRules(
    budget=Budget.SHARE, share=0.92, users=256, users_large=1024, batched=2048, batched_large=8192, host_block=128,
    window_blocks=1, halves_float32=True, graphs=(300 * MIB, 900 * MIB, 2500 * MIB), small_cache="fp8",
    online="fp8",
)  # fmt: skip


class Vllm(Backend):
    """vLLM from an environment of its own: next to `python_path`, a named executable, or the one in PATH."""

    name = "vllm"
    title = "vLLM"
    package = "vllm"
    program = "vllm"
    program_setting = "vllm_executable"
    default_port = 8000
    flag_style = STYLE
    file_flags = FILE_FLAGS
    pasted_flags = PASTED_FLAGS
    config_file = config_files.VLLM
    key_variable = "VLLM_API_KEY"
    weights = "safetensors"
    reads_gguf = False
    mistral_format = True
    max_lora_rank = 16
    fetches_models = True
    class_files = ("vllm/model_executor/models/registry.py",)
    suits = "best for many users"
    takes_first_gpus = True
    shares_gpu_memory = True
    memory = MEMORY
    command_words = ("vllm",)
    process_titles = ("VLLM::",)
    image = "vllm/vllm-openai:latest"
    images = ("vllm/vllm-openai-rocm", "vllm/vllm-openai-cpu", "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo")
    ray_engine = "vLLM"
    stages = STAGES
    memory_lines = MEMORY_LINES
    guarded_path = "/v1/models"
    takes_aliases = True
    counters = COUNTERS
    metrics = metric_tables.VLLM
    anthropic_api = True
    token_calls = token_calls.VLLM
    continue_options = {"continue_final_message": True, "add_generation_prompt": False}  # noqa: RUF012, RUF100
    sampling = parameters.VLLM
    answer_forms = parameters.VLLM_FORMS
    thinking_field = "reasoning"

    def memory_asked(self, recipe: Recipe) -> Mapping[str, Any]:
        found = read_memory_flags(
            recipe.extra_args, no_graphs="enforce-eager", cache=("kv-cache-memory-bytes", "kv-cache-memory")
        )
        space = gib(recipe.env_vars.get("VLLM_CPU_KVCACHE_SPACE"))
        return {"cache": space, **found} if space else found

    def model_name(self, recipe: Recipe) -> str:
        if recipe.served_model_name:
            return recipe.served_model_name
        more = recipe.extra_args.get("served_model_name", recipe.extra_args.get("served-model-name"))
        if isinstance(more, list | tuple) and more:
            return str(more[0])
        return more if isinstance(more, str) and more else model_argument(recipe)

    def ranks(self, recipe: Recipe) -> tuple[RankPart, ...]:
        return ranks_vllm.parts(recipe, STYLE)

    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        place = context.rank
        program = self._program(recipe, context)
        if place is not None and place.role == ROUTER:
            return ranks_vllm.router(place, context, program[0], environment(recipe)[0])
        if place is not None and place.role in (PREFILL, DECODE):
            context = dataclasses.replace(context, host=place.address, port=place.port(HTTP))
        argv = [*program, *self._arguments(recipe, context)]
        if place is not None:
            argv += ranks_vllm.arguments(recipe, place, STYLE)
        argv += extra_arguments(recipe.extra_args, argv, STYLE)
        env, refs = environment(
            recipe,
            VLLM_LOGGING_COLOR="0",
            VLLM_NO_USAGE_STATS="1",
            DO_NOT_TRACK="1",
        )
        if recipe.api_key:
            refs["VLLM_API_KEY"] = recipe.api_key
        if place is not None:
            env |= ranks_vllm.variables(recipe, place)
        return Command(tuple(argv), env, refs, ranks_vllm.notes(recipe, STYLE))

    def help_command(self, recipe: Recipe, context: LaunchContext) -> tuple[str, ...]:
        return (*self._program(recipe, context), "--help=all")

    def known(self) -> Known | None:
        return known(self.name)

    def problems(self, recipe: Recipe, context: LaunchContext) -> Sequence[Problem]:
        if recipe.runtime != "native":
            return ()
        try:
            program = self._program(recipe, context)[0]
        except StudioError:
            return ()
        version = self.version(program)
        if not _is_unsafe(version):
            return ()
        message = f"{self.title} {version} has known security holes (CVE-2026-114053 and others before it)"
        return [Problem("executable", "warning", message, "Upgrade it to 0.31 or later, and keep it on loopback.")]

    def doctor(self, settings: EngineSettings, environ: Mapping[str, str]) -> Mapping[str, Check]:
        found = super().doctor(settings, environ)[self.name]
        version, _, place = found.found.partition(" at ")
        if found.state == "ok" and _is_unsafe(version):
            found = warn(
                f"{version} at {place}: versions before 0.31 have known security holes (CVE-2026-114053 and others)",
                "Upgrade it, and until then let nobody else reach its port.",
            )
        return {self.name: found}

    def _program(self, recipe: Recipe, context: LaunchContext) -> list[str]:
        python = recipe.python_path
        venv = recipe.extra_args.get("venv_path")
        if not python and isinstance(venv, str) and venv:
            python = f"{venv}/bin/python"
        if python:
            beside = find_program([str(Path(python).parent / "vllm")], context) if "/" in python else None
            if beside:
                return [beside, "serve"]
            if not recipe.executable:
                found = find_program([python], context)
                if found:
                    return [found, "-m", "vllm.entrypoints.cli.main", "serve"]
                raise not_found("the interpreter of vLLM", [python], "Correct python_path in the recipe.", context)
        looked = [recipe.executable] if recipe.executable else [context.settings.vllm_executable, "vllm"]
        found = find_program(looked, context)
        if found:
            return [found, "serve"]
        raise not_found(
            "vLLM",
            looked,
            "Install it in an environment of its own, and name its interpreter in the recipe (python_path) or its "
            "program in the settings (vllm_executable).",
            context,
        )

    def _arguments(self, recipe: Recipe, context: LaunchContext) -> Iterator[str]:
        yield from (model_argument(recipe), "--host", context.host, "--port", str(context.port))
        if recipe.served_model_name or recipe.aliases:
            yield from ("--served-model-name", *dict.fromkeys((self.model_name(recipe), *recipe.aliases)))
        for flag, size in (
            ("--tensor-parallel-size", recipe.tensor_parallel_size),
            ("--pipeline-parallel-size", recipe.pipeline_parallel_size),
            ("--data-parallel-size", recipe.data_parallel_size),
        ):
            if size > 1:
                yield from (flag, str(size))
        # What the recipe leaves open is left to the engine: its defaults know the model and the GPU.
        for flag, value in (
            ("--max-model-len", recipe.max_model_len or None),
            ("--gpu-memory-utilization", recipe.gpu_memory_utilization),
            ("--max-num-seqs", recipe.max_num_seqs),
            ("--max-num-batched-tokens", recipe.max_num_batched_tokens),
            ("--revision", recipe.revision),
            ("--tokenizer", recipe.tokenizer),
            ("--kv-cache-dtype", None if recipe.kv_cache_dtype == "auto" else recipe.kv_cache_dtype),
            ("--quantization", recipe.quantization),
            ("--dtype", recipe.dtype),
            ("--reasoning-parser", recipe.reasoning_parser),
        ):
            if value is not None and value != "":
                yield from ([f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)])
        for flag, on in (
            ("enable-prefix-caching", recipe.enable_prefix_caching),
            ("enable-chunked-prefill", recipe.enable_chunked_prefill),
        ):
            if on is not None:
                yield f"--{flag}" if on else f"--no-{flag}"
        if recipe.expert_parallel:
            yield "--enable-expert-parallel"
        if recipe.lora_modules:
            yield "--enable-lora"
            yield from ("--lora-modules", *(f"{name}={path}" for name, path in recipe.lora_modules.items()))
        if recipe.speculative:
            yield from ("--speculative-config", as_json("speculative", recipe.speculative))
        if recipe.trust_remote_code:
            yield "--trust-remote-code"
        if recipe.tool_call_parser:
            yield from ("--tool-call-parser", recipe.tool_call_parser)
            if file := plugin_file(recipe.tool_call_parser, 0):
                yield from ("--tool-parser-plugin", file)
        if recipe.reasoning_parser and (file := plugin_file(recipe.reasoning_parser, 1)):
            yield from ("--reasoning-parser-plugin", file)
        if recipe.tool_call_parser or recipe.enable_auto_tool_choice:
            yield "--enable-auto-tool-choice"
        template = {**(thinking_kwargs(recipe) or {}), **recipe.chat_template_kwargs}
        if template:
            yield from ("--default-chat-template-kwargs", as_json("chat_template_kwargs", template))

    def foreign(self, line: Sequence[str]) -> ForeignEngine | None:
        found = cmdline.program(line)
        if found is None:
            return None
        rest: Sequence[str] = found.rest
        if found.kind == "module" and found.name == "vllm.entrypoints.openai.api_server":
            model = None
        elif rest and rest[0] == "serve" and (found.kind, found.name) in _SERVERS:
            rest = rest[1:]
            model = rest[0] if rest and not rest[0].startswith("-") else None
        else:
            return None
        name = cmdline.option(rest, "--served-model-name") or model or cmdline.option(rest, "--model")
        port = cmdline.port_option(rest, self.default_port)
        return ForeignEngine(self.name, name, port, cmdline.option(rest, "--host"))

    def pasted(self, words: Sequence[str]) -> Pasted | None:
        found = runs_program(words, "vllm", "serve", keep="executable")
        for module in ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.cli.main", "vllm"):
            found = found or runs_module(words, module, *(() if module.endswith("api_server") else ("serve",)))
        return found


def _is_unsafe(version: str | None) -> bool:
    found = numbers(version)
    return found is not None and found < SAFE


_SERVERS = frozenset({("program", "vllm"), ("module", "vllm"), ("module", "vllm.entrypoints.cli.main")})
