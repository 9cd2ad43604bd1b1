"""The kinds of values that settings have: paths, programs, ports, references to secrets, groups, other servers."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from vllm_studio_tui.domain.ray_reading import dashboard_of
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


def _dashboard(value: object) -> object:
    if value is None:
        return value
    text = dashboard_of(value)
    if not text or len(text) > 1000 or urlsplit(text).username or urlsplit(text).query:
        raise ValueError("an address begins with http:// or https://, and holds no password")
    return text


def _connect(value: str) -> str:
    if len(value) > 1000 or not value.strip().lower().startswith(_SCHEMES):
        raise ValueError(f"an address begins with {', '.join(_SCHEMES[:-1])} or {_SCHEMES[-1]}")
    try:
        secret = urlsplit(value.strip()).password is not None
    except ValueError:
        return value.strip()  # what is wrong with it is said where it is used
    if secret:
        raise ValueError("an address holds no password")
    return value.strip()


_SCHEMES = ("ssh://", "https://", "http://", "unix://")
#: How a host may be called: no address looks like it.
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

AnyPath = Annotated[Path, BeforeValidator(expand_path)]
Program = Annotated[str, BeforeValidator(_program), Field(min_length=1, max_length=4096)]
Port = Annotated[int, Field(ge=1, le=65535)]
Reference = Annotated[str | None, BeforeValidator(_reference)]
WebAddress = Annotated[str | None, BeforeValidator(_web_address)]
Dashboard = Annotated[str | None, BeforeValidator(_dashboard)]
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


class Host(BaseModel):
    """A studio on another host, as `--connect` takes it; see `remote.address`.

    Attributes:
        connect: Its address.
        api_key: Where its key is, for http and https.
        insecure_http: Take HTTP without TLS to another machine too.
        agentless: There is no studio: its GPUs and engines are only looked at, over ssh.
        problem: Why this entry cannot be used, in words; empty: it can. Nothing but this entry fails by it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    connect: Annotated[str, AfterValidator(_connect)] = ""
    api_key: Reference = None
    insecure_http: bool = False
    agentless: bool = False
    problem: str = Field("", exclude=True)

    @field_validator("agentless")
    @classmethod
    def _look_over_ssh(cls, value: bool, info: ValidationInfo) -> bool:
        place = urlsplit(info.data.get("connect", ""))
        if value and (place.scheme.lower() != "ssh" or info.data.get("api_key") is not None):
            raise ValueError("it is for ssh://[user@]host, without a key")
        if value and place.path.strip("/"):
            raise ValueError("it takes no program in the address: ssh://[user@]host[:port]")
        return value


def _hosts(value: object) -> object:
    """Return the hosts of a mapping; an entry that cannot be used says so and leaves the others alone."""
    if not isinstance(value, dict):
        return value
    return {str(name)[:64]: _host(str(name), entry) for name, entry in value.items()}


def _host(name: str, entry: object) -> object:
    if isinstance(entry, Host):
        return entry
    wrong = ""
    if _HOST_NAME.fullmatch(name) is None:
        wrong = "its name must begin with a letter or digit, and have none but letters, digits, `.`, `_` and `-`"
    elif not isinstance(entry, dict):
        wrong = "it must be `{connect: ADDRESS}`"
    elif "problem" in entry:
        wrong = "problem: no such field"
    elif not entry.get("connect"):
        wrong = "connect is missing: where it is, such as ssh://gpu-box"
    else:
        try:
            return Host.model_validate(entry)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(one) for one in first["loc"])[:64]
            words = first["msg"].removeprefix("Value error, ")
            words = "no such field" if first["type"] == "extra_forbidden" else words
            wrong = f"{where}: {words}"
    kept: dict[str, Any] = entry if isinstance(entry, dict) else {}
    connect, key = kept.get("connect"), kept.get("api_key")
    return Host.model_construct(
        connect=connect[:200] if isinstance(connect, str) and "@" not in connect else "",
        api_key=key if isinstance(key, str) and is_reference(key) else None,
        insecure_http=False,
        problem=wrong,
    )


Hosts = Annotated[dict[str, Host], BeforeValidator(_hosts)]


class AlertSetting(BaseModel):
    """An alert, as the settings have it; see `services.alerts.rules`.

    Attributes:
        what: What it looks at, such as `kv_cache`, `gpu_temperature`, `disk_free`, `engine_died`.
        above, below: Its limit, as in `95%`, `85`, `20 GiB`, `500 ms`.
        seconds: For how long it has to be so (`for`).
        clear: Where all is well again; none: at the limit.
        only: A pattern of runs, recipes or GPUs that it is for; empty: all.
        severity: `trouble` or `warning`.
        tell: How it is told: some of `bell`, `title`, `desktop`, `command`, `webhook`.
        enabled: Without it a built-in alert says nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)

    what: str | None = Field(None, min_length=1, max_length=64)
    above: float | str | None = None
    below: float | str | None = None
    seconds: float | None = Field(None, ge=0, le=86_400, allow_inf_nan=False, alias="for")
    clear: float | str | None = None
    only: str = Field("", max_length=200)
    severity: Literal["trouble", "warning"] | None = None
    tell: tuple[Literal["bell", "title", "desktop", "command", "webhook"], ...] | None = None
    enabled: bool = True


def _quiet(value: str) -> str:
    if _QUIET.fullmatch(value) is None:
        raise ValueError("hours are written as 22:00-07:00")
    return value


_QUIET = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]")
QuietHours = Annotated[str, AfterValidator(_quiet)]
