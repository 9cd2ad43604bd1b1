"""SGLang: `python -m sglang.launch_server`. Flags and log lines of version 0.5.23.

Its API key: SGLang takes one from its command line or from a YAML file only. A command line is readable by every
user of the host, and a file would have to be written before and removed after. So with a key the program is started
by one line of Python that moves the key from the environment into `sys.argv` inside the process, where nobody else
sees it. SGLang prints its arguments, the key among them, at the head of its log; the log is readable by its owner
only and every view of ours masks known secrets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends.base import ENGINE_FIELDS, Backend, Command, EngineSettings, ForeignEngine, LaunchContext
from vllm_studio_tui.backends.common import (
    cmdline,
    config_files,
    doctor,
    metric_tables,
    parameters,
    ranks_sglang,
    token_calls,
)
from vllm_studio_tui.backends.common.commands import environment, find_program, model_argument, not_found
from vllm_studio_tui.backends.common.flags import FlagStyle, as_json, extra_arguments
from vllm_studio_tui.backends.common.known_names import Known, known
from vllm_studio_tui.backends.common.memory_lines import SGLANG as MEMORY_LINES
from vllm_studio_tui.backends.common.memory_rules import MIB, Budget, MemoryRules, read_memory_flags
from vllm_studio_tui.backends.common.pasted import Pasted, runs_module, runs_program
from vllm_studio_tui.backends.common.stages import DOWNLOADING, SHARDS
from vllm_studio_tui.backends.common.thinking import thinking_kwargs
from vllm_studio_tui.backends.common.versions import installed_version
from vllm_studio_tui.domain.check import Check, ok, warn
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.ranks import DECODE, HTTP, PREFILL, ROUTER
from vllm_studio_tui.domain.spec import CounterNames, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_studio_tui.domain.ranks import RankPart
    from vllm_studio_tui.domain.recipe import Recipe

MODULE = "sglang.launch_server"
KEY_VARIABLE = "VLLM_STUDIO_SGLANG_KEY"
#: Run by the engine's interpreter with `-c`; the module then finds the key as if it had been given as an argument.
WITH_KEY = (
    "import os,runpy,sys;"
    f"sys.argv+=['--api-key='+os.environ.pop('{KEY_VARIABLE}')];"
    f"runpy.run_module('{MODULE}',run_name='__main__',alter_sys=True)"
)

STYLE = FlagStyle(
    several=frozenset({
        "cuda-graph-bs", "cuda-graph-bs-decode", "lora-paths", "lora-target-modules", "bucket-time-to-first-token",
        "bucket-inter-token-latency", "bucket-e2e-request-latency", "moe-dense-tp-size",
    }),
    aliases={
        "tp": "tp-size", "tensor-parallel-size": "tp-size", "pp": "pp-size", "pipeline-parallel-size": "pp-size",
        "dp": "dp-size", "data-parallel-size": "dp-size", "ep": "ep-size", "expert-parallel-size": "ep-size",
        "model": "model-path", "nccl-init-addr": "dist-init-addr",
    },
)  # fmt: skip

STAGES = (
    DOWNLOADING,
    *SHARDS,
    Stage(r"The server is fired up and ready to roll", "serving"),
    Stage(r"Application startup complete|Uvicorn running", "warmup"),
    Stage(r"Capturing batches.{0,120}?(?P<percent>\d{1,3})%", "graphs"),
    Stage(r"Capturing batches|Capture \S*\s?(?:cuda|CUDA) graph (?:begin|end)", "graphs"),
    Stage(r"KV Cache is allocated|Memory pool end|max_total_num_tokens=", "kv_cache"),
    Stage(r"Load weight (?:begin|end)", "weights"),
    Stage(r"server_args=|Init (?:parallel|torch distributed) begin", "config"),
)

COUNTERS = CounterNames(
    prompt_tokens=("sglang:prompt_tokens_total",),
    generation_tokens=("sglang:generation_tokens_total",),
    cached_tokens=("sglang:cached_tokens_total",),
    requests=("sglang:num_requests_total",),
    running=("sglang:num_running_reqs",),
    progress=("sglang:realtime_tokens_total", "sglang:gen_throughput"),
    token_gaps=("sglang:inter_token_latency_seconds_count", "sglang:time_per_output_token_seconds_count"),
    token_seconds=("sglang:inter_token_latency_seconds_sum", "sglang:time_per_output_token_seconds_sum"),
)

PASTED_FLAGS = {
    "--model-path": "model_path",
    "--model": "model_path",
    "--served-model-name": "served_model_name",
    "--host": "host",
    "--port": "port",
    "--tp": "tensor_parallel_size",
    "--tp-size": "tensor_parallel_size",
    "--tensor-parallel-size": "tensor_parallel_size",
    "--pp-size": "pipeline_parallel_size",
    "--pipeline-parallel-size": "pipeline_parallel_size",
    "--context-length": "max_model_len",
    "--mem-fraction-static": "gpu_memory_utilization",
    "--kv-cache-dtype": "kv_cache_dtype",
    "--max-running-requests": "max_num_seqs",
    "--dtype": "dtype",
    "--quantization": "quantization",
    "--tool-call-parser": "tool_call_parser",
    "--reasoning-parser": "reasoning_parser",
    "--trust-remote-code": "trust_remote_code",
    "--api-key": "api_key",
    "--revision": "revision",
    "--dp": "data_parallel_size",
    "--dp-size": "data_parallel_size",
    "--data-parallel-size": "data_parallel_size",
    "--tokenizer-path": "tokenizer",
}

FILE_FLAGS = {
    "ssl-keyfile": "pem", "ssl-certfile": "pem", "ssl-ca-certs": "pem", "config": "any",
    "chat-template": "template", "tokenizer-path": "tokenizer", "speculative-draft-model-path": "draft",
    "lora-paths": "lora",
}  # fmt: skip


def context_length(recipe: Recipe) -> int | None:
    """Return the context in tokens; None, as for vLLM's 0 and -1, is what the model and the memory allow."""
    return recipe.max_model_len if recipe.max_model_len is not None and recipe.max_model_len > 0 else None


