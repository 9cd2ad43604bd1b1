"""Makes a recipe of an engine that somebody started: what its process shows is read as a pasted command is.

Nothing of the engine is asked or stopped. What a process does not show is said in a note.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.common.pasted import as_typed
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.domain.recipe import RISKY_ENV, FieldNote, Recipe
from vllm_studio_tui.kit.masking import is_secret
from vllm_studio_tui.runs.foreign import Foreign, find_foreign
from vllm_studio_tui.runs.process_facts import ProcessFacts, read_process
from vllm_studio_tui.services.recipes.formats.engine_command import recipe_of_command
from vllm_studio_tui.services.recipes.formats.format import Found
from vllm_studio_tui.services.recipes.importing import Entry, ImportReport, Lookup, read_entries

if TYPE_CHECKING:
    from vllm_studio_tui.domain.gpus import GpuReport

#: How names of variables begin that engines and their libraries read.
_ENGINES = (
    "VLLM_", "SGLANG_", "SGL_", "LLAMA_", "GGML_", "HF_", "HUGGING", "TRANSFORMERS_", "TORCH", "PYTORCH_", "NCCL_",
    "RCCL_", "CUDA_", "CUBLAS", "CUDNN_", "HIP_", "ROCR_", "ROCM_", "HSA_", "OMP_", "MKL_", "OPENBLAS_", "KMP_",
    "TRITON_", "FLASHINFER_", "RAY_", "TABBY_", "EXLLAMA", "MLX_", "TOKENIZERS_", "UCX_", "GLOO_", "NVIDIA_", "TPU_",
    "SAFETENSORS_", "DEEPSEEK_", "LMCACHE_", "MODELSCOPE_", "OUTLINES_", "XGRAMMAR_",
)  # fmt: skip
#: Those of the same beginnings that tell what a machine or an image has.
_OF_MACHINE = frozenset({
    "CUDA_VERSION", "CUDA_HOME", "CUDA_PATH", "CUDA_DIR", "NVIDIA_REQUIRE_CUDA", "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES", "NVIDIA_PRODUCT_NAME", "NCCL_VERSION", "CUDNN_VERSION",
})  # fmt: skip
#: Fields of a recipe that a process does not show: a comparison leaves them as they are kept.
NOT_SHOWN = frozenset({
    "id", "name", "description", "tags", "aliases", "on_demand", "ttl", "persistent", "preload", "priority",
    "max_concurrent", "stall_timeout", "params", "vision", "health_path", "metrics_style", "ready_timeout", "restart",
    "runtime", "docker", "nodes", "strategy", "handover",
})  # fmt: skip


def find_running(where: int | None, engines: Sequence[Foreign]) -> Foreign:
    """Return the engine of a process number or a port; without either the only one.

    Raises:
        NotFound: There is none.
        UsageError: There are several.
    """
    if where is None:
        if len(engines) == 1:
            return engines[0]
        if not engines:
            raise NotFound("no engine runs here that the studio did not start", advice="See `vllm-studio status`.")
        named = ", ".join(f"{one.pid} ({one.backend} {one.model or ''}, port {one.port or '–'})" for one in engines[:8])
        raise UsageError("several engines run here", cause=f"They are {named}.", advice="Name one: its PID or port.")
    for one in engines:
        if one.pid == where:
            return one
    for one in engines:
        if where in (one.port, *read_process(one.pid).ports):
            return one
    raise NotFound(
        f"no engine that the studio did not start has process or port {where}",
        advice="See `vllm-studio foreign list`. Of a run of the studio the recipe is kept: vllm-studio runs show RUN.",
    )


def recipe_of_process(
    facts: ProcessFacts, environ: Mapping[str, str] = os.environ, gpus: GpuReport | None = None
) -> Found:
    """Return a recipe that starts what a process runs; secrets are in it as the process has them.

    Args:
        environ: The studio's own variables: a launch hands them on.
        gpus: What GPUs are held by whom.

    Raises:
        StudioError: Its command line is none that can be read.
    """
    data = recipe_of_command(_with_paths(as_typed(facts.argv), facts))
    if data is None:
        cause = (
            "It wrote over its command line."
            if len(facts.argv) < 2
            else "Its command line is not that of an engine that can be read."
        )
        advice = f"Talk to it as it runs: vllm-studio foreign attach {facts.pid}"
        raise StudioError(f"process {facts.pid} cannot be made a recipe", cause=cause, advice=advice)
    notes: list[FieldNote] = []
    _variables(data, facts, environ, notes)
    _folder(data, facts, notes)
    _listening(data, facts, notes)
    _gpus(data, facts, gpus, notes)
    if facts.container is not None:
        why = f"it runs in container {facts.container}: its paths are those inside; a launch runs it on this host"
        notes.append(FieldNote("runtime", "changed", why))
    data.setdefault("description", f"as process {facts.pid} of {facts.user or 'somebody'} runs")
    return Found(data, tuple(notes))


def _with_paths(words: list[str], facts: ProcessFacts) -> list[str]:
    """Return the command with the path of its program, where that was found by PATH."""
    if not words or "/" in words[0] or facts.program is None:
        return words
    for folder in (facts.environ or {}).get("PATH", "").split(":")[:200]:
        candidate = os.path.join(folder, words[0])  # noqa: PTH118
        if folder.startswith("/") and "\0" not in candidate and os.path.realpath(candidate) == facts.program:
            return [candidate, *words[1:]]
    return [facts.program, *words[1:]] if Path(facts.program).name == words[0] else words


def _variables(data: dict[str, Any], facts: ProcessFacts, environ: Mapping[str, str], notes: list[FieldNote]) -> None:
    """Take the variables that engines read; a secret that the studio has too becomes a reference to it."""
    if facts.environ is None:
        why = f"cannot be seen: the process belongs to {facts.user or 'another user'}"
        notes.append(FieldNote("env_vars", "dropped", why))
        return
    backend = registry.backend(str(data["backend"]))
    taken: dict[str, str] = {}
    same, left = [], 0
    for name, value in facts.environ.items():
        if not name.isidentifier() or not _matters(name):
            left += 1
        elif name == backend.key_variable:
            data.setdefault("api_key", f"env:{name}" if environ.get(name) == value else value)
        elif is_secret(name, value):
            taken[name] = f"env:{name}" if environ.get(name) == value else value
        elif environ.get(name) == value:
            same.append(name)
        elif name not in _OF_MACHINE:
            taken[name] = value
        else:
            left += 1
    if taken:
        data["env_vars"] = taken
    if same:
        why = f"{', '.join(sorted(same)[:12])}: the studio has the same, and hands them on"
        notes.append(FieldNote("env_vars", "taken", why))
    if left:
        notes.append(FieldNote("env_vars", "dropped", f"{left} other variables, which no engine reads"))


def _matters(name: str) -> bool:
    if name.startswith("VLLM_STUDIO_"):
        return False
    return name.startswith(_ENGINES) or (name in RISKY_ENV and name not in ("PATH", "ENV"))


def _folder(data: dict[str, Any], facts: ProcessFacts, notes: list[FieldNote]) -> None:
    """Make the model's path a whole one, and keep the working directory where other paths begin there."""
    if facts.cwd is None:
        if any(_is_relative(word) for word in facts.argv[1:]):
            notes.append(FieldNote("cwd", "dropped", "cannot be seen: write paths that begin there in full"))
        return
    model = data.get("model_path")
    if isinstance(model, str) and _there(facts.cwd, model):
        data["model_path"] = os.path.normpath(os.path.join(facts.cwd, model))  # noqa: PTH118
        notes.append(FieldNote("model_path", "changed", f"{model[:80]} in the folder of the process"))
    values = [*(data.get("extra_args") or {}).values(), *(data.get(name) for name in ("tokenizer", "executable"))]
    inside = [one for one in values if isinstance(one, str) and _there(facts.cwd, one)]
    if inside:
        data["cwd"] = facts.cwd
        notes.append(FieldNote("cwd", "taken", f"{inside[0][:80]} is named from there"))


