"""What is imported from an engine's own file runs as that engine reads the file: asked of the engines themselves."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import ROOT
from tests.unit.test_imports_of_tools import FILES, flags_of, imported, words_of
from vllm_studio_tui.kit.ports import port_free

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def engines() -> None:
    if not ROOT.is_dir():
        pytest.skip("VLLM_STUDIO_TEST_ENGINES names no engines; see install.py")


#: Run by vLLM's own interpreter: what its parser makes of each command, beside its own file.
PARSE = """
import json, sys
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.entrypoints.cli.serve import make_arg_parser
def parsed(argv):
    parser = FlexibleArgumentParser()
    make_arg_parser(parser.add_subparsers(dest="command").add_parser("serve"))
    return {key: repr(value) for key, value in vars(parser.parse_args(argv)).items()}
print(json.dumps([parsed(one) for one in json.load(sys.stdin)]))
"""
#: Where it listens, which file it was, and the model, which a command names by its place.
OURS = {"config", "host", "port", "model_tag", "model"}


@pytest.mark.parametrize("name", ["vllm-config-flat.yaml", "vllm-config-nested.yaml", "vllm-config-lora.yaml"])
def test_a_file_of_vllms_flags_runs_as_vllm_reads_it(name: str) -> None:
    entries, _ = imported((FILES / name).read_bytes(), name)
    words = words_of(entries[0].recipe)[1]
    done = subprocess.run(
        [str(ROOT / "vllm" / "bin" / "python"), "-c", PARSE],
        input=json.dumps([["serve", "--config", str(FILES / name)], words[1:]]),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs, ours = json.loads(done.stdout.splitlines()[-1])
    differs = {key: (theirs.get(key), ours.get(key)) for key in theirs | ours if theirs.get(key) != ours.get(key)}
    assert set(differs) <= OURS, differs


@pytest.mark.parametrize("name", ["models.ini", "models-router.ini"])
def test_presets_run_as_llama_server_reads_them(name: str, tmp_path: Path) -> None:
    entries, _ = imported((FILES / name).read_bytes(), name)
    port = next(free for free in range(18900, 19000) if port_free("127.0.0.1", free))
    program = str(ROOT / "llama.cpp" / "llama-server")
    # Nothing is to be loaded: the models of the file are not here.
    plain = (FILES / name).read_text().replace("load-on-startup = true", "")
    (tmp_path / name).write_text(plain)
    command = [program, "--models-preset", str(tmp_path / name), "--port", str(port), "--no-models-autoload"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(tmp_path)}
    ) as server:
        try:
            theirs = {one["id"]: one["status"]["args"] for one in asked(f"http://127.0.0.1:{port}/models")}
        finally:
            server.terminate()
    assert len(entries) >= 1
    for entry in entries:
        backend, words, _ = words_of(entry.recipe)
        said = flags_of(backend, theirs[str(entry.recipe.served_model_name)])
        ours = flags_of(backend, words)
        # The router's own; a section of the hub's name is that model; switches that a launch of ours always has.
        for flag in ("log-colors", "hf-repo", "metrics", "jinja"):
            said.pop(flag, None)
            ours.pop(flag, None)
        said = {{"temperature": "temp"}.get(flag, flag): value for flag, value in said.items()}
        assert ours == said


def asked(url: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]
                return found
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, "llama-server does not answer"
            time.sleep(0.2)
