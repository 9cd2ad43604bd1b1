"""A secret that was written into a recipe, an address or an option is printed by no command."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.process.house import House
from vllm_studio_tui.cli.app import run
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.store.recipes import RecipeRows

MARK = "Zq7mark"
ENGINE = "{python} -m vllm_studio_tui.simulation.engine --host {host} --port {port} --model {name}"


def secrets() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"{MARK}{number}/x+y=="


NEXT = secrets()


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


class Home:
    """A home in which every word that a command says is looked at."""

    def __init__(self, house: House, patch: pytest.MonkeyPatch, written: pytest.CaptureFixture[str]) -> None:
        self.house = house
        self._patch, self._written = patch, written
        patch.setenv("VLLM_STUDIO_HOME", str(house.root))

    def __call__(self, *argv: str, stdin: str = "") -> Said:
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = run(list(argv))
        out, err = self._written.readouterr()
        leaks = [line for line in f"{out}\n{err}".splitlines() if MARK in line]
        assert not leaks, (argv, leaks[:3])
        return Said(code, out, err)


@pytest.fixture
def studio(house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Home:
    return Home(house, monkeypatch, capsys)


#: Recipes with secrets in every place where people put them.
def planted() -> list[dict[str, Any]]:
    mark = NEXT
    return [
        {"id": "key", "model_path": "m", "api_key": next(mark)},
        {"id": "flag", "model_path": "m", "extra_args": {"api-key": next(mark), "hf_token": next(mark)}},
        {"id": "unknown", "model_path": "m", "openai_api_key": next(mark), "my-password": next(mark)},
        {"id": "raw", "model_path": "m", "extra_args": {"raw": f"--api-key {next(mark)} --x"}},
        {"id": "raws", "model_path": "m", "extra_args": {"raw": ["--api-key", next(mark)]}},
        {"id": "env", "model_path": "m", "env_vars": {"HF_TOKEN": next(mark), "DB_PASSWORD": f"a\n{next(mark)}"}},
        {"id": "url", "model_path": "m", "backend": "external", "base_url": f"http://me:{MARK}url@127.0.0.1:9/v1"},
        {"id": "docker", "model_path": "m", "runtime": "docker",
         "docker": {"image": "x", "args": ["-e", f"HF_TOKEN={next(mark)}"]}},
        {"id": "command", "backend": "custom",
         "command": f"env MY_TOKEN={next(mark)} x --api-key={next(mark)} --hf-token {next(mark)} {{port}}"},
    ]  # fmt: skip


LOOK = (("list",), ("list", "--json"), ("list", "--search", "m"), ("export",), ("export", "--json"))
LOOK_AT = (("show",), ("show", "--json"), ("command",), ("command", "--json"), ("check",), ("check", "--json"))


@pytest.mark.parametrize("stored", [False, True], ids=["imported", "stored by an earlier version"])
def test_no_command_prints_a_secret_of_a_recipe(house: House, studio: Home, tmp_path: Path, stored: bool) -> None:
    entries = planted()
    if stored:
        db = Database.open(house.places.database)
        for one in entries:
            RecipeRows(db).insert(one["id"], {"name": one["id"], **one})
        db.close()
    else:
        file = tmp_path / "in.json"
        file.write_text(json.dumps(entries))
        for more in (("--dry-run",), ("--dry-run", "--json"), ("--json",), ()):
            studio("recipes", "import", *more, str(file))
        changed = [{**one, **({} if "api_key" not in one else {"api_key": next(NEXT)}), "port": 9} for one in entries]
        file.write_text(json.dumps(changed))
        studio("recipes", "import", str(file))
        studio("recipes", "import", "-", stdin=f"HF_TOKEN={next(NEXT)} vllm serve m2 --api-key {next(NEXT)}")
    for words in LOOK:
        studio("recipes", *words)
    for one in entries:
        for words in LOOK_AT:
            studio("recipes", words[0], one["id"], *words[1:])
        studio("launch", one["id"], "--json")
    out = tmp_path / "out.yaml"
    studio("recipes", "export", "-o", str(out))
    assert MARK not in out.read_text()


def test_what_is_refused_or_mistyped_is_not_repeated(house: House, studio: Home) -> None:
    for setting in (
        f"api_key:{next(NEXT)}", f"apikee={next(NEXT)}", f"env_vars.HF_TOKEN={{{next(NEXT)}",
        f"env_vars={next(NEXT)}", f"extra_args={next(NEXT)}", f"base_url=http://u:{next(NEXT)}@h",
        f"docker={next(NEXT)}",
    ):  # fmt: skip
        studio("recipes", "add", "one", "--model", "m", "--set", setting)
    for password in (f"{MARK}pw", f"{MARK}/pw", f"{MARK}@pw"):
        address = f"base_url=http://:{password}@h/v1"
        assert studio("recipes", "add", "x", "--backend", "external", "--set", address).code == 1
    house.places.config.mkdir(parents=True, exist_ok=True, mode=0o700)
    house.places.settings_file.write_text(f"api_key: {next(NEXT)}\n")
    house.places.settings_file.chmod(0o600)
    studio("doctor", "--json")
    studio("recipes", "command", "one")


def test_a_run_says_no_secret_of_its_own(house: House, studio: Home) -> None:
    """What cannot become a reference is masked: in the run's story, its log, the difference to the next."""
    flags = "--log-secret --api-key-env DB_PASSWORD"
    entry = {
        "id": "one", "backend": "custom", "command": f"{ENGINE} {flags}", "served_model_name": "sim",
        "port": free_port(), "env_vars": {"DB_PASSWORD": f"{next(NEXT)}  ", "HF_TOKEN": next(NEXT)},
    }  # fmt: skip
    studio("recipes", "import", "-", stdin=json.dumps(entry))
    assert studio("launch", "one", "--wait", "--json").code == 0
    for words in (
        ("status", "--json"), ("status",), ("runs", "show", "one", "--json"), ("logs", "one"),
        ("logs", "one", "--json"), ("foreign", "list", "--json"),
        ("diagnose", "one", "--json"), ("metrics", "one", "--json"), ("usage", "--json"), ("doctor", "--json"),
        ("chat", "hello", "--recipe", "one"), ("chats", "list", "--json"), ("stop", "one"),
    ):  # fmt: skip
        studio(*words)
    studio("recipes", "edit", "one", "--set", f"env_vars.DB_PASSWORD={next(NEXT)}  ")
    studio("launch", "one", "--wait")
    assert "DB_PASSWORD" in studio("runs", "diff", "one").out
    studio("runs", "diff", "one", "--json")
    studio("stop", "--all")


def test_a_password_in_an_address_is_nowhere_in_a_chat(house: House, studio: Home) -> None:
    for address in (f"http://me:{MARK}pw@127.0.0.1:{free_port()}/v1", f"http://me:{MARK}/pw@127.0.0.1:9/v1"):
        for more in (("--model", "m"), (), ("--model", "m", "--json")):
            assert studio("chat", "hello", "--base-url", address, *more).code in (1, 2)
    last = json.loads(studio("chats", "list", "--json").out)["sessions"][0]["id"]
    studio("chats", "show", last)
    studio("chats", "export", last)
    studio("chats", "export", last, "--format", "json")
    for path in house.root.rglob("*"):
        if path.is_file() and "secrets" not in path.parts:
            assert MARK.encode() not in path.read_bytes(), path
