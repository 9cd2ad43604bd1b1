"""A systemd user unit that brings the runs back at boot."""

from __future__ import annotations

import sys
from collections.abc import Mapping

#: Variables that say where the studio keeps its files and where engines find theirs; secrets are not written down.
_KEPT = ("VLLM_STUDIO_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "HF_HOME", "PATH")

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


def systemd_unit(environ: Mapping[str, str], python: str = sys.executable) -> str:
    """Return the unit for this installation and these directories, see systemd.service(5)."""
    lines = "".join(f"Environment={_quoted(f'{name}={environ[name]}')}\n" for name in _KEPT if environ.get(name))
    return _UNIT.format(environment=lines, python=_quoted(python))


def _quoted(text: str) -> str:
    """Quote a word of a unit: specifiers and variables are taken as they stand, see systemd.syntax(7)."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$").replace("\n", " ")
    return f'"{plain}"'
