"""The doctor on engines: which can be found, and their versions. None of them is imported or started."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from vllm_studio_tui.backends.base import expanded
from vllm_studio_tui.backends.common.versions import VLLM_SAFE, installed_version, numbers
from vllm_studio_tui.kit.file_access import explain_program, program_trouble
from vllm_studio_tui.services.doctor.check import Check, Ground, fail, ok, warn

MISSING, BROKEN = "not found", "cannot be run"


def plug_ins(_ground: Ground) -> Check:
    """What other packages bring: backends and families of parsers."""
    from vllm_studio_tui.backends import registry
    from vllm_studio_tui.backends.common import parsers

    broken = {**registry.broken_plug_ins(), **parsers.broken_plug_ins()}
    if broken:
        return warn(
            "; ".join(f"{name} cannot be used: {why}" for name, why in sorted(broken.items())),
            "Update or remove the package that brings it.",
        )
    names = sorted(set(registry.backends()) - set(registry.OURS))
    more = len(parsers.families()) - len(parsers.FAMILIES)
    found = [
        *(f"backend {name}" for name in names),
        *([f"parsers for {more} famil{'y' if more == 1 else 'ies'}"] if more else []),
    ]
    return ok(", ".join(found) or "none")


def find(program: str | None, ground: Ground) -> Path | None:
    """A program by name or path, in the PATH that engines will have. Links are kept: an environment's python is one."""
    found = shutil.which(expanded(program), path=ground.environ.get("PATH")) if program else None
    return Path(found).absolute() if found else None


def _named(setting: str, program: str | None, ground: Ground) -> Check | None:
    """A program that the settings name must be one that can be run."""
    wrong = explain_program(expanded(program), ground.environ.get("PATH")) if program else None
    if wrong is None:
        return None
    why = f": {wrong.words}" if wrong.reason != "missing" else ""
    return fail(f"{setting} in the settings is {program}, which cannot be run{why}", f"Correct or remove {setting}.")


def _broken(program: Path, ground: Ground) -> Check | None:
    """A program in PATH that cannot be run."""
    wrong = program_trouble(program, ground.environ.get("PATH"))
    return warn(f"{BROKEN}: {wrong.words}", wrong.advice) if wrong is not None else None


def vllm(ground: Ground) -> Check:
    """vLLM, and whether its version is a safe one."""
    named = ground.settings().vllm_executable
    wrong = _named("vllm_executable", named, ground)
    program = find(named or "vllm", ground)
    if wrong or program is None:
        return wrong or ok(MISSING)
    if broken := _broken(program, ground):
        return broken
    version = installed_version(program, "vllm")
    found = numbers(version)
    if found is not None and found < VLLM_SAFE:
        return warn(
            f"{version} at {program}: versions before 0.31 have known security holes (CVE-2026-114053 and others)",
            "Upgrade it, and until then let nobody else reach its port.",
        )
    return ok(f"{version or 'unknown version'} at {program}")


def sglang(ground: Ground) -> Check:
    """SGLang, by its interpreter."""
    named = ground.settings().sglang_python
    program = find(named, ground) or (None if named else find("sglang", ground))
    wrong = _named("sglang_python", named, ground)
    if wrong or program is None:
        return wrong or ok(MISSING)
    version = installed_version(program, "sglang")
    if version is None and named:
        return warn(f"{program} seems to have no SGLang", "Name the interpreter of its environment in sglang_python.")
    found = f"{version or 'unknown version'} at {program}"
    return ok(found if named else f"{found}; name its interpreter as sglang_python to launch it")


def llama_server(ground: Ground) -> Check:
    """llama.cpp's server."""
    named = ground.settings().llama_server
    wrong = _named("llama_server", named, ground)
    program = find(named or "llama-server", ground)
    if wrong or program is None:
        return wrong or ok(MISSING)
    return _broken(program, ground) or ok(str(program))


def embedded(ground: Ground) -> Check:
    """The embedded engine, a package of our own environment."""
    try:
        return ok(f"xllamacpp {importlib.metadata.version('xllamacpp')}")
    except importlib.metadata.PackageNotFoundError:
        return ok(f"{MISSING}; it comes with vllm-studio-tui[demo]")


def transformers(ground: Ground) -> Check:
    """`transformers serve`."""
    named = ground.settings().transformers_executable
    wrong = _named("transformers_executable", named, ground)
    program = find(named or "transformers", ground)
    if wrong or program is None:
        return wrong or ok(MISSING)
    if broken := _broken(program, ground):
        return broken
    return ok(f"{installed_version(program, 'transformers') or 'unknown version'} at {program}")


ENGINES: Mapping[str, Callable[[Ground], Check]] = {
    "vllm": vllm,
    "sglang": sglang,
    "llama-server": llama_server,
    "embedded": embedded,
    "transformers": transformers,
}


def any_engine(ground: Ground) -> Check:
    """Whether anything can be launched without a recipe that names its own engine."""
    found = []
    for name, check in ENGINES.items():
        result = check(ground)
        if result.state != "fail" and not result.found.startswith((MISSING, BROKEN)):
            found.append(name)
    if not found:
        return warn(
            "none in PATH or the settings",
            "Recipes can name one (python_path, executable). For the demo: pip install 'vllm-studio-tui[demo]'.",
        )
    return ok(", ".join(found))
