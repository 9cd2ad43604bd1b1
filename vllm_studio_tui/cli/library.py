"""`library`: prompts, system prompts, presets of sampling and forms of answers, kept by name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from vllm_studio_tui.cli.chat_options import asked
from vllm_studio_tui.cli.opening import open_studio
from vllm_studio_tui.cli.output import emit, say, table
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.library import KINDS, MOST_TEXT
from vllm_studio_tui.domain.sampling import written

if TYPE_CHECKING:
    from vllm_studio_tui.domain.library import LibraryText

JSON = typer.Option(False, "--json", help="One JSON document.")
KIND = typer.Argument(help=f"{', '.join(KINDS)}.")
NAME = typer.Argument(help="Its name.")


def register(app: typer.Typer) -> None:
    nouns = typer.Typer(help="Prompts, system prompts, presets and forms, kept by name.", no_args_is_help=True)
    app.add_typer(nouns, name="library")

    @nouns.command("list")
    def list_(
        kind: str | None = typer.Argument(None, help=f"{', '.join(KINDS)}; without: all."), as_json: bool = JSON
    ) -> None:
        """What is kept. `chat --preset NAME` uses a preset, # and /preset on the screen the others."""
        with open_studio() as studio:
            found = studio.library.list(_kind(kind) if kind is not None else None)
        if as_json:
            emit({"library": [one.to_json() for one in found]})
            return
        table(("KIND", "NAME", ""), [[one.kind, one.name, _first(one)] for one in found])

    @nouns.command("show")
    def show(kind: str = KIND, name: str = NAME, as_json: bool = JSON) -> None:
        """One of them, whole."""
        with open_studio() as studio:
            one = studio.library.get(_kind(kind), name)
        if as_json:
            emit(one.to_json())
        elif one.text:
            say(one.text)
        else:
            for key, value in one.data.items():
                say(f"{key}  {written(value)}")

    @nouns.command("save")
    def save(
        kind: str = KIND,
        name: str = NAME,
        text: str | None = typer.Argument(None, help="The text of a prompt; without: from a pipe."),
        sets: list[str] = typer.Option(
            [], "--set", metavar="NAME=VALUE", help="A parameter of a preset, several times."
        ),
        stop: list[str] = typer.Option([], "--stop", help="A text at which answers end, of a preset."),
        schema: str | None = typer.Option(None, "--schema", help="A JSON schema or its file, of a form or preset."),
        form: str | None = typer.Option(
            None, "--form", help="As of chat: json_object, regex=…, choice=…, grammar=FILE."
        ),
        as_json: bool = JSON,
    ) -> None:
        """Keep a prompt, a system prompt, a preset or a form; one of the same name is replaced."""
        data: dict[str, Any]
        if _kind(kind) in ("prompt", "system"):
            data = {"text": text if text is not None else _piped()}
        else:
            _, data = asked(None, sets, stop, schema, form)
            data = data.get("form", {}) if kind == "form" else data
        with open_studio() as studio:
            one = studio.library.save(kind, name, data)
        if as_json:
            emit(one.to_json())
        else:
            say(f"{one.kind} {one.name} is kept")

    @nouns.command("rename")
    def rename(kind: str = KIND, name: str = NAME, new: str = typer.Argument(help="Its new name.")) -> None:
        """Call one of them otherwise."""
        with open_studio() as studio:
            one = studio.library.rename(_kind(kind), name, new)
        say(f"{one.kind} {one.name}")

    @nouns.command("delete")
    def delete(
        kind: str = KIND, name: str = NAME, yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask.")
    ) -> None:
        """Delete one of them; chats that use it stay as they are."""
        with open_studio() as studio:
            one = studio.library.get(_kind(kind), name)
            if not yes and sys.stdin.isatty():
                if not typer.confirm(f"Delete the {KINDS[kind]} {one.name}?", default=False):
                    raise SystemExit(1)
            elif not yes:
                raise UsageError(f"{one.name} is not deleted", advice="Say --yes where nobody can be asked.")
            studio.library.delete(kind, one.name)
        say(f"deleted {one.name}")


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise UsageError(f"{kind[:40]!r} is no kind of the library", advice=f"One of {', '.join(KINDS)}.")
    return kind


def _first(one: LibraryText) -> str:
    if one.text:
        return one.text.strip().partition("\n")[0][:60]
    parts = {key: value for key, value in one.data.items() if key != "value"}
    return "  ".join(
        f"{key} {written(value) if not isinstance(value, dict) else value.get('kind', '')}"
        for key, value in parts.items()
    )[:80]


def _piped() -> str:
    if sys.stdin.isatty():
        raise UsageError("there is no text to keep", advice="Give it as an argument, or through a pipe.")
    return sys.stdin.read(MOST_TEXT + 1)
