"""`vllm-studio attach`: files for the chat that is open."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.functional.stage import staged
from tests.functional.test_chat import place
from vllm_studio_tui.cli.app import build
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.kit.paths import Places
from vllm_studio_tui.services.chat.attachments import inbox


def attach(*files: str) -> Result:
    return CliRunner().invoke(build(), ["attach", *files])


def test_without_an_open_chat_the_next_one_gets_them_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_STUDIO_HOME", str(tmp_path / "home"))
    (tmp_path / "a b.md").write_text("hello")
    found = attach(str(tmp_path / "*.md"))
    assert (found.exit_code, "no chat is open" in found.stderr) == (0, True)
    places = Places.of()
    inbox.set_open(places, on=True)
    assert "for the chat that is open" in attach(str(tmp_path / "a b.md")).stderr
    (inbox.folder(places) / "0.json").write_text("{broken")
    assert inbox.take(places) == [str(tmp_path / "a b.md")] * 2
    assert inbox.take(places) == []
    assert isinstance(attach(str(tmp_path / "none.md")).exception, UsageError)


async def test_the_open_chat_takes_them_into_its_prompt(tmp_path: Path) -> None:
    (tmp_path / "a b.md").write_text("hello")
    async with staged(tmp_path / "home", place="chat") as stage:
        places = stage.studio.places
        await stage.until(lambda: any(inbox.folder(places).glob("open-*")), "it says that it is open")
        assert inbox.hand_over(places, [str(tmp_path / "a b.md")])
        await stage.until(lambda: f'@"{tmp_path}/a b.md" ' in place(stage).prompt.text, "it is in the prompt")
