"""What a follower makes of what `sky` prints, by SkyPilot's own models and tables (tests/fixtures/skypilot/make.py)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_render import CODER, recipe, source
from vllm_studio_tui.domain.errors import LaunchRefused
from vllm_studio_tui.domain.job import Phase
from vllm_studio_tui.domain.recipe import Recipe
from vllm_studio_tui.followers.sky_words import address_in, json_in, service_in
from vllm_studio_tui.followers.skypilot import SkyPilot
from vllm_studio_tui.followers.system import Job, Look, SystemTrouble
from vllm_studio_tui.services.handover import skypilot as handover
from vllm_studio_tui.services.handover.order import Order

PRINTED = Path(__file__).parent.parent / "fixtures" / "skypilot"
_SCRIPT = r"""#!/bin/sh
cd {folder}
echo "$*" >> calls
case "$*" in
  launch*|"serve up"*) echo "key is ${{CODER:-none}}" >> environ; cat launched; exit $(cat launch-code);;
  down*|"serve down"*) [ -e stays ] || {{ cp none status; cp serve-none service; }};;
  logs*|"serve logs"*) cat log; exec sleep 60;;
  "serve status"*) cat service;;
  *--endpoint*) [ -e endpoint ] && cat endpoint || exit 1;;
  queue*) cat queue;;
  status*) [ -e silent ] && {{ echo "sky.exceptions.ApiServerConnectionError: no server" >&2; exit 1; }}; cat status;;
