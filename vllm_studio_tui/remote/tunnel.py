"""The way to a studio over ssh: a unix socket here that leads to its private socket there.

Everything that is ssh's stays ssh's: keys, the agent, checking of hosts, jump hosts, `~/.ssh/config`. One process of
ssh runs `vllm-studio serve --if-needed --hold` there, whose input is our pipe: it ends when this program does, however
that ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.sanitize import clean
from vllm_studio_tui.remote.address import Address
from vllm_studio_tui.remote.ssh import ALIVE, cannot_connect, destination, tell_group
from vllm_studio_tui.services.serving.here import SOCKET_LINE

#: Seconds until ssh is connected and the studio there serves: it may have to be started.
PATIENCE = 60.0
#: Seconds for a first byte of the studio there, once ssh is connected.
ANSWER = 8.0


class Tunnel:
    """A connection of ssh.

    Attributes:
        socket: The socket on this machine.
    """

    def __init__(self, address: Address) -> None:
        if shutil.which("ssh") is None:
            raise StudioError("there is no ssh on this machine", advice="Install OpenSSH's client.")
        self._address = address
        # Short: the path of a socket has a hundred bytes at most, and ssh adds to that of its own.
        self._folder = Path(tempfile.mkdtemp(prefix="vst-", dir="/tmp" if Path("/tmp").is_dir() else None))  # noqa: S108
        self._process: subprocess.Popen[bytes] | None = None
        self._words: deque[str] = deque(maxlen=20)
        self._lock = threading.Lock()
        self._closed = False
        self.socket = self._folder / "studio"

    def open(self) -> None:
        """Connect, and have a studio serve there.

        Raises:
            StudioError: ssh cannot connect, or the studio there does not start; in their words.
        """
        with self._lock:
            if self._closed:
                raise StudioError("the connection was closed")
            self._end()
            process = self._process = subprocess.Popen(
                [
                    *("ssh", "-T", "-M", "-S", str(self._control)),
                    *("-o", "BatchMode=yes", "-o", "ControlPersist=no", "-o", "ConnectTimeout=15"),
                    *("-o", "ClearAllForwardings=yes", "-o", "StreamLocalBindMask=0177", *ALIVE),
                    *self._host,
                    f"{_quoted(self._address.path or 'vllm-studio')} serve --if-needed --hold",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # ^C is for us; we end it, and all in its group
            )
            self._words.clear()
            listening = threading.Thread(target=self._listen, args=(process,), daemon=True)
            listening.start()
            try:
                remote = self._socket_there(process, listening)
                self._forward(remote)
            except BaseException:
                self._end()
                raise

    def open_again(self) -> None:
        """Connect again where the connection is gone.

        Raises:
            StudioError: As `open`.
        """
        process = self._process
        if process is None or process.poll() is not None or not self.socket.is_socket():
            self.open()

    def mend(self) -> None:
        """Connect again where nobody answers: ssh may live on while the studio there has ended. Blocking.

        Raises:
            StudioError: As `open`.
        """
        if not self._answers():
            self.open()

    def close(self) -> None:
        self._closed = True
        process = self._process
        if process is not None:
            tell_group(process.pid, signal.SIGTERM)  # who connects now does not wait any longer
        with self._lock:
            self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def last_words(self) -> str:
        """Return what ssh, or the studio there, said last."""
        return self._last_words()

    # --- ssh --------------------------------------------------------------------------------------------

    @property
    def _control(self) -> Path:
        return self._folder / "c"

    @property
    def _host(self) -> list[str]:
        return destination(self._address)

    def _answers(self) -> bool:
        """Return whether the studio there answers; ssh takes a connection whoever is at its other end."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.settimeout(ANSWER)
            try:
                one.connect(str(self.socket))
                one.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                return bool(one.recv(1))
            except OSError:
                return False

    def _socket_there(self, process: subprocess.Popen[bytes], listening: threading.Thread) -> str:
        """Return the path of the studio's socket there, when it is served."""
        assert process.stdout is not None
        deadline, said = time.monotonic() + PATIENCE, b""
        while time.monotonic() < deadline and not self._closed:
            ready, _, _ = select.select([process.stdout], [], [], 0.5)
            if not ready:
                continue
            piece = os.read(process.stdout.fileno(), 65536)
            said = (said + piece)[-100_000:]
            for line in said.split(b"\n")[:-1]:
                # Shells there may say something of their own before.
                text = line.decode("utf-8", "replace").strip()
                if text.startswith(SOCKET_LINE):
                    return text.removeprefix(SOCKET_LINE)
            if not piece:
                listening.join(0.0 if self._closed else 2.0)  # what it said last
                with contextlib.suppress(subprocess.TimeoutExpired):
                    raise self._failed(process.wait(5.0))
                break
        raise StudioError(
            f"{self._address.name} does not answer in time",
            cause=self._last_words() or f"ssh gave no socket within {PATIENCE:.0f} s.",
            advice=f"See whether `ssh {self._address.host} vllm-studio serve --if-needed` works.",
        )

    def _failed(self, code: int) -> StudioError:
        name, words = self._address.name, self._last_words()
        if code == 127 or "command not found" in words or "No such file or directory" in words:
            return StudioError(
                f"there is no vllm-studio on {name}, as ssh sees it",
                cause=words,
                advice="Install it there, for shells without a login too, or name it: "
                f"ssh://{self._address.host}/path/to/vllm-studio\n"
                f"Or look at it without one: vllm-studio hosts add NAME ssh://{self._address.host} --agentless",
            )
        if code == 255:
            return cannot_connect(name, self._address.host, words)
        return StudioError(f"the studio on {name} does not start", cause=words)

    def _forward(self, remote: str) -> None:
        self.socket.unlink(missing_ok=True)
        failed = f"ssh cannot lead to the studio on {self._address.name}"
        try:
            done = subprocess.run(
                ["ssh", "-S", str(self._control), "-O", "forward", "-o", "StreamLocalBindMask=0177",
                 "-L", f"{self.socket}:{remote}", *self._host],
                capture_output=True,
                timeout=15,
                stdin=subprocess.DEVNULL,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise StudioError(failed, cause="It did not do so within 15 s.") from None
        if done.returncode != 0 or not self.socket.is_socket():
            words = clean(done.stderr.decode("utf-8", "replace")).strip()
            raise StudioError(failed, cause=words[:500])

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as said:  # closed here alone: to close it elsewhere waits for who reads
            for line in said:
                text = clean(line.decode("utf-8", "replace")).strip()
                if text:
                    self._words.append(text[:300])

    def _last_words(self) -> str:
        return "\n".join(list(self._words)[-4:])

    def _end(self) -> None:
        """End ssh, and with it what it runs there."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        tell_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3.0)
        tell_group(process.pid, signal.SIGKILL)  # a ProxyCommand may outlive its ssh
        process.wait(3.0)
        if process.stdout is not None:
            with contextlib.suppress(OSError):
                process.stdout.close()
        for left in (self._control, self.socket):
            left.unlink(missing_ok=True)


def _quoted(path: str) -> str:
    """Return the path of a program as any shell there reads it."""
    return (
        path
        if path.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum()
        else ("'" + path.replace("'", "'\\''") + "'")
    )
