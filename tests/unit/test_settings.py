"""Settings: what wins over what, and what a person is told when something is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_studio_tui.config import settings as settings_module
from vllm_studio_tui.config.settings import Settings, load_settings, unknown_variables, variables
from vllm_studio_tui.config.settings_reference import markdown
from vllm_studio_tui.domain.errors import SettingsError
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.kit.paths import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    home = Places.under(tmp_path / "home")
    home.config.mkdir(parents=True, mode=0o700)
    return home


def write(places: Places, text: str, mode: int = 0o600) -> Path:
    places.settings_file.write_text(text, encoding="utf-8")
    places.settings_file.chmod(mode)
    return places.settings_file


def test_without_anything_the_defaults_hold(places: Places) -> None:
    found = load_settings(places, {}, {})
    assert (found.host, found.port, found.inference_port, found.api_key) == ("127.0.0.1", 8080, 8000, None)
    assert found.electricity_price is None  # unknown, not free


def test_flags_beat_variables_and_variables_beat_the_file(places: Places) -> None:
    write(places, "port: 9001\ninference_port: 9002\nruns_keep: 3\n")
    found = load_settings(places, {"VLLM_STUDIO_PORT": "9101", "VLLM_STUDIO_INFERENCE_PORT": "9102"}, {"port": 9201})
    assert (found.port, found.inference_port, found.runs_keep) == (9201, 9102, 3)


def test_a_flag_that_was_not_given_and_an_empty_variable_set_nothing(places: Places) -> None:
    write(places, "port: 9001\n")
    assert load_settings(places, {"VLLM_STUDIO_PORT": ""}, {"port": None}).port == 9001


def test_the_variables_of_the_web_product_keep_their_names(places: Places) -> None:
    environ = {
        "VLLM_STUDIO_HOST": "::1",
        "VLLM_STUDIO_MODELS_DIR": os.pathsep.join(["/models", "/srv/more"]),
        "VLLM_STUDIO_SGLANG_PYTHON": "/opt/sglang/bin/python",
        "VLLM_STUDIO_TABBY_API_DIR": "/opt/tabbyAPI",
        "VLLM_STUDIO_LLAMA_BIN": "/opt/bin/llama-server",
    }
    found = load_settings(places, environ)
    assert found.host == "::1"
    assert found.models_dirs == (Path("/models"), Path("/srv/more"))
    assert found.sglang_python == "/opt/sglang/bin/python"
    assert found.tabby_dir == Path("/opt/tabbyAPI")
    assert found.llama_server == "/opt/bin/llama-server"


def test_a_key_in_the_variable_itself_becomes_a_reference_to_it(places: Places) -> None:
    found = load_settings(places, {"VLLM_STUDIO_API_KEY": "sk-raw"})
    assert found.api_key == "env:VLLM_STUDIO_API_KEY"
    assert "sk-raw" not in repr(found)
    assert load_settings(places, {"VLLM_STUDIO_API_KEY": "file:/run/key"}).api_key == "file:/run/key"


def test_a_key_written_into_the_file_is_refused_without_repeating_it(places: Places) -> None:
    path = write(places, "port: 1\napi_key: sk-raw-secret\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(places, {})
    assert f"{path}, line 2" in str(caught.value)
    assert "env:NAME" in str(caught.value)
    assert "sk-raw-secret" not in str(caught.value)


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_one(places: Places) -> None:
    path = write(places, "# mine\nport: 9001\ninference-prot: 8001\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(places, {})
    assert "inference-prot" in caught.value.title
    assert f"{path}, line 3" in caught.value.cause
    assert "inference_port" in caught.value.advice


@pytest.mark.parametrize(
    ("text", "line"), [("port: many\n", 1), ("host: a\nport: 70000\n", 2), ("\n\nruns_keep_bytes: a lot\n", 3)]
)
def test_a_wrong_value_is_named_with_its_line(places: Places, text: str, line: int) -> None:
    path = write(places, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(places, {})
    assert f"{path}, line {line}" in caught.value.cause


def test_a_wrong_variable_is_named(places: Places) -> None:
    with pytest.raises(SettingsError, match="VLLM_STUDIO_PORT"):
        load_settings(places, {"VLLM_STUDIO_PORT": "eighty"})


def test_an_unknown_flag_is_refused(places: Places) -> None:
    with pytest.raises(SettingsError, match="runs_keep"):
        load_settings(places, {}, {"runs_kep": 4})


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_refused_with_the_cure(places: Places, mode: int) -> None:
    path = write(places, "port: 9001\n", mode)
    with pytest.raises(SettingsError) as caught:
        load_settings(places, {})
    assert f"chmod go-w {path}" in caught.value.advice
    path.chmod(0o644)
    assert load_settings(places, {}).port == 9001


def test_a_directory_that_others_can_write_is_refused(places: Places) -> None:
    write(places, "port: 9001\n")
    places.config.chmod(0o777)
    with pytest.raises(SettingsError, match="chmod go-w"):
        load_settings(places, {})


@pytest.mark.parametrize(
    "text",
    [
        "port: [1\n",
        "- port\n",
        "port",
        "a: &a [*a]\n",
        "port: 2026-99-99\n",
        "{" * 5000,
        "port: !!python/object:os.system x\n",
    ],
)
def test_a_file_that_makes_no_sense_is_an_error_that_names_it(places: Places, text: str) -> None:
    path = write(places, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(places, {})
    assert str(path) in str(caught.value)


def test_a_key_that_is_set_twice_is_refused(places: Places) -> None:
    write(places, "port: 1\nhost: a\nport: 2\n")
    with pytest.raises(SettingsError, match="port is set twice"):
        load_settings(places, {})


def test_a_pipe_and_a_huge_file_are_refused_at_once(places: Places) -> None:
    os.mkfifo(places.settings_file)
    with pytest.raises(SettingsError, match="not a regular file"):
        load_settings(places, {})
    places.settings_file.unlink()
    write(places, "#" * 300_000)
    with pytest.raises(SettingsError, match="larger than"):
        load_settings(places, {})


def test_an_empty_file_sets_nothing(places: Places) -> None:
    write(places, "# all commented out\nport:\n")
    assert load_settings(places, {}) == Settings()


def test_homes_are_expanded_and_sizes_read(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    write(places, "models_dirs: ~/models\nvllm_executable: vllm\nruns_keep_bytes: 2 GiB\nascii: yes\n")
    found = load_settings(places, {})
    assert found.models_dirs == (Path("/home/somebody/models"),)
    assert found.vllm_executable == "vllm"  # a bare name is for PATH
    assert found.runs_keep_bytes == 2 * 1024**3
    assert found.ascii is True


def test_a_variable_with_a_typing_error_can_be_found() -> None:
    environ = {"VLLM_STUDIO_INFERENCE_PROT": "1", "VLLM_STUDIO_HOME": "/x", "VLLM_STUDIO_MODELS_DIR": "/m"}
    assert unknown_variables(environ) == [("VLLM_STUDIO_INFERENCE_PROT", "VLLM_STUDIO_INFERENCE_PORT")]


def test_every_setting_has_its_own_variables() -> None:
    names = [name for key in Settings.model_fields for name in variables(key)]
    assert len(names) == len(set(names))


def test_yaml_is_not_imported_where_there_is_no_file(places: Places) -> None:
    code = (
        "import sys, pathlib\n"
        "from vllm_studio_tui.kit.paths import Places\n"
        "from vllm_studio_tui.config.settings import load_settings\n"
        f"load_settings(Places.under(pathlib.Path({str(places.config / 'none')!r})), {{}}, {{}})\n"
        "sys.exit('yaml' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=200), st.from_regex(r"(port|host|models_dirs|api_key): .{0,40}\n", fullmatch=True)))
def test_no_text_does_worse_than_a_settings_error(places: Places, text: str) -> None:
    places.settings_file.write_bytes(text.encode("utf-8", "surrogatepass"))
    places.settings_file.chmod(0o600)
    try:
        assert isinstance(load_settings(places, {}), Settings)
    except SettingsError as error:
        assert error.advice


# --- everything that is accepted is used ----------------------------------------------------------------

PACKAGE = Path(settings_module.__file__).parents[1]


def sources(*, but: str) -> str:
    return "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if but not in str(path))


def test_every_setting_is_read_by_something() -> None:
    code = sources(but="/config/settings")
    unread = [name for name in Settings.model_fields if not re.search(rf"settings\.{name}\b", code)]
    assert sorted(unread) == sorted({"theme", "ascii"} & {*unread})
    assert "VLLM_STUDIO_{name.upper()}" in code  # some are read before all others


def test_every_field_of_a_recipe_is_read_by_something() -> None:
    code = sources(but="/domain/recipe.py")
    assert [name for name in Recipe.model_fields if not re.search(rf"\.{name}\b|[\"']{name}[\"'][,)\]]", code)] == []


def test_the_page_lists_every_setting_and_every_variable() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "settings.md").read_text()
    assert markdown() in page
    named = set(re.findall(r"\bVLLM_STUDIO_[A-Z_]*[A-Z]\b", sources(but="/none")))
    assert {name for name in named if f"`{name}`" not in page} == set()
