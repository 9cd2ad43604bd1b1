"""A systemd user unit that brings the runs back at boot."""

from __future__ import annotations

import sys
from collections.abc import Mapping

#: Variables that say where the studio keeps its files and where engines find theirs; secrets are not written down.
KEPT = ("VLLM_STUDIO_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "HF_HOME", "PATH")

_UNIT = """[Unit]
Description=vllm-studio: launch again what the reboot ended
After=network-online.target

[Service]
Type=oneshot
# Keepers and engines live on in this unit when the command has ended, and are stopped with it.
RemainAfterExit=yes
KillMode=process
TimeoutStopSec=180
{environment}ExecStart={python} -m vllm_studio_tui restore
ExecStop={python} -m vllm_studio_tui stop --all

[Install]
WantedBy=default.target
"""


def systemd_unit(environ: Mapping[str, str], python: str = sys.executable, *, secrets: str = "") -> str:
    """Return the unit for this installation and these directories, see systemd.service(5).

    Args:
        secrets: A file of variables that may be there, as systemd writes its path.
    """
    lines = f"EnvironmentFile=-{secrets}\n" if secrets else ""
    return _UNIT.format(environment=lines + environment_lines(environ), python=quoted(python))


def environment_lines(environ: Mapping[str, str]) -> str:
    """Return the lines of a unit that hand on where files are."""
    return "".join(f"Environment={quoted_setting(f'{name}={environ[name]}')}\n" for name in KEPT if environ.get(name))


def quoted(text: str) -> str:
    """Quote a word of a command: specifiers and variables are taken as they stand, see systemd.syntax(7)."""
    return quoted_setting(text).replace("$", "$$")


def quoted_setting(text: str) -> str:
    """Quote a word where variables are not replaced, as in `Environment=`."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", " ")
    return f'"{plain}"'
