"""What a backend is: everything the studio must know of one kind of engine, in one file each.

A backend turns a recipe into a command, and says how that engine shows that it loads, serves, counts and fails.
"""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vllm_studio_tui.backends.common.versions import installed_version
from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.domain.errors import InvalidRecipe, LaunchRefused
from vllm_studio_tui.domain.spec import CounterNames, Failure, ReadyProbe, Stage
from vllm_studio_tui.kit import secrets
from vllm_studio_tui.kit.file_access import explain_program, program_trouble
from vllm_studio_tui.kit.masking import MASK, looks_secret, mask_text, mask_words

if TYPE_CHECKING:
    from vllm_studio_tui.domain.recipe import Recipe

#: Fields of a recipe that make flags; each backend names those that it turns into its own.
ENGINE_FIELDS = frozenset({
    "served_model_name", "revision", "tokenizer", "lora_modules", "tensor_parallel_size", "pipeline_parallel_size",
    "data_parallel_size", "expert_parallel", "max_model_len", "gpu_memory_utilization", "kv_cache_dtype",
    "max_num_seqs", "max_num_batched_tokens", "enable_prefix_caching", "enable_chunked_prefill", "speculative",
    "dtype", "quantization", "trust_remote_code", "tool_call_parser", "reasoning_parser", "enable_auto_tool_choice",
    "thinking_mode", "max_thinking_tokens", "chat_template_kwargs",
})  # fmt: skip


