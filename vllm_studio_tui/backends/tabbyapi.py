"""TabbyAPI: ExLlamaV3 behind an OpenAI-compatible server, run from its checkout. Flags of August 2026.

It moves to the next port when its own is taken and goes on as if nothing had happened; the table of failures ends
such a start. It makes its keys itself (`api_tokens.yml` in its folder) and prints them at every start: with a key,
`api_key` must name the one of that file; without one, authentication is switched off on loopback only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vllm_studio_tui.backends.base import Backend, Command, ForeignEngine, LaunchContext, Problem
from vllm_studio_tui.backends.common import cmdline, config_files, parameters, token_calls
from vllm_studio_tui.backends.common.commands import environment, find_program, is_local, model_argument, not_found
from vllm_studio_tui.backends.common.flags import FlagStyle, extra_arguments
from vllm_studio_tui.backends.common.memory_rules import MIB, Budget, MemoryRules
from vllm_studio_tui.backends.common.pasted import Pasted
from vllm_studio_tui.backends.common.stages import DOWNLOADING
from vllm_studio_tui.domain.errors import InvalidRecipe, LaunchRefused
from vllm_studio_tui.domain.spec import ReadyProbe, Stage
from vllm_studio_tui.kit.file_access import expanded, read_trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_studio_tui.domain.recipe import Recipe

STYLE = FlagStyle(underscores=True, true="true", several=frozenset({"gpu-split", "api-servers", "autosplit-reserve"}))
STAGES = (
    DOWNLOADING,
    Stage(r"Starting OAI API|Uvicorn running on", "serving"),
    Stage(r"Model successfully loaded", "warmup"),
    Stage(r"Loading model modules.{0,200}?\b(?P<n>\d+)/(?P<m>\d+)", "weights"),
    Stage(r"Loading model:|Loading model modules|Loading with", "weights"),
    Stage(r"Using (?:configured|default) (?:max_seq_len|cache_size)", "kv_cache"),
)
#: Precisions of the cache that it names, besides pairs of bits such as `8,4`.
CACHE_MODES = {"fp16": "FP16", "fp8": "Q8", "q8": "Q8", "q6": "Q6", "q4": "Q4"}

#: Its cache is one for all texts; the rows of logits are of one step.
MEMORY = MemoryRules(
    budget=Budget.EXACT, users=1, batched=2048, block=256, shared_context=True, splits_matrices=False,
    overhead=(300 * MIB, 600 * MIB, 1200 * MIB), small_cache="Q8",
    cache_bytes={"auto": 2.0, "fp16": 2.0, "q8": 1.0625, "fp8": 1.0625, "q6": 0.8125, "q4": 0.5625},
)  # fmt: skip

PASTED_FLAGS = {
    "--host": "host",
    "--port": "port",
    "--max-seq-len": "max_model_len",
    "--cache-mode": "kv_cache_dtype",
    "--max-batch-size": "max_num_seqs",
    "--tool-format": "tool_call_parser",
}


class TabbyAPI(Backend):
    """`python main.py` in a checkout of TabbyAPI."""

    memory = MEMORY
    name = "tabbyapi"
    title = "TabbyAPI"
    default_port = 5000
    flag_style = STYLE
    pasted_flags = PASTED_FLAGS
    config_file = config_files.TABBY
    weights = "safetensors"
    formats = ("exl3", "exl2")
    suits = "one GPU, few bits"
    reads_gguf = False
    stages = STAGES
    command_words = ("main.py", "start.py")
    guarded_path = "/v1/models"
    metrics = ()  # it has none
    token_calls = token_calls.TABBY
    sight = ("/v1/model", "parameters.use_vision")
    sampling = parameters.TABBY
    answer_forms = parameters.TABBY_FORMS
    thinking_field = "reasoning_content"
    uses = frozenset(
        {"tensor_parallel_size", "max_model_len", "max_num_seqs", "kv_cache_dtype", "tool_call_parser",
         "reasoning_parser"}
    )  # fmt: skip

    def model_name(self, recipe: Recipe) -> str:
        return Path(model_argument(recipe)).name

    def ready(self, recipe: Recipe) -> ReadyProbe:
        # Its list of models names every folder beside the model.
        return ReadyProbe(recipe.health_path or "/health")

    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        python, main = self._program(recipe, context)
        arguments = list(self._arguments(recipe, context))
        arguments += extra_arguments(recipe.extra_args, arguments, STYLE)
        env, refs = environment(recipe)
        notes = ["TabbyAPI prints its keys at every start; its log is readable by you alone."]
        if recipe.api_key:
            notes.append("api_key must be the key in api_tokens.yml of its folder: it takes none from outside.")
        return Command((python, main, *arguments), env, refs, tuple(notes))

    def help_command(self, recipe: Recipe, context: LaunchContext) -> tuple[str, ...]:
        return (*self._program(recipe, context), "--help")

    def _program(self, recipe: Recipe, context: LaunchContext) -> tuple[str, str]:
        if context.container:
            return recipe.python_path or "python3", recipe.executable or "main.py"
        folder = Path(expanded(recipe.cwd)) if recipe.cwd else context.settings.tabby_dir
        main = Path(expanded(recipe.executable)) if recipe.executable else folder / "main.py" if folder else None
        wrong = None if main is None else read_trouble(main)
        if wrong is not None and wrong.reason != "missing":
            raise LaunchRefused("TabbyAPI cannot be run", cause=f"{wrong.words}.", advice=wrong.advice)
        if main is None or wrong is not None:
            raise not_found(
                "TabbyAPI",
                [str(main) if main else "cwd in the recipe", "tabby_dir in the settings"],
                "Check it out, and name its folder in the recipe (cwd) or in the settings (tabby_dir).",
                context,
            )
        home = main.parent
        looked = [recipe.python_path] if recipe.python_path else [str(home / "venv" / "bin" / "python"), "python3"]
        python = find_program(looked, context)
        if python is None:
            raise not_found("the interpreter of TabbyAPI", looked, "Name it in the recipe (python_path).", context)
        return python, str(main)

    def _arguments(self, recipe: Recipe, context: LaunchContext) -> Iterator[str]:
        model = model_argument(recipe)
        if not is_local(model):
            raise InvalidRecipe(
                "TabbyAPI loads a folder",
                [("model_path", f"{model} is a name on a hub")],
                advice="Download the model and name its folder.",
            )
        folder = Path(model)
        yield from ("--host", context.host, "--port", str(context.port))
        yield from ("--model_dir", str(folder.parent), "--model_name", folder.name)
        if recipe.max_model_len is not None and recipe.max_model_len > 0:
            yield from ("--max_seq_len", str(recipe.max_model_len))
        if recipe.kv_cache_dtype != "auto":
            yield from ("--cache_mode", CACHE_MODES.get(recipe.kv_cache_dtype.lower(), recipe.kv_cache_dtype))
        if recipe.max_num_seqs is not None:
            yield from ("--max_batch_size", str(recipe.max_num_seqs))
        if recipe.tensor_parallel_size > 1:
            yield from ("--tensor_parallel", "true")
        if recipe.tool_call_parser:
            yield from ("--tool_format", recipe.tool_call_parser)
        if recipe.reasoning_parser:
            yield from ("--reasoning", "true")
        if not recipe.api_key and context.host in ("127.0.0.1", "localhost", "::1"):
            yield from ("--disable_auth", "true")

    def problems(self, recipe: Recipe, context: LaunchContext) -> Sequence[Problem]:
        if recipe.api_key or context.host in ("127.0.0.1", "localhost", "::1"):
            return ()
        message = "is missing, and TabbyAPI will ask for the key of its api_tokens.yml"
        return [Problem("api_key", "warning", message, "Name that key: api_key: file:PATH.")]

    def foreign(self, line: Sequence[str]) -> ForeignEngine | None:
        found = cmdline.program(line)
        if found is None or (found.kind, found.name) not in (("program", "main.py"), ("program", "start.py")):
            return None
        script = next((one for one in line if PurePosixPath(one).name == found.name), "")
        ours = {"--model_name", "--model_dir", "--disable_auth", "--model-name", "--model-dir", "--disable-auth"}
        if PurePosixPath(script).parent.name.lower() != "tabbyapi" and ours.isdisjoint(found.rest):
            return None
        rest = found.rest
        model = cmdline.option(rest, "--model-name", "--model_name")
        return ForeignEngine(
            self.name, model, cmdline.port_option(rest, self.default_port), cmdline.option(rest, "--host")
        )

    def pasted(self, words: Sequence[str]) -> Pasted | None:
        """Its `main.py`, or the scripts that start it; the two flags that name its model become one path."""
        at = 1 if words and words[0].rpartition("/")[2].startswith("python") else 0
        if len(words) <= at or not words[at].endswith((".py", ".sh")):
            return None
        script = PurePosixPath(words[at])
        if script.name not in ("main.py", "start.py", "start.sh"):
            return None
        rest = list(words[at + 1 :])
        named: dict[str, str] = {}
        for flag in ("model_dir", "model_name"):
            place = next(
                (n for n, one in enumerate(rest) if one.lstrip("-").split("=")[0].replace("-", "_") == flag), -1
            )
            if place >= 0:
                value = rest[place].partition("=")[2] or "".join(rest[place + 1 : place + 2])
                del rest[place : place + (1 if "=" in rest[place] else 2)]
                named[flag] = value
        if not named and script.parent.name.lower() != "tabbyapi":
            return None
        fields: dict[str, str] = {}
        if "model_name" in named:
            fields["model_path"] = str(PurePosixPath(named.get("model_dir") or "models") / named["model_name"])
        if at and "/" in words[0]:
            fields["python_path"] = words[0]
        if str(script.parent) != "." and script.name == "main.py":
            fields["executable"] = str(script)
        return Pasted(tuple(rest), fields)
