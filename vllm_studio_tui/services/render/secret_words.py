"""Variables of an engine as a shell exports them. Secrets are put in by the shell: no file holds one."""

from __future__ import annotations

import shlex

from vllm_studio_tui.services.render.lines import refused
from vllm_studio_tui.services.render.source import RenderedCommand, RenderedRecipe


def exports(one: RenderedRecipe, command: RenderedCommand, *, plain: bool = True) -> list[str]:
    """Return a line for each variable of a command.

    Args:
        plain: Those too that are no secrets.

    Raises:
        StudioError: A file's path cannot be written there.
    """
    lines = [f"export {name}={shlex.quote(value)}" for name, value in command.env.items()] if plain else []
    for name, reference in command.env_refs.items():
        kind, _, rest = reference.partition(":")
        if kind == "env":
            lines.append(f'export {name}="${{{rest}:?the secret of {name}}}"')
            continue
        if "'" in rest or "\n" in rest or ")" in rest:
            raise refused(f"the path of the file with {name} cannot be written into a script")
        path = rest if all(letter.isalnum() or letter in "/._-~" for letter in rest) else f"'{rest}'"
        lines.append(f'export {name}="$(head -n 1 {path})"')
    return lines
