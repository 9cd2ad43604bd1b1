"""API keys: made, listed and deleted here. Who serves looks them up in a `KeyRing`."""

from __future__ import annotations

import builtins
import hashlib
import secrets
import string
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from vllm_studio_tui.domain.api_key import ApiKey, Scope
from vllm_studio_tui.domain.errors import NotFound, UsageError
from vllm_studio_tui.store.api_keys import ApiKeyRows, tokens_since
from vllm_studio_tui.store.database import Database

#: What every secret begins with, so that scanners and people recognise it.
PREFIX = "vs-"
#: Letters and digits of a secret that are kept to recognise it by.
SHOWN = 8
LOADING = ("comment", "reasoning", "503")
#: Longest name of a key, most patterns of models and their longest.
NAME_LETTERS = 64
PATTERNS = 100
PATTERN_LETTERS = 200
#: The largest limits: beyond them a limit is none.
MOST = {"requests_per_minute": 100_000, "max_concurrent": 100_000, "tokens_per_day": 10**15}
#: Names that the log shows for those who have no key.
RESERVED = frozenset({"owner", "local", "guest", "anonymous", "chat", "bench", "probe"})
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BYTES = 32
_LENGTH = 43  # of 32 bytes in base 62
DAY = 86_400


def new_secret() -> str:
    """Return a new secret: `vs-` and 32 random bytes in base 62."""
    left = int.from_bytes(secrets.token_bytes(_BYTES))
    letters = []
    for _ in range(_LENGTH):
        left, digit = divmod(left, len(_DIGITS))
        letters.append(_DIGITS[digit])
    return PREFIX + "".join(reversed(letters))


def digest(secret: str) -> str:
    """Return the form in which a secret is kept. It has 256 random bits: a slow hash would protect nothing more."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class ApiKeys:
    """The keys of this home. Every call is blocking."""

    def __init__(self, db: Database | Callable[[], Database]) -> None:
        """Args:
        db: The database, or what opens it: called when keys are first read or written, in that thread.
        """
        self._given = db

    @property
    def _db(self) -> Database:
        return self._given() if callable(self._given) else self._given

    def list(self) -> builtins.list[ApiKey]:
        """Return all keys, the oldest first."""
        return ApiKeyRows(self._db).list()

    def find(self, name: str) -> ApiKey:
        """Return the key of this name or id, or the one whose shown beginning this is.

        Raises:
            NotFound: There is none.
        """
        keys = self.list()
        for wanted in (
            [key for key in keys if name in (key.name, key.id)],
            [key for key in keys if name and key.prefix == name.rstrip("*….")],
        ):
            if len(wanted) == 1:
                return wanted[0]
        names = ", ".join(key.name for key in keys[:20])
        advice = f"There are: {names}" if names else "There are no keys. Make one: vllm-studio keys add NAME"
        raise NotFound(f"no key {name[:NAME_LETTERS]}", advice=advice)

    def add(
        self,
        name: str,
        *,
        scopes: Iterable[str] = (Scope.INFERENCE,),
        models: Iterable[str] = (),
        requests_per_minute: int | None = None,
        max_concurrent: int | None = None,
        tokens_per_day: int | None = None,
        expires_at: float | None = None,
        may_launch: bool = False,
        loading: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key and return it with its secret, which nobody can be told again.

        Raises:
            UsageError: Something of it makes no sense, or there is one of this name.
            StoreError: It could not be kept.
        """
        secret = new_secret()
        key = ApiKey(
            f"key-{secrets.token_hex(4)}",
            _name(name),
            secret[: len(PREFIX) + SHOWN],
            _scopes(scopes),
            _patterns(models),
            _limit("requests_per_minute", requests_per_minute),
            _limit("max_concurrent", max_concurrent),
            _limit("tokens_per_day", tokens_per_day),
            _expiry(expires_at),
            may_launch,
            _loading(loading),
            created_at=time.time(),
        )
        ApiKeyRows(self._db).add(key, digest(secret))
        return key, secret

    def change(self, key: ApiKey) -> ApiKey:
        """Replace what a key may do; its name and its secret stay.

        Raises:
            UsageError: Something of it makes no sense.
            NotFound: It was deleted.
            StoreError: It could not be kept.
        """
        limits: dict[str, Any] = {name: _limit(name, getattr(key, name)) for name in MOST}
        checked = replace(
            key,
            scopes=_scopes(key.scopes),
            models=_patterns(key.models),
            loading=_loading(key.loading),
            **limits,
        )
        ApiKeyRows(self._db).change(checked)
        return checked

    def delete(self, name: str) -> ApiKey:
        """Delete the key of this name or id and return it: whoever has it is refused from now on.

        Raises:
            NotFound: There is none.
            StoreError: It could not be deleted.
        """
        key = self.find(name)
        ApiKeyRows(self._db).delete(key.id)
        return key

    def tokens_today(self, now: float | None = None) -> dict[str, int]:
        """Return the tokens that each key has used today in UTC, by its id, as far as they are on record."""
        now = time.time() if now is None else now
        return tokens_since(self._db, now // DAY * DAY)


def _name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > NAME_LETTERS or not name.isprintable():
        raise UsageError(f"a key's name has 1 to {NAME_LETTERS} printable characters", advice="Such as: opencode")
    if name.casefold() in RESERVED or name.startswith(PREFIX):
        raise UsageError(
            f"a key cannot be named {name}", cause="Something else is called so.", advice="Such as: opencode"
        )
    return name


def _scopes(scopes: Iterable[str]) -> frozenset[Scope]:
    known = ", ".join(Scope)
    chosen = set()
    for one in scopes:
        if one not in tuple(Scope):
            raise UsageError(f"there is no scope {str(one)[:40]}", advice=f"There are: {known}")
        chosen.add(Scope(one))
    if not chosen:
        raise UsageError("a key needs a scope", advice=f"There are: {known}")
    return frozenset(chosen)


def _patterns(models: Iterable[str]) -> tuple[str, ...]:
    patterns = tuple(dict.fromkeys(one.strip() for one in models))
    if len(patterns) > PATTERNS or any(not one or len(one) > PATTERN_LETTERS for one in patterns):
        raise UsageError(
            f"a key has at most {PATTERNS} patterns of models, each of 1 to {PATTERN_LETTERS} characters",
            advice="Such as: qwen*",
        )
    return patterns


def _limit(name: str, value: int | None) -> int | None:
    if value is not None and not 1 <= value <= MOST[name]:
        raise UsageError(f"{name} must be 1 to {MOST[name]}, or be left out for no limit")
    return value


def _expiry(at: float | None) -> float | None:
    if at is not None and not time.time() < at < 1e11:
        raise UsageError("a key cannot expire in the past", advice="Name a day to come, such as 30d or 2030-12-31.")
    return at


def _loading(loading: str | None) -> str | None:
    if loading is not None and loading not in LOADING:
        raise UsageError(f"there is no way {loading[:40]} to show loading", advice=f"There are: {', '.join(LOADING)}")
    return loading
