"""What every backend promises, tried on each that is registered."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.installed import BACKENDS, ENGINES, LAUNCHED, needed, programs, settings
from tests.unit.weight_files import gguf, model
from vllm_studio_tui.backends import IN_TABLES, registry
from vllm_studio_tui.backends.base import ENGINE_FIELDS, Backend, Command, LaunchContext
from vllm_studio_tui.backends.checks import check
from vllm_studio_tui.backends.common.docker import container_command, model_volumes
from vllm_studio_tui.backends.failures.table import FAILURES
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import State
from vllm_studio_tui.domain.spec import RunSpec, Stage
from vllm_studio_tui.keeper.causes import find
from vllm_studio_tui.keeper.explanation import explain
from vllm_studio_tui.keeper.log_tail import ready_at
from vllm_studio_tui.keeper.log_watch import LogWatch
from vllm_studio_tui.kit import prometheus
from vllm_studio_tui.remote.agentless.engines import command_words

FIXTURES = Path(__file__).parents[1] / "fixtures"
LOGS = FIXTURES / "logs"
SECRET = "sk-this-must-stay-hidden"
STAGE_NAMES = ("config", "downloading", "weights", "compiling", "kv_cache", "graphs", "warmup", "serving")
#: Captured starts that succeeded, with the backend and the stages that its log must show in this order.
STARTS = {
    "vllm.txt": ("vllm", ["config", "weights", "kv_cache", "warmup", "serving"]),
    "vllm-stopped.txt": ("vllm", ["config", "weights", "kv_cache", "warmup", "serving"]),
    "sglang.txt": ("sglang", ["config", "weights", "kv_cache", "warmup", "serving"]),
    "llamacpp.txt": ("llamacpp", ["config", "weights", "kv_cache", "serving"]),
    "embedded.txt": ("llamacpp", ["config", "weights", "kv_cache", "serving"]),
    "transformers.txt": ("transformers", ["weights", "warmup", "serving"]),
}
FAILED = {
    "vllm-fail-badpath.txt": ("vllm", "model_missing", "/nonexistent/model"),
    "vllm-fail-maxlen.txt": ("vllm", "context_too_long", "100000"),
    "vllm-fail-port.txt": ("vllm", "port_in_use", ""),
    "vllm-fail-core.txt": ("vllm", "engine_died", "engine core exited unexpectedly"),
    "llamacpp-fail-badpath.txt": ("llamacpp", "model_missing", "/nonexistent.gguf"),
    "llamacpp-fail-port.txt": ("llamacpp", "port_in_use", ""),
    "embedded-fail-badpath.txt": ("llamacpp", "model_missing", "/nonexistent.gguf"),
}

Make = Callable[..., tuple[Recipe, LaunchContext]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A recipe of a backend whose engine is installed, as far as a launch can see."""
    folder = programs(tmp_path / "an engine's bin")
    found_by = settings(folder)
    model = tmp_path / "a model; rm -rf $HOME"
    model.mkdir()
    (model / "m.gguf").write_bytes(b"GGUF")

    def build(backend: str, **fields: Any) -> tuple[Recipe, LaunchContext]:
        values: dict[str, Any] = {
            "id": "small",
            "name": "Small",
            "backend": backend,
            "model_path": str(model),
            "served_model_name": "small one",
            **needed(BACKENDS[backend]),
        }
        recipe = Recipe.model_validate(values | fields)
        context = LaunchContext(found_by, "127.0.0.1", 8123, sys.executable, {"PATH": str(folder)})
        return recipe, context

    return build


def watch(path: Path, backend: Backend) -> LogWatch:
    found = LogWatch(path, backend.stages, backend.failures)
    found.begin_at(0)
    return found


