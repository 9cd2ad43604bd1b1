"""The systemd unit of `restore`."""

from __future__ import annotations

from vllm_studio_tui.services.launching.boot_unit import systemd_unit


def test_the_unit_restores_at_boot_and_stops_with_its_service() -> None:
    text = systemd_unit(
        {"VLLM_STUDIO_HOME": '/srv/my "home" 100%', "PATH": "/usr/bin", "HF_TOKEN": "hf_secret"}, "/v/bin/python"
    )
    assert 'ExecStart="/v/bin/python" -m vllm_studio_tui restore' in text
    assert 'ExecStop="/v/bin/python" -m vllm_studio_tui stop --all' in text
    assert 'Environment="VLLM_STUDIO_HOME=/srv/my \\"home\\" 100%%"' in text
    assert "KillMode=process" in text
    assert "hf_secret" not in text
    assert "WantedBy=default.target" in text
