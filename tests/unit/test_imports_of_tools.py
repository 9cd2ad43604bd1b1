"""Files of other tools: what is imported runs what the tool itself would run, and every field of a file is told of.

The files are in `tests/fixtures/imports`, with what the tool would run beside each: written after the tools' own
examples. `tests/engines` holds some of them against the tools themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_studio_tui.backends import registry
from vllm_studio_tui.backends.base import Backend, LaunchContext
from vllm_studio_tui.backends.common.docker import ImageSettings
from vllm_studio_tui.backends.common.flags import given
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.domain.recipe import Recipe, recipe_to_data
from vllm_studio_tui.domain.recipe_reading import parse_recipe
from vllm_studio_tui.services.recipes.importing import Entry, ImportReport, read_entries

FILES = Path(__file__).parents[1] / "fixtures" / "imports"
CASES = sorted(one.name.removesuffix(".expect.json") for one in FILES.glob("*.expect.json"))


def imported(raw: bytes, name: str) -> tuple[list[Entry], ImportReport]:
    report = ImportReport()
    read = lambda data: parse_recipe(data, imported=True, keep=lambda field, _: f"file:/kept/{field}")  # noqa: E731
    return read_entries(raw, name, read, lambda _: None, report), report


def flags_of(backend: Backend, words: list[str]) -> dict[str, list[str]]:
    """Return a command's flags by one name each, without where it listens; JSON as what it means."""
    is_module = words[1:2] == ["-m"] and "/" not in words[2]
    found = given(words[3:] if is_module else words, backend.flag_style)
    kept = {name: one for name, one in found.items() if name not in ("host", "port")}
    return {name: [_meant(word) for word in one] for name, one in kept.items()}


def _meant(word: str) -> str:
    try:
        value = json.loads(word)
    except ValueError:
        return word
    return json.dumps(value, sort_keys=True)


def words_of(recipe: Recipe) -> tuple[Backend, list[str], dict[str, str]]:
    backend = registry.backend(recipe.backend)
    context = LaunchContext(ImageSettings(), recipe.host, recipe.port or 1, environ={}, container=True)
    command = backend.command(recipe, context)
    return backend, list(command.argv), {**command.env, **command.env_refs}


@pytest.mark.parametrize("name", CASES)
def test_what_is_imported_runs_as_its_tool_runs_it(name: str) -> None:
    expected = json.loads((FILES / f"{name}.expect.json").read_text())
    raw = (FILES / name).read_bytes()
    if "refused" in expected:
        with pytest.raises(StudioError, match=expected["refused"]) as refused:
            imported(raw, name)
        assert refused.value.advice
        return
    entries, report = imported(raw, expected.get("called", name))
    assert [one["errors"][0]["field"] for one in report.failed] == expected.get("fails", [])
    assert [one.recipe.id for one in entries] == [one["id"] for one in expected["recipes"]]
    for entry, wanted in zip(entries, expected["recipes"], strict=True):
        _holds(entry.recipe, wanted)
    told = {note.field for entry in entries for note in entry.notes if note.action != "taken"}
    assert set(expected.get("told", ())) <= told


def _holds(recipe: Recipe, wanted: dict[str, Any]) -> None:
    data = recipe_to_data(recipe)
    for field, value in (wanted.get("fields") or {}).items():
        assert data.get(field) == value, field
    if "run" not in wanted:
        return
    backend, words, env = words_of(recipe)
    bare = Recipe(id="bare", name="bare", model_path="/bare", backend=recipe.backend)
    own = flags_of(backend, words_of(bare)[1])
    ours, theirs = flags_of(backend, words), flags_of(backend, wanted["run"])
    # Our own switches, and the name that llama.cpp shows, which its clients need not know.
    switches = ({name for name, one in own.items() if not one} | {"alias"}) - set(theirs)
    assert {name: one for name, one in ours.items() if name not in switches} == {
        name: one for name, one in theirs.items() if name not in switches
    }
    for key, value in (wanted.get("env") or {}).items():
        assert env[key] == value
    port = wanted["run"][wanted["run"].index("--port") + 1] if "--port" in wanted["run"] else None
    assert recipe.port == (int(port) if port else None)


def test_every_key_of_a_file_is_told_of() -> None:
    """Each key of a model of llama-swap, taken or not, has a word in the report."""
    raw = b"""
models:
  one:
    cmd: vllm serve m --port ${PORT}
    name: One
    description: d
    env: ["A=b"]
    proxy: http://localhost:${PORT}
    checkEndpoint: none
    ttl: 5
    unloadTimeout: 3
    useModelName: m
    filters: {stripParams: top_k}
    metadata: {a: 1}
    concurrencyLimit: 2
    sendLoadingState: true
    unlisted: true
    timeouts: {connect: 3}
    compat: {ignoreWebsockets: true}
    capabilities: {in: [image]}
    aliases: [x]
    macros: {y: z}
    someday: 1
"""
    entries, _ = imported(raw, "config.yaml")
    told = {note.field for note in entries[0].notes}
    taken = {"name", "description", "env_vars", "ttl", "useModelName", "params", "max_concurrent", "aliases"}
    dropped = {"checkEndpoint", "unloadTimeout", "metadata", "sendLoadingState", "unlisted", "timeouts", "compat"}
    assert taken | dropped | {"capabilities", "vision", "macros", "proxy", "cmd", "someday"} <= told


def test_a_secret_becomes_a_reference_and_is_never_told() -> None:
    raw = b"models:\n  a:\n    cmd: vllm serve m --api-key sk-verysecret1234\n    env: ['HF_TOKEN=hf_verysecret5678']\n"
    entries, report = imported(raw, "config.yaml")
    assert entries[0].recipe.api_key == "file:/kept/api_key"
    assert entries[0].recipe.env_vars["HF_TOKEN"].startswith("file:")
    assert "verysecret" not in json.dumps(report.to_json())


def test_profiles_are_read_from_the_file_beside_the_shortcuts(tmp_path: Path) -> None:
    (tmp_path / "user_profiles.json").write_text(
        json.dumps({"profiles": {"p": {"config": {"max_model_len": 4096}, "environment": {"A": "b"}}}})
    )
    shortcuts = json.dumps({"shortcuts": {"s": {"model": "o/m", "profile": "p"}}}).encode()
    given_path = tmp_path / "shortcuts.json"
    given_path.write_bytes(shortcuts)
    entries, _ = imported(shortcuts, str(given_path))
    assert entries[0].recipe.max_model_len == 4096
    assert entries[0].recipe.env_vars == {"A": "b"}
    elsewhere, _ = imported(shortcuts + b"\n", str(given_path))  # not the file of that name: nothing is read beside it
    assert elsewhere[0].recipe.max_model_len is None


def test_macros_that_grow_without_end_are_cut_short() -> None:
    macros = {f"m{at}": f"${{m{at + 1}}}" * 60 for at in range(8)} | {"m8": "x" * 900}
    raw = json.dumps({"macros": macros, "models": {f"a{at}": {"cmd": "vllm serve ${m0}"} for at in range(50)}}).encode()
    entries, _ = imported(raw, "config.yaml")
    assert sum(len(json.dumps(recipe_to_data(one.recipe))) for one in entries) < 8_000_000


def test_recipes_of_ours_are_not_taken_for_flags_of_an_engine() -> None:
    entries, _ = imported(b"name: mine\nmodel: a/b\ntp: 2\nmax_model_len: 32k\n", "mine.yaml")
    assert (entries[0].recipe.name, entries[0].recipe.tensor_parallel_size) == ("mine", 2)
