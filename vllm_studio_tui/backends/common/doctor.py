"""Looking for an installed engine, for `vllm-studio doctor`. Nothing is imported or started."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from vllm_studio_tui.backends.common.versions import installed_version
from vllm_studio_tui.domain.check import Check, fail, ok, warn
from vllm_studio_tui.kit.file_access import expanded, explain_program, program_trouble

MISSING, BROKEN = "not found", "cannot be run"


def is_usable(check: Check) -> bool:
    """Return whether a look for an engine found one that can be run."""
    return check.state != "fail" and not check.found.startswith((MISSING, BROKEN))


def find(program: str | None, environ: Mapping[str, str]) -> Path | None:
    """Return a program by name or path, in the PATH that engines will have.

    Links are kept: an environment's python is one.
    """
    found = shutil.which(expanded(program), path=environ.get("PATH")) if program else None
    return Path(found).absolute() if found else None


def named_program_trouble(setting: str, program: str | None, environ: Mapping[str, str]) -> Check | None:
    """Return a failure if the program that a setting names cannot be run; None where it can, or none is named."""
    wrong = explain_program(expanded(program), environ.get("PATH")) if program else None
    if wrong is None:
        return None
    why = f": {wrong.words}" if wrong.reason != "missing" else ""
    return fail(f"{setting} in the settings is {program}, which cannot be run{why}", f"Correct or remove {setting}.")


def check_program(
    name: str, environ: Mapping[str, str], *, setting: str = "", named: str | None = None, package: str | None = None
) -> Check:
    """Look for an engine's program.

    Args:
        name: The program's name in PATH.
        setting: The setting that may name another, and `named` its value.
        package: The Python package whose version is the engine's; None: no version is told.

    Raises:
        OSError: The program is there and cannot be read.
    """
    wrong = named_program_trouble(setting, named, environ)
    program = find(named or name, environ)
    if wrong or program is None:
        return wrong or ok(MISSING)
    trouble = program_trouble(program, environ.get("PATH"))
    if trouble is not None:
        return warn(f"{BROKEN}: {trouble.words}", trouble.advice)
    if package is None:
        return ok(str(program))
    return ok(f"{installed_version(program, package) or 'unknown version'} at {program}")
