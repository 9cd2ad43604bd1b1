"""A script of a POSIX shell that starts an engine as the studio would, without the studio."""

from __future__ import annotations

import shlex

from vllm_studio_tui.services.render import docker_run
from vllm_studio_tui.services.render.lines import files_of_each, not_said, refused, wrapped
from vllm_studio_tui.services.render.secret_words import exports
from vllm_studio_tui.services.render.source import Files, RenderedRecipe, RenderSource


def render(source: RenderSource) -> Files:
    """Return `ID.sh` for each recipe.

    Raises:
        StudioError: None of them makes a command.
    """
    return files_of_each(source, "shell", ".sh", _script, "#!/bin/sh\n")


def _script(one: RenderedRecipe) -> tuple[str, list[str]]:
    if one.problem:
        raise refused(one.problem)
    if one.recipe.runtime == "docker":
        return docker_run.script(one)
    if one.command is None:
        raise refused("it is run by somebody else")
    lines = []
    if one.recipe.cwd:
        place = one.recipe.cwd
        quoted = f"~/{shlex.quote(place[2:])}" if place.startswith("~/") and len(place) > 2 else shlex.quote(place)
        lines.append(f"cd {'~' if place in ('~', '~/') else quoted} || exit 1")
    lines += exports(one, one.command)
    lines.append(f"exec {wrapped(one.command.argv)}")
    return "\n".join(lines) + "\n", not_said(one.recipe)
