"""Options of `chat` that shape the answer: presets, parameters, its form; and what is said of that under it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vllm_studio_tui.cli.output import note
from vllm_studio_tui.domain.chat import Ended, Sampling
from vllm_studio_tui.domain.chat_settings import sampling_of, shaped
from vllm_studio_tui.domain.errors import UsageError
from vllm_studio_tui.domain.sampling import BY_NAME, FORMS, MOST_TEXT, AnswerForm, checked, form_of_text, read_value

if TYPE_CHECKING:
    from vllm_studio_tui.services.protocols import StudioApi

Preset = Annotated[str | None, typer.Option("--preset", help="A preset of the library; other options come after it.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any parameter of sampling; may be given several times."),
]
Stops = Annotated[
    list[str] | None, typer.Option("--stop", help="A text at which the answer ends; may be given several times.")
]
Schema = Annotated[
    str | None, typer.Option("--schema", help="A JSON schema, or its file; exit 1 if the answer is not valid by it.")
]
Form = Annotated[
    str | None,
    typer.Option(
        "--form", help="json_object, regex=EXPRESSION, choice=A,B, grammar=FILE: what the answer must be, likewise."
    ),
]
Logprobs = Annotated[
    int | None,
    typer.Option("--logprobs", min=0, max=20, help="Tell how likely each token was, and so many others, on stderr."),
]


def asked(
    preset: str | None, sets: Iterable[str], stops: Iterable[str], schema: str | None, form: str | None, **given: Any
) -> tuple[str | None, dict[str, Any]]:
    """Return the name of the preset, and what other options say, as settings of a chat have it.

    Args:
        given: Further parameters by name; None: not given.

    Raises:
        UsageError: One of them cannot be read.
    """
    found: dict[str, Any] = {}
    for text in sets:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in BY_NAME:
            advice = f"One of {', '.join(BY_NAME)}."
            raise UsageError(f"--set {text[:80]!r} is no NAME=VALUE of a parameter", advice=advice)
        try:
            found[name] = read_value(name, value)
        except ValueError as error:
            raise UsageError(f"--set {name}: {error}", advice=BY_NAME[name].help.capitalize() + ".") from None
    found |= {name: value for name, value in given.items() if value is not None}
    if stops := list(stops):
        try:
            found["stop"] = checked("stop", stops)
        except ValueError as error:
            raise UsageError(f"--stop: {error}", advice="Give other texts.") from None
    if schema is not None and form is not None:
        raise UsageError("--schema and --form exclude each other", advice="Choose one.")
    chosen = _schema(schema) if schema is not None else _form(form) if form is not None else None
    if chosen is not None:
        found["form"] = chosen.to_json()
    return preset, found


def _schema(given: str) -> AnswerForm:
    text, name = (given, "") if given.lstrip().startswith("{") else (_read(given), Path(given).name)
    return _made("--schema", "json_schema", text, name)


def _form(given: str) -> AnswerForm:
    kind, _, value = given.partition("=")
    if kind not in FORMS:
        raise UsageError(f"--form {kind[:40]!r} is no form", advice=f"One of {', '.join(FORMS)}.")
    if kind in ("grammar", "json_schema"):
        return _made("--form", kind, _read(value), Path(value).name)
    return _made("--form", kind, value.replace(",", "\n") if kind == "choice" else value, "")


def _made(option: str, kind: str, text: str, name: str) -> AnswerForm:
    try:
        return form_of_text(kind, text, name)
    except ValueError as error:
        raise UsageError(f"{option}: {error}", advice=f"It has to be {FORMS[kind]}.") from None


def _read(path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            raw = file.read(MOST_TEXT + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path[:200]} cannot be read", cause=getattr(error, "strerror", None) or str(error)) from None
    return raw.decode(errors="replace")


def sampling_for(
    studio: StudioApi, before: Mapping[str, Any], preset: str | None, options: Mapping[str, Any]
) -> Sampling:
    """Return what shapes the answer: the settings of the chat, or a preset instead of them, then options.

    Args:
        before: Settings of the chat that goes on.
    """
    first = studio.library.get("preset", preset).data if preset is not None else shaped(before)
    return sampling_of({**first, **options})


def tell_details(ended: Ended) -> None:
    """Say on stderr what is known of an answer besides its figures."""
    details = ended.details
    for why in details.get("not_sent", {}).values():
        note(f"not sent: {why}")
    if details.get("unsure"):
        note(f"sent, and perhaps not looked at by this server: {', '.join(details['unsure'])}")
    if details.get("unheeded"):
        note(details["unheeded"])
    if (form := details.get("form")) is not None:
        words = {True: "valid", False: "NOT valid", None: "not looked at"}[form["valid"]]
        note(f"[{words}, {FORMS.get(form['kind'], form['kind'])}{': ' if form['problem'] else ''}{form['problem']}]")
    likely = details.get("logprobs")
    for token, value, others in likely["tokens"] if likely else ():
        besides = "  ".join(f"{other!r} {_share(chance)}" for other, chance in others if other != token)
        note(f"{token!r:<20} {_share(value)}{'   instead ' if besides else ''}{besides}")
    if likely and likely["cut"]:
        note("further tokens are left out")


def invalid(ended: Ended) -> bool:
    """Return whether an answer has not the form that was asked for, could not be held to it, or lacks a forced call."""
    form = ended.details.get("form")
    return (form is not None and form["valid"] is False) or bool(
        {"form", "tool_choice"} & set(ended.details.get("not_sent", {})) or ended.details.get("unheeded")
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{math.exp(value):.1%}"
