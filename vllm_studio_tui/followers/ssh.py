"""Running a program of another host over ssh, and what ssh's words mean. Standard library only.

Everything that is ssh's stays ssh's: keys, the agent, checking of hosts, jump hosts, `~/.ssh/config`. No question is
ever asked: nobody is there to answer it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_studio_tui.domain.job import Cause
from vllm_studio_tui.kit.sanitize import clean_line

#: What a connection that is dead is noticed by, where nothing is said over it.
_ALIVE = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
#: ssh's own failures end it with this code.
FAILED = 255
#: Words of ssh, the reason and words for them, and whether that may go by without anybody's doing.
_WORDS: tuple[tuple[str, str, str, str, bool], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed",
        "ssh_host_key",
        "ssh does not know the key of {0}, or it is another than before",
        "See that it is the right host, then: ssh {0} true",
        False,
    ),
    (
        r"Permission denied|Too many authentication failures|No supported authentication|sign_and_send_pubkey",
        "ssh_refused",
        "ssh does not let us in on {0}",
        "See that this works without a question: ssh {0} true",
        False,
    ),
    (
        r"Could not resolve hostname|Name or service not known|nodename nor servname",
        "ssh_host_unknown",
        "there is no host called {0}",
        "Correct `nodes`, or give it a name in ~/.ssh/config.",
        False,
    ),
    (
        r"Bad owner or permissions|Bad configuration option|terminating, \d+ bad configuration",
        "ssh_config",
        "ssh does not accept its own configuration",
        "Correct ~/.ssh/config on this machine.",
        False,
    ),
    (
        r"Connection refused",
        "ssh_refused",
        "{0} takes no connections of ssh",
        "Is sshd running there, and is the port right?",
        True,
    ),
    (
        r"No route to host|Network is unreachable|Host is down|timed out|Timeout, server|Connection reset"
        r"|Broken pipe|closed by remote host|Connection closed|kex_exchange_identification",
        "host_unreachable",
        "{0} cannot be reached",
        "Is the host up, and the network between?",
        True,
    ),
)


@dataclass(frozen=True, slots=True)
class Host:
    """A host, and how its studio is called.

    Attributes:
        name: What the person calls it.
        ssh: The arguments of ssh that name it; empty: this machine.
        program: What is run there, as its shell reads it.
    """

    name: str
    ssh: tuple[str, ...]
    program: str

    @classmethod
    def from_plan(cls, data: Mapping[str, Any]) -> Host:
        """Read what the launch resolved."""
        return cls(str(data["name"]), tuple(str(one) for one in data.get("ssh") or ()), str(data.get("program") or ""))

    def command(self, *arguments: str, connect: float, forward: str = "") -> list[str]:
        """Return the command line that runs the studio there.

        Args:
            arguments: Words of letters, digits and `-._/`, which any shell leaves as they are.
            connect: Seconds that the connection may take.
            forward: What ssh's `-L` is given; empty: nothing.
        """
        if not self.ssh:
            return [sys.executable, "-m", "vllm_studio_tui", *arguments]
        # Connections of its own: one that is shared ends with whoever opened it. A forward would be cleared with those
        # of the person's configuration, which have nothing to do with this.
        forwards = (
            ("-L", forward, "-o", "StreamLocalBindUnlink=yes", "-o", "StreamLocalBindMask=0177")
            if forward
            else ("-o", "ClearAllForwardings=yes")
        )
        return [
            *("ssh", "-T", "-S", "none", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, round(connect))}"),
            *("-o", "ControlPersist=no", *_ALIVE, *forwards),
            *self.ssh,
            f"{self.program} {' '.join(arguments)}",
        ]


def cause_of(host: Host, code: int | None, words: list[str]) -> tuple[Cause, bool]:
    """Return why a program of a host did not run, and whether that may go by.

    Args:
        code: The exit code of ssh, or of the program; None: it was given up.
        words: What was said, the last line last.
    """
    said = [clean_line(one, limit=300) for one in words if one.strip()][-4:]
    text = "\n".join(said)
    evidence = tuple(said)
    if code == 127 or (code == 126 and host.ssh):
        advice = (
            "Install it there, for shells without a login too, or name it in the settings: hosts, "
            f"ssh://{host.name}/path/to/vllm-studio"
        )
        return Cause("studio_missing", f"there is no vllm-studio on {host.name}", advice, evidence, False), False
    if code == FAILED or code is None:
        for pattern, reason, title, advice, passing in _WORDS:
            if re.search(pattern, text, re.IGNORECASE):
                named = title.replace("{0}", host.name)
                return Cause(reason, named, advice.replace("{0}", host.name), evidence), passing
        last = f": {said[-1]}" if said else ""
        title = f"{host.name} cannot be reached{last}"
        return Cause("host_unreachable", title, f"See what this says: ssh {host.name} true", evidence), True
    last = said[-1] if said else f"exit code {code}"
    return Cause("rank_command_failed", f"vllm-studio on {host.name} failed: {last}", "", evidence), True
