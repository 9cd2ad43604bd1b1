"""Move secrets out of recipes: each is kept in a file of its own, and the recipe holds a reference to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from vllm_studio_tui.domain.errors import InvalidRecipe
from vllm_studio_tui.domain.recipe import ENV_NAME, FieldNote
from vllm_studio_tui.kit.masking import MASK, is_secret, mask_data, split_login
from vllm_studio_tui.kit.sanitize import redact
from vllm_studio_tui.kit.secrets import MAX_FILE, is_reference

#: Keeps the secret of a field and returns a reference to it.
Keep = Callable[[str, str], str]
#: Names that may look like a key and are none.
_NAMES = frozenset({"id", "name", "backend", "model_path", "served_model_name", "tags"})
_IN_CLEAR = "is a secret in clear text: masked where it is shown, and better a reference, env:NAME or file:PATH"


def extract_secrets(plain: dict[str, Any], notes: list[FieldNote], keep: Keep) -> None:
    """Replace secrets in `api_key`, `env_vars`, `base_url` and key flags by references.

    Args:
        plain: A recipe's data by our names; changed in place.
        notes: Gets a line for each secret.

    Raises:
        InvalidRecipe: A secret was masked when it was shown, so that nobody knows it any more.
    """
    _flags(plain, notes)
    key = plain.get("api_key")
    if isinstance(key, str) and key and not is_reference(key):
        plain["api_key"] = _kept("api_key", key, notes, keep)
    _address(plain, notes, keep)
    env = plain.get("env_vars")
    if isinstance(env, Mapping):
        plain["env_vars"] = {name: _variable(str(name), value, notes, keep) for name, value in env.items()}
    notes += [FieldNote(field, "taken", _IN_CLEAR) for field in plaintext_fields(plain)]


def _flags(plain: dict[str, Any], notes: list[FieldNote]) -> None:
    """Move keys out of the flags: every user of the host can read a process's arguments."""
    extra = plain.get("extra_args")
    if not isinstance(extra, Mapping):
        return
    left = dict(extra)
    for raw, value in extra.items():
        flag = str(raw).lstrip("-").replace("_", "-").lower()
        if not isinstance(value, str) or not value:
            continue
        if flag == "api-key" and not plain.get("api_key"):
            plain["api_key"] = left.pop(raw)
            notes.append(FieldNote(f"extra_args.{raw}", "changed", "now api_key"))
        elif flag in ("hf-token", "hub-token") and isinstance(plain.get("env_vars", {}), Mapping):
            env = dict(plain.get("env_vars", {}))
            plain["env_vars"] = {**env, "HF_TOKEN": env.get("HF_TOKEN") or left.pop(raw)}
            left.pop(raw, None)
            notes.append(FieldNote(f"extra_args.{raw}", "changed", "now env_vars.HF_TOKEN"))
    if left:
        plain["extra_args"] = left
    else:
        plain.pop("extra_args")


def _address(plain: dict[str, Any], notes: list[FieldNote], keep: Keep) -> None:
    """Make the password in an address the key; the user name stays, so that both are sent (RFC 7617)."""
    url = plain.get("base_url")
    if not isinstance(url, str) or "@" not in url:
        return
    try:
        bare, login = split_login(url)
        parts = urlsplit(bare)
    except ValueError:
        return
    if login is None or not login[1]:
        return
    user, password = login
    if not user or plain.get("api_key"):
        message = "holds a password: write https://USER@host/v1, and its password as api_key: file:PATH or env:NAME"
        raise InvalidRecipe("the address cannot be used", [("base_url", message)], advice="Correct base_url.")
    plain["base_url"] = urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}@{parts.netloc}"))
    plain["api_key"] = _kept("base_url", password, notes, keep)


def _variable(name: str, value: Any, notes: list[FieldNote], keep: Keep) -> Any:
    if not isinstance(value, str) or is_reference(value) or not ENV_NAME.fullmatch(name):
        return value
    if value == MASK:
        raise _masked(f"env_vars.{name}")
    if not _secret(name, value):
        return value
    if "\n" in value or value != value.strip() or len(value) > MAX_FILE:
        return value  # a reference gives one line; it is pointed out
    return _kept(f"env_vars.{name}", value, notes, keep)


def _secret(name: str, value: str) -> bool:
    return is_secret(name, value) or MASK in redact(value, ())


def _kept(field: str, value: str, notes: list[FieldNote], keep: Keep) -> str:
    if value.strip() == MASK:
        raise _masked(field)
    reference = keep(field, value)
    why = f"the secret itself was there: it is kept in {reference.removeprefix('file:')}, readable by you alone"
    notes.append(FieldNote(field, "changed", why))
    return reference


def _masked(field: str) -> InvalidRecipe:
    message = "was masked when it was shown; write it again, or a reference, env:NAME or file:PATH"
    return InvalidRecipe("a secret is missing", [(field, message)], advice="Correct these fields.")


def plaintext_fields(plain: Mapping[str, Any]) -> list[str]:
    """Return the fields of a recipe's data that hold a secret itself rather than a reference."""
    found = []
    for field, value in plain.items():
        if field == "env_vars" and isinstance(value, Mapping):
            pairs = [(name, one) for name, one in value.items() if isinstance(one, str) and not is_reference(one)]
            found += [f"env_vars.{name}" for name, one in pairs if _secret(str(name), one)]
        elif field == "extra_args" and isinstance(value, Mapping):
            found += [f"extra_args.{name}" for name, one in value.items() if mask_data(one, str(name)) != one]
        elif field not in _NAMES and mask_data(value, field) != value:
            found.append(field)
    return found


def mask_recipe(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's data with its secrets masked, for showing."""
    return {field: value if field in _NAMES else mask_data(value, field) for field, value in plain.items()}
