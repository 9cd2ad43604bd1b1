"""Read commands that start engines from a pasted line, a script or a page. They are read, never run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from vllm_studio_tui.domain.recipe import FieldNote
from vllm_studio_tui.domain.recipe_reading import slug
from vllm_studio_tui.services.recipes.formats.docker_run import read_docker_run
from vllm_studio_tui.services.recipes.formats.engine_command import engine_of, recipe_of
from vllm_studio_tui.services.recipes.formats.format import Found, Source
from vllm_studio_tui.services.recipes.formats.shell_text import (
    Command,
    dollars,
    is_assignment,
    of_root,
    read_commands,
    reference,
    without_nul,
)
from vllm_studio_tui.services.recipes.formats.wrappers import Unwrapped, unwrap

#: How deep a shell in a shell is read.
MAX_DEPTH = 3
CONTAINERS = frozenset({"docker", "podman", "nerdctl"})
#: Of this text a recipe's id is read back, see `services/render`.
ID_MARK = "# Recipe: "
_SETUP = frozenset({"set", "shopt", "ulimit", "echo", "printf", "mkdir", "sleep", "wait", "trap", "fi", "done", "clear",
                    "true", "false", "exit", "return", "unset", "popd", "#!/bin/bash"})  # fmt: skip


class CommandFormat:
    """A command, or a script or a page with several."""

    name = "command"
    title = "a command that starts an engine"

    def read(self, source: Source) -> list[Found] | None:
        text = source.text
        if not text:
            return None
        found = from_text(text)
        if found and "\n" in text.strip() and _is_document(source):
            return None
        return found or None


def _is_document(source: Source) -> bool:
    """Return whether a text is data of YAML or JSON, of which lines may look like commands."""
    for one in source.documents:
        if isinstance(one, list) or (isinstance(one, Mapping) and all(" " not in str(key).strip() for key in one)):
            return True
    return False


def from_command(text: str) -> dict[str, Any] | None:
    """Return a recipe from a pasted command that starts an engine, as `vllm serve ..`; None if it is none."""
    found = from_text(text) if len(text) <= 64 * 1024 else []
    return found[0].data if found else None


def from_text(text: str) -> list[Found]:
    """Return the recipes of all commands in a text that start engines."""
    text = without_nul(text)
    found = _Script().read(read_commands(text))
    if not found and (rooted := of_root(text)) is not None:
        found = _Script().read(read_commands(rooted))
    given = next((line[len(ID_MARK) :].strip() for line in text.splitlines()[:20] if line.startswith(ID_MARK)), "")
    if len(found) == 1 and given and slug(given) == given:
        found[0].data["id"] = found[0].data["name"] = given
    return found


def from_words(
    words: Sequence[str], env: Mapping[str, str] | None = None, notes: Sequence[FieldNote] = ()
) -> Found | None:
    """Return the recipe of a command that is already in words, as a file of another tool has it; None: no engine's.

    Args:
        env: Its variables.
        notes: What is said of it already.
    """
    script = _Script()
    script.env = dict(env or {})
    command = Command(list(words), [True] * len(words))
    found = script.command(command, unwrap(command.words, lambda given: engine_of(given) is not None))
    return None if found is None else Found(found.data, (*notes, *found.notes))


@dataclass(slots=True)
class _Script:
    """A script that is read from its first command to its last.

    Attributes:
        env: What was exported.
        others: Commands that start no engine.
    """

    env: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    python: str | None = None
    notes: list[FieldNote] = field(default_factory=list)
    others: dict[str, None] = field(default_factory=dict)
    depth: int = 0

    def read(self, commands: Sequence[Command]) -> list[Found]:
        found: list[Found] = []
        ended = "\n"
        for one in commands:
            if ended == "|" and found:
                self._piped(found, one)
            else:
                made = self.commands_of(one)
                if not made and found and ended == "||":
                    note = FieldNote(
                        f"|| {' '.join(one.words)[:60]}", "dropped", "nothing is run where the engine fails"
                    )
                    found[-1] = Found(found[-1].data, (*found[-1].notes, note))
                if made and ended == "||":
                    note = FieldNote("||", "dropped", "a shell would run it only where the one before failed")
                    made[0] = Found(made[0].data, (note, *made[0].notes))
                found += made
            ended = one.ends
        if found and self.others:
            why = f"left out, nothing is run: {', '.join(list(self.others)[:12])[:200]}"
            found[0] = Found(found[0].data, (*found[0].notes, FieldNote("other commands", "dropped", why)))
        return found

    def _piped(self, found: list[Found], one: Command) -> None:
        name = PurePosixPath(one.words[0]).name
        why = "the studio keeps the log" if name == "tee" else "its output goes to the studio's log, not on to this"
        note = FieldNote(f"| {' '.join(one.words)[:60]}", "dropped", why)
        found[-1] = Found(found[-1].data, (*found[-1].notes, note))

    def commands_of(self, one: Command) -> list[Found]:
        """Return the recipes of a command: at most one, or those of the script that a shell is given with it."""
        if self._set_up(one.words):
            return []
        bare = unwrap(one.words, lambda words: engine_of(words) is not None)
        if bare.script is not None and self.depth < MAX_DEPTH:
            inner = _Script({**self.env, **bare.env}, bare.cwd or self.cwd, self.python, depth=self.depth + 1)
            made = inner.read(read_commands(dollars(bare.script)))
            return [Found(found.data, (*bare.notes, *found.notes)) for found in made]
        found = self.command(one, bare)
        if found is None:
            self._other(one.words)
            return []
        return [found]

    def command(self, one: Command, bare: Unwrapped) -> Found | None:
        """Return the recipe of a command that starts an engine; None where it starts none.

        Args:
            bare: It without what stands before the engine.
        """
        if not bare.words:
            return None
        notes = [*bare.notes, *(FieldNote(what[:60], _action(why), why) for what, why in one.left), *self.notes]
        env = {**self.env, **bare.env}
        if PurePosixPath(bare.words[0]).name in CONTAINERS:
            made = read_docker_run(bare.words, env)
            return None if made is None else Found(made.data, (*notes, *made.notes))
        engine = engine_of(bare.words)
        if engine is None:
            return None
        data, more = recipe_of(*engine, env)
        cwd = bare.cwd or self.cwd
        if cwd:
            data["cwd"] = cwd
            notes.append(FieldNote("cwd", "taken", "the engine is started in that directory"))
        if self.python and "python_path" not in data and "executable" not in data:
            data["python_path"] = self.python
            notes.append(FieldNote("python_path", "changed", "the interpreter of the environment that was activated"))
        return Found(data, (*notes, *more))

    def _set_up(self, words: list[str]) -> bool:
        """Keep what a command sets for those after it; return False where it sets nothing."""
        first = words[0]
        if first in ("export", "declare", "set", "local", "readonly", "setx"):
            for one in words[1:]:
                name, equals, value = one.partition("=")
                if equals and is_assignment(one):
                    self.env[name] = reference(value)
            return True
        if first == "unset":
            for one in words[1:]:
                self.env.pop(one, None)
            return True
        if first in ("cd", "pushd") and len(words) > 1:
            place = words[1].replace("${HOME}", "~").replace("$HOME", "~")
            absolute = place.startswith(("/", "~")) or self.cwd is None
            self.cwd = place if absolute else f"{(self.cwd or '').rstrip('/')}/{place}"
            return True
        if first in ("source", ".") and len(words) > 1:
            if words[1].endswith("/bin/activate"):
                place = words[1].removesuffix("activate").replace("${HOME}", "~").replace("$HOME", "~")
                inside = not place.startswith(("/", "~")) and self.cwd is not None
                self.python = f"{self.cwd}/{place}python" if inside else f"{place}python"
            else:
                self.notes.append(
                    FieldNote(f"source {words[1][:60]}", "dropped", "it is not read: it may set variables")
                )
            return True
        if words[:2] in (["conda", "activate"], ["mamba", "activate"], ["micromamba", "activate"]):
            why = "name the interpreter of that environment: python_path"
            self.notes.append(FieldNote(" ".join(words)[:60], "dropped", why))
            return True
        return all(is_assignment(one) for one in words)

    def _other(self, words: list[str]) -> None:
        name = next((one for one in words if not is_assignment(one)), "")
        if PurePosixPath(name).name in _SETUP or not name or len(self.others) > 50:
            return
        second = words[words.index(name) + 1] if words.index(name) + 1 < len(words) else ""
        self.others[f"{name} {second}"[:40].strip() if second.isalpha() else name[:40]] = None


def _action(why: str) -> str:
    return "dropped" if why.startswith("dropped") else "taken"
