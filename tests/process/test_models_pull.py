"""`models pull` and `models downloads`, as commands of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hub_server import Hub, running_hub

WEIGHTS = random.Random(5).randbytes(2_000_000)


@dataclass
class Shell:
    """Runs commands in a home of its own, with a hub of this machine."""

    hub: Hub
    environ: dict[str, str]

    def start(self, *words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "vllm_studio_tui", "models", *words]
        return subprocess.Popen(argv, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str) -> tuple[int, str, str]:
        with self.start(*words) as one:
            out, said = one.communicate(timeout=60)
        return one.returncode, out, said

    def downloads(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.run("downloads", "--json")[1])["downloads"]
        return found

    def until_done(self) -> dict[str, object]:
        end = time.monotonic() + 40
        while (one := self.downloads()[0])["state"] != "done":
            assert time.monotonic() < end, one
            time.sleep(0.1)
        return one


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with running_hub() as hub:
        hub.add("acme/tiny", {"config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin": b"x" * 5000})
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "VLLM_STUDIO_"))}
        here = Shell(
            hub,
            {
                **kept, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path),
                "VLLM_STUDIO_HOME": str(tmp_path / "home"),
            },
        )  # fmt: skip
        yield here
        for one in here.downloads():
            here.run("downloads", "cancel", str(one["id"]), "--yes")


def test_a_model_is_pulled_and_its_name_is_printed(shell: Shell) -> None:
    code, out, said = shell.run("pull", "acme/tiny")
    assert (code, out) == (0, "acme/tiny\n")
    assert "2 files, 2 MiB" in said
    assert "left out: pytorch_model.bin" in said
    assert shell.downloads()[0]["state"] == "done"
    # What was pulled is in the inventory, whole.
    (model,) = json.loads(shell.run("list", "--json")[1])["models"]
    assert (model["name"], model["source"], model["bytes"]) == ("acme/tiny", "hub", len(WEIGHTS))
    assert shell.run("downloads", "forget", "acme/tiny")[0] == 0
    assert shell.downloads() == []


def test_a_dry_run_says_what_would_come_and_begins_nothing(shell: Shell) -> None:
    code, out, _ = shell.run("pull", "acme/tiny", "--dry-run", "--json", "--exclude", "*.json")
    plan = json.loads(out)
    assert code == 0
    assert [one["name"] for one in plan["files"]] == ["model.safetensors"]
    assert plan["missing"] == len(WEIGHTS)
    assert shell.downloads() == []
    assert shell.hub.bytes_sent() == 0


def test_ctrl_c_leaves_it_running_and_says_so(shell: Shell) -> None:
    shell.hub.speed = 500_000
    with shell.start("pull", "acme/tiny") as one:
        end = time.monotonic() + 30
        while shell.hub.bytes_sent() < 200_000:
            assert time.monotonic() < end
            time.sleep(0.05)
        one.send_signal(signal.SIGINT)
        out, said = one.communicate(timeout=20)
    assert one.returncode == 130
    assert out == ""
    assert "acme/tiny goes on" in said
    assert "models downloads pause" in said
    shell.hub.speed = None
    assert shell.until_done()["bytes_done"] == len(WEIGHTS) + 2


def test_it_is_paused_resumed_and_cancelled_by_its_id_or_its_model(shell: Shell) -> None:
    shell.hub.speed = 300_000
    code, out, _ = shell.run("pull", "acme/tiny", "--no-wait", "--json")
    one = json.loads(out)
    assert code == 0
    assert one["state"] in ("queued", "running")
    assert json.loads(shell.run("downloads", "pause", one["id"], "--json")[1])["state"] == "paused"
    code, out, _ = shell.run("downloads", "resume", "acme/tiny")
    assert (code, out.split(" is ")[0]) == (0, one["id"])
    code, _, said = shell.run("downloads", "cancel", one["id"])
    assert code == 2
    assert "--yes" in said
    code, out, _ = shell.run("downloads", "cancel", one["id"], "--yes", "--json")
    assert code == 0
    assert json.loads(out)["download"]["id"] == one["id"]
    assert shell.downloads() == []


def test_a_download_that_fails_says_why_and_what_to_do(shell: Shell) -> None:
    shell.hub.change = lambda body: bytes(len(body))
    code, out, said = shell.run("pull", "acme/tiny")
    assert (code, out) == (1, "")
    assert "not what the hub says it is" in said
    assert "models downloads resume" in said
    code, out, said = shell.run("pull", "acme/none", "--json")
    assert code == 1
    assert "no model acme/none" in json.loads(out)["error"]["title"]


@pytest.mark.parametrize("hostile", ["\x1b[31mx/y", "a/b:\x1b]0;x\x07", "a/" + "b" * 5000])
def test_hostile_names_are_refused_in_one_line(shell: Shell, hostile: str) -> None:
    code, _, said = shell.run("pull", hostile)
    assert code == 2
    assert "\x1b[31m" not in said.replace("\\x1b", "")
    assert len(said) < 1000
