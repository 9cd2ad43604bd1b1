"""Engines that are installed as far as a launch can see: programs that do nothing, and the recipe that each needs.

What a backend says of itself is enough for most engines. An engine that is found in another way has its part here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend
from vllm_studio_tui.config.settings import Settings

BACKENDS = registry.backends()
LAUNCHED = [name for name, one in BACKENDS.items() if one.needs_launch]
#: Engines whose command is ours to make; of the others a person writes it.
ENGINES = [name for name in LAUNCHED if "command" not in BACKENDS[name].program_fields]
#: Programs of every engine, interpreters, what a person's own command runs, and what runs containers.
PROGRAMS = [one.program for one in BACKENDS.values() if one.program] + ["python3", "python3.11", "serve.sh", "docker"]


def programs(folder: Path) -> Path:
    """Put programs of these names into a folder, which is made if need be, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o700)
    return folder


def settings(folder: Path) -> Settings:
    """Return the settings by which engines are found that have no program in PATH: a checkout, an interpreter.

    Args:
        folder: Where `programs` has put its own; the checkout is made in it.
    """
    checkout = folder / "tabbyAPI"
    checkout.mkdir(exist_ok=True)
    (checkout / "main.py").touch()
    return Settings(tabby_dir=checkout, sglang_python=str(folder / "python3.11"))


def needed(backend: Backend) -> dict[str, Any]:
    """Return the fields without which a recipe of this backend is none."""
    if not backend.needs_launch:
        return {"base_url": "http://127.0.0.1:9/v1"}
    if "command" in backend.program_fields:
        return {"command": "serve.sh --model {model} --host {host} --port {port} --name {name}"}
    return {}
