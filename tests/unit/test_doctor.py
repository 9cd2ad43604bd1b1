"""The doctor: each finding on ground that was laid for it."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import shutil
import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.doctor_ground import bare_ground, on, put
from vllm_studio_tui.backends import registry
from vllm_studio_tui.cli import doctor as cli
from vllm_studio_tui.domain.check import Check
from vllm_studio_tui.domain.gpus import Gpu, GpuReport
from vllm_studio_tui.services.doctor import doctor
from vllm_studio_tui.services.doctor import engines as doctor_engines
from vllm_studio_tui.services.doctor import home as doctor_home
from vllm_studio_tui.services.doctor import recipes as doctor_recipes
from vllm_studio_tui.services.doctor.context import Ground


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return bare_ground(tmp_path)


# --- home --------------------------------------------------------------------------------------------------------


def test_a_home_that_is_not_there_yet_is_fine(ground: Ground) -> None:
    assert doctor_home.directory("data", ground).state == "ok"
    assert not ground.places.data.exists()


def test_a_home_that_others_can_enter_is_told(ground: Ground) -> None:
    ground.places.data.mkdir(parents=True, mode=0o700)
    ground.places.data.chmod(0o755)
    found = doctor_home.directory("data", ground)
    assert (found.state, found.fix) == ("warn", f"chmod 700 {ground.places.data}")
    ground.places.data.chmod(0o700)
    assert doctor_home.directory("data", ground).state == "ok"


def test_a_file_in_place_of_a_directory_fails(ground: Ground) -> None:
    put(ground.places.data)
    assert doctor_home.directory("data", ground).state == "fail"


def test_a_directory_that_cannot_be_written_fails(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write everywhere
    assert "cannot be made" in doctor_home.directory("data", ground).found
    ground.places.data.mkdir(parents=True, mode=0o700)
    found = doctor_home.directory("data", ground)
    assert (found.state, "cannot be written" in found.found) == ("fail", True)


@pytest.mark.parametrize(("free", "state"), [(50 << 20, "fail"), (1 << 30, "warn"), (9 << 30, "ok")])
def test_free_space_is_judged(ground: Ground, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    @dataclass
    class Usage:
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free))
    assert doctor_home.space(ground).state == state


def mounts(ground: Ground, *lines: tuple[str, str]) -> None:
    rows = [f"{n} 1 0:1 / {point} rw,relatime shared:1 - {kind} dev rw" for n, (point, kind) in enumerate(lines)]
    put(ground.root / "proc/self/mountinfo", "\n".join([*rows, "broken line", " - "]))


def test_a_network_file_system_is_told(ground: Ground, tmp_path: Path) -> None:
    real = os.path.realpath(tmp_path)
    mounts(ground, ("/", "ext4"), (f"{real}x", "nfs4"))
    assert doctor_home.network(ground) == Check("ok", "data on ext4, state on ext4")
    mounts(ground, ("/", "ext4"), (real, "xfs"), (real, "nfs4"))
    found = doctor_home.network(ground)
    assert (found.state, found.found) == ("warn", "data is on nfs4, state is on nfs4")


def test_an_unknown_file_system_is_no_finding(ground: Ground) -> None:
    assert doctor_home.network(ground).state == "ok"


def test_file_locks_are_tried_and_nothing_is_left(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.places.state.mkdir(parents=True)
    assert doctor_home.locks(ground).state == "ok"
    assert list(ground.places.state.iterdir()) == []
    monkeypatch.setattr(fcntl, "flock", lambda fd, how: None)
    assert doctor_home.locks(ground).state == "fail"

    def refuse(fd: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert "No locks available" in doctor_home.locks(ground).found


# --- database ----------------------------------------------------------------------------------------------------


def fill(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (id TEXT PRIMARY KEY, data TEXT)")
    connection.executemany("INSERT INTO recipes VALUES (?, ?)", [(str(n), "x" * 500) for n in range(200)])
    connection.execute("PRAGMA user_version = 7")
    connection.commit()
    connection.close()


def test_a_good_database_is_described(ground: Ground) -> None:
    assert doctor_home.database(ground).state == "ok"
    fill(ground.places.database)
    before = ground.places.database.read_bytes()
    found = doctor_home.database(ground)
    assert found.state == "ok"
    assert "1 tables, user_version 7" in found.found
    assert ground.places.database.read_bytes() == before


def test_a_damaged_database_fails(ground: Ground) -> None:
    fill(ground.places.database)
    data = bytearray(ground.places.database.read_bytes())
    data[4096:12288] = b"\xa5" * 8192
    ground.places.database.write_bytes(data)
    found = doctor_home.database(ground)
    assert found.state == "fail"
    assert found.fix


@pytest.mark.parametrize("content", ["this is no database, whatever its name says" * 50, "SQLite format 3\0"])
def test_what_is_no_database_fails(ground: Ground, content: str) -> None:
    put(ground.places.database, content)
    assert doctor_home.database(ground).state == "fail"


def test_a_large_database_is_not_checked_for_long(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ground.places.database
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 50000) INSERT INTO t SELECT i FROM n"
    )
    connection.commit()
    connection.close()
    monkeypatch.setattr(doctor_home, "CHECK_SECONDS", 0.0)
    found = doctor_home.database(ground)
    assert (found.state, "too large" in found.found) == ("ok", True)


def test_the_sqlite_version_is_shown(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    assert "3.51.3 fixed" in doctor_home.sqlite(ground).found
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert "fixed" not in doctor_home.sqlite(ground).found


# --- engines -----------------------------------------------------------------------------------------------------


def look(name: str, ground: Ground) -> Check:
    """What the doctor says of one engine."""
    return doctor_engines.engines(ground)[name]


def engine(home: Path, name: str, version: str | None) -> Path:
    """A program in an environment of its own."""
    (home / "bin").mkdir(parents=True, exist_ok=True)
    if not (home / "bin/python").exists():
        (home / "bin/python").symlink_to(sys.executable)
    if version is not None:
        (home / f"lib/python3.12/site-packages/{name}-{version}.dist-info").mkdir(parents=True)
    return put(home / f"bin/{name}", f"#!{home}/bin/python\n", 0o700)


@pytest.mark.parametrize(
    ("version", "state"),
    [("0.33.0", "ok"), ("0.31.0+cpu", "ok"), ("1.0.0", "ok"), ("0.30.9", "warn"), ("0.9.2", "warn"), (None, "ok")],
)
def test_vllm_is_found_through_a_link_and_old_versions_are_warned_of(
    ground: Ground, tmp_path: Path, version: str | None, state: str
) -> None:
    (tmp_path / "bin/vllm").symlink_to(engine(tmp_path / "venv", "vllm", version))
    found = look("vllm", ground)
    assert found.state == state
    assert (version or "unknown version") in found.found
    assert ("CVE-2026-114053" in found.found) == (state == "warn")


def test_a_script_outside_its_environment_is_followed_to_its_interpreter(ground: Ground, tmp_path: Path) -> None:
    script = engine(tmp_path / "venv", "transformers", "5.23.0")
    put(tmp_path / "bin/transformers", script.read_text(), 0o700)
    assert look("transformers", ground).found == f"5.23.0 at {tmp_path}/bin/transformers"


def test_sglang_is_known_by_its_interpreter(ground: Ground, tmp_path: Path) -> None:
    engine(tmp_path / "venv", "sglang", "0.5.23")
    python = tmp_path / "venv/bin/python"
    found = look("sglang", on(ground, VLLM_STUDIO_SGLANG_PYTHON=str(python)))
    assert found == Check("ok", f"0.5.23 at {python}")
    bare = put(tmp_path / "other/bin/python", "#!/bin/sh\n", 0o700)
    assert look("sglang", on(ground, VLLM_STUDIO_SGLANG_PYTHON=str(bare))).state == "warn"


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("vllm", "VLLM_STUDIO_VLLM_EXECUTABLE"),
        ("sglang", "VLLM_STUDIO_SGLANG_PYTHON"),
        ("llama-server", "VLLM_STUDIO_LLAMA_SERVER"),
        ("transformers", "VLLM_STUDIO_TRANSFORMERS_EXECUTABLE"),
    ],
)
def test_a_program_that_the_settings_name_must_be_there(ground: Ground, name: str, variable: str) -> None:
    assert look(name, ground) == Check("ok", "not found")
    found = look(name, on(ground, **{variable: "/nonexistent/program"}))
    assert found.state == "fail"
    assert variable.removeprefix("VLLM_STUDIO_").lower() in found.fix


def test_having_no_engine_at_all_is_a_warning(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert doctor_engines.any_engine(ground).state == "warn"
    stale = put(tmp_path / "bin/llama-server", "#!/opt/old-venv/bin/python\n", 0o700)
    assert doctor_engines.any_engine(ground).state == "warn"
    broken = look("llama-server", ground)
    assert broken.state == "warn"
    assert broken.found == (
        f"cannot be run: {stale} is a script whose interpreter cannot be run: /opt/old-venv/bin/python does not exist"
    )
    put(tmp_path / "bin/llama-server", "#!/bin/sh\n", 0o700)
    assert doctor_engines.any_engine(ground) == Check("ok", "llama-server")


def test_a_program_that_the_settings_name_and_that_may_not_be_run_is_told_as_that(
    ground: Ground, tmp_path: Path
) -> None:
    plain = put(tmp_path / "plain", "#!/bin/sh\n", 0o600)
    found = look("vllm", on(ground, VLLM_STUDIO_VLLM_EXECUTABLE=str(plain)))
    assert found.state == "fail"
    assert f"{plain} is not executable (mode 0600" in found.found


# --- recipes -----------------------------------------------------------------------------------------------------


def store(ground: Ground, *recipes: object) -> None:
    path = ground.places.database
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (id TEXT PRIMARY KEY, data TEXT)")
    for number, one in enumerate(recipes):
        text = one if isinstance(one, str) else json.dumps({"id": f"r{number}", "name": "R", **dict(one)})  # type: ignore[call-overload]
        connection.execute("INSERT INTO recipes VALUES (?, ?)", (f"r{number}", text))
    connection.commit()
    connection.close()


def test_every_engine_that_recipes_name_is_looked_at(ground: Ground, tmp_path: Path) -> None:
    assert doctor_recipes.recipes(ground) == Check("ok", "none yet")
    python = engine(tmp_path / "venv", "vllm", "0.33.0").parent / "python"
    good = {"backend": "vllm", "model_path": "org/m", "python_path": str(python)}
    store(ground, good, {"backend": "external", "base_url": "http://127.0.0.1:1/v1"})
    before = sorted(ground.places.data.parent.rglob("*"))
    found = doctor_recipes.recipes(ground)
    assert found == Check("ok", f"2, nothing stands against them; engines they name: vLLM 0.33.0 at {python}")
    assert before == sorted(ground.places.data.parent.rglob("*"))


def test_recipes_that_would_not_start_are_named_with_the_reason(ground: Ground, tmp_path: Path) -> None:
    plain = put(tmp_path / "plain", "#!/bin/sh\n", 0o600)
    stale = put(tmp_path / "old/bin/transformers", "#!/opt/old-venv/bin/python\n", 0o700)
    store(
        ground,
        {"backend": "vllm", "model_path": "org/m", "executable": str(plain)},
        {"backend": "transformers", "model_path": "org/m", "python_path": str(stale.parent / "python")},
        {"backend": "custom", "model_path": "m", "command": "/no/such/engine --port {port}"},
        {"backend": "no-such-backend", "model_path": "m"},
        {"backend": "llamacpp", "model_path": "demo:smollm2-135m"},
        "[1, 2]",
    )
    found = doctor_recipes.recipes(ground)
    assert found.state == "warn"
    assert found.found.startswith("6 of 6 would not start: r0 (executable: vLLM cannot be run. ")
    for words in (
        f"{plain} is not executable (mode 0600",
        "r1 (python_path: transformers cannot be run. ",
        "/opt/old-venv/bin/python does not exist",
        "r2 (command: /no/such/engine cannot be found",
        "r3 (there is no backend 'no-such-backend')",
        "r4 (the demo model is not here yet)",
        "r5 (cannot be read",
    ):
        assert words in found.found
    assert "recipes check" in found.fix
    assert "\n" not in found.found


# --- settings, GPUs, runs ----------------------------------------------------------------------------------------


def test_settings_that_cannot_be_read_fail_with_their_own_advice(ground: Ground) -> None:
    assert doctor.settings(on(ground, VLLM_STUDIO_DEMO_MODEL="/m", VLLM_STUDIO_SIMULATE_GPUS="4")).state == "ok"
    assert "INFERENCE_PORT" in doctor.settings(on(ground, VLLM_STUDIO_INFRENCE_PORT="1")).found
    found = doctor.settings(on(ground, VLLM_STUDIO_PORT="no"))
    assert found.state == "fail"
    assert "VLLM_STUDIO_PORT" in found.found


CARD = Gpu(0, "GPU-1", "H100")


@pytest.mark.parametrize(
    ("report", "state", "word"),
    [
        (GpuReport(1.0, error="no driver", advice="Install it."), "warn", "no driver"),
        (GpuReport(1.0), "warn", "shows no GPU"),
        (GpuReport(1.0, (CARD,), driver="580.1"), "ok", "1 GPU, driver 580.1"),
        (GpuReport(1.0, (CARD,), simulated=True), "ok", "SIMULATED"),
        (GpuReport(1.0, (Gpu(3, "GPU-3", "H100", lost="fell off the bus"),)), "fail", "lost: 3"),
    ],
)
def test_gpus_are_judged(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, report: GpuReport, state: str, word: str
) -> None:
    monkeypatch.setattr(doctor, "read_once", lambda deadline, processes: report)
    found = doctor.gpus(ground)
    assert found.state == state
    assert word in found.found


@dataclass
class Run:
    run_id: str
    keeper_alive: bool


def test_a_run_without_its_keeper_is_told(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.leftovers(ground) == Check("ok", "no run")
    monkeypatch.setattr(doctor, "live_runs", lambda places: [Run("a-1", True), Run("b-2", False)])
    found = doctor.leftovers(ground)
    assert (found.state, found.found) == ("warn", "1 of 2 runs without a keeper: b-2")


def test_a_wrong_clock_is_told(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 86_400.0)
    assert (doctor.clock(ground).state, doctor.clock(ground).found) == ("warn", "the clock says 1970-01-02")
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "boot_id", lambda: "")
    assert "boot id" in doctor.clock(ground).found


# --- the whole ---------------------------------------------------------------------------------------------------


def test_a_check_that_cannot_look_becomes_its_own_warning(ground: Ground) -> None:
    def broken(ground: Ground) -> Check:
        raise PermissionError(13, "Permission denied", "/etc/secret")

    ((name, found),) = doctor.run_checks(ground, [("locked", broken)])
    assert (name, found.state) == ("locked", "warn")
    assert "/etc/secret: Permission denied" in found.found

    def faulty(ground: Ground) -> Check:
        raise ZeroDivisionError("oh")

    ((_, found),) = doctor.run_checks(ground, [("faulty", faulty)])
    assert (found.state, found.found) == ("warn", "cannot be checked: ZeroDivisionError: oh")


def test_every_finding_that_is_not_fine_has_a_fix_and_all_is_quick(ground: Ground) -> None:
    began = time.monotonic()
    results = doctor.run_checks(ground)
    assert time.monotonic() - began < 10  # under 2 s where nothing else runs
    names = [name for name, _ in results]
    assert len(set(names)) == len(names)
    engines = [name.removeprefix("engine ") for name in names if name.startswith("engine ")]
    settings = ground.settings()
    assert engines == [one for backend in registry.OURS.values() for one in backend.doctor(settings, ground.environ)]
    programs = [backend for backend in registry.OURS.values() if backend.program]
    assert programs and all({backend.name, backend.program} & {*engines} for backend in programs)
    assert len(names) == len(doctor.CHECKS) - 1 + len(engines)
    assert all(check.fix for _, check in results if check.state != "ok")
    assert not any("\n" in check.found for _, check in results)
    assert list(ground.places.data.parent.glob("*")) == []


@pytest.mark.parametrize(("failing", "code"), [(False, 0), (True, 1)])
def test_the_command_prints_one_document_and_exits_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: bool, code: int
) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path))
    if failing:
        put(tmp_path / "data")
    app = typer.Typer()
    app.callback()(lambda: None)
    cli.register(app)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == code
    assert document["ok"] is not failing
    assert {key for check in document["checks"] for key in check} == {"name", "state", "found", "fix"}
    plain = CliRunner().invoke(app, ["doctor"])
    assert plain.exit_code == code
    assert "home data" in plain.stdout
    assert ("is not a directory" in plain.stdout) is failing
