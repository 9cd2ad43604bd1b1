"""A user unit of systemd for the engine of a recipe, without the studio."""

from __future__ import annotations

from vllm_studio_tui.services.launching.boot_unit import quoted, quoted_setting
from vllm_studio_tui.services.render.lines import files_of_each, not_said, refused
from vllm_studio_tui.services.render.source import Files, RenderedRecipe, RenderSource

#: Before a variable that the file of secrets is to hold, and what its value is; `recipes import` reads it back.
SECRET_MARK = "Secret: "  # noqa: S105 - what stands before a name
_POLICIES = {"never": "no", "on-failure": "on-failure", "always": "always"}


def render(source: RenderSource) -> Files:
    """Return `ID.service` for each recipe that makes a command.

    Raises:
        StudioError: None of them makes one.
    """
    return files_of_each(source, "systemd-unit", ".service", _unit)


def _unit(one: RenderedRecipe) -> tuple[str, list[str]]:
    recipe, command = one.recipe, one.command
    if one.problem:
        raise refused(one.problem)
    if command is None:
        raise refused("it is run by somebody else")
    if recipe.runtime == "docker":
        raise refused("it runs in a container: see `render docker-run` and `render docker-compose`")
    if any("\n" in word for word in (*command.argv, *command.env.values())):
        raise refused("a word of its command has a line break, which a unit cannot hold")
    secrets = f"%h/.config/vllm-studio/{recipe.id}.env"
    told = [
        f"Install: put it into ~/.config/systemd/user, then systemctl --user enable --now {recipe.id}",
        *not_said(recipe, "restart", "description"),
    ]
    if command.env_refs:
        told.append(f"It needs {secrets.replace('%h', '~')} (mode 0600) with a NAME=value in a line for:")
        told += [f"{SECRET_MARK}{name} {reference}" for name, reference in command.env_refs.items()]
    described = " ".join((recipe.description or recipe.name).split()).replace("%", "%%").rstrip("\\")
    lines = [
        "[Unit]",
        f"Description={described}",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        *([f"WorkingDirectory={_path(recipe.cwd)}"] if recipe.cwd else []),
        *(f"Environment={quoted_setting(f'{name}={value}')}" for name, value in command.env.items()),
        *([f"EnvironmentFile={secrets}"] if command.env_refs else []),
        f"ExecStart={_command(command.argv)}",
        f"Restart={_POLICIES[recipe.restart.policy]}",
        *([f"RestartSec={recipe.restart.delay:g}"] if recipe.restart.policy != "never" else []),
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n", told


def _path(path: str) -> str:
    plain = path.replace("%", "%%")
    return f"%h{plain[1:]}" if plain.startswith("~/") or plain == "~" else plain


def _command(argv: tuple[str, ...]) -> str:
    # Programs are looked for in systemd's own directories, not in a person's PATH.
    words = argv if argv[0].startswith("/") else ("/usr/bin/env", *argv)
    return " \\\n  ".join(quoted(word) for word in words)
