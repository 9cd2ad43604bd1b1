"""Files for other tools: held against the schemas of those tools, and against the tools where they are here."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from vllm_studio_tui import __version__
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.errors import NotFound, StudioError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.services.render.gather import gather_source
from vllm_studio_tui.services.render.registry import KINDS, render
from vllm_studio_tui.services.render.source import RenderSource
from vllm_studio_tui.services.render.writing import write_files

SECRET = "sk-live-0123456789abcdefghij"


def recipe(**data: Any) -> Recipe:
    return Recipe.model_validate({"name": data["id"], **data})


CODER = recipe(
    id="coder", model_path="/models/coder $HOME", gpus=["0", "1"], tensor_parallel_size=2, api_key="env:CODER_KEY",
    env_vars={"HF_TOKEN": "file:/etc/hf token", "NOTE": "a$b ${C} \"d\""}, served_model_name="coder-32b",
    restart={"policy": "on-failure", "budget": 5}, port=8001,
)  # fmt: skip
BOXED = recipe(
    id="boxed", backend="sglang", model_path="org/model", runtime="docker", host="0.0.0.0",  # noqa: S104
    docker={"image": "org/engine:1.2", "shm": "8g", "volumes": ["/a:/b:ro"], "args": [
        "--ipc=host", "--ulimit", "memlock=-1", "--cap-add", "SYS_PTRACE", "--env", "A=$B", "--privileged",
    ]},
)  # fmt: skip
GGUF = recipe(id="gguf", backend="llamacpp", model_path="~/m/x.gguf", description="x\n# y: ${Z}", gpus="auto")
OTHERS = recipe(
    id="others", backend="external", base_url="http://10.0.0.2:9000/v1", api_key="env:OTHERS_KEY", served_model_name="m"
)
CUSTOM = recipe(
    id="own", backend="custom", command="srv --port {port} --json '{{\"a\": \"${{B}}\"}}' \"it's\"",
    env_vars={"http_proxy": "p", "MACRO": "${PORT}"}, ready_timeout=40,
)  # fmt: skip
ALL = (CODER, BOXED, GGUF, OTHERS, CUSTOM)


def source(*recipes: Recipe, settings: Settings | None = None, **environ: str) -> RenderSource:
    return gather_source(
        recipes,
        settings or Settings(),
        resolve=lambda path: path,
        number=lambda one: 3,
        environ={"PATH": os.defpath, "HOME": "/home/me", **environ},
    )


@functools.cache
def compose_validator() -> Any:
    """Of the Compose Specification's schema, as check-jsonschema brings it."""
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    return jsonschema.Draft202012Validator(json.loads((folder / "compose-spec.json").read_text("utf-8")))


def assert_compose(document: Any) -> None:
    compose_validator().validate(document)


def compose(*recipes: Recipe) -> Any:
    return yaml.safe_load(render("docker-compose", source(*recipes))["compose.yaml"])


# --- every kind -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_file_says_what_it_was_made_from_and_holds_no_secret(kind: str) -> None:
    far = {"lws": {"to": "kubernetes", "nodes": 2}, "skypilot": {"to": "skypilot", "accelerator": "H100"}}
    holder = recipe(
        id="holder", model_path="org/m", description=f"key {SECRET}", api_key="env:HOLDER",
        env_vars={"MY_TOKEN": SECRET}, extra_args={"other-api-key": SECRET, "config-json": {"password": SECRET}},
        docker={"args": ["--env", f"TOKEN={SECRET}"]}, handover=far.get(kind, {}), tensor_parallel_size=2,
        strategy="tp" if kind == "lws" else "single",
    )  # fmt: skip
    made = source(holder, *ALL, HOLDER=SECRET, CODER_KEY=SECRET, MY_TOKEN=SECRET, OTHERS_KEY=SECRET)
    assert SECRET not in repr(made)
    files = render(kind, made)
    assert files
    for name, text in files.items():
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert SECRET not in text
        assert __version__ in text, name
        assert text.endswith("\n")


@pytest.mark.parametrize("kind", ["docker-compose", "llama-swap"])
def test_a_file_of_recipes_names_their_revisions_and_what_was_masked(kind: str) -> None:
    (text,) = render(kind, source(CODER)).values()
    assert re.search(r"^# Recipes: coder \(revision 3, [0-9a-f]{8}\)$", text, re.MULTILINE)
    assert "***" not in text
    (text,) = render(kind, source(CODER.model_copy(update={"extra_args": {"x-token": SECRET}}))).values()
    assert "# *** stands for a secret in a recipe" in text


def test_an_unknown_kind_names_those_that_there_are() -> None:
    with pytest.raises(NotFound) as error:
        render("nomad", source(CODER))
    assert "docker-compose" in error.value.advice


