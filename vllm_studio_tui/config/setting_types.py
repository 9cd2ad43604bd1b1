"""The kinds of values that settings have: paths, programs, ports, references to secrets, groups, other servers."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from vllm_studio_tui.kit.secrets import is_reference


def expand_path(value: object) -> object:
    """Return a path with its `~` expanded; a relative one counts from the working directory."""
    if not isinstance(value, str | Path):
        return value
    text = str(value)
    if not text.strip() or "\0" in text:
        raise ValueError("not a path")
    with contextlib.suppress(RuntimeError):  # `~name` without such a user stays as it is
        return Path(text).expanduser().absolute()
    return Path(text).absolute()


def _program(value: object) -> object:
    """Return the path of a program: a bare name is looked up in PATH, anything with a slash is a path."""
    if isinstance(value, str):
        if "\0" in value or "\n" in value:
            raise ValueError("not the name of a program")
        return str(expand_path(value)) if "/" in value else value
    return value


def _reference(value: object) -> object:
    # The value may be the key itself, so the message does not repeat it.
    if value is not None and not (isinstance(value, str) and is_reference(value)):
        raise ValueError("must refer to a secret: env:NAME or file:PATH")
    return value


def _web_address(value: object) -> object:
    # The path of a webhook may be a secret, so the message does not repeat it.
    if value is not None and not (
        isinstance(value, str) and (is_reference(value) or value.startswith(("http://", "https://")))
    ):
        raise ValueError("must be an http or https address, or refer to one: env:NAME or file:PATH")
    return value


def _url(value: str) -> str:
    value = value.rstrip("/")
    try:
        split = urlsplit(value)
        readable = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        readable = False
    if not readable or split.username or split.query:
        raise ValueError("an address begins with http:// or https://, and holds no password")
    return value if value.endswith("/v1") else f"{value}/v1"


AnyPath = Annotated[Path, BeforeValidator(expand_path)]
Program = Annotated[str, BeforeValidator(_program), Field(min_length=1, max_length=4096)]
Port = Annotated[int, Field(ge=1, le=65535)]
Reference = Annotated[str | None, BeforeValidator(_reference)]
WebAddress = Annotated[str | None, BeforeValidator(_web_address)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Group(BaseModel):
    """Recipes that `serve` keeps in memory together, or one at a time.

    Attributes:
        members: Their ids.
        together: They may be loaded beside each other; else at most one of them is.
        persistent: None of them is stopped to make room for a recipe that is no member.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    members: tuple[str, ...]
    together: bool = False
    persistent: bool = False


class TokenPrice(BaseModel):
    """What a million tokens cost, in dollars, as LiteLLM counts.

    Attributes:
        input: Of what is asked.
        output: Of what is answered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    input: float = Field(0.0, ge=0, le=1e6, allow_inf_nan=False)
    output: float = Field(0.0, ge=0, le=1e6, allow_inf_nan=False)


class Peer(BaseModel):
    """A server on another host, asked for as `NAME/MODEL`.

    Attributes:
        models: The names that it serves; empty: all are passed on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: Annotated[str, AfterValidator(_url)]
    api_key: Reference = None
    models: tuple[str, ...] = ()
