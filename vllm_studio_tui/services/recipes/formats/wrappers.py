"""Take off what stands before an engine in a command: `sudo`, `nohup`, `uv run`, `env`, .. Each is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath

from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.services.recipes.formats.shell_text import is_assignment, reference

#: How many may stand before one another.
MAX_WRAPPERS = 20

_AS_YOU = "the studio starts engines as you"
_OUTLIVES = "a keeper of the studio lets engines outlive the terminal"
_LEFT = "the studio does not start engines through it"
_ENVIRONMENT = "it is not run: name the interpreter of that environment (python_path)"
#: Why each is left out, and its options that take the next word. A number after it is one of its arguments.
_WRAPPERS: dict[str, tuple[str, str]] = {
    "sudo": (_AS_YOU, "-u -g -h -p -C -r -t -T -U -D -R --user --group --chdir"),
    "doas": (_AS_YOU, "-u -C"),
    "nohup": (_OUTLIVES, ""),
    "setsid": (_OUTLIVES, ""),
    "stdbuf": ("the studio sees output at once", "-i -o -e"),
    "unbuffer": ("the studio sees output at once", ""),
    "time": (_LEFT, "-f -o"),
    "nice": (_LEFT, "-n --adjustment"),
    "ionice": (_LEFT, "-c -n -p"),
    "chrt": (_LEFT, "-T -P -D"),
    "numactl": (_LEFT, "-N -m -C -i -p -P -l --cpunodebind --membind --physcpubind --interleave --preferred"),
    "taskset": (_LEFT, ""),
    "timeout": (_LEFT, "-s -k --signal --kill-after"),
    "exec": ("", "-a"),
    "command": ("", ""),
    "builtin": ("", ""),
    "systemd-run": (_LEFT, "-p -u -E --property --unit --setenv --slice --uid --gid"),
    "srun": (_LEFT, "-p -N -n -c -G -t -w -J -o -e"),
    "uvx": (_ENVIRONMENT, "--from --with -p --python --index-url --extra-index-url --torch-backend -w --index"),
    "pipx": (_ENVIRONMENT, "--spec --python --pip-args"),
}  # fmt: skip
#: Tools that run a program in an environment by a word of their own: `uv run ..`.
_RUNNERS: dict[str, tuple[str, str]] = {
    "uv": ("run", "--with --with-editable --with-requirements -p --python --extra --group --only-group --project "
           "--directory --env-file --package --index-url --extra-index-url --index --torch-backend --refresh-package"),
    "poetry": ("run", "-C --directory -P --project"),
    "pdm": ("run", "-p --project"),
    "pixi": ("run", "-e --environment --manifest-path"),
    "rye": ("run", ""),
    "hatch": ("run", "-e --env"),
    "pipenv": ("run", ""),
    "conda": ("run", "-n --name -p --prefix --cwd"),
    "mamba": ("run", "-n --name -p --prefix --cwd"),
    "micromamba": ("run", "-n --name -p --prefix --cwd -r"),
}  # fmt: skip
#: Words before the command that are no options: `timeout 60 ..`, `taskset -c 0-7 ..`, `chrt 50 ..`.
_ARGUMENTS = {"timeout": 1, "taskset": 1, "chrt": 1}
_SHELLS = frozenset({"bash", "sh", "zsh", "dash", "ash", "ksh"})


@dataclass(slots=True)
class Unwrapped:
    """A command without what stood before it.

    Attributes:
        script: What a shell was given to run (`bash -c '..'`), in place of words.
    """

    words: list[str]
    env: dict[str, str] = field(default_factory=dict)
    notes: list[FieldNote] = field(default_factory=list)
    cwd: str | None = None
    script: str | None = None


def unwrap(words: list[str], is_engine: Callable[[list[str]], bool]) -> Unwrapped:
    """Return the words of a command without what stands before the engine.

    Args:
        is_engine: Whether words start an engine, so that nothing more is taken off.
    """
    made = Unwrapped(list(words))
    for _ in range(MAX_WRAPPERS):
        while made.words and is_assignment(made.words[0]):
            name, _, value = made.words.pop(0).partition("=")
            made.env[name] = reference(value)
        if not made.words or is_engine(made.words) or not _take_off(made):
            break
    return made


def _take_off(made: Unwrapped) -> bool:
    name = PurePosixPath(made.words[0]).name
    if name == "env":
        return _env(made)
    if name in _SHELLS:
        return _shell(made)
    if name in _RUNNERS and _RUNNERS[name][0] in made.words[1:6]:
        at = made.words.index(_RUNNERS[name][0])
        named = _options(made, made.words[1:at] + made.words[at + 1 :], _RUNNERS[name][1])
        _environment_notes(made, f"{name} {_RUNNERS[name][0]}", named)
        return True
    if name not in _WRAPPERS:
        return False
    why, with_value = _WRAPPERS[name]
    words = made.words[1:]
    if name == "pipx" and words[:1] == ["run"]:
        words = words[1:]
    named = _options(made, words, with_value, also=_ARGUMENTS.get(name, 0))
    if name == "uvx":
        _environment_notes(made, name, named)
    elif why:
        given = " ".join(named)
        made.notes.append(FieldNote(name, "dropped", f"{given[:100]}: {why}" if given else why))
    return True


def _options(made: Unwrapped, words: list[str], with_value: str, *, also: int = 0) -> list[str]:
    """Take the options before a command off, and return them."""
    named: list[str] = []
    takes = set(with_value.split())
    while words and (words[0].startswith("-") or also or (is_assignment(words[0]) and "=" in words[0])):
        if is_assignment(words[0]):
            name, _, value = words.pop(0).partition("=")
            made.env[name] = reference(value)
            continue
        word = words.pop(0)
        named.append(word)
        if word == "--":
            break
        if not word.startswith("-"):
            also -= 1
        elif word in takes and words:
            named.append(words.pop(0))
    made.words = words
    return named


def _environment_notes(made: Unwrapped, what: str, named: list[str]) -> None:
    given = " ".join(named)
    made.notes.append(FieldNote(what, "dropped", f"{given[:100]}: {_ENVIRONMENT}" if given else _ENVIRONMENT))
    for flag, value in pairwise(named):
        if flag in ("--cwd", "--directory", "--project", "-C"):
            made.cwd = value


def _env(made: Unwrapped) -> bool:
    words = made.words[1:]
    while words and (words[0].startswith("-") or is_assignment(words[0])):
        word = words.pop(0)
        if word in ("-u", "--unset", "-C", "--chdir") and words:
            value = words.pop(0)
            if word in ("-C", "--chdir"):
                made.cwd = value
            else:
                made.notes.append(FieldNote(f"env -u {value[:60]}", "dropped", "an engine gets the studio's variables"))
        elif word in ("-i", "-", "--ignore-environment"):
            made.notes.append(FieldNote(f"env {word}", "dropped", "an engine gets the studio's variables"))
        elif is_assignment(word):
            name, _, value = word.partition("=")
            made.env[name] = reference(value)
    made.words = words
    return True


def _shell(made: Unwrapped) -> bool:
    """Take what a shell is given to run: `bash -c '..'`; a script that it is to read is none."""
    words = made.words[1:]
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if not word.startswith("--") and "c" in word and words:
            made.script, made.words = words[0], []
            return True
        if word == "-o" and words:
            words.pop(0)
    return False
