"""The contract of a backend: everything that the studio knows of one kind of engine. Each engine is one file.

A backend turns a recipe into a command, and describes the engine's log, health check, metrics and failures. What a
backend leaves out has a safe default. docs/guide/write-a-backend.md shows one written from scratch.
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
    from vllm_studio_tui.backends.common.config_files import ConfigFile
    from vllm_studio_tui.backends.common.known_names import Known
    from vllm_studio_tui.backends.common.memory_rules import MemoryRules
    from vllm_studio_tui.backends.common.pasted import Pasted
    from vllm_studio_tui.backends.common.token_calls import TokenCalls
    from vllm_studio_tui.domain.check import Check
    from vllm_studio_tui.domain.memory_report import MemoryLine
    from vllm_studio_tui.domain.metric_spec import MetricSpec, SlotsSource
    from vllm_studio_tui.domain.ranks import RankPart, RankPlace
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
        rank: Which part of an engine on several machines this command is for; None: it runs on one.
    """

    settings: EngineSettings
    host: str
    port: int
    python: str = sys.executable
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    installed: Collection[str] | None = None
    container: bool = False
    rank: RankPlace | None = None


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

    def to_json(self) -> dict[str, str]:
        """Return `field`, `severity`, `message` and `advice`."""
        return {"field": self.field, "severity": self.severity, "message": self.message, "advice": self.advice}


@dataclass(frozen=True, slots=True)
class ForeignEngine:
    """An engine that the studio did not start, as far as its command line names it; None: not named there."""

    backend: str
    model: str | None = None
    port: int | None = None
    host: str | None = None