esac
"""


class Sky:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        script = folder / "sky"
        script.write_text(_SCRIPT.format(folder=folder))
        script.chmod(0o755)
        for name, text in (("launched", ""), ("launch-code", "0"), ("log", ""), ("queue", "{}")):
            (folder / name).write_text(text)
        self.show("none", service="serve-none")
        self.put("none", (PRINTED / "none.json").read_text())
        self.put("serve-none", (PRINTED / "serve-none.txt").read_text())
        self.made: list[SkyPilot] = []

    def put(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def show(self, status: str = "", queue: str = "", service: str = "") -> None:
        for name, case, end in (("status", status, "json"), ("queue", queue, "json"), ("service", service, "txt")):
            if case:
                self.put(name, (PRINTED / f"{case}.{end}").read_text())

    def calls(self, beginning: str) -> list[str]:
        path = self.folder / "calls"
        return [line for line in path.read_text().splitlines() if line.startswith(beginning)] if path.exists() else []

    def follow(self, *, served: bool = False, memory: dict[str, Any] | None = None) -> SkyPilot:
        plan = {"sky": str(self.folder / "sky"), "name": "coder-1", "served": served, "port": 8000, "task": "name: x\n"}
        job = Job(
            self.folder, "coder-1", {**plan, "secrets": ["CODER"], "options": ["--infra", "aws"]}, "", memory or {}
        )
        self.made.append(SkyPilot(job))
        return self.made[-1]


@pytest.fixture
def sky(tmp_path: Path) -> Iterator[Sky]:
    one = Sky(tmp_path / "sky")
    yield one
    for made in one.made:
        made.close()


def until_ended(one: SkyPilot) -> Look:
    deadline = time.monotonic() + 20
    while (look := one.look()).phase is not Phase.ENDED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return look


def test_a_launch_is_asked_for_once_with_secrets_by_name(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODER", "sk-live")
    one = sky.follow()
    assert one.submit() == "sky:coder-1"
    deadline = time.monotonic() + 20
    while not sky.calls("launch") and time.monotonic() < deadline:
        time.sleep(0.01)
    (call,) = sky.calls("launch")
    assert call == f"launch -y -d -c coder-1 --secret CODER --infra aws {sky.folder}/skypilot.yaml"
    assert (sky.folder / "skypilot.yaml").read_text() == "name: x\n"
    assert (sky.folder / "skypilot.yaml").stat().st_mode & 0o077 == 0
    again = sky.follow()
    assert again.submit() == "sky:coder-1"
    assert again.look().phase is Phase.WAITING, "it was asked for, and may still come"
    assert len(sky.calls("launch")) == 1, "a second launch would run the engine twice"


def test_a_launch_that_is_refused_is_told_in_skypilots_words(sky: Sky) -> None:
    sky.put("launched", "Considered resources\nsky.exceptions.ResourcesUnavailableError: No H100 anywhere.\n")
    sky.put("launch-code", "1")
    one = sky.follow()
    one.submit()
    assert one._launching is not None
    one._launching._process.wait(20)  # it ends before its first word was read
    look = until_ended(one)
    assert b"anywhere" in one.log()
    assert look.cause is not None
    assert look.cause.title == "SkyPilot did not start it: ResourcesUnavailableError: No H100 anywhere."
    assert one.stop(force=False), "there is nothing to wait for"


@pytest.mark.parametrize(
    ("status", "queue", "phase", "words"),
    [
        ("init", "", Phase.WAITING, "waiting in SkyPilot: Launching (2 pods pending)"),
        ("up", "queue-pending", Phase.WAITING, "waiting in SkyPilot: its job waits for its turn on the machines"),
        ("up", "queue-setup", Phase.WAITING, "waiting in SkyPilot: its setup runs"),
        ("up", "queue-running", Phase.RUNNING, ""),
        ("up", "queue-failed", Phase.ENDED, "the engine ended (FAILED)"),
        ("up", "queue-failed-setup", Phase.ENDED, "its setup failed (FAILED_SETUP)"),
        ("stopped", "", Phase.ENDED, "its machines were stopped"),
    ],
)
def test_each_state_of_a_cluster_and_its_job_is_said(
    sky: Sky, status: str, queue: str, phase: Phase, words: str
) -> None:
    sky.show(status, queue)
    look = sky.follow().look()
    assert look.phase is phase
    assert (look.cause.title if look.cause else look.stage) == words
    assert [(one.name, one.where) for one in look.parts] == [("node 0", "AWS us-east-1"), ("node 1", "AWS us-east-1")]


def test_a_job_that_runs_is_led_to_and_its_log_told_once(sky: Sky) -> None:
    sky.show("up", "queue-running")
    one = sky.follow()
    assert one.look().trouble == "SkyPilot tells no address for its port yet"
    sky.put("endpoint", "http://3.3.3.3:8000\n")
    sky.put("log", "one\ntwo\n")
    one.close()
    one = sky.follow()
    assert one.look().address == ("3.3.3.3", 8000)
    deadline = time.monotonic() + 20
    found = b""
    while b"two" not in found and time.monotonic() < deadline:
        found += one.log()
    assert found == b"one\ntwo\n"
    sky.put("log", "one\ntwo\nthree\n")
    after = sky.follow(memory=dict(one.job.memory))
    after.look()
    found = b""
    while b"three" not in found and time.monotonic() < deadline:
        found += after.log()
    assert found == b"three\n"


def test_machines_that_are_not_well_are_trouble_and_no_end(sky: Sky) -> None:
    sky.show("unhealthy", "queue-running")
    look = sky.follow().look()
    assert look.phase is Phase.RUNNING
    assert look.trouble == "its machines are not well: node terminated"


def test_a_silent_server_says_nothing_and_what_was_there_and_is_not_was_taken_down(sky: Sky) -> None:
    sky.show("up", "queue-running")
    one = sky.follow()
    one.look()
    sky.put("silent", "")
    with pytest.raises(SystemTrouble) as error:
        one.look()
    assert error.value.passing
    assert "no server" in error.value.cause.title
    (sky.folder / "silent").unlink()
    sky.show("none")
    look = one.look()
    assert look.phase is Phase.ENDED
    assert look.cause is not None
    assert look.cause.title == "SkyPilot has it no more"


def test_stopping_takes_it_down_and_is_done_once_it_is_gone(sky: Sky) -> None:
    sky.show("up", "queue-running")
    one = sky.follow()
    sky.put("stays", "")
    assert not one.stop(force=False)
    deadline = time.monotonic() + 20
    while not sky.calls("down") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sky.calls("down")[0] == "down -y coder-1"
    (sky.folder / "stays").unlink()
    while not one.stop(force=False):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("case", "phase", "words"),
    [
        ("serve-begins", Phase.WAITING, "waiting in SkyServe: SkyServe's controller begins"),
        ("serve-starts", Phase.WAITING, "waiting in SkyServe: replica 1: waiting for queue"),
        ("serve-ready", Phase.RUNNING, ""),
        ("serve-failed", Phase.ENDED, "SkyServe says FAILED: replica 1 FAILED_PROBING"),
    ],
)
def test_each_state_of_a_service_is_said(sky: Sky, case: str, phase: Phase, words: str) -> None:
    sky.show(service=case)
    look = sky.follow(served=True).look()
    assert look.phase is phase
    assert (look.cause.title if look.cause else look.stage) == words
    if phase is Phase.RUNNING:
        assert look.address == ("3.3.3.3", 30001)
        assert look.trouble == "1 of 2 copies are not ready"
        assert [(one.name, one.where, one.state) for one in look.parts] == [
            ("replica 1", "AWS (us-east-1)", "READY"),
            ("replica 2", "AWS (us-east-1)", "STARTING"),
        ]


def test_a_service_is_started_and_taken_down_by_skyserve(sky: Sky) -> None:
    one = sky.follow(served=True)
    one.submit()
    deadline = time.monotonic() + 20
    while not sky.calls("serve up") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sky.calls("serve up")[0].startswith("serve up -y -n coder-1 --secret CODER --infra aws")
    sky.show(service="serve-ready")
    while not one.stop(force=False):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert sky.calls("serve down") == ["serve down -y coder-1"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://3.3.3.3:8000\n", ("3.3.3.3", 8000)),
        ("3.3.3.3:30001", ("3.3.3.3", 30001)),
        ("a.example.com", ("a.example.com", 8000)),
        ("[::1]:80", ("::1", 80)),
        ("http://a.example.com/skypilot/x/8000", None),
        ("Port 8000 is not exposed", None),
        ("-", None),
        ("", None),
    ],
)
def test_an_endpoint_is_read_or_is_none(text: str, address: tuple[str, int] | None) -> None:
    assert address_in(text, 8000) == address


def test_hostile_answers_are_none() -> None:
    for text in ("", "{", "[", "Cluster(s) not found", "[1", "\x1b[31m", "NAME\nNAME\nSERVICE_NAME\n"):
        json_in(text)
        assert service_in(text, "x") is None
    assert json_in("words first\n[1]\n") == [1]


def test_a_plan_is_the_task_that_is_rendered_under_the_runs_name(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Recipe.model_validate({**CODER.model_dump(), "handover": {"to": "skypilot", "accelerator": "H100"}})
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")

    def plan(given: Recipe) -> Any:
        return handover.plan(Order(given, given, source(given), "coder-20261128-101500-ab12", 1, None, None))  # type: ignore[arg-type]

    made = plan(one)
    assert made.follow["name"] == "coder-20261128-101500-ab12"
    assert made.follow["task"].startswith("name: coder-20261128-101500-ab12\n")
    assert dict(made.env_refs) == {"HF_TOKEN": "file:/etc/hf token", "VLLM_API_KEY": "env:CODER_KEY"}
    assert made.follow["secrets"] == ["HF_TOKEN", "VLLM_API_KEY"]
    assert not any("no api_key" in note for note in made.notes)
    for other, cause in (
        (CODER, "kind of GPU"),
        (
            recipe(id="a", model_path="m", handover={"to": "skypilot", "accelerator": "L4", "options": ["--down"]}),
            "--down",
        ),
        (recipe(id="a", model_path="m", extra_args={"x-token": "sk-live-0123456789abcdef"}), "a secret is written"),
    ):
        with pytest.raises(LaunchRefused) as error:
            plan(other)
        assert cause in error.value.cause
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(LaunchRefused) as error:
        plan(one)
    assert error.value.title == "sky is not installed here"
