"""`render`: files for other tools, made from recipes and settings."""

from __future__ import annotations

from pathlib import Path

import typer

from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, note, say
from vllm_studio_tui.services.render.registry import KINDS
from vllm_studio_tui.services.render.writing import write_files

#: Between two files that are printed one after the other.
BETWEEN = "# ---- {}"


def register(app: typer.Typer) -> None:
    kinds = ", ".join(sorted(KINDS))

    @app.command("render")
    def render(
        kind: str = typer.Argument(..., metavar="KIND", help=f"{kinds}."),
        recipe_id: str | None = typer.Argument(
            None, metavar="[ID]", help="One recipe; without it, all of them. Not of grafana, prometheus and systemd."
        ),
        output: Path | None = typer.Option(None, "--output", "-o", help="A directory to write to, instead of stdout."),
        force: bool = typer.Option(False, "--force", help="Overwrite files that have another content."),
        as_json: bool = typer.Option(False, "--json", help="One JSON document."),
    ) -> None:
        """Files for other tools: compose, systemd, LiteLLM, .. Secrets are only named in them."""
        with open_studio() as studio:
            files = studio.render(kind, recipe_id)
        if recipe_id is not None and kind in KINDS and not KINDS[kind].of_recipes:
            note(f"note: {kind} is for the whole home, not for {recipe_id} alone")
        outcome = None if output is None else write_files(files, output, force=force)
        if as_json:
            emit(
                {
                    "kind": kind,
                    "files": [
                        {"path": name, "text": text, "outcome": outcome[name] if outcome else None}
                        for name, text in files.items()
                    ],
                }
            )
            return
        if outcome is not None:
            for name, became in outcome.items():
                say(f"{became} {output}/{name}")
            return
        for name, text in files.items():
            if len(files) > 1:
                say(BETWEEN.format(name))
            say(text, end="")
        if len(files) > 1:
            note(f"{len(files)} files; write them with: -o DIR")
