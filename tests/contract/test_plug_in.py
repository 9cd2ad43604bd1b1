"""Every fact of a backend is read wherever it counts, also where another package brings the backend.

The example of the documentation is installed, and one that differs from every default in what the example leaves out.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from tests.functional.stage import recipe, staged
from tests.unit.scripted_engine import DONE, Engine, kept, read
from tests.unit.weight_files import gguf
from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend, LaunchContext, Problem
from vllm_studio_tui.backends.checks import check
from vllm_studio_tui.backends.common import parsers
from vllm_studio_tui.backends.common.docker import container_command
from vllm_studio_tui.backends.common.flags import FlagStyle
from vllm_studio_tui.backends.common.known_names import Known
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.chat import ChatRequest, Delta, Message, Sampling, Target, ToolCall
from vllm_studio_tui.domain.chat_settings import sampling_of
from vllm_studio_tui.domain.memory_report import MemoryLine
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.domain.run import RunState, State
from vllm_studio_tui.domain.spec import ReadyProbe
from vllm_studio_tui.inference.parameters import fields_of, tool_fields
from vllm_studio_tui.inference.request import body
from vllm_studio_tui.kit import process
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.probes.engine.reader import EngineProbe
from vllm_studio_tui.runs import foreign
from vllm_studio_tui.runs.gpu_use import claims
from vllm_studio_tui.runs.make_spec import resolve
from vllm_studio_tui.runs.memory_lines import report_of_log
from vllm_studio_tui.runs.read import RunView
from vllm_studio_tui.services.chat.chat import ChatService
from vllm_studio_tui.services.chat.request import request_messages
from vllm_studio_tui.services.doctor.context import Ground
from vllm_studio_tui.services.doctor.engines import any_engine, engines
from vllm_studio_tui.services.launching.disk_room import disk_room
from vllm_studio_tui.services.launching.endpoint import endpoint_of
from vllm_studio_tui.services.launching.fixes import fixes
from vllm_studio_tui.services.recipes.form_fields import form_fields
from vllm_studio_tui.services.recipes.formats.command import from_command
from vllm_studio_tui.services.render.gather import gather_source
from vllm_studio_tui.services.render.registry import render
from vllm_studio_tui.services.serving.endpoints import endpoint_of_run
from vllm_studio_tui.store.database import Database
from vllm_studio_tui.tui.paint.run_words import backend_word

PACKAGE = Path(__file__).parents[1] / "fixtures" / "example_package"
PATH = f"{PACKAGE / 'bin'}{os.pathsep}{os.environ['PATH']}"
METRICS = "example:prompt_tokens_total 5\nexample:generated_tokens_total 7\n"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The example's backend, installed as by pip."""
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.setenv("PATH", PATH)
    for cached in (registry._loaded, parsers._others):
        cached.cache_clear()
    yield registry.backend("example")
    monkeypatch.undo()
    for cached in (registry._loaded, parsers._others):
        cached.cache_clear()
    sys.modules.pop("example_engine", None)