def test_recipes_without_a_port_get_one_that_no_other_has() -> None:
    free = [recipe(id=f"r{number}", model_path="org/m") for number in range(3)]
    ports = [one.port for one in source(*free, CODER, recipe(id="eight", model_path="org/m", port=8000)).recipes]
    assert ports == [8002, 8003, 8004, 8001, 8000]


# --- docker-compose -------------------------------------------------------------------------------------


def test_a_compose_file_is_one_by_the_specification_and_a_mistyped_key_is_not() -> None:
    document = compose(*ALL)
    assert_compose(document)
    assert set(document["services"]) == {"coder", "boxed", "gguf"}
    document["services"]["coder"]["helthcheck"] = {}
    with pytest.raises(jsonschema.ValidationError):
        assert_compose(document)


def test_a_service_is_what_its_recipe_says() -> None:
    coder = compose(CODER)["services"]["coder"]
    assert coder["image"] == "vllm/vllm-openai:latest"
    assert coder["entrypoint"] == ["vllm"]
    assert coder["command"][:2] == ["serve", "/models/coder $$HOME"]
    assert coder["command"][coder["command"].index("--host") + 1] == "0.0.0.0"  # noqa: S104
    assert coder["ports"] == ["127.0.0.1:8001:8001"]
    assert coder["volumes"] == ["/models/coder $$HOME:/models/coder $$HOME:ro"]
    assert coder["restart"] == "on-failure:5"
    assert coder["environment"]["VLLM_API_KEY"].startswith("${CODER_KEY:?")
    assert coder["environment"]["HF_TOKEN"].startswith("${CODER_HF_TOKEN:?")
    assert coder["environment"]["NOTE"] == 'a$$b $${C} "d"'
    (asked,) = coder["deploy"]["resources"]["reservations"]["devices"]
    assert asked["device_ids"] == ["0", "1"]
    assert "CUDA_VISIBLE_DEVICES" not in coder["environment"]
    assert "http://127.0.0.1:8001/health" in coder["healthcheck"]["test"][1]
    assert "profiles" not in coder


def test_what_a_recipe_says_of_its_container_is_kept() -> None:
    boxed = compose(BOXED, GGUF)["services"]["boxed"]
    assert boxed["image"] == "org/engine:1.2"
    assert boxed["profiles"] == ["boxed"]
    assert boxed["ipc"] == "host"
    assert boxed["ulimits"] == {"memlock": {"soft": -1, "hard": -1}}
    assert boxed["cap_add"] == ["SYS_PTRACE"]
    assert boxed["privileged"] is True
    assert boxed["environment"]["A"] == "$$B"
    assert boxed["shm_size"] == "8g"
    assert boxed["ports"] == ["8000:8000"]
    assert boxed["volumes"] == ["/a:/b:ro", "${HOME}/.cache/huggingface:/root/.cache/huggingface"]


def test_where_the_image_starts_the_engine_only_arguments_are_given() -> None:
    gguf = compose(GGUF)["services"]["gguf"]
    assert "entrypoint" not in gguf
    assert gguf["command"][0] == "--model"
    (asked,) = gguf["deploy"]["resources"]["reservations"]["devices"]
    assert asked["count"] == 1


def test_files_that_the_command_reads_are_mounted_where_they_are() -> None:
    files = {"mmproj": "/models/eyes $1.gguf", "chat-template-file": "/t/x.jinja", "log-file": "/var/log/engine.log"}
    native = recipe(
        id="gguf", backend="llamacpp", model_path="/models/x.gguf", extra_args=files,
        lora_modules={"more": "/loras/more.gguf"}, speculative={"method": "draft_model", "model": "/models/small.gguf"},
    )  # fmt: skip
    text = render("docker-compose", source(native))["compose.yaml"]
    document = yaml.safe_load(text)
    assert_compose(document)
    read = ["/models/x.gguf", "/loras/more.gguf", "/models/small.gguf", "/models/eyes $$1.gguf", "/t/x.jinja"]
    assert sorted(document["services"]["gguf"]["volumes"]) == sorted(f"{path}:{path}:ro" for path in read)
    assert "# gguf: mount these by docker.volumes of the recipe: /var/log/engine.log\n" in text, "it is written to"


def test_what_a_volume_of_the_recipe_has_is_not_mounted_again() -> None:
    files = {"mmproj": "/models/eyes.gguf", "log-file": "/t/log"}
    own = GGUF.docker.model_copy(update={"volumes": ("/models:/models:ro", "/t:/t")})
    changed = {"model_path": "/models/x.gguf", "extra_args": files, "docker": own}
    text = render("docker-compose", source(GGUF.model_copy(update=changed)))["compose.yaml"]
    assert "mount these" not in text
    assert yaml.safe_load(text)["services"]["gguf"]["volumes"] == ["/models:/models:ro", "/t:/t"]


