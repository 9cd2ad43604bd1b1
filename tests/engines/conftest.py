"""A home of its own, and recipes for the engines that `install.py` set up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.keeper.tree import VARIABLE
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.ports import port_free

ROOT = Path(os.environ.get("VLLM_STUDIO_TEST_ENGINES", "/nonexistent"))
GGUF = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SAFETENSORS = ROOT / "models" / "smollm2-135m"
OFFLINE = {"HF_HUB_OFFLINE": "1"}
RECIPES: dict[str, dict[str, Any]] = {
    "vllm": {
        "backend": "vllm", "model_path": str(SAFETENSORS), "executable": str(ROOT / "vllm" / "bin" / "vllm"),
        "max_model_len": 2048, "served_model_name": "smol", "extra_args": {"enforce_eager": True},
        "env_vars": {"VLLM_CPU_KVCACHE_SPACE": "1", **OFFLINE},
    },
    "transformers": {
        "backend": "transformers", "model_path": str(SAFETENSORS), "env_vars": OFFLINE,
        "executable": str(ROOT / "transformers" / "bin" / "transformers"), "extra_args": {"device": "cpu"},
    },
    "llama-server": {
        "backend": "llamacpp", "model_path": str(GGUF), "executable": str(ROOT / "llama.cpp" / "llama-server"),
        "max_model_len": 4096,
    },
    "embedded": {"backend": "llamacpp", "model_path": str(GGUF), "max_model_len": 4096},
}  # fmt: skip


class Home:
    """The studio's commands in a home of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *argv: str, timeout: float = 300.0) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "vllm_studio_tui", *argv],
            env={**os.environ, "VLLM_STUDIO_HOME": str(self.root)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def json(self, *argv: str, code: int = 0, timeout: float = 300.0) -> Any:
        found, out, err = self.run(*argv, "--json", timeout=timeout)
        assert found == code, (found, out[-2000:], err[-4000:])
        return json.loads(out)

    def recipe(self, engine: str, **changes: Any) -> str:
        """Keep a recipe of this engine; its id."""
        fields = {**RECIPES[engine], **changes}
        program = fields.get("executable")
        if engine != "embedded" and not Path(str(program)).exists():
            pytest.skip(f"{engine} is not set up")
        if not GGUF.exists():
            pytest.skip("VLLM_STUDIO_TEST_ENGINES names no engines; see install.py")
        recipe_id = f"{engine}-{len(list(self.root.glob('*.json')))}"
        path = self.root / f"{recipe_id}.json"
        path.write_text(json.dumps({"id": recipe_id, "name": recipe_id, **fields}))
        self.json("recipes", "import", str(path))
        return recipe_id

    def launch(self, recipe_id: str, *options: str, code: int = 0) -> dict[str, Any]:
        document: dict[str, Any] = self.json("launch", recipe_id, "--wait", "--timeout", "240", *options, code=code)
        return document

    def failed(self, recipe_id: str) -> dict[str, Any]:
        """Launch what cannot work, against better knowledge."""
        return self.launch(recipe_id, "--unchecked", code=1)

    def tree(self) -> list[process.Stat]:
        """Every process of every engine here."""
        runs = {one.name for one in self.root.glob("state/runs/*/*")}
        return [
            one
            for one in process.all_processes()
            if one.state not in "ZX" and process.environment_value(one.pid, VARIABLE) in runs
        ]

    def state(self, run_id: str) -> dict[str, Any]:
        runs = self.json("status", "--all")["runs"]
        found: dict[str, Any] = next(one for one in runs if one["run_id"] == run_id)
        return found

    def check_nothing_is_left(self, port: int | None) -> None:
        deadline = time.monotonic() + 30
        while self.tree() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.tree() == []
        assert port is None or port_free("127.0.0.1", port)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    one = Home(tmp_path)
    yield one
    one.run("stop", "--all", "--force")
    for left in one.tree():
        process.send(left.pid, left.start, signal.SIGKILL)