@pytest.fixture
def differing(example: Backend, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The example with another value for each fact that it leaves at its default."""

    class Differing(type(example)):  # type: ignore[misc]
        key_variable = "EXAMPLE_KEY"
        flag_style = FlagStyle(underscores=True)
        file_flags: ClassVar = {"rules": "any", "lora": "lora"}
        engine_defaults: ClassVar = {"max_model_len": 7}
        weights = "safetensors"
        reads_gguf = False
        fetches_models = True
        formats = ("exl3",)
        class_files = ("example/models.py",)
        suits = "trying things out"
        takes_first_gpus = True
        shares_gpu_memory = True
        image = "example/engine:latest"
        image_runs_engine = True
        process_titles = ("EXAMPLE::",)
        memory_lines = (MemoryLine("takes", r"model takes (?P<weights>\d+) GiB"),)
        guarded_path = "/secret"
        standard_fields_only = True
        anthropic_api = True
        takes_aliases = True
        keeps_connections = False
        streams_unasked = True
        sampling: ClassVar = {"temperature": "heat", "logprobs": "logprobs", "tool_choice": "tool_choice"}
        answer_forms: ClassVar = {"regex": "held.pattern"}
        tools_or = frozenset({"logprobs"})
        thinking_field = "thoughts"
        forces_any_tool_only = True

        def known(self) -> Known:
            return Known("1.0", frozenset({"rules"}), frozenset(), (), (), {"old-rules": "rules"})

        def ready(self, recipe: Recipe) -> ReadyProbe:
            return ReadyProbe("/up")

    made: Backend = Differing()
    monkeypatch.setitem(registry._loaded()[0], "example", made)
    return made


def wanted(**fields: Any) -> Recipe:
    return recipe("echo", backend="example", **fields)


def context(**more: Any) -> LaunchContext:
    return LaunchContext(Settings(), "127.0.0.1", 9000, **more)


def found(backend: Backend, **fields: Any) -> list[Problem]:
    return check(backend, wanted(**fields), context())


def test_every_fact_of_a_backend_is_tried_here_or_with_ours(example: Backend, differing: Backend) -> None:
    """A fact that is added to `Backend` and stands in neither is read by nobody as far as these tests know."""
    facts = set(Backend.__annotations__)
    methods = {name for name, one in vars(Backend).items() if inspect.isfunction(one) or isinstance(one, property)}
    own = set(vars(type(example))) | set(vars(type(differing)))
    # `package` needs an installed environment; LoRA, formats and memory of models, what the server asks an
    # engine for tokens (tests/process/test_serve_sdks.py), and how it tells that it reads pictures, is tried with ours.
    elsewhere = {"needs_launch", "package", "program_setting", "loads_adapters", "mistral_format", "max_lora_rank"}
    elsewhere |= {"config_file"}  # tests/unit/test_imports_of_tools.py
    elsewhere |= {"token_calls", "sight", "sight_advice", "memory", "memory_asked"}  # tests/unit/test_fit.py
    elsewhere |= {"slots"}  # tests/unit/test_engine_windows.py
    elsewhere |= {"images"}  # tests/unit/test_import_containers.py
    elsewhere |= {"ray_engine"}  # tests/unit/test_render_ray_serve.py
    elsewhere |= {"command_words"}  # tests/contract/test_backends.py
    elsewhere |= {"ranks"}  # tests/contract/test_ranks_of_engines.py
    derived = {"stages_for", "counters_for", "memory_lines_for", "names_model", "help_command", "version", "doctor"}
    assert facts | methods == (own & (facts | methods)) | elsewhere | derived


def test_it_is_sent_the_parameters_that_it_takes(example: Backend, differing: Backend) -> None:
    sampling = sampling_of({"temperature": 1, "top_k": 5, "logprobs": 2, "form": {"kind": "regex", "value": "a"}})
    sent = fields_of(differing, sampling, tools=True)
    assert sent.values == {"heat": 1.0, "held": {"pattern": "a"}}
    assert sent.left_out == {
        "top_k": "Example engine takes no top_k",
        "logprobs": "Example engine takes no logprobs together with tools",
    }
    assert fields_of(example, sampling).unsure == ("top_k",)  # it says nothing of what it takes
    named = sampling_of({"tool_choice": "b"})
    tools = [{"type": "function", "function": {"name": name}} for name in "ab"]
    assert tool_fields(differing, named, tools) == {"tools": tools[1:], "tool_choice": "required"}
    whole = {"type": "function", "function": {"name": "b"}}
    assert tool_fields(example, named, tools) == {"tools": tools, "tool_choice": whole}


def test_it_gets_back_what_it_thought_before_calls_unless_it_refuses_other_fields(
    example: Backend, differing: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Message("", "", "assistant", "", reasoning="hm", tool_calls=(ToolCall("a", "f", "{}"),))
    branch = [Message("", "", "user", "q"), call, Message("", "", "tool", "r", tool_call_id="a")]
    target = Target("http://localhost/v1", "m", backend="example")
    assert "thoughts" not in request_messages(branch, None, target)[1]
    monkeypatch.setattr(type(differing), "standard_fields_only", False)
    assert request_messages(branch, None, target)[1]["thoughts"] == "hm"


def test_its_titles_are_shown(example: Backend) -> None:
    assert backend_word("example") == "Example"
    spec = resolve(wanted(), example, context(), "run-1", environ={})
    assert spec.engine == "Example"
    assert spec.stages == example.stages
    assert spec.counters == example.counters
    assert spec.failures[0].reason == "model_missing"


def test_what_there_is_to_copy_follows_what_it_answers(
    example: Backend, differing: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = resolve(wanted(), example, context(), "run-1", environ={})
    run = RunView(tmp_path, "run-1", spec, RunState("run-1"), True, True, False)
    for backend, offered in ((differing, True), (example, False)):
        monkeypatch.setitem(registry._loaded()[0], "example", backend)
        endpoint = endpoint_of(run)
        assert endpoint is not None
        assert ("claude-code" in {one.name for one in endpoint.snippets()}) is offered


def test_how_the_server_asks_it_follows_what_it_does_with_connections_and_streams(
    example: Backend, differing: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = resolve(wanted(), example, context(), "run-1", environ={})
    run = RunView(tmp_path, "run-1", spec, RunState("run-1"), True, True, False)
    for backend, kept_open, said in ((differing, False, (("stream", False),)), (example, True, ())):
        monkeypatch.setitem(registry._loaded()[0], "example", backend)
        endpoint = endpoint_of_run(run, None)
        assert (endpoint.keeps_connections, endpoint.default_params) == (kept_open, said)


async def test_the_screens_show_it(example: Backend, tmp_path: Path) -> None:
    async with staged(tmp_path, place="recipes") as stage:
        await stage.app.in_thread(lambda: stage.app.studio.recipes.create(wanted(name="Echo")))
        await stage.press("1")
        await stage.press("2")
        await stage.until(lambda: re.search(r"Echo +Example", stage.text()) is not None, "the table is read anew")


def test_the_form_offers_it(example: Backend) -> None:
    assert "example" in next(one.choices for one in form_fields() if one.name == "backend")


def test_its_metric_table_is_read(example: Backend) -> None:
    measured = EngineProbe("example").observe(METRICS, 1.0)
    assert (measured.prompt_tokens_total, measured.generation_tokens_total) == (5, 7)
    # Of an engine that has no table every name is tried.
    assert EngineProbe("custom").observe(METRICS, 1.0).generation_tokens_total == 7


def test_a_custom_command_may_wrap_it(differing: Backend) -> None:
    custom = registry.backend("custom")
    wrapper = recipe("w", backend="custom", command="true {port}", metrics_style="example", api_key="env:K")
    assert custom.counters_for(wrapper) == differing.counters
    assert custom.stages_for(wrapper) == differing.stages
    assert custom.command(wrapper, context(environ={"PATH": "/bin:/usr/bin"})).env_refs == {"EXAMPLE_KEY": "env:K"}
    assert not [one for one in check(custom, wrapper, context()) if one.field == "metrics_style"]


def test_the_doctor_looks_for_it(example: Backend, tmp_path: Path) -> None:
    ground = Ground(Places.under(tmp_path), {"PATH": PATH})
    assert engines(ground)["example"].found == str(PACKAGE / "bin" / "example-server")
    assert "example" in any_engine(ground).found


def test_a_fault_of_it_costs_the_doctor_one_row(
    example: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(type(example), "doctor", broken)
    rows = engines(Ground(Places.under(tmp_path), {"PATH": ""}))
    assert rows["example"].found == "cannot be checked: ZeroDivisionError: oh"
    assert "example_engine" in rows["example"].fix
    assert "vllm" in rows


def test_a_pasted_command_of_it_becomes_a_recipe(example: Backend) -> None:
    pasted = from_command("KEY=1 /opt/bin/example-server org/echo --port 9001 --context 8192 --odd 3")
    assert pasted == {
        "backend": "example",
        "executable": "/opt/bin/example-server",
        "env_vars": {"KEY": "1"},
        "model_path": "org/echo",
        "port": "9001",
        "max_model_len": "8192",
        "extra_args": {"odd": "3"},
        "id": "echo",
        "name": "echo",
    }


async def test_a_cut_answer_is_continued_as_it_wants(example: Backend, tmp_path: Path) -> None:
    db = Database.open(tmp_path / "studio.db")
    engine, target = Engine(Delta("one"), DONE), Target("http://127.0.0.1:1/v1", "m", backend="example")
    service = ChatService(db, stream=engine)
    session = service.new_session("x")
    await read(service.send(session, "x", target))
    await read(service.continue_answer(session, kept(db, session).id, target))
    assert engine.asked[-1].sampling.extra == {"continue_last": True}
    db.close()


def test_its_own_checks_are_among_the_others(example: Backend) -> None:
    (slow,) = found(example, max_model_len=200_000)
    assert (slow.field, slow.message) == ("max_model_len", "Example engine gets slow above 100000")
    assert [one.message for one in found(example, quantization="awq")] == ["is not used by Example engine"]
    assert [one.message for one in found(example, python_path="/usr/bin/python3")] == ["is not used by Example engine"]


def test_what_it_takes_from_a_recipe(differing: Backend, tmp_path: Path) -> None:
    argv = differing.command(wanted(extra_args={"some_rules": "x"}), context()).argv
    assert argv[-2:] == ("--some_rules", "x")
    missing = found(differing, extra_args={"rules": str(tmp_path / "none")})
    assert [(one.field, one.severity) for one in missing] == [("extra_args", "error")]
    (renamed,) = found(differing, extra_args={"old_rules": "x"})
    assert renamed.message == "old_rules is no longer a flag in Example engine 1.0"
    (tmp_path / "m.gguf").write_bytes(gguf())
    (unreadable,) = found(differing, model_path=str(tmp_path / "m.gguf"))
    assert unreadable.message == "Example engine cannot read GGUF files"


def test_where_it_runs(differing: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_SIMULATE_GPUS", "2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert claims(wanted(tensor_parallel_size=2)) == ("0", "1")
    offline = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    assert "HF_HUB_OFFLINE forbids" in disk_room(wanted(), offline)[0].message
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o700)
    boxed = wanted(runtime="docker", docker={"image": "org/example:1"})
    command = container_command(boxed, differing, context(environ={"PATH": str(tmp_path)}), "run-1", ())
    assert "--entrypoint" not in command.argv
    spec = resolve(wanted(api_key="env:K"), differing, context(), "run-1", environ={})
    assert (spec.ready.path, spec.ready.guarded) == ("/up", "/secret")


def test_its_official_image_is_a_service_of_a_compose_file(differing: Backend) -> None:
    made = gather_source(
        [wanted()], Settings(), resolve=lambda path: path, number=lambda one: None, environ={"PATH": os.defpath}
    )
    service = yaml.safe_load(render("docker-compose", made)["compose.yaml"])["services"]["echo"]
    assert service["image"] == differing.image
    assert "entrypoint" not in service


def test_what_it_says_of_its_memory_is_read(differing: Backend, tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_text("model takes 3 GiB\n")
    own = report_of_log(log, differing.memory_lines_for(wanted()))
    wraps = recipe("echo", backend="custom", command="x", metrics_style="example")
    wrapped = report_of_log(log, registry.backend("custom").memory_lines_for(wraps))
    assert own is not None
    assert own.parts == {"weights": 3 << 30}
    assert wrapped == own


def test_what_is_offered_after_a_failure(differing: Backend) -> None:
    failed = RunState("run-1", State.FAILED, fixes=["fewer_requests", "named_flags"], groups=["--old-rules"])
    offered = [one.label for one in fixes(failed, wanted(extra_args={"old_rules": "x"}))]
    assert offered == ["max_num_seqs 64", "rules x instead of old_rules", "no old_rules"]


def test_one_that_was_started_elsewhere_is_seen(differing: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = next(one for one in process.all_processes() if one.pid == os.getpid())
    lines = {mine.pid: ["python3", "/opt/example-server", "org/echo", "--port", "9001"]}
    monkeypatch.setattr(foreign, "_argv", lambda pid: lines.get(pid, []))
    monkeypatch.setattr(process, "environment_value", lambda *_: None)
    (seen,) = foreign.find_foreign()
    assert (seen.backend, seen.model, seen.port) == ("example", "org/echo", 9001)
    lines[mine.pid] = ["EXAMPLE::Worker"]
    monkeypatch.setattr(foreign, "_reaper", lambda _parent: True)
    assert [one.title for one in foreign.find_orphans()] == ["EXAMPLE::Worker"]


def test_requests_have_the_fields_it_knows(differing: Backend) -> None:
    asked = ChatRequest(({"role": "user", "content": "x"},), Sampling(thinking=True, extra={"odd": 1}))
    assert set(body(Target("http://h/v1", "m", backend="example"), asked)) == {"model", "messages", "stream"}
