"""Mask secrets in data, arguments and addresses before they are shown. The mask is `***`.

Standard library only. A reference (`env:NAME`, `file:PATH`) names a secret and is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from vllm_studio_tui.kit.sanitize import redact
from vllm_studio_tui.kit.secrets import is_reference

MASK = "***"
#: Words in the name of a variable, a field or a flag whose value is not for showing.
SECRET_WORDS = frozenset({"KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL"})

# A password may hold what ends a host, unquoted as people paste it.
_LOGIN = re.compile(r"(?<=://)([^\s/?#@:'\"]{0,256}):([^\s'\"]{1,1024})@")
_VALUE = r"('[^']*'|\"[^\"]*\"|[^\s'\"]+)"
_PAIR = re.compile(rf"(?<![^\s'\";,{{(\[])(-{{0,2}}[A-Za-z][A-Za-z0-9_-]{{0,60}})(=){_VALUE}")
_FLAG = re.compile(rf"(?<![^\s'\"])(--?[A-Za-z][A-Za-z0-9_-]{{0,60}})(\s{{1,20}}){_VALUE}")
_PLAIN = re.compile(r"(?:\d{1,3}|true|false|yes|no|on|off|none|auto)\Z|~?/|\.{1,2}/", re.I)
_JSON_PAIR = re.compile(r"""(["'])([A-Za-z][A-Za-z0-9_-]{0,60})\1(\s{0,9}:\s{0,9})(["'])([^"']{1,4096})\4""")


def looks_secret(name: str) -> bool:
    """Return whether a name says that its value is a secret: `HF_TOKEN`, `--api-key`, `apiKey`."""
    return not SECRET_WORDS.isdisjoint(name.strip("-").upper().replace("-", "_").split("_"))


def is_secret(name: str, value: str) -> bool:
    """Return whether a value is a secret, by its name; switches, small numbers and paths of key files are not."""
    return bool(value) and looks_secret(name) and not is_reference(value) and not _PLAIN.match(value)


def split_login(url: str) -> tuple[str, tuple[str, str] | None]:
    """Return the URL without user and password, and the two of them (None if it has none).

    Raises:
        ValueError: It is not a URL.
    """
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = userinfo.partition(":")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def mask_text(text: str) -> str:
    """Mask passwords in addresses, values of secret flags and variables, and anything that looks like a key."""
    text = _LOGIN.sub(rf"\1:{MASK}@", text)
    text = _FLAG.sub(_masked_pair, _PAIR.sub(_masked_pair, text))
    return redact(_JSON_PAIR.sub(_masked_member, text), ())


def _masked_pair(found: re.Match[str]) -> str:
    name, between, value = found[1], found[2], found[3]
    if not is_secret(name, value.strip("'\"")) or value.startswith("-"):
        return found[0]
    return f"{name}{between}{MASK}"


def _masked_member(found: re.Match[str]) -> str:
    quote, name, between, other, value = found.groups()
    if not is_secret(name, value):
        return found[0]
    return f"{quote}{name}{quote}{between}{other}{MASK}{other}"


def mask_argv(words: Iterable[str]) -> list[str]:
    """Mask secrets in arguments, also values that are arguments of their own after a secret flag."""
    shown: list[str] = []
    hide = False
    for word in words:
        if hide and not word.startswith("-") and not is_reference(word):
            shown.append(MASK)
        else:
            shown.append(mask_text(word))
        hide = word.startswith("-") and "=" not in word and looks_secret(word)
    return shown


def mask_data(value: Any, name: str = "") -> Any:
    """Return JSON-able data with its secrets masked; `name` is the name of the value."""
    if isinstance(value, Mapping):
        return {key: mask_data(one, str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        if value and all(isinstance(one, str) for one in value):
            return [MASK if is_secret(name, one) else one for one in mask_argv(value)]
        return [mask_data(one, name) for one in value]
    if not isinstance(value, str) or is_reference(value):
        return value
    return MASK if is_secret(name, value) else mask_text(value)
