"""`--connect URL`: which studio a command line is for. Light: every command line is looked through for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vllm_studio_tui.cli import CONNECT
from vllm_studio_tui.domain.errors import UsageError

VARIABLE = CONNECT
#: Options that say which studio it is; the flag says whether a value follows.
OPTIONS = {"--connect": True, "--api-key": True, "--insecure-http": False}
#: Commands that are about the machine they run on, and why.
LOCAL: Mapping[str, str] = {
    "demo": "the demo runs where it is started",
    "doctor": "it checks this machine, and the terminal in front of it",
    "exporter": "it measures this machine",
    "hosts": "it asks the hosts of the settings here, each by itself",
    "rank": "it is a part of a model of several hosts, on the machine that it runs on",
    "serve": "it serves the studio of this machine",
}


@dataclass(frozen=True, slots=True)
class Connection:
    """What a command line says of the studio it is for.

    Attributes:
        url: An address, or the name of a host of the settings.
        by: What said so: the option, or the variable.
    """

    url: str
    api_key: str | None = None
    insecure_http: bool = False
    by: str = "--connect"


#: The studio of this command line; None: this machine's.
chosen: Connection | None = None


def take(argv: list[str], environ: Mapping[str, str] = os.environ) -> tuple[list[str], Connection | None]:
    """Return a command line without what says which studio it is for, and that.

    Raises:
        UsageError: A value is missing, or something is said twice.
    """
    if VARIABLE not in environ and not any(one.startswith(tuple(OPTIONS)) for one in argv):
        return argv, None
    rest: list[str] = []
    said: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--" or name not in OPTIONS:
            rest.append(word)
            if word == "--":
                break
            continue
        if OPTIONS[name] and not equals:
            value = next(words, "")
        if name in said or (OPTIONS[name] and not value) or (not OPTIONS[name] and equals):
            what = "is given twice" if name in said else "needs a value" if OPTIONS[name] else "takes no value"
            raise UsageError(f"{name} {what}", advice="See vllm-studio --help.")
        said[name] = value
    rest += words
    url = said.get("--connect", environ.get(VARIABLE, ""))
    if not url:
        if said:
            raise UsageError(f"{', '.join(said)}: for a studio elsewhere", advice="Name it: --connect URL.")
        return rest, None
    by = "--connect" if "--connect" in said else VARIABLE
    return rest, Connection(url, said.get("--api-key"), "--insecure-http" in said, by)


def words_of(one: Connection | None) -> list[str]:
    """Return the options that name this studio on a command line; none for this machine's.

    A key goes along as the reference that it is, never itself: arguments can be read by other programs.
    """
    from vllm_studio_tui.kit import secrets

    if one is None:
        return []
    key = ["--api-key", one.api_key] if one.api_key is not None and secrets.is_reference(one.api_key) else []
    return ["--connect", one.url, *key, *(["--insecure-http"] if one.insecure_http else [])]


def refuse_local(argv: list[str], connection: Connection | None) -> None:
    """Refuse a command that is about this machine when another was named.

    Raises:
        UsageError: It is such a command.
    """
    noun = next((one for one in argv if not one.startswith("-")), "")
    if connection is not None and noun in LOCAL and not {"-h", "--help"} & set(argv):
        raise UsageError(
            f"{noun} is not for a studio elsewhere",
            cause=f"It is a command of one machine: {LOCAL[noun]}. {connection.by} names another one.",
            advice=f"Run it there: ssh HOST vllm-studio {noun}"
            + (f". Or here: env -u {VARIABLE} vllm-studio {noun}" if connection.by == VARIABLE else ""),
        )
