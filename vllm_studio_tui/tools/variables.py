"""Variables in the files of MCP servers: `${NAME}`, `${NAME:-default}`, `${env:NAME}`, and references to secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vllm_studio_tui.domain.errors import StudioError
from vllm_studio_tui.kit.secrets import is_reference, resolve

_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]{0,127})(?::-([^}]{0,1024}))?\}")


def filled(text: str, environ: Mapping[str, str], server: str) -> str:
    """Return text with its variables replaced; what was replaced is not looked at again.

    Raises:
        StudioError: A variable is not set and has no default, or a reference cannot be read.
    """

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        known = environ.get(name)
        if known:
            return known
        if default is not None:
            return default
        raise StudioError(
            f"{server} needs the variable {name}",
            cause="Its entry names it, and it is not set here.",
            advice=f"Set it where this program is started: export {name}=…",
        )

    if is_reference(text):
        try:
            return resolve(text, environ)
        except ValueError as error:
            raise StudioError(f"{server} needs a secret that cannot be read", cause=str(error)) from None
    return _VARIABLE.sub(value, text)
