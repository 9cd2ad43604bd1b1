"""Tell of alerts outside of the screens: a command of the person's own, a web address; not in quiet hours."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vllm_studio_tui.domain.alerts import Alert
from vllm_studio_tui.domain.errors import StudioError

if TYPE_CHECKING:
    from vllm_studio_tui.config.settings import Settings

#: Seconds that a command may take.
PATIENCE = 30.0
EVENTS = {True: "alert.firing", False: "alert.over"}
Run = Callable[..., subprocess.CompletedProcess[bytes]]


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


class Channels:
    """A command and a web address.

    Args:
        settings: As they are; read once.
    """

    def __init__(self, settings: Settings, *, run: Run = subprocess.run) -> None:
        self._command: Sequence[str] = settings.alert_command
        self._settings = settings
        self._run = run
        self._closing = threading.Event()
        #: What went wrong the last time, by channel; nobody waits for it, but it can be looked up.
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
            ended = self._run(
                list(self._command),
                input=json.dumps(alert.to_json()).encode(),
                env=environ,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=PATIENCE,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{self._command[0]} took longer than {PATIENCE:.0f} s"
        except (OSError, ValueError) as error:
            return f"{self._command[0]} cannot be run: {getattr(error, 'strerror', None) or error}"
        if ended.returncode:
            last = (ended.stderr or b"").decode(errors="replace").strip().splitlines()[-1:]
            return f"{self._command[0]} ended with {ended.returncode}" + (f": {last[0][:200]}" if last else "")
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
