"""llama.cpp: its `llama-server`, or, where that is not installed, the server that the wheel of xllamacpp carries."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends.base import Backend, Command, EngineSettings, ForeignEngine, LaunchContext, Problem
from vllm_studio_tui.backends.common import cmdline, config_files, doctor, metric_tables, parameters, token_calls
from vllm_studio_tui.backends.common.commands import environment, find_program, is_local, model_argument, not_found
from vllm_studio_tui.backends.common.flags import FlagStyle, as_json, extra_arguments
from vllm_studio_tui.backends.common.gguf_files import projectors, weights
from vllm_studio_tui.backends.common.memory_lines import LLAMACPP as MEMORY_LINES
from vllm_studio_tui.backends.common.memory_rules import CACHE_BYTES, MIB, Budget, MemoryRules, count, extra_value
from vllm_studio_tui.backends.common.pasted import Pasted, runs_module, runs_program
from vllm_studio_tui.backends.common.stages import DOWNLOADING
from vllm_studio_tui.backends.embedded import CACHE_TYPES, REASONING_FORMATS, VERBOSITY, complaint
from vllm_studio_tui.domain.check import Check, ok
from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError
from vllm_studio_tui.domain.spec import CounterNames, Stage
from vllm_studio_tui.kit.file_access import expanded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_studio_tui.domain.recipe import Recipe

EMBEDDED = "vllm_studio_tui.backends.embedded"
#: Fields of a recipe that make these flags of the embedded engine; others are of extra_args.
_FIELDS = {
    "--chat-template-kwargs": "chat_template_kwargs", "--spec-": "speculative",
    "--batch-size": "max_num_batched_tokens", "--reasoning-format": "reasoning_parser",
    "--reasoning-budget": "max_thinking_tokens",
}  # fmt: skip

#: Flags that say which projector is loaded, or that none is.
_PROJECTOR_FLAGS = frozenset({"mmproj", "mmproj-url", "mmu", "no-mmproj", "mmproj-auto", "no-mmproj-auto"})

#: Flags that say how much it writes into its log.
_VERBOSITY_FLAGS = frozenset({"v", "lv", "verbose", "verbosity", "log-verbose", "log-verbosity", "log-disable"})

#: Words of vLLM's speculative configuration in llama.cpp's.
_SPECULATIVE = {"method": "type", "model": "draft-model", "num-speculative-tokens": "draft-n-max"}
STYLE = FlagStyle(
    repeat_lists=True,
    joined=False,
    aliases={
        "m": "model", "c": "ctx-size", "a": "alias", "t": "threads", "np": "parallel", "ngl": "n-gpu-layers",
        "gpu-layers": "n-gpu-layers", "hf": "hf-repo", "hfr": "hf-repo", "b": "batch-size", "ub": "ubatch-size",
        "fa": "flash-attn", "ctk": "cache-type-k", "ctv": "cache-type-v", "sm": "split-mode", "ts": "tensor-split",
        "mg": "main-gpu", "dev": "device", "mm": "mmproj", "md": "model-draft", "tb": "threads-batch",
    },
)  # fmt: skip

STAGES = (
    DOWNLOADING,
    Stage(r"\bmodel loaded$|listening on http", "serving"),
    Stage(r"warming up the model", "warmup"),
    Stage(r"llama_kv_cache|llama threadpool init|initializing, n_slots", "kv_cache"),
    Stage(r"loading model\b|load_tensors:|llama_model_loader: loaded", "weights"),
    Stage(r"\binitializing \.\.\.$|system_info:", "config"),
)

COUNTERS = CounterNames(
    # What was found in the cache is counted apart here; a prompt is both.
    cached_apart=True,
    prompt_tokens=("llamacpp:prompt_tokens_total",),
    generation_tokens=("llamacpp:tokens_predicted_total",),
    cached_tokens=("llamacpp:prompt_tokens_cached_total",),
    running=("llamacpp:requests_processing",),
    progress=("llamacpp:n_decode_total",),
    token_gaps=("llamacpp:tokens_predicted_total",),
    token_seconds=("llamacpp:tokens_predicted_seconds_total",),
)

PASTED_FLAGS = {
    "-m": "model_path", "--model": "model_path", "-hf": "model_path", "-hfr": "model_path", "--hf-repo": "model_path",
    "-a": "served_model_name", "--alias": "served_model_name", "--host": "host", "--port": "port",
    "-c": "max_model_len", "--ctx-size": "max_model_len", "-np": "max_num_seqs", "--parallel": "max_num_seqs",
    "-b": "max_num_batched_tokens", "--batch-size": "max_num_batched_tokens", "--cache-prompt": "enable_prefix_caching",
    "--reasoning-format": "reasoning_parser", "--reasoning-budget": "max_thinking_tokens", "--api-key": "api_key",
    "--chat-template-kwargs": "chat_template_kwargs",
}  # fmt: skip

FILE_FLAGS = {
    "ssl-key-file": "pem", "ssl-cert-file": "pem", "chat-template-file": "template_file", "mmproj": "mmproj",
    "lora": "adapter", "model-draft": "draft", "spec-draft-model": "draft", "grammar-file": "any",
    "json-schema-file": "any", "api-key-file": "any",
}  # fmt: skip

#: What vLLM and SGLang call ways to guess ahead, and the word for each here (`--spec-type`); None: it has none.
SPECULATIVE_WORDS = {
    "ngram": "ngram-simple", "draft_model": "draft-simple", "standalone": "draft-simple", "mtp": "draft-mtp",
    "nextn": "draft-mtp", "deepseek_mtp": "draft-mtp", "eagle3": "draft-eagle3", "dflash": "draft-dflash",
    "eagle": None, "medusa": None, "mlp_speculator": None, "suffix": None,
}  # fmt: skip

#: It computes in 32 bits, `--ubatch-size` tokens at a time, and its cache is of 16 bits (`llama-context.cpp`).
MEMORY = MemoryRules(
    budget=Budget.EXACT,
    batched=512,
    block=256,
    shared_context=True,
    embedding_in_host=True,
    splits_matrices=False,
    hidden_widths=5.0,
    feed_widths=3.0,
    number=4,
    mask=2,
    repacked=frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"}),
    logit_rows=1.0,
    overhead=(200 * MIB, 350 * MIB, 700 * MIB),
    overhead_ranks=(50 * MIB, 150 * MIB, 500 * MIB),
    cache_bytes={**CACHE_BYTES, "auto": 2.0},
    shortens=True,
    small_cache="q8_0",
)
#: Layers below which `--n-gpu-layers` may leave some in the memory of the host; people write 99 for all.
FEW_LAYERS = 99


class LlamaCpp(Backend):
    """llama-server, or the embedded engine."""

    name = "llamacpp"
    title = "llama.cpp"
    package = "xllamacpp"
    program = "llama-server"
    command_words = ("llama-server", EMBEDDED)
    program_setting = "llama_server"
    default_port = 8080
    flag_style = STYLE
    file_flags = FILE_FLAGS
    pasted_flags = PASTED_FLAGS
    config_file = config_files.LLAMACPP
    key_variable = "LLAMA_API_KEY"
    weights = "gguf"
    suits = "small machines, also without a GPU"
    image = "ghcr.io/ggml-org/llama.cpp:server-cuda"
    images = ("ghcr.io/ggerganov/llama.cpp",)
    memory = MEMORY
    image_runs_engine = True
    stages = STAGES
    memory_lines = MEMORY_LINES
    guarded_path = "/props"
    counters = COUNTERS
    metrics = metric_tables.LLAMACPP
    slots = metric_tables.LLAMACPP_SLOTS
    anthropic_api = True
    keeps_connections = False  # each is closed after a stream
    token_calls = token_calls.LLAMACPP
    # It has written on in a last answer for long, but refuses to where its template would think first.
    continue_options = {  # noqa: RUF012, RUF100
        "continue_final_message": True, "add_generation_prompt": False,
        "chat_template_kwargs": {"enable_thinking": False},
    }  # fmt: skip
    sight = ("/props", "modalities.vision")
    sight_advice = "Or launch it with the model's projector: mmproj in its extra_args."
    sampling = parameters.LLAMACPP
    answer_forms = parameters.LLAMACPP_FORMS
    thinking_field = "reasoning_content"
    tools_or = frozenset({"form", "logprobs"})
    forces_any_tool_only = True
    # Whatever a request calls its one model; of several names of --alias it would show the first by the alphabet.
    takes_aliases = True
    uses = frozenset({
        "served_model_name", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "kv_cache_dtype",
        "lora_modules", "speculative", "enable_prefix_caching", "reasoning_parser", "max_thinking_tokens",
        "chat_template_kwargs",
    })  # fmt: skip
    program_fields = frozenset({"executable"})

    def memory_asked(self, recipe: Recipe) -> Mapping[str, Any]:
        asked: dict[str, Any] = {"batched": count(extra_value(recipe.extra_args, "ubatch-size", "ub")) or 512}
        kept = extra_value(recipe.extra_args, "cache-type-k", "ctk")
        if isinstance(kept, str):
            asked["kv_dtype"] = kept
        layers = extra_value(recipe.extra_args, "n-gpu-layers", "ngl", "gpu-layers")
        if str(layers) == "0":
            asked["gpus"] = 0
        elif layers is not None and str(layers) not in ("auto", "all") and (count(layers) or 0) < FEW_LAYERS:
            asked["elsewhere"] = True
        if extra_value(recipe.extra_args, "override-tensor", "ot", "cpu-moe", "cmoe", "n-cpu-moe", "ncmoe") is not None:
            asked["elsewhere"] = True
        return asked

    def model_name(self, recipe: Recipe) -> str:
        return recipe.served_model_name or recipe.id

    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        program, embedded = self._program(recipe, context)
        argv = [*program, *self._arguments(recipe, context, embedded=embedded)]
        argv += extra_arguments(recipe.extra_args, argv, STYLE)
        env, refs = environment(recipe, **({} if embedded else _log_level(recipe)))
        if recipe.api_key:
            refs["LLAMA_API_KEY"] = recipe.api_key
        notes = ["llama.cpp (embedded) runs it, on the CPU: no llama-server was found."] if embedded else []
        if (eyes := _projector(recipe, context)) is not None:
            notes.append(f"{eyes.name} lies beside the model: it reads pictures. vision: false leaves that out.")
        return Command(tuple(argv), env, refs, tuple(notes))

    def help_command(self, recipe: Recipe, context: LaunchContext) -> tuple[str, ...] | None:
        program, embedded = self._program(recipe, context)
        return None if embedded else (*program, "--help")

    def _program(self, recipe: Recipe, context: LaunchContext) -> tuple[list[str], bool]:
        looked = [recipe.executable] if recipe.executable else [context.settings.llama_server, "llama-server"]
        found = find_program(looked, context)
        if found:
            return [found], False
        if recipe.executable is None and find_spec("xllamacpp") is not None:
            return [context.python, "-m", EMBEDDED], True
        raise not_found(
            "llama.cpp",
            looked,
            "Install llama-server and name it in the recipe (executable) or the settings (llama_server), or "
            "install the embedded engine: pip install 'vllm-studio-tui[demo]'.",
            context,
        )

    def _arguments(self, recipe: Recipe, context: LaunchContext, *, embedded: bool) -> Iterator[str]:
        model = model_argument(recipe)
        if is_local(model) or model.lower().endswith(".gguf"):
            yield from ("--model", str(weights(Path(model))))
        elif embedded:
            raise InvalidRecipe(
                "without llama-server, llama.cpp runs only GGUF files that are here",
                [("model_path", f"{model} is no file here")],
                advice="Download the model and name its GGUF file, or install llama-server.",
            )
        else:
            yield from ("--hf-repo", model)
        yield from ("--host", context.host, "--port", str(context.port), "--alias", self.model_name(recipe))
        if recipe.max_model_len is not None and recipe.max_model_len > 0:
            yield from ("--ctx-size", str(recipe.max_model_len))
        if recipe.max_num_seqs is not None:
            yield from ("--parallel", str(recipe.max_num_seqs))
        if recipe.max_num_batched_tokens is not None:
            yield from ("--batch-size", str(recipe.max_num_batched_tokens))
        yield from self._model_options(recipe)
        if (eyes := _projector(recipe, context)) is not None:
            yield from ("--mmproj", str(eyes))
        if embedded and context.settings.embedded_threads is not None and not _threads_named(recipe):
            yield from ("--threads", str(context.settings.embedded_threads))
        yield from ("--metrics", "--jinja")

    def _model_options(self, recipe: Recipe) -> Iterator[str]:
        if recipe.kv_cache_dtype in CACHE_TYPES:
            yield from ("--cache-type-k", recipe.kv_cache_dtype, "--cache-type-v", recipe.kv_cache_dtype)
        for path in recipe.lora_modules.values():
            yield from ("--lora", path)
        for name, value in recipe.speculative.items():
            bare = name.replace("_", "-").removeprefix("spec-")
            yield from (f"--spec-{_SPECULATIVE.get(bare, bare)}", str(value))
        if recipe.enable_prefix_caching is not None:
            yield "--cache-prompt" if recipe.enable_prefix_caching else "--no-cache-prompt"
        if recipe.reasoning_parser:
            yield from ("--reasoning-format", recipe.reasoning_parser)
        if recipe.max_thinking_tokens is not None:
            yield from ("--reasoning-budget", str(recipe.max_thinking_tokens))
        if recipe.chat_template_kwargs:
            yield from ("--chat-template-kwargs", as_json("chat_template_kwargs", recipe.chat_template_kwargs))

    def problems(self, recipe: Recipe, context: LaunchContext) -> Sequence[Problem]:
        problems = [*_foreign_words(recipe), *self._adapter_problems(recipe)]
        try:
            argv = self.command(recipe, context).argv
        except StudioError:
            return problems
        wrong = complaint(argv[3:]) if argv[1:3] == ("-m", EMBEDDED) else None
        if wrong is not None:
            field = next((name for flag, name in _FIELDS.items() if flag in wrong), "extra_args")
            if not any(one.field == field and one.severity == "error" for one in problems):
                advice = "Correct it, or install llama-server, which knows more."
                problems.insert(0, Problem(field, "error", f"the embedded engine would end: {wrong}", advice))
        return problems

    def _adapter_problems(self, recipe: Recipe) -> Iterator[Problem]:
        if len(recipe.lora_modules) == 1 and "default" not in recipe.lora_modules:
            message = f"{self.title} applies the adapter to every request, and does not know its name"
            advice = "Ask for the model by its own name, or name the adapter default."
            yield Problem("lora_modules", "warning", message, advice)
        elif len(recipe.lora_modules) > 1:
            message = f"{self.title} applies all adapters to every request, and knows none by its name"
            yield Problem("lora_modules", "warning", message, "Keep one, or leave out those not meant.")

    def doctor(self, settings: EngineSettings, environ: Mapping[str, str]) -> Mapping[str, Check]:
        """Look for llama-server, and for the embedded engine, a package of our own environment."""
        server = doctor.check_program(
            "llama-server", environ, setting=self.program_setting, named=settings.llama_server
        )
        try:
            embedded = ok(f"xllamacpp {importlib.metadata.version('xllamacpp')}")
        except importlib.metadata.PackageNotFoundError:
            embedded = ok(f"{doctor.MISSING}; it comes with vllm-studio-tui[demo]")
        return {"llama-server": server, "embedded": embedded}

    def foreign(self, line: Sequence[str]) -> ForeignEngine | None:
        found = cmdline.program(line)
        if found is None or (found.kind, found.name) not in (("program", "llama-server"), ("module", EMBEDDED)):
            return None
        rest, named = found.rest, ("--model", "-m", "--hf-repo", "-hf", "-hfr")
        name = cmdline.option(rest, "--alias", "-a") or cmdline.option(rest, *named)
        # Its default port differs by version, so without one it is not known.
        return ForeignEngine(self.name, name, cmdline.port_option(rest, None), cmdline.option(rest, "--host"))

    def pasted(self, words: Sequence[str]) -> Pasted | None:
        own = runs_module(words, EMBEDDED)  # the studio's own interpreter runs it
        return Pasted(own.arguments) if own else runs_program(words, "llama-server", keep="executable")


def _log_level(recipe: Recipe) -> dict[str, str]:
    """Return the variable that has it say what it takes of memory, unless the recipe sets how much it says.

    A variable, because older builds, which say so anyway and call other levels by these numbers, do not read it.
    """
    named = {STYLE.canonical(str(key).lstrip("-")) for key in recipe.extra_args}
    return {} if named & _VERBOSITY_FLAGS else {VERBOSITY: "4"}


def _projector(recipe: Recipe, context: LaunchContext) -> Path | None:
    """Return the only projector beside the model, unless the recipe names one itself, or wants none."""
    named = {STYLE.canonical(key.lstrip("-")) for key in recipe.extra_args}
    if recipe.vision is False or context.container or named & _PROJECTOR_FLAGS or not recipe.model_path:
        return None
    model = Path(expanded(recipe.model_path))
    found = projectors(model) if is_local(recipe.model_path) or model.suffix.lower() == ".gguf" else []
    return found[0] if len(found) == 1 else None


def _foreign_words(recipe: Recipe) -> Iterator[Problem]:
    """Yield problems of values that other engines know and llama.cpp does not."""
    if recipe.reasoning_parser and recipe.reasoning_parser not in REASONING_FORMATS:
        yield Problem(
            "reasoning_parser",
            "error",
            f"llama.cpp has no reader of thoughts called {recipe.reasoning_parser}",
            f"Leave it empty, or use one of: {', '.join(REASONING_FORMATS)}.",
        )
    method = recipe.speculative.get("method", recipe.speculative.get("algorithm"))
    if isinstance(method, str) and method.lower() in SPECULATIVE_WORDS:
        word = SPECULATIVE_WORDS[method.lower()]
        advice = f"Write method: {word}." if word else "Leave it out, or see --spec-type of llama-server."
        yield Problem("speculative", "error", f"llama.cpp has no way to guess ahead called {method}", advice)
    if recipe.kv_cache_dtype != "auto" and recipe.kv_cache_dtype not in CACHE_TYPES:
        message = f"llama.cpp has no cache of the type {recipe.kv_cache_dtype}; it is left out"
        yield Problem("kv_cache_dtype", "warning", message, f"Use one of: {', '.join(sorted(CACHE_TYPES))}.")


def _threads_named(recipe: Recipe) -> bool:
    return any(STYLE.canonical(key) == "threads" for key in recipe.extra_args)
