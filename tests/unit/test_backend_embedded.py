"""The embedded engine: what it refuses, how many threads it takes, and, with the real one, serving and ending."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.ports import free_port
from vllm_studio_tui.backends import embedded

MODULE = "vllm_studio_tui.backends.embedded"
#: A GGUF of a small chat model, for the tests that need the real engine.
MODEL = os.environ.get("VLLM_STUDIO_TEST_GGUF", "")
installed = find_spec("xllamacpp") is not None and bool(MODEL)
needs_engine = pytest.mark.skipif(not installed, reason="needs xllamacpp, and VLLM_STUDIO_TEST_GGUF to name a model")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", MODULE, *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def test_a_missing_file_ends_it_with_a_line_that_names_it() -> None:
    ended = run("--model", "/no/such/model.gguf", "--port", str(free_port()))
    assert ended.returncode == 1
    assert "failed to open GGUF file '/no/such/model.gguf' (No such file or directory)" in ended.stderr


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    ended = run("--model", str(path), "--port", str(free_port()))
    assert ended.returncode == 1
    assert "not a GGUF file" in ended.stderr


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run("--model", str(path), "--port", str(port))
    assert ended.returncode == 1
    assert f"couldn't bind HTTP server socket, hostname: 127.0.0.1, port: {port}" in ended.stderr
    assert "loading model" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--bogus"], ["--port", "0"], ["--port", "70000"], ["--threads", "-1"], ["--ctx-size", "many"], ["--mod", "x"]],
)
def test_arguments_that_it_does_not_know_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        embedded.main(["--model", "x", *arguments])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("load", "quota", "expected"),
    [(0.0, None, 4), (0.4, None, 4), (1.0, None, 3), (9.0, None, 1), (0.0, 2, 2), (1.2, 2, 1)],
)
def test_threads_are_the_cores_that_are_free_and_at_least_one(
    load: float, quota: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(embedded, "_physical", lambda allowed: len(allowed) // 2)
    monkeypatch.setattr(embedded, "_quota", lambda: quota)
    assert embedded.free_cores() == expected


def test_threads_keep_to_the_processors_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert embedded.free_cores() == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000\n", None), ("250000 100000\n", 2), ("50000 100000\n", 1), ("", None), ("x y", None), ("1 0", None)],
)
def test_the_limit_of_a_container_is_read(text: str, expected: int | None, tmp_path: Path) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(text)
    assert embedded._quota(path) == expected
    assert embedded._quota(tmp_path / "none") is None


WRONG = (
    (["--cache-type-k", "fp8"], "--cache-type-k"),
    (["--reasoning-format", "qwen3"], "--reasoning-format"),
    (["--chat-template-kwargs", "[1]"], "--chat-template-kwargs"),
    (["--spec-type", "ngram"], "--spec-type"),
    (["--made-up", "1"], "--made-up"),
)


@pytest.mark.parametrize(("arguments", "name"), WRONG)
def test_what_it_would_refuse_is_told_beforehand_in_the_same_words(
    arguments: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = embedded.complaint(["--model", "x", *arguments])
    assert told is not None and name in told
    with pytest.raises(SystemExit):
        embedded.main(["--model", "x", *arguments])
    assert told in capsys.readouterr().err
    assert embedded.complaint(["--model", "x"]) is None


class Recorder:
    """Takes whatever is set, and gives another of its kind for what is read."""

    def __getattr__(self, name: str) -> Recorder:
        made = Recorder()
        setattr(self, name, made)
        return made


def test_every_option_reaches_the_package(tmp_path: Path) -> None:
    from types import SimpleNamespace

    enum = SimpleNamespace(
        GGML_TYPE_Q8_0="q8", GGML_TYPE_F32="f32", COMMON_REASONING_FORMAT_DEEPSEEK_LEGACY="legacy",
        COMMON_SPECULATIVE_TYPE_NGRAM_MAP_K="map", COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE="draft",
    )  # fmt: skip
    made = Recorder()
    package = SimpleNamespace(
        CommonParams=lambda: made, CommonAdapterLoraInfo=lambda path: f"lora {path}", ggml_type=enum,
        common_reasoning_format=enum, common_speculative_type=enum,
    )  # fmt: skip
    template = tmp_path / "t.jinja"
    template.write_text("{{ x }}")
    options = embedded._options([
        "--model", "m.gguf", "--batch-size", "64", "--ubatch-size", "32",
        "--cache-type-k", "q8_0", "--cache-type-v", "f32",
        "--no-cache-prompt", "--lora", "a", "--lora", "b", "--chat-template-kwargs", '{"on": true, "n": 3}',
        "--chat-template-file", str(template), "--reasoning-format", "deepseek-legacy", "--reasoning-budget", "7",
        "--spec-type", "ngram-map-k", "--spec-draft-model", "d.gguf", "--spec-draft-n-max", "4", "--mmproj", "p.gguf",
        "--threads-batch", "5", "--parallel", "2", "--ctx-size", "512",
    ])  # fmt: skip
    assert embedded._parameters(package, options, 3) is made
    assert (made.n_batch, made.n_ubatch, made.n_parallel, made.n_ctx) == (64, 32, 2, 512)
    assert (made.cache_type_k, made.cache_type_v, made.cache_prompt) == ("q8", "f32", False)
    assert made.lora_adapters == ["lora a", "lora b"]
    assert made.default_template_kwargs == {"on": "true", "n": "3"}
    assert (made.chat_template, made.reasoning_format) == ("{{ x }}", "legacy")
    assert made.sampling.reasoning_budget_tokens == 7
    assert made.speculative.types == ["map"]
    assert (made.speculative.draft.mparams.path, made.speculative.draft.n_max) == ("d.gguf", 4)
    assert (made.mmproj.path, made.cpuparams.n_threads, made.cpuparams_batch.n_threads) == ("p.gguf", 3, 5)


# --- the real engine ------------------------------------------------------------------------------------------

Start = Callable[..., tuple[subprocess.Popen[bytes], int, Path]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str, key: str | None = None) -> tuple[subprocess.Popen[bytes], int, Path]:
        port, log = free_port(), tmp_path / "engine.log"
        env = {**os.environ, **({"LLAMA_API_KEY": key} if key else {})}
        line = [sys.executable, "-m", MODULE, "--model", MODEL, "--port", str(port), "--alias", "tiny", *arguments]
        with log.open("ab") as out:
            started.append(subprocess.Popen(line, stdout=out, stderr=out, env=env, start_new_session=True))
        return started[-1], port, log

    yield begin
    for one in started:
        one.kill()
        one.wait()


def get(port: int, path: str, key: str | None = None) -> tuple[int | None, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return None, ""
    finally:
        connection.close()


def post(port: int, path: str, body: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def until_ready(port: int) -> set[int | None]:
    """The answers of /health until it says 200."""
    seen: set[int | None] = set()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status, _ = get(port, "/health")
        seen.add(status)
        if status == 200:
            return seen
        time.sleep(0.02)
    raise AssertionError(f"not ready, answers were {seen}")


def stream(port: int, key: str | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = '{"messages":[{"role":"user","content":"Tell a very long story"}],"stream":true,"max_tokens":4000}'
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request("POST", "/v1/chat/completions", body, headers)
    return connection.getresponse()


@pytest.mark.engine
@needs_engine
def test_the_real_engine_loads_serves_and_counts(start: Start) -> None:
    process, port, log = start("--ctx-size", "1024", key="sk-test")
    assert until_ready(port) - {None} <= {503, 200}
    assert get(port, "/v1/models")[0] == 401
    assert '"id":"tiny"' in get(port, "/v1/models", "sk-test")[1]
    assert "llamacpp:tokens_predicted_total" in get(port, "/metrics", "sk-test")[1]
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 0
    assert "sk-test" not in log.read_text()


@pytest.mark.engine
@needs_engine
def test_the_real_engine_ends_at_once_while_it_streams(start: Start) -> None:
    process, port, log = start()
    until_ready(port)
    answer = stream(port)
    assert answer.status == 200
    assert answer.read(200)
    process.terminate()
    began = time.monotonic()
    assert process.wait(10) == 0
    assert time.monotonic() - began < 2
    assert "ended by SIGTERM" in log.read_text()


@pytest.mark.engine
@needs_engine
def test_the_real_engine_can_be_stopped_while_it_loads(start: Start) -> None:
    process, port, log = start()
    deadline = time.monotonic() + 30
    while not re.search(r"loading model '", log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.terminate()
    assert process.wait(5) in (-signal.SIGTERM, 0)
    assert get(port, "/health")[0] is None


@pytest.mark.engine
@needs_engine
def test_the_real_engine_does_what_a_recipe_says(start: Start, tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("mood={{ mood }} n={{ n }}{% for m in messages %}{{ m.content }}{% endfor %}")
    _, port, _ = start(
        "--ctx-size", "512", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0",
        "--no-cache-prompt", "--batch-size", "64",
        "--chat-template-file", str(template), "--chat-template-kwargs", '{"mood": "calm", "n": 3}',
        "--spec-type", "draft-simple", "--spec-draft-model", MODEL, "--spec-draft-n-max", "4",
    )  # fmt: skip
    until_ready(port)
    assert '"prompt":"mood=calm n=3hi"' in post(
        port, "/apply-template", '{"messages":[{"role":"user","content":"hi"}]}'
    )
    answer = post(
        port, "/v1/chat/completions",
        '{"messages":[{"role":"user","content":"one two three"}],"max_tokens":12,"temperature":0}',
    )  # fmt: skip
    assert '"draft_n":' in answer


@pytest.mark.engine
@needs_engine
def test_the_real_engine_ends_where_an_adapter_is_missing(start: Start) -> None:
    process, _, log = start("--lora", "/no/such/adapter.gguf")
    assert process.wait(60) == 1
    assert "adapter" in log.read_text()
