"""llama.cpp: its `llama-server`, or, where that is not installed, the server that the wheel of xllamacpp carries."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import (
    Backend,
    Command,
    ForeignEngine,
    LaunchContext,
    Problem,
    environment,
    find_program,
    is_local,
    model_argument,
    not_found,
)
from vllm_studio_tui.backends.common import cmdline
from vllm_studio_tui.backends.common.flags import FlagStyle, as_json, extra_arguments
from vllm_studio_tui.backends.common.stages import DOWNLOADING
from vllm_studio_tui.backends.embedded import CACHE_TYPES, complaint
from vllm_studio_tui.domain.errors import InvalidRecipe, StudioError
from vllm_studio_tui.domain.spec import CounterNames, Stage
from vllm_studio_tui.kit.file_access import is_folder

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


class LlamaCpp(Backend):
    """llama-server, or the embedded engine."""

    name = "llamacpp"
    title = "llama.cpp"
    default_port = 8080
    guarded = "/props"
    stages = STAGES
    weights = "gguf"
    counters = COUNTERS
    metrics_style = "llamacpp"
    package = "xllamacpp"
    uses = frozenset({
        "served_model_name", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "kv_cache_dtype",
        "lora_modules", "speculative", "enable_prefix_caching", "reasoning_parser", "max_thinking_tokens",
        "chat_template_kwargs",
    })  # fmt: skip
    programs = frozenset({"executable"})

    def model_name(self, recipe: Recipe) -> str:
        return recipe.served_model_name or recipe.id

    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        program, embedded = self._program(recipe, context)
        argv = [*program, *self._arguments(recipe, context, embedded=embedded)]
        argv += extra_arguments(recipe.extra_args, argv, STYLE)
        env, refs = environment(recipe)
        if recipe.api_key:
            refs["LLAMA_API_KEY"] = recipe.api_key
        notes = ("No llama-server was found: the embedded engine runs it, on the CPU.",) if embedded else ()
        return Command(tuple(argv), env, refs, notes)

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
                "the embedded engine needs a file",
                [("model_path", f"{model} is a name on a hub")],
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

    def check(self, recipe: Recipe, context: LaunchContext) -> list[Problem]:
        problems = super().check(recipe, context)
        if len(recipe.lora_modules) > 1 or any(name != "default" for name in recipe.lora_modules):
            message = f"{self.title} applies all adapters to every request, and knows none by its name"
            advice = "Keep one, or leave out those not meant."
            if len(recipe.lora_modules) == 1:
                message = f"{self.title} applies the adapter to every request, and does not know its name"
                advice = "Ask for the model by its own name, or name the adapter default."
            problems.append(Problem("lora_modules", "warning", message, advice))
        try:
            argv = self.command(recipe, context).argv
        except StudioError:
            return problems
        wrong = complaint(argv[3:]) if argv[1:3] == ("-m", EMBEDDED) else None
        if wrong is not None:
            field = next((name for flag, name in _FIELDS.items() if flag in wrong), "extra_args")
            advice = "Correct it, or install llama-server, which knows more."
            if any(one.field == field and one.severity == "error" for one in problems):
                return problems
            problems.insert(0, Problem(field, "error", f"the embedded engine would end: {wrong}", advice))
        return problems

    def foreign(self, line: Sequence[str]) -> ForeignEngine | None:
        found = cmdline.program(line)
        if found is None or (found.kind, found.name) not in (("program", "llama-server"), ("module", EMBEDDED)):
            return None
        rest = found.rest
        name = cmdline.option(rest, "--alias", "-a") or cmdline.option(
            rest, "--model", "-m", "--hf-repo", "-hf", "-hfr"
        )
        # Its default port differs by version, so without one it is not known.
        return ForeignEngine(self.name, name, cmdline.port_option(rest, None), cmdline.option(rest, "--host"))


def weights(path: Path) -> Path:
    """The file to load: the path itself, or of a folder its only GGUF, of shards the first.

    Raises:
        InvalidRecipe: The folder has no GGUF, or several.
    """
    if not is_folder(path):
        return path
    try:
        found = sorted(one for one in path.iterdir() if one.suffix.lower() == ".gguf")
    except OSError as error:
        raise _ambiguous(path, f"cannot be read: {error.strerror}") from None
    models = [one for one in found if not one.name.lower().startswith("mmproj")]
    firsts = [one for one in models if "-of-" not in one.name or "-00001-of-" in one.name]
    if len(firsts) == 1:
        return firsts[0]
    names = ", ".join(one.name for one in firsts[:5])
    raise _ambiguous(path, f"holds several models: {names}" if firsts else "holds no GGUF file")


def _ambiguous(path: Path, message: str) -> InvalidRecipe:
    return InvalidRecipe(
        "the model file cannot be told",
        [("model_path", f"{path} {message}")],
        advice="Name one GGUF file in model_path.",
    )


def _threads_named(recipe: Recipe) -> bool:
    return any(STYLE.canonical(key) == "threads" for key in recipe.extra_args)
