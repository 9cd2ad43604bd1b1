"""The tool that reads the web: which addresses it asks, how redirects are followed, what a page becomes."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ports import free_port
from vllm_studio_tui.domain.tools import ToolResult
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.studio import Studio
from vllm_studio_tui.tools import fetch as fetch_file
from vllm_studio_tui.tools.addresses import is_public
from vllm_studio_tui.tools.fetch import fetch
from vllm_studio_tui.tools.functions import FunctionSource
from vllm_studio_tui.tools.html_text import text_of_html

PAGE = b"""<html><head><title>A page</title><style>p {color: red}</style><script>alert("<p>no</p>")</script></head>
<body><h1>Head &amp; tail</h1><p>First <a href="https://a.b/c?d=1&amp;e=2">link</a>.</p><ul><li>one<li>two</ul>
<!-- no -->
</body></html>"""


class Site(http.server.BaseHTTPRequestHandler):
    """What a web site may answer, a friendly one or not."""

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        body, kind, headers = PAGE, "text/html; charset=utf-8", {}
        if path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
            return
        if path == "/json":
            body, kind = json.dumps({"host": self.headers["Host"]}).encode(), "application/json"
        if path == "/binary":
            body, kind = b"\0\1\2", "application/octet-stream"
        if path == "/packed":
            headers = {"Content-Encoding": "gzip"}
        if path == "/latin":
            body, kind = "süß".encode("latin-1"), "text/plain; charset=latin-1"
        if path == "/odd":
            kind = "text/plain; charset=no-such-thing"
        if path == "/gone":
            self.send_response(404)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            self.wfile.write(b"not here")
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            if path == "/endless":
                while True:
                    self.wfile.write(b"x" * 65536)
            if path == "/slow":
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    port = free_port()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Site)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    server.server_close()


def ask(url: Any, *, private: bool = True, **more: Any) -> ToolResult:
    return asyncio.run(FunctionSource("builtin", [fetch(private=private)]).call("fetch", {"url": url, **more}))


def test_a_page_becomes_its_text(site: str) -> None:
    found = ask(f"{site}/page")
    assert not found.is_error
    assert found.text.startswith(f"{site}/page\nstatus 200, text/html\n\n")
    assert "Head & tail" in found.text
    assert "First link <https://a.b/c?d=1&e=2>." in found.text
    assert "- one\n- two" in found.text
    assert "alert" not in found.text
    assert "color" not in found.text
    assert "<style>" in ask(f"{site}/page", raw=True).text


def test_other_texts_are_given_as_they_are(site: str) -> None:
    assert ask(f"{site}/latin").text.endswith("süß")
    assert "status 200" in ask(f"{site}/odd").text
    host = site.removeprefix("http://")
    assert ask(f"{site}/json").text.endswith(json.dumps({"host": host}))
    assert ask(f"{site.replace('127.0.0.1', 'localhost')}/json").text.endswith(
        json.dumps({"host": host.replace("127.0.0.1", "localhost")})
    )


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/binary", "it is no text"),
        ("/packed", "it is packed"),
        ("/gone", "status 404, text/plain\nnot here"),
        ("/loop", "it was sent on more than 5 times"),
        ("/to/file:///etc/passwd", "is no http or https address"),
        ("/to/http://user:secret@127.0.0.1/", "a name or password"),
    ],
)
def test_what_is_not_read_is_told(site: str, path: str, says: str) -> None:
    found = ask(f"{site}{path}")
    assert found.is_error
    assert says in found.text


def test_an_endless_answer_is_cut_and_a_slow_one_given_up(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ask(f"{site}/endless", max_letters=65536)
    assert found.text.endswith("[cut: there is more]")
    monkeypatch.setattr(fetch_file, "SECONDS", 1.0)
    began = time.monotonic()
    assert "more than 1 seconds" in ask(f"{site}/slow").text
    assert time.monotonic() - began < 5
    assert ask(f"{site}/page", max_letters=10).text.endswith("A page\n\nHe\n[cut: there is more]")


def test_no_private_address_is_asked_unless_that_is_allowed(site: str) -> None:
    names = ("localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "[::1]", "0.0.0.0", "10.0.0.1")  # noqa: S104
    for url in (
        site,
        "http://169.254.169.254/latest/meta-data/",
        *(site.replace("127.0.0.1", name) for name in names),
    ):
        found = ask(url, private=False)
        assert found.is_error
        assert "an address of a private network" in found.text


def test_a_redirect_to_a_private_address_is_not_followed(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fetch_file._look_up

    async def as_if_public(host: str, port: int, *, private: bool) -> str:
        """Take `localhost` for a site of the web: the first request is let go there, and sends us on."""
        return "127.0.0.1" if host == "localhost" else await real(host, port, private=private)

    monkeypatch.setattr(fetch_file, "_look_up", as_if_public)
    outside = site.replace("127.0.0.1", "localhost")
    assert not ask(f"{outside}/page", private=False).is_error
    found = ask(f"{outside}/to/{site}/page", private=False)
    assert found.is_error
    assert "127.0.0.1, an address of a private network" in found.text


def test_a_name_that_changes_its_mind_gains_nothing(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked up is what is asked: there is one look-up for a request."""
    asked: list[str] = []
    real = asyncio.base_events.BaseEventLoop.getaddrinfo

    async def counted(self: Any, host: Any, port: Any, **more: Any) -> Any:
        asked.append(str(host))
        return await real(self, host, port, **more)

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", counted)
    assert not ask(f"{site.replace('127.0.0.1', 'localhost')}/page").is_error
    assert asked.count("localhost") == 1