class Backend(ABC):
    """One kind of engine.

    Only `name`, `title`, `command` and `model_name` are required.

    Attributes, what it is:
        name: Its name in recipes.
        title: Its name for people.
        label: A shorter title for tables; None: the title.
        needs_launch: False: it is run by somebody else, and the studio only sends requests.
        package: The Python package whose version is the engine's; None where there is none.
        program: The name of its program in PATH, which the doctor looks for; None: the doctor does not look.
        program_setting: The setting that may name another program; empty where there is none.
        default_port: The port that it listens on when none is given.

    Attributes, what it takes from a recipe:
        uses: Fields of `ENGINE_FIELDS` that its command uses; for any other field that is set there is a warning.
        engine_defaults: Values of fields that are the engine's own defaults, so that setting them changes nothing.
        program_fields: Those of `executable`, `python_path` and `command` that name its program.
        flag_style: How the flags of `extra_args` are written.
        file_flags: Flags that name files which must exist, with the kind of each file (`common/side_files.py`).
        pasted_flags: Flags of its command line with the field of a recipe for each, for pasted commands.
        config_file: How its flags stand in files, its own and those of tools around it; None: in none.
        takes_aliases: It answers to the recipe's `aliases` too; else `serve` writes its own name into requests.
        key_variable: The environment variable that it reads its API key from; None where there is none.

    Attributes, its models:
        weights: The format of its models: `safetensors` (a folder, as of transformers) or `gguf`; None: unknown.
        reads_gguf: False: it cannot read GGUF files.
        loads_adapters: It loads a folder that holds only a LoRA adapter, with the adapter's base model.
        mistral_format: It reads models in Mistral's own format, with params.json.
        max_lora_rank: The highest rank of LoRA adapters without the flag `max-lora-rank`; None: any.
        fetches_models: It downloads a model by its name on the hub into the hub's cache.
        formats: The only formats of weights that it reads, as `exl3`; empty: that of `weights`.
        class_files: Where the classes of models are that it knows: patterns below the packages of its environment.
        suits: What it is good for, in a few words; empty: nothing is said.

    Attributes, how it runs:
        takes_first_gpus: It takes the first GPUs when none are named, one for each rank.
        shares_gpu_memory: How much of a GPU it takes is set by gpu_memory_utilization, kv_cache_dtype and max_num_seqs.
        memory: How it shares out the memory of a GPU; None: unknown, and nothing is said of what fits.
        image: Its official container image, with a tag that moves; None: there is none.
        images: Repositories of other images that have it, and as the official one start it.
        ray_engine: What Ray Serve's own module for language models calls it; None: that does not run it.
        image_runs_engine: Its container image has the engine as its entrypoint: only arguments are given.
        command_words: Words of which one is in the command line of each such engine that `foreign` knows; on another
            host only processes with one of them are looked at. Empty: its `program`.
        process_titles: Beginnings of the process titles of its parts, which are of no use when their leader is gone.
        stages: Patterns of log lines that show its stage of loading; the first that matches a line counts.
        memory_lines: Patterns of log lines that tell what it takes of memory, at its start; empty: it says nothing.
        guarded_path: A path that is refused without the API key; None where there is none.

    Attributes, what it answers:
        counters: Names of its cumulative counters; None where it has none.
        metrics: Its metric table; None: unknown, and the names of all engines are tried; empty: it has no /metrics.
        slots: Where it tells of the requests that it works on, whose tokens it counts when they end; None: nowhere.
        continue_options: Fields that a request needs to have the last message continued; None: it cannot do that.
        keeps_connections: False: it may close a connection after a stream without having said so there.
        streams_unasked: It streams where a request does not say `stream`, so requests say it.
        standard_fields_only: It refuses requests with fields beyond OpenAI's.
        sampling: The parameters of `domain.sampling` that it takes, with its own name for each; None: unknown.
        answer_forms: The forms of `domain.sampling` that it can be held to, with the field of a request for each, a dot
            between the levels; None: unknown, and it is asked as OpenAI's API is.
        thinking_field: The field of an answer's message in which it takes back what was thought before calls of tools;
            None: in the one that it sends it in.
        tools_or: Of `form` and `logprobs` those that it refuses in a request with tools.
        forces_any_tool_only: It can be made to call some tool, not a certain one: that is offered alone then.
        anthropic_api: It answers Anthropic's API (`/v1/messages`) too.
        sight: A path of its server, and the name in that answer, a dot between the levels, that says whether it reads
            pictures; None: it does not say so.
        sight_advice: What may be done where it says that it reads none; empty: nothing.
        token_calls: How it is asked to turn text into tokens and back; None: it has no such calls.
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
    engine_defaults: Mapping[str, object] = {}
    program_fields: frozenset[str] = frozenset({"executable", "python_path"})
    flag_style: FlagStyle = FlagStyle()
    file_flags: Mapping[str, str] = {}
    pasted_flags: Mapping[str, str] = {}
    config_file: ConfigFile | None = None
    takes_aliases: bool = False
    key_variable: str | None = None

    weights: str | None = None
    reads_gguf: bool = True
    loads_adapters: bool = False
    mistral_format: bool = False
    max_lora_rank: int | None = None
    fetches_models: bool = False
    formats: tuple[str, ...] = ()
    class_files: tuple[str, ...] = ()
    suits: str = ""

    takes_first_gpus: bool = False
    shares_gpu_memory: bool = False
    memory: MemoryRules | None = None
    image: str | None = None
    images: tuple[str, ...] = ()
    image_runs_engine: bool = False
    ray_engine: str | None = None
    command_words: tuple[str, ...] = ()
    process_titles: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    memory_lines: tuple[MemoryLine, ...] = ()
    guarded_path: str | None = None

    counters: CounterNames | None = None
    metrics: tuple[MetricSpec, ...] | None = None
    slots: SlotsSource | None = None
    continue_options: Mapping[str, Any] | None = None
    keeps_connections: bool = True
    streams_unasked: bool = False
    standard_fields_only: bool = False
    sampling: Mapping[str, str] | None = None
    answer_forms: Mapping[str, str] | None = None
    thinking_field: str | None = None
    tools_or: frozenset[str] = frozenset()
    forces_any_tool_only: bool = False
    anthropic_api: bool = False
    sight: tuple[str, str] | None = None
    sight_advice: str = ""
    token_calls: TokenCalls | None = None

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Patterns of log lines that show why it failed; the first that matches a line counts.

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

    def ranks(self, recipe: Recipe) -> tuple[RankPart, ...]:
        """Return the parts that it runs as on the machines of a recipe (`node_count`), the one that answers first.

        `command` is asked for each of them on its own machine, with its place in `LaunchContext.rank`.

        Raises:
            InvalidRecipe: It cannot be spread over machines in this way; what to do instead is said.
        """
        from vllm_studio_tui.backends.common.ranks import one_machine

        return one_machine(self.title, recipe)

    def stages_for(self, recipe: Recipe) -> tuple[Stage, ...]:
        """Return the stages of this recipe's log."""
        return self.stages

    def memory_lines_for(self, recipe: Recipe) -> tuple[MemoryLine, ...]:
        """Return the lines of this recipe's log that tell of memory."""
        return self.memory_lines

    def counters_for(self, recipe: Recipe) -> CounterNames | None:
        """Return the counters of this recipe's engine."""
        return self.counters

    def problems(self, recipe: Recipe, context: LaunchContext) -> Iterable[Problem]:
        """Return problems of a launch, beyond those checked for every engine (`backends/checks.py`)."""
        return ()

    def memory_asked(self, recipe: Recipe) -> Mapping[str, Any]:
        """Return what its own flags in `extra_args` and variables change of the fields of `domain.fit.FitQuestion`."""
        return {}

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
        """Return the version of the installed engine without running it; None where it is unknown."""
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