def stages_of(path: Path, stages: tuple[Stage, ...]) -> list[str]:
    """The stages in the order in which the log enters them."""
    seen: list[str] = []
    for line in path.read_text(encoding="utf-8").replace("\r", "\n").split("\n"):
        name = next((one.name for one in stages if re.search(one.pattern, line)), None)
        if name and (not seen or seen[-1] != name):
            seen.append(name)
    return seen


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_command_is_arguments_with_the_address_and_the_model_each_in_one(name: str, make: Make) -> None:
    recipe, context = make(name)
    command = BACKENDS[name].command(recipe, context)
    assert command.argv
    assert all(isinstance(one, str) and "\0" not in one for one in command.argv)
    assert not {"sh", "bash", "-c"} & {Path(one).name for one in command.argv}
    assert command.argv[command.argv.index("--port") + 1] == "8123"
    assert command.argv[command.argv.index("--host") + 1] == "127.0.0.1"
    model = Path(recipe.model_path)
    assert any(one.startswith(str(model)) for one in command.argv) or {str(model.parent), model.name} <= {*command.argv}
    if "served_model_name" in BACKENDS[name].uses:
        assert "small one" in command.argv
        assert BACKENDS[name].model_name(recipe) == "small one"
    else:
        assert BACKENDS[name].model_name(recipe) in command.argv


@pytest.mark.parametrize("name", LAUNCHED)
def test_nothing_is_said_that_the_recipe_leaves_to_the_engine(name: str, make: Make) -> None:
    recipe, context = make(name)
    text = " ".join(BACKENDS[name].command(recipe, context).argv)
    for flag in (
        "--max-model-len",
        "--context-length",
        "--ctx-size",
        "memory",
        "mem-fraction",
        "seqs",
        "trust",
        "None",
    ):
        assert flag not in text


