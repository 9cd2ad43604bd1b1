"""A studio elsewhere over TCP: by a key, through TLS, and not as plain text where others can read it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.elsewhere import served, short
from tests.ports import free_port
from tests.unit.test_serve_controller import recipe
from vllm_studio_tui.domain.errors import StudioError, UsageError
from vllm_studio_tui.http import server
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.remote.address import Address, read_address
from vllm_studio_tui.remote.errors import NoConnection
from vllm_studio_tui.remote.studio import connect
from vllm_studio_tui.services.serving.here import private_socket
from vllm_studio_tui.studio import Studio


class There:
    """A home that is served over TCP, with a key of scope admin and one without."""

    def __init__(self, root: Path, settings: str = "") -> None:
        (root / "there").mkdir()
        self.here = Places.under(root / "here")
        self.home = root / "there"
        places = Places.under(self.home)
        if settings:
            places.config.mkdir(parents=True)
            places.settings_file.write_text(settings)
        with Studio.open_sync(places) as studio:
            studio.recipes.create(studio.recipes.read(recipe("one"))[0])
            _, self.admin = studio.keys.add("me", scopes=("admin",))
            _, self.agent = studio.keys.add("agent", scopes=("inference", "read"))
        self.port = free_port()

    @contextmanager
    def served(self, host: str = "127.0.0.1") -> Iterator[None]:
        with short(self.home) as places, served(places, server.Options(host, self.port)):
            yield

    def address(self, scheme: str = "http", host: str = "127.0.0.1", key: str | None = None) -> Address:
        environ = {} if key is None else {"KEY": key}
        url = f"{scheme}://{host}:{self.port}"
        return read_address(url, environ, api_key=None if key is None else "env:KEY", insecure_http=False)

    def recipes(self, address: Address) -> list[str]:
        with connect(address, self.here) as studio:
            return [one.id for one in studio.recipes.all()]

    def refused(self, address: Address) -> StudioError:
        with pytest.raises(StudioError) as said:
            self.recipes(address)
        for secret in (self.admin, self.agent):
            assert secret not in f"{said.value.title}{said.value.cause}{said.value.advice}"
        return said.value


@pytest.fixture
def there(tmp_path: Path) -> There:
    return There(tmp_path)


def test_over_tcp_the_right_key_is_let_in_and_no_other(there: There) -> None:
    with there.served():
        assert there.recipes(there.address(key=there.admin)) == ["one"]
        missing = there.refused(there.address())
        assert "wants a key" in missing.title
        assert "--api-key env:NAME" in missing.advice
        assert "vllm-studio keys add NAME --scope admin" in missing.advice
        assert "wants a key" in there.refused(there.address(key="vs-" + "x" * 40)).title
        assert "wants a key" in there.refused(there.address(key=there.admin[:-1])).title
        lacking = there.refused(there.address(key=there.agent))
        assert "agent" in lacking.title
        assert "scope admin" in lacking.advice


def test_a_key_that_is_deleted_meanwhile_lets_nobody_in_any_more(there: There) -> None:
    with there.served(), connect(there.address(key=there.admin), there.here) as studio:
        assert studio.host == "127.0.0.1"
        assert studio.first_look().runs == ()
        session = studio.chat.new_session("hello")
        assert studio.chats.get(session).id == session
        studio.keys.delete("me")
        deadline = time.monotonic() + 20
        with pytest.raises(StudioError, match="wants a key"):
            while time.monotonic() < deadline:  # the table of keys is followed
                studio.recipes.all()


def network_address() -> str:
    """An address of this machine that is not loopback; without one the test is skipped."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no network")
        found = str(probe.getsockname()[0])
    if found.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return found


def test_plain_http_to_another_machine_is_refused_unless_one_insists(there: There) -> None:
    host = network_address()
    with there.served("0.0.0.0"):  # noqa: S104
        with pytest.raises(UsageError) as said:
            there.address(host=host, key=there.admin)
        assert "can be read" in said.value.title
        assert "--insecure-http" in said.value.advice
        url = f"http://{host}:{there.port}"
        insisted = read_address(url, {"KEY": there.admin}, api_key="env:KEY", insecure_http=True)
        assert there.recipes(insisted) == ["one"]
        assert "wants a key" in there.refused(read_address(url, {}, insecure_http=True)).title


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signed itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not here")
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=studio", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return made, key


def test_over_tls_a_certificate_is_trusted_that_its_ca_vouches_for_and_no_other(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    there = There(tmp_path, f"tls_cert: {certificate[0]}\ntls_key: {certificate[1]}\n")
    with there.served():
        unknown = there.refused(there.address("https", key=there.admin))
        assert "certificate of 127.0.0.1 is not trusted" in unknown.title
        assert "self" in unknown.cause
        assert "SSL_CERT_FILE" in unknown.advice
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert there.recipes(there.address("https", key=there.admin)) == ["one"]
        with connect(there.address("https", key=there.admin), there.here) as studio:
            assert studio.first_look().runs == ()
        assert "wants a key" in there.refused(there.address("https")).title
        with monkeypatch.context() as broken:
            broken.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
            unread = there.refused(there.address("https", key=there.admin))
            assert f"SSL_CERT_FILE={tmp_path / 'gone.pem'}" in unread.cause
            with short(there.home) as places:  # where no certificate is looked at, none is needed
                socket_path = str(private_socket(places))
                assert there.recipes(Address("unix", "x", path=socket_path)) == ["one"]
        # It is for 127.0.0.1, and vouches for no other name.
        other = there.refused(there.address("https", host="localhost", key=there.admin))
        assert "certificate of localhost is not trusted" in other.title
        with pytest.raises(NoConnection):
            there.recipes(there.address("http", key=there.admin))
