"""Whether a file of a repository may have its name here."""

from __future__ import annotations


def usable(name: str) -> bool:
    """Return whether a file may be called so: a path below its folder, without tricks."""
    parts = name.split("/")
    return (
        0 < len(name) < 1024
        and all(0 < len(part.encode("utf-8", "surrogatepass")) < 250 and part not in (".", "..") for part in parts)
        and not any(ord(letter) < 32 or letter in "\\\x7f" or 0xD800 <= ord(letter) < 0xE000 for letter in name)
    )
