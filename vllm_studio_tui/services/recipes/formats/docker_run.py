"""Read `docker run ..` (also podman's and nerdctl's) that starts an engine. Every option is accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.services.recipes.formats.container import Container, read_container
from vllm_studio_tui.services.recipes.formats.format import Found

#: Options of one letter that take a value, and their long names.
_SHORT = {"-e": "--env", "-v": "--volume", "-p": "--publish", "-u": "--user", "-w": "--workdir", "-h": "--hostname",
          "-m": "--memory", "-c": "--cpu-shares", "-l": "--label", "-a": "--attach"}  # fmt: skip
#: Options without a value.
_SWITCHES = frozenset({
    "--rm", "--detach", "--interactive", "--tty", "--init", "--privileged", "--publish-all", "--read-only",
    "--no-healthcheck", "--oom-kill-disable", "--sig-proxy", "--replace", "--quiet",
})  # fmt: skip
_LETTERS = {"d": "--detach", "i": "--interactive", "t": "--tty", "P": "--publish-all", "q": "--quiet"}


def read_docker_run(words: Sequence[str], env: Mapping[str, str]) -> Found | None:
    """Return the recipe of a container that starts an engine; None where it starts none that is known.

    Args:
        words: The command, beginning with the program.
        env: Variables that the shell has, for `--env NAME`.
    """
    rest = list(words[1:])
    while rest and rest[0].startswith("-"):  # of the client itself
        rest = rest[1:] if "=" in rest[0] or rest[0] in ("--debug", "-D", "--tls", "--remote") else rest[2:]
    if rest[:1] == ["container"]:
        rest = rest[1:]
    if rest[:1] not in (["run"], ["create"]):
        return None
    rest = rest[1:]
    made = Container(program=words[0].rsplit("/", 1)[-1])
    while rest and rest[0].startswith("-") and rest[0] != "--":
        _option(made, rest, env)
    if rest[:1] == ["--"]:
        rest = rest[1:]
    if not rest:
        return None
    made.image, made.command = rest[0], rest[1:]
    return read_container(made)


def _option(made: Container, rest: list[str], env: Mapping[str, str]) -> None:
    word = rest.pop(0)
    name, equals, value = word.partition("=")
    if not word.startswith("--"):
        if word[:2] in _SHORT:
            name, value = _SHORT[word[:2]], word[2:].removeprefix("=") or (rest.pop(0) if rest else "")
            made.option(name, value, env)
        elif all(letter in _LETTERS for letter in word[1:]):
            for letter in word[1:]:
                made.option(_LETTERS[letter], "", env)
        elif all(letter in _LETTERS for letter in word[1:-1]) and f"-{word[-1]}" in _SHORT:
            for letter in word[1:-1]:
                made.option(_LETTERS[letter], "", env)
            made.option(_SHORT[f"-{word[-1]}"], rest.pop(0) if rest else "", env)
        else:
            made.notes.append(FieldNote(word[:60], "dropped", "no option of docker run that is known"))
        return
    if name in _SWITCHES:
        if not equals or value.lower() == "true":
            made.option(name, "", env)
        return
    if not equals:
        value = rest.pop(0) if rest else ""
    made.option({"--net": "--network"}.get(name, name), value, env)
