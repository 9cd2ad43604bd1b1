"""The gateway's environment: its lock file, how it is installed, and what the doctor says of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.doctor.context import Ground
from vllm_studio_tui.services.doctor.gateway import gateway as doctor_gateway
from vllm_studio_tui.services.gateway import environment
from vllm_studio_tui.services.gateway.environment import CHOSEN, LOCK, OLD, VERSION, Environment, pin_age


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path / "home")


def test_every_line_of_the_lock_file_has_its_version_and_hashes() -> None:
    text = LOCK.read_text("utf-8")
    parts = re.split(r"^(?=[A-Za-z0-9])", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)
    packages = [one for one in parts if one.strip()]
    assert len(packages) > 80
    pinned = re.compile(r"[A-Za-z0-9._-]+==[^ ;]+ .*--hash=sha256:[0-9a-f]{64}", re.DOTALL)
    wrong = [one for one in packages if not pinned.match(one)]
    assert wrong == []
    assert re.search(rf"^litellm=={re.escape(VERSION)} ", text, re.MULTILINE)
    assert {"redis", "prisma", "prometheus-client"} <= {one.partition("==")[0] for one in packages}
    assert "--index-url" not in text


def test_the_doctor_tells_the_age_of_the_pin(places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = Ground(places, {})
    assert "not installed" in doctor_gateway(ground).found
    made = Environment.of(places)
    made.python.parent.mkdir(parents=True)
    made.python.touch()
    assert doctor_gateway(ground).state == "warn"
    made.mark_installed()
    assert f"LiteLLM {VERSION}, chosen" in doctor_gateway(ground).found
    assert pin_age(CHOSEN + timedelta(days=7)) == 7
    monkeypatch.setattr(environment, "CHOSEN", datetime.now(UTC).date() - timedelta(days=OLD + 1))
    assert doctor_gateway(ground).state == "warn"


def test_an_environment_of_another_lock_file_is_not_installed(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Environment.of(places)
    made.python.parent.mkdir(parents=True)
    made.python.touch()
    made.mark_installed()
    made.require()
    monkeypatch.setattr(environment, "lock_digest", lambda: "another")
    with pytest.raises(UsageError):
        made.require()


@pytest.mark.parametrize("with_uv", [True, False])
def test_installing_insists_on_hashes_and_built_packages(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_uv: bool
) -> None:
    told = tmp_path / "told"
    tool = tmp_path / "tool"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {told}\nfor last; do :; done\n'
                    'case "$*" in *venv*) mkdir -p "$last/bin" && cp "$0" "$last/bin/python";; esac\n')  # fmt: skip
    tool.chmod(0o700)
    monkeypatch.setattr("shutil.which", lambda name: str(tool) if with_uv else None)
    made = Environment.of(places)
    made.install(str(tool), lambda words: None)
    assert made.installed()
    first, second = told.read_text().splitlines()
    assert str(made.root) in first
    assert f"--require-hashes --only-binary :all: -r {LOCK}" in second
    tool.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(Exception, match="could not be installed"):
        made.install(str(tool), lambda words: None)
    assert not made.installed()
