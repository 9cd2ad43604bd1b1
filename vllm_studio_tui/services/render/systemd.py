"""User units of systemd: one for `serve`, and one that launches again what a reboot ended."""

from __future__ import annotations

from vllm_studio_tui.services.launching.boot_unit import environment_lines, quoted, systemd_unit
from vllm_studio_tui.services.render.source import Files, RenderSource, header

#: Holds the secrets that recipes and settings name as `env:NAME`: a `NAME=value` in a line.
SECRETS = "%h/.config/vllm-studio/secrets.env"

_SERVE = """[Unit]
Description=vllm-studio: one address for every model of this machine
After=network-online.target

[Service]
Type=exec
# Engines and their keepers outlive it.
KillMode=process
Restart=on-failure
RestartSec=2
TimeoutStopSec=60
UMask=0077
EnvironmentFile=-{secrets}
{environment}ExecStart={python} -m vllm_studio_tui serve

[Install]
WantedBy=default.target
"""


def render(source: RenderSource) -> Files:
    """Return `vllm-studio-serve.service` and `vllm-studio-restore.service`."""
    named = sorted(
        {reference.removeprefix("env:") for reference in _references(source) if reference.startswith("env:")}
    )
    told = [f"It needs in {SECRETS.replace('%h', '~')} (mode 0600): {', '.join(named)}"] if named else []
    install = "Install: put it into ~/.config/systemd/user, then systemctl --user enable --now vllm-studio-{}"
    linger = "It runs without a login too after: loginctl enable-linger"
    serve = _SERVE.format(secrets=SECRETS, environment=environment_lines(source.environ), python=quoted(source.python))
    return {
        "vllm-studio-serve.service": header(source, "systemd", install.format("serve"), linger, *told, of_recipes=False)
        + serve,
        "vllm-studio-restore.service": header(
            source, "systemd", install.format("restore"), linger, *told, of_recipes=False
        )
        + systemd_unit(source.environ, source.python, secrets=SECRETS),
    }


def _references(source: RenderSource) -> list[str]:
    found = [source.settings.api_key] if source.settings.api_key else []
    for one in source.recipes:
        found += one.command.env_refs.values() if one.command is not None else ()
        found += [one.recipe.api_key] if one.recipe.api_key else []
    return found
