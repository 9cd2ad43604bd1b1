"""Turn `extra_args` of a recipe into arguments of an engine."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vllm_studio_tui.domain.errors import InvalidRecipe

#: Keys that the studio understands itself, or that only describe: they make no flag.
INTERNAL = frozenset({
    "raw", "_raw", "venv_path", "env_vars", "cuda_visible_devices", "visible_devices", "hip_visible_devices",
    "rocr_visible_devices", "description", "tags", "status", "llama_bin", "launch_command",
})  # fmt: skip
#: Keys that describe too: `benchmark_notes`, `tuned-20260622`.
_REMARK = re.compile(r"(?:^|[_-])notes?(?:[_-]\d{8})?$|[_-]\d{8}$|^docker_")
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}\Z")
#: Flags whose value would be a secret for all users of the host to read.
SECRET_FLAGS = frozenset({"api-key", "admin-api-key", "hf-token", "api-token"})
#: Flags whose text is JSON, whose keys are then treated as in an object.
_JSON_TEXT = frozenset({"speculative-config", "default-chat-template-kwargs"})
MAX_ARGUMENT = 128 * 1024 - 1  # the kernel's MAX_ARG_STRLEN, see execve(2)


@dataclass(frozen=True, slots=True)
class FlagStyle:
    """How an engine wants its flags.

    Attributes:
        underscores: Keys keep their underscores.
        repeat_lists: A list repeats the flag; else it is several values or JSON.
        several: Flags that take several values after one another, without dashes before.
        true: What a switch that is on is given; None: nothing, the flag alone says it.
        joined: A value that begins with a dash may be written `--flag=value`.
        aliases: Other names of flags to the name that counts, all without dashes before.
    """

    underscores: bool = False
    repeat_lists: bool = False
    several: frozenset[str] = frozenset()
    true: str | None = None
    joined: bool = True
    aliases: Mapping[str, str] = field(default_factory=dict)

    def canonical(self, name: str) -> str:
        """Return one name for all spellings of a flag: `-tp`, `--tensor_parallel_size=2`."""
        bare = name.lstrip("-").split("=", 1)[0].replace("_", "-")
        head, dot, rest = bare.partition(".")  # `--compilation-config.mode` sets one key of an object
        return self.aliases.get(head, head) + dot + rest


def is_remark(key: str) -> bool:
    """Return whether a key of extra_args is meant for people or for the studio, and makes no flag."""
    return key in INTERNAL or key.replace("-", "_") in INTERNAL or bool(_REMARK.search(key))


def given(argv: Sequence[str], style: FlagStyle) -> dict[str, list[str]]:
    """Return the flags of a command by their one name, each with the words that follow it."""
    flags: dict[str, list[str]] = {}
    words: list[str] = []
    for one in argv:
        if one.startswith("-") and not _is_number(one) and len(one) > 1:
            name, equals, value = one.partition("=")
            words = flags.setdefault(style.canonical(name), [])
            words += [value] if equals else []
        else:
            words.append(one)
    return flags


def extra_arguments(extra: Mapping[str, object], present: Sequence[str], style: FlagStyle) -> list[str]:
    """Return the arguments that `extra_args` adds to a command.

    A flag that `present` or the raw tail has already is left out, however it is spelled. True is a bare flag, false
    and null are nothing, an object is JSON with underscores in its keys, and a list is what the engine's style says.
    The key `raw` is appended as it stands.

    Args:
        present: The arguments so far.

    Raises:
        InvalidRecipe: A key is no flag, a value no argument, or it would show a secret.
    """
    tail = _raw(extra.get("raw", extra.get("_raw")))
    taken = {style.canonical(one) for one in (*present, *tail) if one.startswith("-") and not _is_number(one)}
    arguments: list[str] = []
    for key, value in extra.items():
        if is_remark(key) or value is None or value is False:
            continue
        bare = key.lstrip("-")
        if not _KEY.match(bare):
            raise _invalid(key, "is no name of a flag")
        name = style.canonical(bare)
        if name in taken or name.removeprefix("no-") in taken:
            continue
        _refuse_secret(name, value)
        flag = f"--{bare if style.underscores else bare.replace('_', '-')}"
        if bare.split(".", 1)[0] in style.aliases:
            flag = f"--{name}"
        arguments += _flag(key, flag, name, value, style)
        taken.add(name)
    for one in tail:
        name = style.canonical(one)
        if one.startswith("-") and name in SECRET_FLAGS:
            _refuse_secret(name, "")
    for one in (*arguments, *tail):
        if "\0" in one or len(one.encode("utf-8", "surrogateescape")) > MAX_ARGUMENT:
            raise _invalid("extra_args", "has an argument that no program can be given")
    return [*arguments, *tail]


def _flag(key: str, flag: str, name: str, value: object, style: FlagStyle) -> list[str]:
    if value is True:
        return [flag] if style.true is None else [flag, style.true]
    if isinstance(value, str) and name in _JSON_TEXT:
        value = _parsed(value)
    if isinstance(value, list | tuple):
        values = [_text(key, one) for one in value if one is not None]
        if style.repeat_lists:
            return [part for one in values for part in _pair(flag, one, style)]
        if name in style.several and not any(one.startswith("-") for one in values):
            return [flag, *values] if values else []
        return [flag, as_json(key, list(value))]
    return _pair(flag, _text(key, value), style)


def _pair(flag: str, value: str, style: FlagStyle) -> list[str]:
    # A value with a dash before it reads as the next flag.
    return [f"{flag}={value}"] if style.joined and value.startswith("-") else [flag, value]


def _text(key: str, value: object) -> str:
    if isinstance(value, Mapping | list | tuple | bool):
        return as_json(key, value)
    return str(value)


def as_json(key: str, value: object) -> str:
    """Return the value as one argument, with underscores for the dashes in its keys.

    Raises:
        InvalidRecipe: It cannot be written as JSON.
    """
    try:
        return json.dumps(normalised(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise _invalid(key, "cannot be written as JSON") from None


def normalised(value: object) -> object:
    """Return an object with underscores for the dashes in its keys, all the way down."""
    if isinstance(value, Mapping):
        return {str(key).replace("-", "_"): normalised(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [normalised(one) for one in value]
    return value


def _parsed(text: str) -> object:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) else text


def _raw(value: object) -> list[str]:
    if value is None or value is False:
        return []
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise _invalid("raw", f"cannot be split into arguments: {error}") from None
    if isinstance(value, Iterable) and not isinstance(value, Mapping):
        return [str(one) for one in value]
    raise _invalid("raw", "must be a list of arguments")


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"-\d[\d.]*", text))


def _refuse_secret(name: str, value: object) -> None:
    if name in SECRET_FLAGS and value is not True:
        raise InvalidRecipe(
            "a secret must not stand in a command line",
            [("extra_args", f"--{name} would show it to every user of this host")],
            advice="For the server's key set api_key to env:NAME or file:PATH; for a hub's token set env_vars HF_TOKEN "
            "to env:HF_TOKEN.",
        )


def _invalid(key: str, message: str) -> InvalidRecipe:
    return InvalidRecipe(
        "extra_args cannot be turned into a command", [("extra_args", f"{key[:80]!r} {message}")], advice="Correct it."
    )
