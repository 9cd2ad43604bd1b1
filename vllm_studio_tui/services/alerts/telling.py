"""Tell of alerts outside of the screens: a command of the person's own, a web address; not in quiet hours."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from vllm_studio_tui.domain.alerts import Alert
from vllm_studio_tui.domain.errors import StudioError

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings

#: Seconds that a command may take.
PATIENCE = 30.0
EVENTS = {True: "alert.firing", False: "alert.over"}
#: Bytes of the end of what a command says of its failure.
MOST_SAID = 4096


def variables(alert: Alert) -> dict[str, str]:
    """Return what a command is told in its environment."""
    return {
        "VLLM_STUDIO_ALERT": alert.rule,
        "VLLM_STUDIO_ALERT_STATE": "firing" if alert.firing else "over",
        "VLLM_STUDIO_ALERT_SUBJECT": alert.subject,
        "VLLM_STUDIO_ALERT_RUN": alert.run_id or "",
        "VLLM_STUDIO_ALERT_SEVERITY": alert.severity,
        "VLLM_STUDIO_ALERT_WORDS": sentence(alert),
    }


def sentence(alert: Alert) -> str:
    """Return what is said: `qwen3-32b: KV cache over 95% for 30 s`, and when it is over."""
    return f"{alert.subject}: {alert.words}" + ("" if alert.firing else " (over)")


def document(alert: Alert, host: str) -> dict[str, Any]:
    """Return what is sent. `text` and `content` are what chat services show of a message."""
    words = f"{host}: {sentence(alert)}"
    return {"host": host, "alert": alert.to_json(), "text": words, "content": words}


def channel_settings(settings: Settings) -> tuple[object, ...]:
    """Return what `Channels` reads of the settings: others make other channels."""
    return tuple(settings.alert_command), settings.alert_webhook, settings.webhook_secret


class Channels:
    """A command and a web address.

    Args:
        settings: As they are; read once.
    """

    def __init__(self, settings: Settings) -> None:
        self._command: Sequence[str] = settings.alert_command
        self._settings = settings
        self._closing = threading.Event()
        #: What went wrong the last time, by channel.
        self.problems: dict[str, str] = {}

    def close(self) -> None:
        """Give up pauses between tries."""
        self._closing.set()

    def tell(self, alert: Alert) -> None:
        """Tell by the channels that the alert's rule names, where they are set. Blocking; raises nothing."""
        if "command" in alert.tell and self._command:
            self._note("command", self._by_command(alert))
        if "webhook" in alert.tell and self._settings.alert_webhook is not None:
            self._note("webhook", self._by_webhook(alert))

    def _note(self, channel: str, wrong: str) -> None:
        if wrong:
            self.problems[channel] = wrong
        else:
            self.problems.pop(channel, None)

    def _by_command(self, alert: Alert) -> str:
        """Return what went wrong; empty: nothing did."""
        environ: Mapping[str, str] = {**os.environ, **variables(alert)}
        try:
            code, said = run_bounded(self._command, json.dumps(alert.to_json()).encode(), environ)
        except TimeoutError:
            return f"{self._command[0]} took longer than {PATIENCE:.0f} s"
        except (OSError, ValueError) as error:
            return f"{self._command[0]} cannot be run: {getattr(error, 'strerror', None) or error}"
        if code:
            last = said.decode(errors="replace").strip().splitlines()[-1:]
            return f"{self._command[0]} ended with {code}" + (f": {last[0][:200]}" if last else "")
        return ""

    def _by_webhook(self, alert: Alert) -> str:
        from vllm_studio_tui.services.serving.webhook import NotDelivered, Webhook, webhook_address

        try:
            address = webhook_address(self._settings, "alert_webhook")
            if address is None:
                return ""
            webhook = Webhook(*address, self._closing, pauses=(1.0, 4.0))
            try:
                webhook.send(EVENTS[alert.firing], document(alert, os.uname().nodename))
            finally:
                webhook.close()
        except (NotDelivered, StudioError) as error:
            return str(error)
        return ""


def run_bounded(command: Sequence[str], given: bytes, environ: Mapping[str, str]) -> tuple[int, bytes]:
    """Run a program with some input; return how it ended and the end of what it wrote to its standard error. Blocking.

    What it writes is read as long as it runs, and the last of it is kept. What it starts is ended with it when it takes
    too long; what it leaves behind otherwise goes on, and is not waited for.

    Raises:
        TimeoutError: It took longer than `PATIENCE`, and was ended.
        OSError, ValueError: It cannot be run.
    """
    with tempfile.TemporaryFile() as stdin:  # a file: who does not read its input hangs nobody
        stdin.write(given)
        stdin.seek(0)
        process = subprocess.Popen(
            list(command),
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environ,
            start_new_session=True,
        )
    kept = bytearray()
    reader = threading.Thread(target=_keep_end, args=(process.stderr, kept), name="alert command", daemon=True)
    reader.start()
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own: it and what it started
        process.wait()
        raise TimeoutError from None
    reader.join(1.0)
    return code, bytes(kept)


def _keep_end(stream: IO[bytes], kept: bytearray) -> None:
    with stream:
        while piece := os.read(stream.fileno(), 65536):
            kept += piece
            del kept[:-MOST_SAID]
