"""What a backend is: everything the studio must know of one kind of engine, in one file each.

A backend turns a recipe into a command, and says how that engine shows that it loads, serves, counts and fails. What a
backend leaves out has a default that does no harm. docs/guide/write-a-backend.md shows one written from scratch.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vllm_studio_tui.backends.common.flags import FlagStyle
from vllm_studio_tui.domain.spec import CounterNames, Failure, ReadyProbe, Stage

if TYPE_CHECKING:
    from vllm_studio_tui.backends.common.known import Known
    from vllm_studio_tui.backends.common.pasted import Pasted
    from vllm_studio_tui.domain.check import Check
    from vllm_studio_tui.domain.metric_spec import MetricSpec
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
    """A problem of a launch: with severity `error` it will fail, `warning` may be meant."""

    field: str
    severity: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class ForeignEngine:
    """An engine that the studio did not start, as far as its command line names it; None: not named there."""

    backend: str
    model: str | None = None
    port: int | None = None
    host: str | None = None


class Backend(ABC):
    """One kind of engine.

    Only `name`, `title`, `command` and `model_name` must be there.

    Attributes, what it is:
        name: As recipes name it.
        title: As people name it.
        label: A shorter title for tables; None: the title.
        needs_launch: False: somebody else runs it, we only talk to it.
        package: The Python package whose version is the engine's; None where there is none.
        program: The name of its program in PATH, by which the doctor looks for it; None: it does not look.
        program_setting: The setting that may name another program; empty where there is none.
        default_port: Where it listens when nobody says.

    Attributes, what it takes from a recipe:
        uses: Fields of `ENGINE_FIELDS` that its command honours; a recipe that sets another is warned of.
        already: Values that it has without being told.
        programs: Those of `executable`, `python_path` and `command` that name its program, likewise.
        flag_style: How it wants the flags of `extra_args`.
        file_flags: Flags that name files which must be there, to the kind of each file (`common/side_files.py`).
        pasted_flags: Flags of its command line to the fields of a recipe, for commands that are pasted.
        key_variable: The environment variable it reads its API key from; None where it has none.

    Attributes, its models:
        weights: What its models are: `safetensors` (a folder as transformers writes it) or `gguf`; None: not known.
        reads_gguf: False: it certainly cannot read GGUF files.
        loads_adapters: A folder that holds only a LoRA adapter is loaded, with its base model.
        mistral_format: It reads models in Mistral's own format, with params.json.
        max_lora_rank: The highest rank of LoRA adapters that it takes without `max_lora_rank`; None: any.
        fetches: It fetches a model by its name on the hub into the hub's cache.

    Attributes, how it runs:
        takes_first_gpus: It takes the first GPUs when none are named, one for each rank.
        shares_gpu_memory: How much of a GPU it takes is set by gpu_memory_utilization, kv_cache_dtype and max_num_seqs.
        image_runs_engine: Its container image has the engine as its entrypoint: only arguments are given.
        process_titles: How the titles begin that it gives to parts of itself, which have no use without their leader.
        stages: What its log says while it loads; of one line the first that matches counts.
        guarded: A path that it refuses without the key, where it has one.

    Attributes, what it answers:
        counters: Its cumulative counters; None where it has none.
        metrics: Its metric table; None: not known, and the names of all engines are tried; empty: it has no /metrics.
        continue_options: What a request adds to have the last message continued; None: it cannot do that.
        standard_fields_only: It refuses requests with fields beyond OpenAI's.
    """

    name: str
    title: str
    label: str | None = None
    needs_launch: bool = True
    package: str | None = None
    program: str | None = None
    program_setting: str = ""
    default_port: int = 8000

    uses: frozenset[str] = ENGINE_FIELDS
    already: Mapping[str, object] = {}
    programs: frozenset[str] = frozenset({"executable", "python_path"})
    flag_style: FlagStyle = FlagStyle()
    file_flags: Mapping[str, str] = {}
    pasted_flags: Mapping[str, str] = {}
    key_variable: str | None = None

    weights: str | None = None
    reads_gguf: bool = True
    loads_adapters: bool = False
    mistral_format: bool = False
    max_lora_rank: int | None = None
    fetches: bool = False

    takes_first_gpus: bool = False
    shares_gpu_memory: bool = False
    image_runs_engine: bool = False
    process_titles: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    guarded: str | None = None

    counters: CounterNames | None = None
    metrics: tuple[MetricSpec, ...] | None = None
    continue_options: Mapping[str, Any] | None = None
    standard_fields_only: bool = False

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What its log says when it fails; of one line the first that matches counts.

        One table serves all engines. A backend with lines of its own puts them before it.
        """
        from vllm_studio_tui.backends.failures.table import FAILURES  # large, and of no use to most who ask for a title

        return FAILURES

    @abstractmethod
    def command(self, recipe: Recipe, context: LaunchContext) -> Command:
        """Return the command that serves the recipe at `context.host:context.port`.

        Raises:
            LaunchRefused: Its program cannot be found, or it cannot be started like this.
            InvalidRecipe: A field makes no command.
        """

    @abstractmethod
    def model_name(self, recipe: Recipe) -> str:
        """Return what requests must say in `model`."""

    def ready(self, recipe: Recipe) -> ReadyProbe:
        """Return how to learn that it serves."""
        return ReadyProbe(recipe.health_path or "/health", "/v1/models", self.model_name(recipe))

    def stages_for(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Return the stages of this recipe's log."""
        return self.stages

    def counters_for(self, recipe: Recipe) -> CounterNames | None:
        """Return the counters of this recipe's engine."""
        return self.counters

    def problems(self, recipe: Recipe, context: LaunchContext) -> Iterable[Problem]:
        """Return problems of a launch, beyond those checked for every engine (`backends/checks.py`)."""
        return ()

    def names_model(self, recipe: Recipe) -> bool:
        """Return whether its command names the recipe's model; one that it does not name is not checked."""
        return True

    def help_command(self, recipe: Recipe, context: LaunchContext) -> tuple[str, ...] | None:
        """Return the command by which the installed engine prints all its flags; None where it has none of its own.

        Raises:
            StudioError: Its program cannot be found.
        """
        return None

    def known(self) -> Known | None:
        """Return the flags and parsers of one released version; None where there is no list of them."""
        return None

    def version(self, program: str) -> str | None:
        """Return the version of the installed engine without running it; None where it cannot be told."""
        from vllm_studio_tui.backends.common.versions import installed_version

        if self.package is None:
            return None
        try:
            return installed_version(Path(program), self.package)
        except OSError:
            return None

    def doctor(self, settings: EngineSettings, environ: Mapping[str, str]) -> Mapping[str, Check]:
        """Look for the installed engine without running it.

        Args:
            environ: What the engine will inherit; its PATH counts.

        Returns:
            What was found, by the name of what was looked for.
        """
        from vllm_studio_tui.backends.common.doctor import check_program

        if self.program is None:
            return {}
        named = getattr(settings, self.program_setting, None) if self.program_setting else None
        found = check_program(self.program, environ, setting=self.program_setting, named=named, package=self.package)
        return {self.name: found}

    def foreign(self, cmdline: Sequence[str]) -> ForeignEngine | None:
        """Return what a running process serves if its command line is such an engine's.

        Elements are compared, never parts of a path (`common/cmdline.py` helps).
        """
        return None

    def pasted(self, words: Sequence[str]) -> Pasted | None:
        """Return the parts of a command that a person pasted if it runs this engine (`common/pasted.py` helps)."""
        return None
