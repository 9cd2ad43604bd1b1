"""`transformers serve`: any model that the library runs, one at a time. Flags and log lines of version 5.23.

It has no key, no metrics and no splitting over GPUs by flag; its model list names what the hub's cache holds rather
than what it serves, and requests must name the model exactly as it was started.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Backend, Command, ForeignEngine, LaunchContext, Problem
from vllm_studio_tui.backends.common import cmdline, parameters
from vllm_studio_tui.backends.common.commands import environment, find_program, is_local, model_argument, not_found
from vllm_studio_tui.backends.common.flags import FlagStyle, as_json, extra_arguments
from vllm_studio_tui.backends.common.memory_rules import Budget, MemoryRules
from vllm_studio_tui.backends.common.pasted import Pasted, runs_program
from vllm_studio_tui.backends.common.stages import DOWNLOADING, SHARDS
from vllm_studio_tui.domain.spec import ReadyProbe, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_studio_tui.domain.recipe import Recipe

STYLE = FlagStyle(repeat_lists=True)
STAGES = (
    DOWNLOADING,
    *SHARDS,
    Stage(r"Loading weights:\s+(?P<percent>\d{1,3})%", "weights"),
    Stage(r"Application startup complete|Uvicorn running on", "serving"),
    Stage(r"Started server process|Waiting for application startup", "warmup"),
)
#: What the library's quantization flag is called for what recipes say.
_QUANTIZATIONS = {"bitsandbytes": "bnb-4bit", "bnb": "bnb-4bit"}

PASTED_FLAGS = {
    "--host": "host",
    "--port": "port",
    "--dtype": "dtype",
    "--torch-dtype": "dtype",
    "--quantization": "quantization",
    "--trust-remote-code": "trust_remote_code",
    "--chat-template-kwargs": "chat_template_kwargs",
    "--force-model": "model_path",
}

#: Nothing is taken beforehand; steps of a prompt are not cut into pieces.
MEMORY = MemoryRules(budget=Budget.GROWS, users=1, batched=4096, block=1, window_extra=False)


class Transformers(Backend):
    """The server of the transformers library, from an environment of its own."""

    memory = MEMORY
    name = "transformers"
    title = "Transformers"
    package = "transformers"
    program = "transformers"
    command_words = ("transformers",)
    program_setting = "transformers_executable"
    default_port = 8000
    flag_style = STYLE
    pasted_flags = PASTED_FLAGS
    weights = "safetensors"
    loads_adapters = True
    fetches_models = True
    class_files = ("transformers/models/auto/modeling_auto.py",)
    suits = "new models first; one user at a time"
    stages = STAGES
    metrics = ()  # it has none
    standard_fields_only = True
    sampling = parameters.TRANSFORMERS
    answer_forms = {}  # noqa: RUF012, RUF100
    streams_unasked = True  # answers of /v1/responses
    uses = frozenset({"revision", "dtype", "quantization", "trust_remote_code", "chat_template_kwargs"})

    def model_name(self, recipe: Recipe) -> str:
        model = model_argument(recipe)
        return f"{model}@{recipe.revision}" if recipe.revision and not is_local(model) else model

    def ready(self, recipe: Recipe) -> ReadyProbe:
        # Its port opens when the model is loaded, and its list of models is not about what it serves.
        return ReadyProbe(recipe.health_path or "/health")

    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        argv = [*self._program(recipe, context), *self._arguments(recipe, context)]
        argv += extra_arguments(recipe.extra_args, argv, STYLE)
        env, refs = environment(recipe, HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
        notes = ("It has no key of its own: api_key is sent and not looked at.",) if recipe.api_key else ()
        return Command(tuple(argv), env, refs, notes)

    def help_command(self, recipe: Recipe, context: LaunchContext) -> tuple[str, ...]:
        return (*self._program(recipe, context), "--help")

    def _program(self, recipe: Recipe, context: LaunchContext) -> list[str]:
        if recipe.python_path:
            beside = find_program([str(Path(recipe.python_path).parent / "transformers")], context)
            if beside:
                return [beside, "serve"]
            raise not_found(
                "transformers",
                [str(Path(recipe.python_path).parent / "transformers")],
                "Install it there with pip install 'transformers[serving]', or correct python_path.",
                context,
            )
        looked = (
            [recipe.executable] if recipe.executable else [context.settings.transformers_executable, "transformers"]
        )
        found = find_program(looked, context)
        if found:
            return [found, "serve"]
        raise not_found(
            "transformers",
            looked,
            "Install transformers[serving] in an environment of its own, and name its interpreter in the recipe "
            "(python_path) or its program in the settings (transformers_executable).",
            context,
        )

    def _arguments(self, recipe: Recipe, context: LaunchContext) -> Iterator[str]:
        yield from (self.model_name(recipe), "--host", context.host, "--port", str(context.port))
        yield from ("--log-level", "info")  # else its log does not show that it serves
        if recipe.dtype:
            yield from ("--dtype", recipe.dtype)
        if recipe.quantization:
            yield from ("--quantization", _QUANTIZATIONS.get(recipe.quantization, recipe.quantization))
        if recipe.trust_remote_code:
            yield "--trust-remote-code"
        if recipe.chat_template_kwargs:
            yield from ("--chat-template-kwargs", as_json("chat_template_kwargs", recipe.chat_template_kwargs))

    def problems(self, recipe: Recipe, context: LaunchContext) -> Iterator[Problem]:
        if any(name.startswith("DEEPSEEK_") for name in recipe.env_vars):
            yield Problem(
                "env_vars",
                "warning",
                "DEEPSEEK_* were read by a server script of another program, not by `transformers serve`",
                "Set max_model_len and the like as fields, or use backend custom with that script.",
            )
        if recipe.api_key:
            yield Problem("api_key", "warning", "is not checked: this server has no key", "Keep it on loopback.")

    def foreign(self, line: Sequence[str]) -> ForeignEngine | None:
        found = cmdline.program(line)
        if found is None or (found.kind, found.name) != ("program", "transformers") or found.rest[:1] != ("serve",):
            return None
        rest = found.rest[1:]
        model = rest[0] if rest and not rest[0].startswith("-") else None
        return ForeignEngine(
            self.name, model, cmdline.port_option(rest, self.default_port), cmdline.option(rest, "--host")
        )

    def pasted(self, words: Sequence[str]) -> Pasted | None:
        return runs_program(words, "transformers", "serve", keep="executable")