@pytest.mark.parametrize("name", LAUNCHED)
def test_secrets_are_references_and_never_arguments(name: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_TEST_KEY", SECRET)
    recipe, context = make(name, api_key="env:STUDIO_TEST_KEY", env_vars={"HF_TOKEN": "env:STUDIO_TEST_KEY", "A": "1"})
    command = BACKENDS[name].command(recipe, context)
    everything = [*command.argv, *command.env.values(), *command.env_refs.values(), *command.notes]
    assert not any(SECRET in one for one in everything)
    assert "STUDIO_TEST_KEY" not in " ".join(command.argv)
    assert command.env_refs["HF_TOKEN"] == "env:STUDIO_TEST_KEY"
    assert "HF_TOKEN" not in command.env
    assert command.env["A"] == "1"


@pytest.mark.parametrize("name", ENGINES)
def test_the_engine_gets_its_key_or_it_is_said_that_it_has_none(name: str, make: Make) -> None:
    backend = BACKENDS[name]
    recipe, context = make(name, api_key="file:/run/key")
    command = backend.command(recipe, context)
    given = "file:/run/key" in command.env_refs.values()
    assert given or backend.key_variable is None
    warned = any(one.field == "api_key" for one in backend.problems(recipe, context))
    assert given or warned or any("api_key" in one for one in command.notes)


@pytest.mark.parametrize("name", LAUNCHED)
def test_gpus_are_numbered_as_nvml_does(name: str, make: Make) -> None:
    recipe, context = make(name, gpus=["1", "3"])
    env = BACKENDS[name].command(recipe, context).env
    assert (env["CUDA_VISIBLE_DEVICES"], env["CUDA_DEVICE_ORDER"]) == ("1,3", "PCI_BUS_ID")
    recipe, context = make(name)
    assert "CUDA_VISIBLE_DEVICES" not in BACKENDS[name].command(recipe, context).env


@pytest.mark.parametrize("name", BACKENDS)
def test_a_spec_of_it_survives_its_file(name: str, make: Make) -> None:
    recipe, context = make(name)
    backend = BACKENDS[name]
    command = backend.command(recipe, context) if backend.needs_launch else Command(("none",))
    spec = RunSpec(
        run_id="r",
        recipe_id=recipe.id,
        name=recipe.name,
        backend=name,
        model=backend.model_name(recipe),
        argv=command.argv,
        host="127.0.0.1",
        port=8123,
        base_url="http://127.0.0.1:8123/v1",
        created_at=1.0,
        env=command.env,
        env_refs=command.env_refs,
        ready=backend.ready(recipe),
        stages=backend.stages_for(recipe),
        failures=backend.failures,
        counters=backend.counters_for(recipe),
    )
    assert RunSpec.from_json(spec.to_json()) == spec
    assert spec.ready.path.startswith("/")


@pytest.mark.parametrize("name", BACKENDS)
def test_patterns_compile_and_stages_have_known_names(name: str) -> None:
    backend = BACKENDS[name]
    for stage in backend.stages:
        assert stage.name in STAGE_NAMES
        groups = set(re.compile(stage.pattern).groupindex)
        assert groups in (set(), {"n", "m"}, {"percent"})
    for failure in backend.failures:
        count = re.compile(failure.pattern, re.IGNORECASE).groups
        used = {int(one) for one in re.findall(r"\{(\d)\}", failure.title + failure.advice)}
        assert max(used, default=0) <= count, failure.reason
        assert re.fullmatch(r"[a-z_]+", failure.reason)
        assert failure.title


@pytest.mark.parametrize(("log", "expected"), STARTS.items())
def test_a_start_shows_its_stages_in_order(log: str, expected: tuple[str, list[str]]) -> None:
    name, stages = expected
    seen = stages_of(LOGS / log, BACKENDS[name].stages)
    order = [STAGE_NAMES.index(one) for one in seen]
    assert order == sorted(order), seen
    assert seen == stages


@pytest.mark.parametrize("log", STARTS)
def test_following_a_start_ends_at_serving(log: str) -> None:
    followed = watch(LOGS / log, BACKENDS[STARTS[log][0]])
    assert followed.follow()
    assert followed.stage == "serving"


def test_shards_are_counted() -> None:
    stages = BACKENDS["vllm"].stages
    line = "(Worker_TP0 pid=7) Loading safetensors checkpoint shards:  43% Completed | 13/30 [00:09<00:11,  1.5it/s]"
    found = next(match for one in stages if (match := re.search(one.pattern, line)))
    assert (found["n"], found["m"]) == ("13", "30")


def test_downloads_are_a_stage_with_progress() -> None:
    for line in (
        "Fetching 12 files:  25%|##5       | 3/12 [00:10<00:30,  3.3s/it]",
        "model-00001-of-00002.safetensors:  25%|##5       | 1.2G/4.9G [00:10<00:30, 120MB/s]",
        "Downloading shards:  25%|##5  | 1/4",
    ):
        stage, found = next(
            (one, match) for one in BACKENDS["vllm"].stages if (match := re.search(one.pattern, line)) is not None
        )
        assert stage.name == "downloading"
        assert found["percent"] == "25"


@pytest.mark.parametrize("log", STARTS)
@pytest.mark.parametrize("name", LAUNCHED)
def test_no_successful_start_is_taken_for_a_failure(log: str, name: str) -> None:
    followed = watch(LOGS / log, BACKENDS[name])
    lines = followed.attempt_lines()
    assert len(lines) > 10
    served = ready_at(lines)
    assert served is not None
    assert find(lines[:served], BACKENDS[name].failures) is None
    assert explain(lines, BACKENDS[name].failures, served=True) is None
    # Not even by its warnings, which the keeper leaves out on its own: a copied log may have another line prefix.
    for at, line in enumerate(lines):
        rows = [one for one in FAILURES if at < served or not one.start_only]
        matches = [one.reason for one in rows if re.search(one.pattern, line, re.IGNORECASE)]
        assert not matches, line


@pytest.mark.parametrize(("log", "expected"), FAILED.items())
def test_a_captured_failure_gives_its_reason(log: str, expected: tuple[str, str, str]) -> None:
    name, reason, detail = expected
    followed = watch(LOGS / log, BACKENDS[name])
    found = find(followed.attempt_lines(), BACKENDS[name].failures)
    assert found is not None
    assert found.failure.reason == reason
    assert detail in found.line
    assert found.advice


@pytest.mark.parametrize("name", [one for one in LAUNCHED if BACKENDS[one].counters])
def test_counters_exist_in_its_captured_metrics(name: str) -> None:
    counters = BACKENDS[name].counters
    assert counters is not None
    captured = FIXTURES / "metrics" / f"{name}.txt"
    assert captured.exists(), f"put what {name} answers under /metrics into {captured}"
    samples = prometheus.parse(captured.read_bytes())
    for key in ("prompt_tokens", "generation_tokens", "cached_tokens", "requests"):
        names: tuple[str, ...] = getattr(counters, key)
        if names:
            assert any(one in samples for one in names), key
            assert all(one.endswith("_total") for one in names), f"{key} must be cumulative"


@pytest.mark.parametrize("name", ENGINES)
def test_it_finds_its_own_command_line_and_not_others(name: str, make: Make) -> None:
    for key in (None, "env:K"):
        recipe, context = make(name, api_key=key)
        argv = BACKENDS[name].command(recipe, context).argv
        # A script's process shows its interpreter first.
        script = BACKENDS[name].program and "python_path" in BACKENDS[name].program_fields
        for line in (argv, ("/usr/bin/python3.11", *argv)) if script else (argv,):
            found = {other: one.foreign(line) for other, one in BACKENDS.items()}
            mine = found.pop(name)
            assert mine is not None
            words = command_words([BACKENDS[name]])
            assert any(word in one for word in words for one in line), "on another host it is looked for by its words"
            called = BACKENDS[name].model_name(recipe)
            assert (mine.backend, mine.model, mine.port, mine.host) == (name, called, 8123, "127.0.0.1")
            assert not any(found.values())


@pytest.mark.parametrize(
    "line",
    [
        [],
        [""],
        ["vim", "/home/me/vllm-studio/serve.py"],
        ["/home/me/vllm/bin/python", "manage.py", "serve"],
        ["bash", "-c", "vllm serve /models/x"],
        ["grep", "vllm", "serve"],
        ["tail", "-f", "/var/log/llama-server"],
        ["python3", "-m", "sglang.launch_server_helper", "--port", "1"],
        ["python3", "/opt/tools/launch.py", "sglang.launch_server"],
        ["vllm", "bench", "serve", "--port", "8000"],
        ["VLLM::EngineCore", "", ""],
        ["python3", "-m"],
        ["python3", "-X"],
        ["python3", "-u", "-m", "http.server", "8000"],
        ["python3", "main.py", "--port", "5000"],
        ["transformers", "env"],
    ],
)
@pytest.mark.parametrize("name", BACKENDS)
def test_it_is_not_fooled_by_lookalikes(name: str, line: list[str]) -> None:
    assert BACKENDS[name].foreign(line) is None


@pytest.mark.parametrize("name", BACKENDS)
def test_checking_a_usable_recipe_finds_no_error(name: str, make: Make, tmp_path: Path) -> None:
    folder = model(tmp_path / "weights", **({"m__gguf": gguf()} if BACKENDS[name].weights == "gguf" else {}))
    recipe, context = make(name, model_path=str(folder))
    assert [one for one in check(BACKENDS[name], recipe, context) if one.severity == "error"] == []


@pytest.mark.parametrize("name", ENGINES)
def test_a_missing_engine_and_a_missing_model_are_errors_with_advice(
    name: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vllm_studio_tui.backends.llamacpp.find_spec", lambda _name: None)
    recipe, context = make(name, model_path="/no/such/model", python_path=None, served_model_name=None)
    context = dataclasses.replace(context, settings=Settings(), environ={"PATH": "/nonexistent"})
    found = check(BACKENDS[name], recipe, context)
    assert {(one.field, one.severity) for one in found} == {("executable", "error"), ("model_path", "error")}
    assert all(one.advice for one in found)


def test_a_custom_command_may_speak_each_engine_that_has_metrics(make: Make) -> None:
    styles = [name for name, one in BACKENDS.items() if one.metrics]
    assert styles
    for style in styles:
        recipe, _ = make("custom", metrics_style=style)
        custom, wrapped = BACKENDS["custom"], BACKENDS[style]
        assert (custom.stages_for(recipe), custom.counters_for(recipe)) == (wrapped.stages, wrapped.counters)


def test_a_run_that_waits_has_no_state_of_a_backend() -> None:
    # Stages are shown beside states: the two words must never be mixed up.
    assert not {one.value for one in State} & set(STAGE_NAMES)


#: A value for each field that makes flags, other than its default.
VALUES: dict[str, Any] = {
    "served_model_name": "another",
    "revision": "abc123",
    "tokenizer": "org/tokenizer",
    "lora_modules": {"sql": "/lora/sql"},
    "tensor_parallel_size": 2,
    "pipeline_parallel_size": 2,
    "data_parallel_size": 2,
    "expert_parallel": True,
    "max_model_len": 4096,
    "gpu_memory_utilization": 0.5,
    "kv_cache_dtype": "q8_0",
    "max_num_seqs": 7,
    "max_num_batched_tokens": 2048,
    "enable_prefix_caching": False,
    "enable_chunked_prefill": False,
    "speculative": {"method": "ngram", "num_speculative_tokens": 3},
    "dtype": "float16",
    "quantization": "awq",
    "trust_remote_code": True,
    "tool_call_parser": "hermes",
    "reasoning_parser": "qwen3",
    "enable_auto_tool_choice": True,
    "thinking_mode": "disabled",
    "max_thinking_tokens": 2048,
    "chat_template_kwargs": {"enable_thinking": False},
}


def test_every_field_that_makes_flags_is_tried() -> None:
    assert set(VALUES) == ENGINE_FIELDS


@pytest.mark.parametrize("field", sorted(ENGINE_FIELDS))
@pytest.mark.parametrize("name", LAUNCHED)
def test_a_field_is_used_or_it_is_said_that_it_is_not(name: str, field: str, make: Make) -> None:
    backend = BACKENDS[name]
    base: dict[str, Any] = {"model_path": "org/model"} if field == "revision" and backend.fetches_models else {}
    if "command" in backend.program_fields:
        base["command"] = "serve.sh --port {port} --name {name}"
    plain, context = make(name, **base)
    changed, _ = make(name, **base, **{field: VALUES[field]})
    try:
        same = backend.command(changed, context).argv == backend.command(plain, context).argv
    except InvalidRecipe:
        pytest.skip("a name on a hub")
    warned = any(one.field == field and "not used" in one.message for one in check(backend, changed, context))
    assert same is (field not in backend.uses)
    assert warned is (field not in backend.uses)


@pytest.mark.parametrize("name", LAUNCHED)
def test_it_runs_in_a_container_as_it_runs_here(name: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_TEST_KEY", SECRET)
    recipe, context = make(
        name,
        runtime="docker",
        docker={"image": "org/image:1", "volumes": ["/data:/data"], "args": ["--cap-add", "SYS_NICE"], "shm": "8g"},
        api_key="env:STUDIO_TEST_KEY",
        env_vars={"A": "1"},
        gpus=["1", "3"],
    )
    command = container_command(recipe, BACKENDS[name], context, "run-1", ("1", "3"))
    argv = list(command.argv)
    image = argv.index("org/image:1")
    options, inside = argv[:image], argv[image + 1 :]
    assert Path(options[0]).name == "docker"
    assert options[1:3] == ["run", "--rm"]
    assert options[options.index("--label") + 1] == "vllm-studio.run=run-1"
    assert options[options.index("--name") + 1] == command.stop_argv[-1] == "vllm-studio-run-1"
    assert command.stop_argv[1] == "stop"
    assert options[options.index("--gpus") + 1] == '"device=1,3"'
    assert options[options.index("--shm-size") + 1] == "8g"
    assert options[options.index("--network") + 1] == "host"
    assert f"{recipe.model_path}:{recipe.model_path}:ro" in options
    assert {"/data:/data", "A=1", "SYS_NICE"} <= set(options)
    assert not any(one.startswith("CUDA_VISIBLE") for one in argv)
    assert inside[inside.index("--port") + 1] == "8123"
    assert SECRET not in " ".join(argv)
    for variable in command.env_refs:
        assert variable in options


def test_a_model_in_parts_is_in_its_container_with_all_of_them(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    names = [f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for name in (*names, "other-00002-of-00003.gguf", "big-00001-of-00002.gguf"):
        (blobs / name).write_bytes(b"GGUF")
        (snapshot / name).symlink_to(f"../blobs/{name}")
    recipe = Recipe(id="big", name="big", backend="llamacpp", model_path=str(snapshot / names[0]))
    assert list(model_volumes(recipe)) == [f"{snapshot / name}:{snapshot / name}:ro" for name in names]
    whole = recipe.model_copy(update={"model_path": str(snapshot / "big.gguf")})
    assert list(model_volumes(whole)) == [f"{snapshot}/big.gguf:{snapshot}/big.gguf:ro"]


def test_the_docs_table_is_made_from_the_registry() -> None:
    text = (Path(__file__).parents[2] / "docs" / "engines" / "README.md").read_text(encoding="utf-8")
    assert registry.markdown_table() in text


@pytest.mark.parametrize("name", IN_TABLES)
def test_what_tables_show_before_an_engine_is_imported_is_what_its_file_says(name: str) -> None:
    engine = registry.OURS[name]
    row = IN_TABLES[name]
    assert (row.label, row.takes_first_gpus) == (engine.label or engine.title, engine.takes_first_gpus)
