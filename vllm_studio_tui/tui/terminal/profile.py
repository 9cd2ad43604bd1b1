"""The profile of the terminal: what it can do, as the settings have the last word on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vllm_studio_tui.config.startup import Startup
from vllm_studio_tui.probes import terminal as probe
from vllm_studio_tui.probes.terminal import Answers, Terminal

#: Seconds after the question until which its answer counts. What is imported meanwhile takes longer.
LEAST = 0.1


@dataclass(frozen=True, slots=True)
class Profile:
    """What the screens are drawn for.

    Attributes:
        ascii: Draw with ASCII alone.
        mouse: Take the mouse; without it the terminal selects text itself.
        pictures: As the setting of this name says; empty: as the terminal says.
    """

    terminal: Terminal
    ascii: bool = False
    mouse: bool = True
    pictures: str = ""

    @property
    def colours(self) -> int:
        return self.terminal.colours

    @property
    def light(self) -> bool:
        return self.terminal.background == "light"


def make_profile(
    environ: Mapping[str, str],
    settings: Startup,
    answers: Answers | None = None,
    *,
    ascii_only: bool = False,
    mouse: bool = True,
    utf8: bool = True,
) -> Profile:
    """Return the profile: flags over settings over what the terminal says."""
    found = probe.look_at_terminal(environ, answers)
    found = probe.overridden(
        found, colours=settings.colours, background=settings.background, multiplexer=settings.multiplexer
    )
    if (links := probe.forced_links(environ)) is not None:
        found = replace(found, links=links)
    plain = settings.ascii if settings.ascii is not None else found.console
    pictures = settings.pictures.replace("auto", "")
    return Profile(found, ascii_only or plain or not utf8, mouse and settings.mouse, pictures)


class EarlyQuestion:
    """Asks the terminal before Textual is imported, and reads the answer after; where it cannot, there is none."""

    def __init__(self, environ: Mapping[str, str], *, wanted: bool) -> None:
        self._asking: probe.Asking | None = None
        if wanted and probe.may_ask(environ):
            try:
                self._asking = probe.Asking(0, 1)
            except (OSError, ValueError):
                self._asking = None

    def answers(self) -> Answers | None:
        """Return what came; None where nothing was asked."""
        asking, self._asking = self._asking, None
        return asking.answers(LEAST) if asking is not None else None
