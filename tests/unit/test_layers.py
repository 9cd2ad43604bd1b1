"""What a part must not import, seen when it really runs: static contracts cannot see a deferred import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LOADED = "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"


def modules_after(name: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", LOADED, name], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("part", "forbidden"),
    [
        ("vllm_studio_tui.studio", {"textual", "rich", "openai", "sqlite_utils", "pydantic", "transformers", "typer"}),
        (
            "vllm_studio_tui.keeper.__main__",
            {"textual", "rich", "openai", "sqlite3", "sqlite_utils", "pydantic", "pynvml", "asyncio", "yaml", "typer"},
        ),
        ("vllm_studio_tui.cli.app", {"textual", "openai", "sqlite_utils", "transformers", "mcp", "huggingface_hub"}),
        # A studio with tools costs nothing until one is used; servers of others are no reason to load their library.
        (
            "vllm_studio_tui.services.tools.service",
            {"mcp", "mcp_types", "httpx2", "sqlite_utils", "pydantic", "psutil"},
        ),
        ("vllm_studio_tui.http.server", {"mcp", "mcp_types", "starlette"}),
        ("vllm_studio_tui.cli.mcp", {"mcp", "mcp_types", "httpx2"}),
        ("vllm_studio_tui.cli.status", {"textual", "rich", "typer", "asyncio", "pydantic", "sqlite3", "psutil"}),
        # Up to the first picture: what is for questions and for other screens comes later.
        (
            "vllm_studio_tui.tui.screens.dashboard.place",
            {
                "openai",
                "pydantic",
                "yaml",
                "typer",
                "textual.widgets._text_area",
                "vllm_studio_tui.tui.sheets.dialogs",
                "vllm_studio_tui.tui.flows.commands",
            },
        ),
        ("vllm_studio_tui.cli.gpus", {"textual", "rich", "typer", "asyncio", "pydantic", "sqlite3"}),
    ],
)
def test_a_part_does_not_load_what_it_must_not(part: str, forbidden: set[str]) -> None:
    assert modules_after(part) & forbidden == set()


@pytest.mark.parametrize(
    "part",
    ["vllm_studio_tui.tui.screens.dashboard.place", "vllm_studio_tui.services.watching.sampler",
     "vllm_studio_tui.cli.status", "vllm_studio_tui.cli.gpus"],
)  # fmt: skip
def test_no_engine_is_imported_before_there_is_one_to_name_or_ask(part: str) -> None:
    assert not {name for name in modules_after(part) if name.startswith("vllm_studio_tui.backends")}


@pytest.mark.parametrize("words", [("status", "--line"), ("status", "--json"), ("gpus", "--line")])
def test_what_a_status_bar_asks_loads_neither_specs_nor_what_dataclasses_would_like_to_have(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    code = (
        "import json, sys; from vllm_studio_tui.__main__ import main; assert main() == 0;"
        " print(json.dumps(sorted(sys.modules)))"
    )
    environ = {**os.environ, "VLLM_STUDIO_HOME": str(tmp_path), "VLLM_STUDIO_SIMULATE_GPUS": "2"}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, timeout=60,
                          env=environ)  # fmt: skip
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "vllm_studio_tui.cli.status" in loaded or "vllm_studio_tui.cli.gpus" in loaded
    # `dis` and `ast` are of `inspect`, which stands there and is not imported.
    heavy = {"typer", "textual", "rich", "asyncio", "pydantic", "sqlite3", "psutil", "signal", "dis", "ast"}
    ours = {"cli.connecting", "domain.spec", "keeper.recovery", "simulation.models", "simulation.traffic"}
    assert loaded & (heavy | {f"vllm_studio_tui.{name}" for name in ours}) == set()


def test_one_engine_is_imported_without_the_others() -> None:
    code = LOADED.replace("importlib.import_module(sys.argv[1])", "importlib.import_module(sys.argv[1]).label('vllm')")
    done = subprocess.run([sys.executable, "-c", code, "vllm_studio_tui.backends.registry"], capture_output=True,
                          text=True, check=True, timeout=60)  # fmt: skip
    loaded = {name.removeprefix("vllm_studio_tui.backends.") for name in json.loads(done.stdout)}
    assert "vllm" in loaded
    assert loaded & {"sglang", "transformers", "llamacpp", "failures.table", "checks"} == set()


def test_the_keeper_loads_only_our_plain_parts_and_psutil() -> None:
    loaded = modules_after("vllm_studio_tui.keeper.__main__")
    ours = {name for name in loaded if name.startswith("vllm_studio_tui.")}
    rooms = {name.split(".")[1] for name in ours}
    assert rooms <= {"keeper", "followers", "domain", "kit"}
    others = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"vllm_studio_tui", "psutil"}
    assert {name for name in others if not name.startswith(("_", "__"))} <= {"sitecustomize", "usercustomize"}