class EngineSettings(Protocol):
    """The settings that backends read. `config` is a layer above and cannot be named here."""

    @property
    def vllm_executable(self) -> str | None: ...
    @property
    def sglang_python(self) -> str | None: ...
    @property
    def llama_server(self) -> str | None: ...
    @property
    def transformers_executable(self) -> str | None: ...
    @property
    def tabby_dir(self) -> Path | None: ...
    @property
    def embedded_threads(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """Where a launch happens.

    Attributes:
        host: Address the engine listens on.
        port: Port it listens on.
        python: Our own interpreter, for engines that come with the studio.
        environ: What the engine will inherit.
        installed: The flags that the installed engine knows, where it was asked; None: the table is all there is.
        container: The command will run in a container: programs are those of its image and are not looked for here.
    """

    settings: EngineSettings
    host: str
    port: int
    python: str = sys.executable
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    installed: Collection[str] | None = None
    container: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """How an engine is started.

    Attributes:
        argv: The arguments as the program gets them; no shell ever sees them, and no secret is among them.
        env: Variables to add, plain values.
        env_refs: Variables to add, whose values are references to secrets.
        notes: What a person should know about this command.
        stop_argv: What ends it where a signal to its process does not, as for a container.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    env_refs: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    stop_argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that speaks against a launch: severity `error` will make it fail, `warning` may be meant."""

    field: str
    severity: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class ForeignEngine:
    """An engine that the studio did not start, as its command line tells. None: it does not say."""

    backend: str
    model: str | None = None
    port: int | None = None
    host: str | None = None


class Backend(ABC):
    """One kind of engine.

    Attributes:
        name: As recipes name it.
        title: As people name it.
        needs_launch: False: somebody else runs it, we only talk to it.
        default_port: Where it listens when nobody says.
        stages: What its log says while it loads; of one line the first that matches counts.
        failures: What its log says when it fails; of one line the first that matches counts.
        counters: Its cumulative counters; None where it has none.
        metrics_style: Whose metric names it exposes; None where it has no metrics.
        package: The Python package whose version is the engine's; None where there is none.
        weights: What its models are: `safetensors` (a folder as transformers writes it) or `gguf`; None: not known.
        guarded: A path that it refuses without the key, where it has one.
        uses: Fields of `ENGINE_FIELDS` that its command honours; a recipe that sets another is warned of.
        already: Values that it has without being told.
        programs: Those of `executable` and `python_path` that its command honours, likewise.
    """

    name: str
    title: str
    needs_launch: bool = True
    default_port: int = 8000
    stages: tuple[Stage, ...] = ()
    failures: tuple[Failure, ...] = FAILURES
    counters: CounterNames | None = None
    metrics_style: str | None = None
    package: str | None = None
    weights: str | None = None
    guarded: str | None = None
    uses: frozenset[str] = ENGINE_FIELDS
    already: Mapping[str, object] = {}
    programs: frozenset[str] = frozenset({"executable", "python_path"})

    @abstractmethod
    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        """The command that serves the recipe at `context.host:context.port`.

        Raises:
            LaunchRefused: Its program cannot be found, or it cannot be started like this.
            InvalidRecipe: A field makes no command.
        """

    @abstractmethod
    def model_name(self, recipe: Recipe) -> str:
        """What requests must say in `model`."""

    def ready(self, recipe: Recipe) -> ReadyProbe:
        """How to learn that it serves."""
        return ReadyProbe(recipe.health_path or "/health", "/v1/models", self.model_name(recipe))

    def stages_for(self, recipe: Recipe) -> tuple[Stage, ...]:
        """The stages of this recipe's log."""
        return self.stages

    def counters_for(self, recipe: Recipe) -> CounterNames | None:
        """The counters of this recipe's engine."""
        return self.counters

    def help_command(self, recipe: Recipe, context: LaunchContext) -> tuple[str, ...] | None:
        """The command by which the installed engine prints all its flags; None where it has none of its own.

        Raises:
            StudioError: Its program cannot be found.
        """
        return None

    def version(self, program: str) -> str | None:
        """The version of the installed engine, told without running it; None where it cannot be."""
        if self.package is None:
            return None
        try:
            return installed_version(Path(program), self.package)
        except OSError:
            return None

    def foreign(self, cmdline: Sequence[str]) -> ForeignEngine | None:
        """Whether this command line is such an engine. Elements are compared, never parts of a path."""
        return None

    def check(self, recipe: Recipe, context: LaunchContext) -> list[Problem]:
        """What can be told of the recipe before a launch."""
        from vllm_studio_tui.backends.checks import common

        return common(self, recipe, context)


def environment(recipe: Recipe, **own: str) -> tuple[dict[str, str], dict[str, str]]:
    """The engine's variables: the backend's own, the GPUs', and over both the recipe's.

    Returns:
        Plain values, and references to secrets; a recipe's variable may be either.
    """
    env = {"PYTHONUNBUFFERED": "1", **own}
    visible = recipe.extra_args.get("cuda_visible_devices", recipe.extra_args.get("cuda-visible-devices"))
    named = ",".join(str(one) for one in recipe.gpus if one != "auto")
    gpus = named or (str(visible) if isinstance(visible, str | int) else "")
    if gpus:
        # NVML counts in the order of the bus, CUDA by speed unless told: without this, index 0 is two GPUs.
        env |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": gpus}
    refs: dict[str, str] = {}
    for key, value in (recipe.env_vars or {}).items():
        (refs if secrets.is_reference(value) else env)[key] = value
        if key in refs:
            env.pop(key, None)
    return env, refs


def find_program(candidates: Iterable[str | None], context: LaunchContext) -> str | None:
    """The first candidate that can be executed. A bare name is looked for in the PATH that the engine will have.

    A script whose interpreter is gone, as in an environment that was moved, is not one.
    """
    search = context.environ.get("PATH")
    for one in candidates:
        if not one:
            continue
        if context.container:
            return one
        found = shutil.which(expanded(one), path=search)
        if found and program_trouble(found, search) is None:
            return found
    return None


def not_found(
    title: str, looked: Iterable[str | None], advice: str, context: LaunchContext | None = None
) -> LaunchRefused:
    """Why none of these programs can be run: what is there and cannot be is told before what is not there.

    Args:
        advice: What to do where none is there.
        context: Whose PATH counts for bare names; None: our own.
    """
    search = (os.environ if context is None else context.environ).get("PATH")
    places = [one for one in looked if one]
    for one in places:
        found = explain_program(expanded(one), search) if "\0" not in one else None
        if found is not None and found.reason != "missing":
            return LaunchRefused(f"{title} cannot be run", cause=f"{found.words}.", advice=found.advice or advice)
    return LaunchRefused(f"{title} cannot be found", cause=f"Looked for: {', '.join(places)}.", advice=advice)


def expanded(path: str) -> str:
    """The path with the home for a `~` before it; a stray `~name` stays as it is, as in a shell."""
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111 - Path raises for a stray ~name


def model_argument(recipe: Recipe) -> str:
    """The model as an engine gets it: no shell will expand a `~`, and no engine may take it for a flag.

    Raises:
        InvalidRecipe: The model's path or name would be a flag.
    """
    for name in ("model_path", "served_model_name", "host"):
        value = getattr(recipe, name) or ""
        if value.startswith("-") or "\0" in value:
            raise InvalidRecipe(
                "the recipe cannot be turned into a command",
                [(name, "begins with a dash and would be taken for a flag")],
                advice=f"Correct {name}.",
            )
    return expanded(recipe.model_path)


def is_local(model: str) -> bool:
    """Whether a model is named by a path of this machine rather than by its name on a hub."""
    return model.startswith(("/", "~", "./", "../")) or Path(model).is_absolute()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like this one; None where none does."""
    return next(iter(difflib.get_close_matches(name, list(known), 1, 0.6)), None)


def shell_text(argv: Sequence[str], env: Mapping[str, str], masked: Collection[str] = ()) -> str:
    """One line for a POSIX shell, `NAME=value program arguments`, with secrets as `***`.

    Args:
        masked: Names of variables whose values are secret, beyond those whose names say so.
    """
    parts = []
    for name, value in env.items():
        hidden = name in masked or looks_secret(name)
        parts.append(f"{name}={MASK if hidden or value == MASK else shlex.quote(mask_text(value))}")
    return " ".join([*parts, *(shlex.quote(one) for one in mask_words(argv))])