@pytest.mark.parametrize(
    "url",
    ["", "x", "file:///etc/passwd", "ftp://a.b", "http://", "http://[::1", "http://a:99999999/", "http://a b/",
     "javascript:alert(1)", 7, None, ["http://a.b"], "http://no-such-host.invalid/", "http://\x00/",
     "http://ü" + "x" * 300],
)  # fmt: skip
def test_no_address_whatsoever_raises(url: Any) -> None:
    assert ask(url, private=False).is_error


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("192.168.0.1", False),
        ("172.16.0.1", False), ("169.254.169.254", False), ("100.64.0.1", False), ("::1", False),
        ("::", False), ("fe80::1%eth0", False), ("fc00::1", False), ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True), ("0.0.0.0", False),  # noqa: S104
        ("64:ff9b::7f00:1", False), ("64:ff9b::808:808", True), ("2002:7f00:1::", False), ("224.0.0.1", False),
        ("ff02::1", False), ("255.255.255.255", False), ("198.18.0.1", False), ("240.0.0.1", False), ("name", False),
    ],
)  # fmt: skip
def test_which_addresses_are_of_the_internet(address: str, public: bool) -> None:
    assert is_public(address) is public


@given(st.text(max_size=60))
def test_no_text_is_taken_for_a_public_address_by_raising(text: str) -> None:
    is_public(text)


@given(st.text(alphabet=st.sampled_from(list("<>/!-?&;#xap= \"'\n")), max_size=300) | st.text(max_size=300))
def test_no_page_whatsoever_raises(page: str) -> None:
    text_of_html(page)


@pytest.mark.parametrize(
    "piece",
    ["<", "<!", "<a ", "</", "&", "<!--", "<a href='", "<script>", "</script", "<a b=c ", "<a/", "&#1", "<li>", "- ",
     "\n", "<a href=" + "x" * 4000 + ">", "<a" + " href" * 800 + ">", "<a" + " " * 4000 + ">"],
)  # fmt: skip
def test_a_page_that_is_made_to_be_slow_is_not(piece: str) -> None:
    began = time.process_time()
    text_of_html(piece * (300_000 // len(piece)))
    assert time.process_time() - began < 5


def test_a_person_is_asked_before_the_web_is(tmp_path: Path) -> None:
    with Studio.open_sync(Places.under(tmp_path)) as studio:
        tool = next(one for one in studio.tools.tools() if one.name == "builtin__fetch")
        assert tool.asks
        assert studio.tools.allowed(tool, {"url": "https://a.b"}) is None
        assert (
            "an address of a private network" in studio.tools.call("builtin__fetch", {"url": "http://127.0.0.1"}).text
        )
