"""`vllm-studio recipes`: what a person types, and what is said."""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from tests.elsewhere import where  # noqa: F401, RUF100
from vllm_studio_tui.backends.registry import OURS
from vllm_studio_tui.cli.app import run
from vllm_studio_tui.cli.recipes import BACKENDS
from vllm_studio_tui.kit.paths import Places

pytestmark = pytest.mark.usefixtures("where")


@dataclass(frozen=True, slots=True)
class Said:
    """What a command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


Studio = Callable[..., Said]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", os.defpath)
    return Places.of()


@pytest.fixture
def studio(places: Places, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Studio:
    def command(*argv: str) -> Said:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        code = run(list(argv))
        written = capsys.readouterr()
        return Said(code, written.out, written.err)

    return command


# --- command --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here"], indirect=True)
@pytest.mark.parametrize("backend", sorted(name for name, one in OURS.items() if one.needs_launch and name != "custom"))
@pytest.mark.parametrize("runtime", ["native", "docker"])
def test_the_command_is_printed_also_where_its_program_is_not_installed(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str, runtime: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("vllm_studio_tui.backends.llamacpp.find_spec", lambda name: None)
    more = ("--set", "runtime=docker", "--set", "docker={image: an-image}") if runtime == "docker" else ()
    assert studio("recipes", "add", "one", "--backend", backend, "--model", "/m/x", *more).code == 0
    said = studio("recipes", "command", "one")
    assert said.code == 0
    assert "/m" in said.out
    assert sys.executable not in said.out
    assert "cannot be found here" in said.err
    document = json.loads(studio("recipes", "command", "one", "--json").out)
    assert document["argv"]
    assert any("cannot be found here" in one for one in document["notes"])


# --- set ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["here"], indirect=True)
@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("tp=4", "tensor_parallel_size", 4),
        ("max-model-len=32k", "max_model_len", 32_000),
        ("max_model_len=32K", "max_model_len", 32_768),
        ("max_num_seqs=0", "max_num_seqs", None),
        ("command={python} x", "command", "{python} x"),
        ("command=- a: *b", "command", "- a: *b"),
        ("served_model_name=123", "served_model_name", "123"),
        ("description=yes: no", "description", "yes: no"),
        ("tags=a, b c", "tags", ["a", "b", "c"]),
        ("gpus=0,1", "gpus", ["0", "1"]),
        ("trust_remote_code=yes", "trust_remote_code", True),
        ("docker.image=an-image:1", "docker", {"image": "an-image:1"}),
        ("docker.volumes=/a:/b", "docker", {"volumes": ["/a:/b"]}),
        ("restart.policy=always", "restart", {"policy": "always"}),
        ("env_vars.A=1: {x", "env_vars", {"A": "1: {x"}),
        ("extra_args.x={a: 1}", "extra_args", {"x": {"a": 1}}),
        ("extra_args.x={a", "extra_args", {"x": "{a"}),
        ("speculative.num_speculative_tokens=4", "speculative", {"num_speculative_tokens": 4}),
        ("chat_template_kwargs={enable_thinking: false}", "chat_template_kwargs", {"enable_thinking": False}),
    ],
)
def test_a_field_is_set_as_people_write_it(studio: Studio, setting: str, field: str, value: object) -> None:
    assert studio("recipes", "add", "one", "--model", "org/m", "--set", setting).code == 0
    shown = json.loads(studio("recipes", "show", "one", "--json").out)["recipe"][field]
    if isinstance(value, dict):
        shown = {part: shown[part] for part in value}
    assert shown == value
    assert studio("recipes", "edit", "one", "--set", f"{setting.partition('=')[0]}=").code == 0
    cleared = json.loads(studio("recipes", "show", "one", "--json").out)["recipe"][field]
    assert value is None or cleared != json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("setting", "near"),
    [("comand=x", "command"), ("docker.imag=x", "docker.image"), ("tensor_paralel_size=2", "tensor_parallel_size"),
     ("restart.polcy=never", "restart.policy"), ("max-modl-len=3", "max_model_len")],
)  # fmt: skip
def test_a_field_that_is_none_names_the_nearest(studio: Studio, setting: str, near: str) -> None:
    said = studio("recipes", "add", "one", "--model", "m", "--set", setting)
    assert said.code == 2
    assert f"Did you mean {near}?" in said.err


def test_a_name_becomes_an_id_and_stays_the_name(studio: Studio) -> None:
    said = studio("recipes", "add", "GLM-4.7", "--model", "org/m")
    assert (said.code, said.out) == (0, "added glm-4.7\n")
    assert "GLM-4.7 is written glm-4.7" in said.err
    assert json.loads(studio("recipes", "show", "glm-4.7", "--json").out)["recipe"]["name"] == "GLM-4.7"


# --- what is suggested, what is not used ----------------------------------------------------------------


def test_parsers_are_suggested_by_add_and_check_and_taken_with_one_flag(studio: Studio) -> None:
    said = studio("recipes", "add", "one", "--model", "org/GLM-4.7")
    assert "tool_call_parser: glm47 is suggested" in said.err
    assert "reasoning_parser: glm45 is suggested" in studio("recipes", "check", "one").out
    offered = json.loads(studio("recipes", "check", "one", "--json").out)["suggestions"]
    assert {one["field"]: one["value"] for one in offered} == {"tool_call_parser": "glm47", "reasoning_parser": "glm45"}
    assert studio("recipes", "edit", "one", "--suggested").code == 0
    shown = json.loads(studio("recipes", "show", "one", "--json").out)["recipe"]
    assert (shown["tool_call_parser"], shown["reasoning_parser"]) == ("glm47", "glm45")
    assert json.loads(studio("recipes", "check", "one", "--json").out)["suggestions"] == []
    studio("recipes", "add", "two", "--model", "org/MiniMax-M2", "--set", "tp=8", "--suggested")
    shown = json.loads(studio("recipes", "show", "two", "--json").out)["recipe"]
    assert (shown["tool_call_parser"], shown["expert_parallel"]) == ("minimax_m2", True)


@pytest.mark.parametrize(
    ("backend", "setting"),
    [
        ("vllm", "command=x"),
        ("vllm", "base_url=http://h/v1"),
        ("vllm", "metrics_style=vllm"),
        ("vllm", "docker.image=x"),
        ("llamacpp", "python_path=/opt/python"),
        ("llamacpp", "tool_call_parser=hermes"),
        ("custom", "executable=/opt/x"),
        ("external", "executable=/opt/x"),
        ("external", "tp=2"),
    ],
)
def test_a_field_that_the_engine_does_not_use_is_told_when_it_is_set_and_when_it_is_checked(
    studio: Studio, backend: str, setting: str
) -> None:
    more = {"custom": ("--set", "command=x {port}"), "external": ("--set", "base_url=http://h/v1")}.get(backend, ())
    said = studio("recipes", "add", "one", "--model", "org/m", "--backend", backend, *more, "--set", setting)
    assert said.code == 0, said.err
    field = {"tp": "tensor_parallel_size"}.get(setting.partition("=")[0], setting.partition("=")[0].partition(".")[0])
    assert f"note: {field}: is not used" in said.err
    checked = studio("recipes", "check", "one").out
    assert f"▲ {field}: is not used" in checked
    assert "\nnothing stands against a launch" not in checked


def test_an_engine_that_is_none_is_told(studio: Studio) -> None:
    assert "exllamav3 is no engine here" in studio("recipes", "add", "x", "--backend", "exllamav3", "--model", "m").err


def test_the_help_names_every_engine() -> None:
    assert [name for name in OURS if name not in BACKENDS] == []


# --- in and out -----------------------------------------------------------------------------------------


def test_an_export_comes_in_again_and_it_is_said_that_it_is_there(studio: Studio, tmp_path: Path) -> None:
    given = ("host=0.0.0.0", "port=8000", "trust_remote_code=true")
    studio("recipes", "add", "one", "--model", "m", *(part for one in given for part in ("--set", one)))
    file = tmp_path / "out.yaml"
    studio("recipes", "export", "-o", str(file))
    said = studio("recipes", "import", str(file))
    assert (said.code, said.out) == (0, "one is there already, the very same: nothing to do\n")
    assert len(json.loads(studio("recipes", "list", "--json").out)["recipes"]) == 1
    file.write_text(file.read_text().replace("8000", "9000"))
    said = studio("recipes", "import", "--dry-run", str(file))
    assert "port 8000 -> 9000" in said.out
    assert "--replace" in said.out
    assert studio("recipes", "import", "--replace", str(file)).out.startswith("replaced one\n")
    shown = json.loads(studio("recipes", "show", "one", "--json").out)["recipe"]
    assert (shown["host"], shown["port"], shown["trust_remote_code"]) == ("0.0.0.0", 9000, True)  # noqa: S104


def test_a_list_as_json_comes_in_again(studio: Studio, tmp_path: Path) -> None:
    studio("recipes", "add", "one", "--model", "m", "--set", "trust_remote_code=true", "--set", "host=0.0.0.0")
    file = tmp_path / "list.json"
    file.write_text(studio("recipes", "list", "--json").out)
    assert json.loads(studio("recipes", "import", str(file), "--json").out)["existing"] == ["one"]


# --- what a launch opens --------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["launch", "switch"])
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("host=0.0.0.0",), True),
        (("host=10.0.0.5",), True),
        (("host=::",), True),
        (("host=0.0.0.0", "api_key=env:KEY"), False),
        (("host=::1",), False),
        ((), False),
    ],
)
def test_a_launch_that_others_can_reach_without_a_key_is_told(
    studio: Studio, verb: str, settings: tuple[str, ...], told: bool
) -> None:
    studio("recipes", "add", "one", "--model", "m", *(part for one in settings for part in ("--set", one)))
    said = studio(verb, "one")  # there is no vLLM here: it is said all the same
    assert ("warning: one listens on" in said.err) is told
    assert ("there is no api_key" in studio("recipes", "check", "one").out) is told


# --- keys of servers ------------------------------------------------------------------------------------


class Guarded(BaseHTTPRequestHandler):
    """A server that wants HTTP Basic from one user."""

    def _answer(self, kind: str, body: str) -> None:
        wanted = "Basic " + base64.b64encode(b"me:p/w").decode()
        self.send_response(200 if self.headers["Authorization"] == wanted else 401)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        self._answer("application/json", json.dumps({"data": [{"id": "m"}]}))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        chunk = {"choices": [{"index": 0, "delta": {"content": "It knows me."}, "finish_reason": "stop"}]}
        self._answer("text/event-stream", f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, RUF100
        """Nothing."""


@pytest.fixture
def guarded() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("where", ["here"], indirect=True)
def test_a_password_in_an_address_becomes_a_reference_and_still_opens_the_door(
    studio: Studio, guarded: str, places: Places
) -> None:
    address = f"base_url=http://me:p%2Fw@{guarded}/v1"
    said = studio("recipes", "add", "one", "--backend", "external", "--model", "m", "--set", address)
    assert said.code == 0, said.err
    shown = json.loads(studio("recipes", "show", "one", "--json").out)["recipe"]
    assert shown["base_url"] == f"http://me@{guarded}/v1"
    assert shown["api_key"] == f"file:{places.data / 'secrets' / 'one.base_url'}"
    said = studio("chat", "hello", "--recipe", "one")
    assert said.out == "It knows me.\n", said.err
    assert studio("chat", "hello", "--base-url", f"http://me:p%2Fw@{guarded}/v1").out == "It knows me.\n"
    wrong = studio("chat", "hello", "--base-url", f"http://me:wrongpw@{guarded}/v1", "--model", "m")
    assert wrong.code == 1
    assert "wrongpw" not in wrong.err


def test_pictures_are_refused_where_the_recipe_says_that_none_are_taken(
    studio: Studio, guarded: str, tmp_path: Path
) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (2, 2)).save(picture)
    address = f"base_url=http://me:p%2Fw@{guarded}/v1"
    studio("recipes", "add", "one", "--backend", "external", "--model", "m", "--set", address, "--set", "vision=no")
    said = studio("chat", "what is it?", "--recipe", "one", "--image", str(picture))
    assert said.code == 2
    assert "one reads no pictures" in said.err
    assert studio("chat", "what is it?", "--recipe", "one").code == 0
    studio("recipes", "edit", "one", "--set", "vision=")
    assert studio("chat", "what is it?", "--recipe", "one", "--image", str(picture)).code == 0


def test_what_is_only_warned_of_is_not_called_nothing(studio: Studio, tmp_path: Path) -> None:
    gguf, adapter = tmp_path / "m.gguf", tmp_path / "a.gguf"
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    fields = ["--set", f"executable={program}"]
    studio("recipes", "add", "r", "--backend", "llamacpp", "--model", str(gguf), *fields)
    studio("recipes", "edit", "r", "--set", f"lora_modules={json.dumps({'x': str(adapter)})}")
    said = studio("recipes", "check", "r").out
    assert "applies the adapter to every request, and does not know its name. Ask for the model by its own" in said
    assert "Keep one" not in said


# --- names that several have ----------------------------------------------------------------------------


def test_a_copy_that_shares_its_name_says_what_a_request_gets(studio: Studio) -> None:
    studio("recipes", "add", "a", "--model", "org/m", "--set", "served_model_name=shared")
    assert "share" not in studio("recipes", "list").err
    assert not [
        one for one in json.loads(studio("recipes", "check", "a", "--json").out)["problems"] if "share" in str(one)
    ]
    said = studio("recipes", "duplicate", "a", "b")
    assert (said.code, said.out) == (0, "added b\n")
    words = "a and b share the name shared: a request for it gets the only one that is ready, else the only one with "
    assert words in said.err
    assert "by its id" in said.err
    assert words in studio("recipes", "list").err
    problems = json.loads(studio("recipes", "check", "b", "--json").out)["problems"]
    assert [(one["field"], one["severity"]) for one in problems if words in one["message"]] == [
        ("served_model_name", "warning")
    ]
    assert words in studio("recipes", "check", "b").out
    studio("recipes", "edit", "b", "--set", "served_model_name=other")
    assert "share" not in studio("recipes", "list").err