def _is_relative(word: str) -> bool:
    return word.startswith(("./", "../"))


def _there(folder: str, word: str) -> bool:
    """Return whether a word is a path that begins in a folder."""
    if not word or word.startswith(("/", "~", "-")) or "\0" in word or len(word) > 4096:
        return False
    return os.path.exists(os.path.join(folder, word))  # noqa: PTH110, PTH118


def _listening(data: dict[str, Any], facts: ProcessFacts, notes: list[FieldNote]) -> None:
    """Take the port from where it listens, if the command names none; say where it could be reached from."""
    port = str(data.get("port") or "")
    if not port and len(facts.ports) == 1:
        data["port"] = next(iter(facts.ports))
        notes.append(FieldNote("port", "taken", "where it listens; its command names none"))
    number = str(data.get("port") or "")
    everywhere = facts.ports.get(int(number)) if number.isascii() and number.isdigit() and len(number) < 6 else None
    if everywhere and "host" not in data:
        why = "it listens on every address of this host; a launch on this machine alone: set host if you mean it"
        notes.append(FieldNote("host", "changed", why))


def _gpus(data: dict[str, Any], facts: ProcessFacts, report: GpuReport | None, notes: list[FieldNote]) -> None:
    """Take the GPUs that it holds memory of, where its variables name none and it does not hold all."""
    if report is None or "CUDA_VISIBLE_DEVICES" in (data.get("env_vars") or {}):
        return
    family = set(facts.family)
    held = [str(gpu.index) for gpu in report.gpus if any(one.pid in family for one in gpu.processes)]
    if held and len(held) < len(report.gpus):
        data["gpus"] = held
        notes.append(FieldNote("gpus", "taken", "those on which it holds memory"))