def test_a_model_that_stands_for_a_local_file_is_mounted_as_that_file() -> None:
    demo = GGUF.model_copy(update={"model_path": "demo:small"})
    made = gather_source(
        [demo], Settings(), resolve=lambda path: "/data/small.gguf", number=lambda one: 1, environ={"PATH": os.defpath}
    )
    document = yaml.safe_load(render("docker-compose", made)["compose.yaml"])
    assert_compose(document)
    service = document["services"]["gguf"]
    assert service["command"][service["command"].index("--model") + 1] == "/data/small.gguf"
    assert service["volumes"] == ["/data/small.gguf:/data/small.gguf:ro"], "and no cache of a hub"


def test_the_network_of_the_host_publishes_no_ports() -> None:
    own = BOXED.model_copy(update={"docker": BOXED.docker.model_copy(update={"args": ("--network", "host")})})
    service = compose(own)["services"]["boxed"]
    assert service["network_mode"] == "host"
    assert "ports" not in service


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        (CUSTOM, "custom has no official image"),
        (OTHERS, "run by somebody else"),
        (BOXED.model_copy(update={"docker": BOXED.docker.model_copy(update={"args": ("--blkio-weight=3",)})}), "blkio"),
        (BOXED.model_copy(update={"docker": BOXED.docker.model_copy(update={"args": ("--env", "NAME")})}), "--env"),
        (CODER.model_copy(update={"backend": "nothing"}), "nothing"),
    ],
)
def test_what_cannot_be_a_service_is_refused_alone_and_left_out_among_others(changed: Recipe, cause: str) -> None:
    with pytest.raises(StudioError) as error:
        compose(changed)
    assert cause in error.value.cause
    text = render("docker-compose", source(changed, GGUF))["compose.yaml"]
    assert f"# Left out: {changed.id}: " in text
    assert set(yaml.safe_load(text)["services"]) == {"gguf"}


