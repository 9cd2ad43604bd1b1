"""`attach`: hand files to the chat that is open in another terminal."""

from __future__ import annotations

import typer

from vllm_studio_tui.cli.output import note
from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.paths import Places


def register(app: typer.Typer) -> None:
    @app.command("attach")
    def attach(
        files: list[str] = typer.Argument(help="Files, or patterns such as 'src/*.py'."),
    ) -> None:
        """Put files into the prompt of the chat that is open in another terminal, of the same home."""
        from vllm_studio_tui.services.chat.attachments import inbox, reading, words

        found = reading.attach(files)
        try:
            is_open = inbox.hand_over(Places.of(), [one.file.path or "" for one in found])
        except OSError as error:
            cause = error.strerror or str(error)
            raise StudioError("the files cannot be handed over", cause=cause, advice="vllm-studio doctor") from None
        for one in found:
            note(f"{words.name_of(one.file)}: {', '.join(words.facts_of(one.file))}")
        it = "it" if len(found) == 1 else "them"
        note(f"for the chat that is open: it has {it} in its prompt" if is_open
             else f"no chat is open: the next one that is opened gets {it}")  # fmt: skip