def compared(rebuilt: Recipe, saved: Recipe) -> Recipe:
    """Return the recipe that a process shows with all that it does not show as a saved one has it."""
    kept = {name: getattr(saved, name) for name in NOT_SHOWN}
    # `enforce_eager: true` and `--enforce-eager` are one flag, and so are 2 and "2": only what is meant is compared.
    written = {name.lstrip("-").replace("_", "-"): name for name in saved.extra_args}
    flags: dict[str, Any] = {}
    for name, value in rebuilt.extra_args.items():
        same = written.get(name.replace("_", "-"), name)
        flags[same] = saved.extra_args[same] if str(saved.extra_args.get(same)) == str(value) else value
    return rebuilt.model_copy(update={**kept, "extra_args": flags})


def read_running(
    where: int | None,
    read: Callable[[Any], tuple[Recipe, list[FieldNote]]],
    lookup: Lookup,
    kept: Sequence[Recipe],
    saved: Recipe | None = None,
    *,
    replace: bool = False,
    suggested: bool = False,
) -> tuple[str, list[Entry], ImportReport]:
    """Return what an engine that runs comes to: the name of its process, its recipe, and the report. Blocking.

    Args:
        kept: All recipes that are kept.
        saved: The one with which it is compared, and whose place it takes.
    """
    engine = find_running(where, find_foreign())
    found = recipe_of_process(read_process(engine.pid), gpus=_gpus_now())

    def as_saved(data: Any) -> tuple[Recipe, list[FieldNote]]:
        recipe, notes = read(data)
        return recipe if saved is None else compared(recipe, saved), notes

    source, report = f"process {engine.pid}", ImportReport()
    replace = replace or saved is not None
    entries = read_entries([found], source, as_saved, lookup, report, replace=replace, suggested=suggested)
    if saved is not None:  # the difference is shown line by line
        report.fields = [one for one in report.fields if one["field"] != "id"]
    elif entries:
        alike = same_recipe(entries[0].recipe, kept)
        report.alike = alike.id if alike is not None else None
    return source, entries, report


def _gpus_now() -> GpuReport | None:
    """Return who holds the GPUs; None where there are none."""
    from vllm_studio_tui.probes.gpu.provider import read_once

    found = read_once(processes=True)
    return found if found.gpus else None


def same_recipe(rebuilt: Recipe, saved: Iterable[Recipe]) -> Recipe | None:
    """Return the saved recipe of the same engine and model, of several that of the same port."""
    alike = [one for one in saved if (one.backend, one.model_path) == (rebuilt.backend, rebuilt.model_path)]
    return next((one for one in alike if one.port == rebuilt.port), alike[0] if alike else None)