#: Words of vLLM's speculative configuration in SGLang's.
_SPECULATIVE = {"method": "algorithm", "model": "draft-model-path", "num-speculative-tokens": "num-draft-tokens"}


def _chunk(recipe: Recipe) -> int | None:
    """Return the tokens of one chunk of a prompt; -1 switches chunks off."""
    return -1 if recipe.enable_chunked_prefill is False else recipe.max_num_batched_tokens


#: Its own defaults (`server_args.py`: the share depends on the GPU and lies near this one).
MEMORY = MemoryRules(
    budget=Budget.STATIC_SHARE,
    share=0.88,
    users=256,
    batched=4096,
    batched_large=8192,
    block=1,
    graphs=(400 * MIB, 1200 * MIB, 3000 * MIB),
    small_cache="fp8_e5m2",
    online="fp8",
)


class SGLang(Backend):
    """SGLang from the interpreter that has it."""

    name = "sglang"
    title = "SGLang"
    package = "sglang"
    program_setting = "sglang_python"
    default_port = 30000
    # Tools are called whenever a parser is named; there is no switch for it.
    uses = ENGINE_FIELDS - {"enable_auto_tool_choice"}
    flag_style = STYLE
    file_flags = FILE_FLAGS
    pasted_flags = PASTED_FLAGS
    config_file = config_files.SGLANG
    weights = "safetensors"
    mistral_format = True
    fetches_models = True
    class_files = ("sglang/srt/models/*.py",)
    suits = "many users with the same beginnings"
    takes_first_gpus = True
    shares_gpu_memory = True
    memory = MEMORY
    command_words = ("sglang",)
    process_titles = ("sglang::",)
    image = "lmsysorg/sglang:latest"
    images = ("docker.io/lmsysorg/sglang",)
    stages = STAGES
    memory_lines = MEMORY_LINES
    guarded_path = "/v1/models"
    counters = COUNTERS
    metrics = metric_tables.SGLANG
    anthropic_api = True
    token_calls = token_calls.VLLM
    continue_options = {"continue_final_message": True}  # noqa: RUF012, RUF100
    sight = ("/get_model_info", "has_image_understanding")
    sampling = parameters.SGLANG
    answer_forms = parameters.SGLANG_FORMS
    thinking_field = "reasoning_content"
    engine_defaults = {"enable_prefix_caching": True, "enable_chunked_prefill": True}  # noqa: RUF012, RUF100

    def memory_asked(self, recipe: Recipe) -> Mapping[str, Any]:
        return read_memory_flags(recipe.extra_args, no_graphs="disable-cuda-graph", batched=("chunked-prefill-size",))

    def model_name(self, recipe: Recipe) -> str:
        return recipe.served_model_name or model_argument(recipe)

    def ranks(self, recipe: Recipe) -> tuple[RankPart, ...]:
        return ranks_sglang.parts(recipe, STYLE)

    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        place = context.rank
        if place is not None and place.role == ROUTER:
            return ranks_sglang.router(place, context, self._python(recipe, context), environment(recipe)[0])
        if place is not None and place.role in (PREFILL, DECODE):
            context = dataclasses.replace(context, host=place.address, port=place.port(HTTP))
        start = ["-c", WITH_KEY] if recipe.api_key else ["-m", MODULE]
        arguments = list(self._arguments(ranks_sglang.spread(recipe) if place else recipe, context))
        if place is not None:
            arguments += ranks_sglang.arguments(recipe, place, STYLE)
        arguments += extra_arguments(recipe.extra_args, arguments, STYLE)
        env, refs = environment(
            recipe,
            # Without this each /health makes the engine generate a token, and answers after a second at the soonest.
            SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION="0",
            DO_NOT_TRACK="1",
        )
        notes: tuple[str, ...] = ()
        if recipe.api_key:
            if "--config" in arguments or any(one.startswith("--config=") for one in arguments):
                raise InvalidRecipe(
                    "SGLang cannot have a key and a --config file",
                    [("api_key", "the file may hold a key of its own, and one of the two would win unseen")],
                    advice="Remove `config` from extra_args, or remove api_key.",
                )
            refs[KEY_VARIABLE] = recipe.api_key
            notes = ("SGLang prints its key at the head of its log; the log is readable by you alone.",)
        if place is not None:
            env |= ranks_sglang.variables(recipe, place)
        return Command((self._python(recipe, context), *start, *arguments), env, refs, notes)

    def help_command(self, recipe: Recipe, context: LaunchContext) -> tuple[str, ...]:
        return (self._python(recipe, context), "-m", MODULE, "--help")

    def known(self) -> Known | None:
        return known(self.name)

    def doctor(self, settings: EngineSettings, environ: Mapping[str, str]) -> Mapping[str, Check]:
        """Look for the interpreter that the settings name; a program in PATH only tells that SGLang is there."""
        named = settings.sglang_python
        program = doctor.find(named or "sglang", environ)
        wrong = doctor.named_program_trouble(self.program_setting, named, environ)
        if wrong or program is None:
            return {self.name: wrong or ok(doctor.MISSING)}
        version = installed_version(program, "sglang")
        if version is None and named:
            advice = "Name the interpreter of its environment in sglang_python."
            return {self.name: warn(f"{program} seems to have no SGLang", advice)}
        found = f"{version or 'unknown version'} at {program}"
        return {self.name: ok(found if named else f"{found}; name its interpreter as sglang_python to launch it")}

    def _python(self, recipe: Recipe, context: LaunchContext) -> str:
        named = recipe.python_path or recipe.executable
        looked = [named] if named else [context.settings.sglang_python]
        found = find_program(looked, context)
        if found:
            return found
        raise not_found(
            "the interpreter of SGLang",
            looked if any(looked) else ["python_path in the recipe", "sglang_python in the settings"],
            "Install SGLang in an environment of its own, and name its interpreter in the recipe (python_path) or in "
            "the settings (sglang_python).",
            context,
        )

    def _arguments(self, recipe: Recipe, context: LaunchContext) -> Iterator[str]:
        yield from ("--model-path", model_argument(recipe), "--host", context.host, "--port", str(context.port))
        for flag, value in (
            ("--served-model-name", recipe.served_model_name),
            ("--tp-size", recipe.tensor_parallel_size if recipe.tensor_parallel_size > 1 else None),
            ("--pp-size", recipe.pipeline_parallel_size if recipe.pipeline_parallel_size > 1 else None),
            ("--dp-size", recipe.data_parallel_size if recipe.data_parallel_size > 1 else None),
            ("--ep-size", recipe.tensor_parallel_size if recipe.expert_parallel else None),
            ("--revision", recipe.revision),
            ("--tokenizer-path", recipe.tokenizer),
            ("--chunked-prefill-size", _chunk(recipe)),
            ("--context-length", context_length(recipe)),
            ("--mem-fraction-static", recipe.gpu_memory_utilization),
            ("--max-running-requests", recipe.max_num_seqs),
            ("--kv-cache-dtype", None if recipe.kv_cache_dtype == "auto" else recipe.kv_cache_dtype),
            ("--quantization", recipe.quantization),
            ("--dtype", recipe.dtype),
            ("--tool-call-parser", recipe.tool_call_parser),
            ("--reasoning-parser", recipe.reasoning_parser),
        ):
            if value is not None and value != "":
                yield from ([f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)])
        if recipe.enable_prefix_caching is False:
            yield "--disable-radix-cache"
        if recipe.lora_modules:
            yield "--enable-lora"
            yield from ("--lora-paths", *(f"{name}={path}" for name, path in recipe.lora_modules.items()))
        for name, value in recipe.speculative.items():
            bare = name.replace("_", "-").removeprefix("speculative-")
            yield from (f"--speculative-{_SPECULATIVE.get(bare, bare)}", str(value))
        template = {**(thinking_kwargs(recipe) or {}), **recipe.chat_template_kwargs}
        if template:
            yield from ("--default-chat-template-kwargs", as_json("chat_template_kwargs", template))
        if recipe.trust_remote_code:
            yield "--trust-remote-code"
        if recipe.extra_args.get("enable_metrics", recipe.extra_args.get("enable-metrics")) is not False:
            yield "--enable-metrics"

    def foreign(self, line: Sequence[str]) -> ForeignEngine | None:
        found = cmdline.program(line)
        if found is None:
            return None
        rest: Sequence[str] = found.rest
        served = found.kind in ("program", "module") and found.name == "sglang" and rest[:1] == ("serve",)
        if not served and (found.kind, found.name) not in (("module", MODULE), ("code", WITH_KEY)):
            return None
        name = cmdline.option(rest, "--served-model-name") or cmdline.option(rest, "--model-path", "--model")
        port = cmdline.port_option(rest, self.default_port)
        return ForeignEngine(self.name, name, port, cmdline.option(rest, "--host"))

    def pasted(self, words: Sequence[str]) -> Pasted | None:
        return runs_program(words, "sglang", "serve") or runs_module(words, MODULE)
