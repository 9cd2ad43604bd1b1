"""Addresses of studios elsewhere, what is refused, and what is said where one cannot be asked."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.elsewhere import served, short
from vllm_studio_tui.__main__ import main
from vllm_studio_tui.cli import connecting
from vllm_studio_tui.cli.app import FILES, NOUNS
from vllm_studio_tui.config.setting_types import Host
from vllm_studio_tui.domain.errors import NotFound, StudioError, UsageError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.address import Address, read_address
from vllm_studio_tui.remote.errors import NoConnection
from vllm_studio_tui.remote.host_link import inside_line
from vllm_studio_tui.remote.studio import connect


def test_an_address_names_where_and_who() -> None:
    one = read_address("ssh://ada@gpu-box:2222/opt/bin/vllm-studio", {})
    assert (one.scheme, one.user, one.host, one.port, one.path) == (
        "ssh",
        "ada",
        "gpu-box",
        2222,
        "/opt/bin/vllm-studio",
    )
    two = read_address("https://[::1]:8443/", {"KEY": "s3cret"}, api_key="env:KEY")
    assert (two.url, two.api_key) == ("https://[::1]:8443", "s3cret")
    assert "s3cret" not in repr(two)


def test_a_host_over_ssh_is_called_as_it_is_written() -> None:
    for text, host in (
        ("ssh://GPU-Box", "GPU-Box"), ("SSH://Ada@GPU-Box:22/opt/X", "GPU-Box"), ("ssh://[FE80::1]:22", "FE80::1"),
        ("ssh://a%40b@Box", "Box"), ("ssh://gpu", "gpu"),
    ):  # fmt: skip
        found = read_address(text, {})
        assert (found.scheme, found.host, found.name) == ("ssh", host, host)
    assert inside_line(Host(connect="ssh://Ada@GPU-Box")) == "ssh -t Ada@GPU-Box vllm-studio"
    assert read_address("https://GPU-Box", {}).url == "https://gpu-box"


@given(st.text(max_size=20) | st.from_regex(r"([a-z@]{0,3}@)?(-?\[[0-9A-F:%a]{0,6}\]|[A-Za-z.]{1,4})(:[0-9]{0,3})?"))
def test_an_address_of_ssh_names_the_host_that_its_parts_name(text: str) -> None:
    try:
        found = read_address(f"ssh://{text}", {})
    except UsageError:
        return
    assert not found.host.startswith("-")
    assert found.host.lower() == (urlsplit(f"ssh://{text}".strip()).hostname or "").lower()


@pytest.mark.parametrize(
    "text",
    ["", "gpu-box", "ftp://a", "ssh://", "ssh://-oProxyCommand=x", "ssh://-l@host", "ssh://a:secret@host", "http://u@host",
     "https://h?x=1", "unix://host/x", "http://h:99999999", "http://[::1", "ssh://a b"],
)  # fmt: skip
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(UsageError):
        read_address(text, {})


@given(st.text(max_size=40), st.sampled_from(["", "ssh://", "http://", "https://", "unix://"]))
def test_no_text_does_worse_than_a_usage_error(text: str, scheme: str) -> None:
    try:
        found = read_address(scheme + text, {})
    except UsageError:
        return
    assert not found.host.startswith("-")
    assert not (found.user or "").startswith("-")


def test_plain_http_goes_to_this_machine_alone_unless_one_insists() -> None:
    assert read_address("http://127.0.0.1:8080", {}).url == "http://127.0.0.1:8080"
    assert read_address("http://localhost", {}).host == "localhost"
    with pytest.raises(UsageError, match="can be read"):
        read_address("http://10.0.0.9:8080", {})
    assert read_address("http://10.0.0.9:8080", {}, insecure_http=True).host == "10.0.0.9"


def test_a_key_itself_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as refused:
        read_address("https://h", {}, api_key="vs-very-secret")
    assert "vs-very-secret" not in str(refused.value)
    with pytest.raises(UsageError):
        read_address("https://h", {}, api_key="env:NOT_THERE")


def test_the_options_may_stand_anywhere_and_the_line_says_more_than_the_variable() -> None:
    rest, chosen = connecting.take(["status", "--connect", "ssh://a", "--json"], {"VLLM_STUDIO_CONNECT": "ssh://b"})
    assert (rest, chosen) == (["status", "--json"], connecting.Connection("ssh://a"))
    rest, chosen = connecting.take(["--connect=https://a", "--api-key=env:K", "--insecure-http", "usage"], {})
    assert (rest, chosen) == (["usage"], connecting.Connection("https://a", "env:K", True))
    assert connecting.take(["usage"], {"VLLM_STUDIO_CONNECT": "ssh://b"})[1] == connecting.Connection(
        "ssh://b", by="VLLM_STUDIO_CONNECT"
    )
    assert connecting.take(["chat", "--", "--connect", "x"], {}) == (["chat", "--", "--connect", "x"], None)
    for wrong in (["--connect"], ["--connect", "a", "--connect", "b"], ["--api-key", "env:K", "status"]):
        with pytest.raises(UsageError):
            connecting.take(wrong, {})


def test_commands_of_one_machine_are_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connecting, "chosen", None)
    assert set(connecting.LOCAL) <= {*NOUNS, *FILES}
    for noun in connecting.LOCAL:
        monkeypatch.setattr(sys, "argv", ["vllm-studio", noun, "--connect", "ssh://gpu-box"])
        assert main() == 2
        said = capsys.readouterr().err
        assert f"{noun} is not for a studio elsewhere" in said
        assert f"ssh HOST vllm-studio {noun}" in said


class Other(BaseHTTPRequestHandler):
    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b"<html>"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def other() -> Iterator[Address]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Address("http", "127.0.0.1", port=server.server_port)
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<html>", "is no studio"),
        (200, b'{"version": "0.0.0-other"}', "another version"),
        (404, b"gone", "no studio that can be asked"),
        (401, b'{"error": "a key is needed"}', "wants a key"),
        (403, b'{"error": "the key x may not do this"}', "may not do this"),
        (500, b"[" * 100_000, "no studio"),
    ],
)
def test_a_server_that_is_none_of_ours_is_told_from_a_studio(
    other: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, words: str
) -> None:
    monkeypatch.setattr(Other, "status", status)
    monkeypatch.setattr(Other, "body", body)
    with pytest.raises(StudioError) as said, connect(other, Places.under(tmp_path)):
        pass
    assert words in said.value.title


def test_a_studio_that_is_not_there_and_one_that_goes_away_are_said_in_words(tmp_path: Path) -> None:
    with (
        pytest.raises(NoConnection),
        connect(Address("unix", "x", path=str(tmp_path / "none")), Places.under(tmp_path)),
    ):
        pass
    home = tmp_path / "home"
    home.mkdir()
    with short(home) as places:
        going = served(places)
        address = going.__enter__()
        with connect(address, Places.under(tmp_path)) as studio:
            assert studio.runs.all() == []
            with pytest.raises(NotFound):
                studio.recipes.get("nobody")
            going.__exit__(None, None, None)
            with pytest.raises(NoConnection) as said:
                studio.runs.all()
            assert "elsewhere" in said.value.title
    assert json.dumps(said.value.to_json())
