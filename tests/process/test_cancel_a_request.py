"""A request that `serve` has under way is ended from the command line, here and on a studio elsewhere."""

from __future__ import annotations

import http.client
import json
import sys
import time
from pathlib import Path

import pytest

from tests.elsewhere import served, short
from tests.ports import free_port
from tests.process.house import House, until
from tests.process.serving import recipe
from vllm_studio_tui.__main__ import main
from vllm_studio_tui.cli import connecting
from vllm_studio_tui.http import server
from vllm_studio_tui.services.serving.client import ServeClient
from vllm_studio_tui.studio import Studio


@pytest.mark.timeout(120)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_it_is_ended_by_how_its_id_begins_and_its_client_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], elsewhere: bool
) -> None:
    house, port = House(tmp_path / "there"), free_port()
    with Studio.open_sync(house.places) as studio:
        studio.recipes.create(recipe("sim", "--tokens-per-second", "2"))
    body = {"model": "sim", "messages": [{"role": "user", "content": "a"}], "max_tokens": 400, "stream": True}
    try:
        with short(house.root) as places, served(places, server.Options("127.0.0.1", port)) as address:
            monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "here" if elsewhere else places.state.parent))
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            asked.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            answer = asked.getresponse()
            assert answer.status == 200, answer.read()
            until(lambda: b'"content"' in answer.readline(), "it answers")
            (live,) = ServeClient(places).live()["requests"]

            def cancel(name: str) -> tuple[int, str, str]:
                monkeypatch.setattr(connecting, "chosen", None)
                there = ["--connect", f"unix://{address.path}"] if elsewhere else []
                monkeypatch.setattr(sys, "argv", ["vllm-studio", *there, "requests", "cancel", name])
                return (main(), *capsys.readouterr())

            code, out, err = cancel(live["id"][:-2])
            assert (code, out) == (0, f"cancelled {live['id']}, the request of {live['key']} for sim\n"), err
            began = time.monotonic()
            rest = answer.read()
            assert time.monotonic() - began < 50, "it would have gone on for minutes"
            assert b"cancelled" in rest
            until(lambda: not ServeClient(places).live()["requests"], "it has ended")
            code, _, err = cancel(live["id"])
            assert code == 1
            assert "It has ended, or never was." in err
    finally:
        house.end()