def test_docker_compose_itself_takes_it(tmp_path: Path) -> None:
    """The Python one, 1.29, wants a version and does not know the name of a project; none needs a daemon for this."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("there is no docker-compose here")
    document = compose(CODER, BOXED, GGUF)
    for one in document["services"].values():
        one.pop("profiles")
    document.pop("name")
    document["version"] = "3.8"
    file = tmp_path / "compose.yaml"
    file.write_text(yaml.safe_dump(document))
    environ = {**os.environ, "CODER_KEY": "k", "CODER_HF_TOKEN": "t", "HOME": str(tmp_path)}
    asked = [program, "-f", str(file), "config"]
    done = subprocess.run(asked, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resolved = yaml.safe_load(done.stdout)["services"]["coder"]
    assert resolved["environment"]["VLLM_API_KEY"] == "k"
    environ.pop("CODER_KEY")
    done = subprocess.run(asked, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode != 0, "a secret that is missing must stop it"


# --- keys of serve --------------------------------------------------------------------------------------

Studio = Callable[..., tuple[int, str, str]]


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Studio:
    from vllm_studio_tui.cli.app import run

    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))

    def command(*argv: str) -> tuple[int, str, str]:
        code = run(list(argv))
        return (code, *capsys.readouterr())

    return command


def test_a_key_is_named_where_serve_asks_for_one_and_the_head_says_how_to_make_it(studio: Studio) -> None:
    studio("recipes", "add", "coder", "--model", "org/coder")
    _, out, _ = studio("render", "litellm")
    assert {one["litellm_params"]["api_key"] for one in yaml.safe_load(out)["model_list"]} == {"none"}
    assert "keys add" not in out
    _, out, _ = studio("render", "prometheus")
    assert "any word will do" in out
    studio("keys", "add", "somebody")
    _, out, _ = studio("render", "litellm")
    keys = {one["litellm_params"]["api_key"] for one in yaml.safe_load(out)["model_list"]}
    assert keys == {"os.environ/GATEWAY_UPSTREAM_KEY"}
    assert "# It needs the variables GATEWAY_UPSTREAM_KEY, LITELLM_MASTER_KEY\n" in out
    assert "make one: vllm-studio keys add litellm --scope inference\n" in out
    _, out, _ = studio("render", "prometheus")
    assert "any word will do" not in out
    assert "# vllm-studio keys add prometheus --scope metrics > vllm-studio.key\n" in out


# --- systemd --------------------------------------------------------------------------------------------


def test_units_hand_on_directories_and_name_the_secrets_that_are_needed() -> None:
    made = source(*ALL, settings=Settings(api_key="env:SERVE_KEY"), VLLM_STUDIO_HOME="/srv/a $b 100%", SERVE_KEY=SECRET)
    files = render("systemd", made)
    assert set(files) == {"vllm-studio-serve.service", "vllm-studio-restore.service"}
    for text in files.values():
        assert 'Environment="VLLM_STUDIO_HOME=/srv/a $b 100%%"' in text
        assert "EnvironmentFile=-%h/.config/vllm-studio/secrets.env" in text
        assert ": CODER_KEY, OTHERS_KEY, SERVE_KEY\n" in text
        assert "KillMode=process" in text
    assert " -m vllm_studio_tui serve\n" in files["vllm-studio-serve.service"]
    assert " -m vllm_studio_tui restore\n" in files["vllm-studio-restore.service"]


def test_systemd_itself_takes_the_units(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze here")

    def verify(text: str) -> str:
        unit = tmp_path / "vllm-studio-x.service"
        unit.write_text(text)
        done = subprocess.run(
            [program, "verify", "--user", "--man=no", "--recursive-errors=no", str(unit)],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if unit.name in line)

    made = source(*ALL, VLLM_STUDIO_HOME='/srv/my "home" $x 100%')
    for text in render("systemd", made).values():
        assert verify(text) == ""
        assert "KilMode" in verify(text.replace("KillMode", "KilMode"))


# --- writing --------------------------------------------------------------------------------------------


def test_a_file_with_another_content_is_overwritten_only_when_that_is_asked_for(tmp_path: Path) -> None:
    files = {"a.yaml": "a\n", "deep/b.yaml": "b\n"}
    assert write_files(files, tmp_path / "out") == {"a.yaml": "written", "deep/b.yaml": "written"}
    assert write_files(files, tmp_path / "out") == {"a.yaml": "unchanged", "deep/b.yaml": "unchanged"}
    (tmp_path / "out" / "deep" / "b.yaml").write_text("mine\n")
    with pytest.raises(StudioError, match="overwritten"):
        write_files({"a.yaml": "new\n", "deep/b.yaml": "b\n"}, tmp_path / "out")
    assert (tmp_path / "out" / "a.yaml").read_text() == "a\n", "nothing is written where one is refused"
    assert write_files(files, tmp_path / "out", force=True)["deep/b.yaml"] == "replaced"
    assert (tmp_path / "out" / "deep" / "b.yaml").read_text() == "b\n"


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", "a\0b"])
def test_no_file_is_written_outside_of_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudioError):
        write_files({name: "x"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- the command ----------------------------------------------------------------------------------------


def test_the_command_prints_writes_and_refuses(studio: Studio, tmp_path: Path) -> None:
    studio("recipes", "add", "coder", "--model", "org/coder")
    studio("recipes", "add", "other", "--model", "org/other")
    code, out, _ = studio("render", "docker-compose", "coder")
    assert code == 0
    assert set(yaml.safe_load(out)["services"]) == {"coder"}
    code, out, err = studio("render", "systemd")
    assert out.count("# ---- vllm-studio-") == 2
    assert "-o DIR" in err
    target = str(tmp_path / "out")
    code, out, _ = studio("render", "docker-compose", "-o", target, "--json")
    (written,) = json.loads(out)["files"]
    assert (written["path"], written["outcome"]) == ("compose.yaml", "written")
    assert (tmp_path / "out" / "compose.yaml").read_text() == written["text"]
    code, out, _ = studio("render", "docker-compose", "-o", target)
    assert out == f"unchanged {target}/compose.yaml\n"
    studio("recipes", "edit", "coder", "--set", "max_model_len=100")
    code, _, err = studio("render", "docker-compose", "-o", target)
    assert code == 1
    assert "--force" in err
    assert studio("render", "docker-compose", "-o", target, "--force")[0] == 0
    assert "max-model-len" in (tmp_path / "out" / "compose.yaml").read_text()
    code, _, err = studio("render", "docker-compose", "nobody")
    assert code == 1
    code, _, err = studio("render", "nomad")
    assert code == 1
    assert "docker-compose" in err


@pytest.mark.parametrize("kind", ["systemd", "prometheus", "grafana"])
def test_what_is_for_the_whole_home_says_that_an_id_changes_nothing(studio: Studio, kind: str) -> None:
    studio("recipes", "add", "one", "--model", "org/one", "--set", "api_key=env:ONE_KEY")
    studio("recipes", "add", "two", "--model", "org/two", "--set", "api_key=env:TWO_KEY")
    code, out, err = studio("render", kind, "one")
    assert (code, f"note: {kind} is for the whole home, not for one alone" in err) == (0, True)
    assert (0, out) == studio("render", kind)[:2]
    assert "whole home" not in studio("render", kind)[2]
    assert studio("render", kind, "nobody")[0] == 1
    assert "whole home" not in studio("render", "docker-compose", "one")[2]
