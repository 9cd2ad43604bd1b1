"""How alerts are told: a command that misbehaves, a receiver that does; nothing goes through a shell."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ports import free_port
from tests.process.house import until
from vllm_studio_tui.config.settings import Settings
from vllm_studio_tui.domain.alerts import Alert
from vllm_studio_tui.services.alerts import telling
from vllm_studio_tui.services.alerts.telling import Channels

ALERT = Alert("hot", "GPU 0", 1_800_000_000.0, words="GPU over 85 °C", tell=("command", "webhook"), id="a")


def test_a_command_that_floods_or_hangs_is_ended_with_what_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(telling, "PATIENCE", 3.0)
    child = tmp_path / "child"
    flood = "import sys\nwhile True: sys.stdout.write('x' * 65536); sys.stderr.write('y' * 65536)"
    hang = (
        "import subprocess, sys; one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f" open({str(child)!r}, 'w').write(str(one.pid)); one.wait()"
    )
    for script in (flood, hang):
        channels = Channels(Settings.model_validate({"alert_command": [sys.executable, "-c", script]}))
        channels.tell(ALERT)
        assert "took longer" in channels.problems["command"]
    pid = int(child.read_text())
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "its child is ended", 10)


def test_no_shell_sees_a_hostile_name(tmp_path: Path) -> None:
    out, name = tmp_path / "out", "$(touch pwned); `id` | \n' \" #{x}"
    script = f"import os; open({str(out)!r}, 'w').write(os.environ['VLLM_STUDIO_ALERT_SUBJECT'])"
    channels = Channels(Settings.model_validate({"alert_command": [sys.executable, "-c", script]}))
    channels.tell(replace(ALERT, subject=name))
    assert out.read_text() == name and channels.problems == {}


@pytest.mark.parametrize(
    ("status", "says"),
    [(204, None), (500, "it answered 500"), (302, "it answered 302"), (404, "it answered 404"), (0, "no answer")],
)
def test_a_receiver_takes_it_refuses_it_sends_elsewhere_or_is_not_there(
    monkeypatch: pytest.MonkeyPatch, status: int, says: str | None
) -> None:
    got: list[tuple[str, dict[str, Any]]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, json.loads(body)))
            self.send_response(status)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    port = free_port()
    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver) if status else None
    if server is not None:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    channels = Channels(Settings.model_validate({"alert_webhook": f"http://127.0.0.1:{port}/hook"}))
    channels.close()  # no pauses between tries
    channels.tell(ALERT)
    if server is not None:
        server.shutdown()
        server.server_close()
        assert {path for path, _ in got} == {"/hook"}, "nobody else is told"
        assert got[0][1]["type"] == "alert.firing" and got[0][1]["data"]["alert"]["rule"] == "hot"
    problem = channels.problems.get("webhook")
    assert problem is None if says is None else says in (problem or "")
