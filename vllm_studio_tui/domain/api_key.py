"""API keys of the server: what each of them may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from vllm_studio_tui.kit.iso_time import iso_time


class Scope(StrEnum):
    """What a key may do. `admin` is everything, `manage` includes `read`."""

    INFERENCE = "inference"
    READ = "read"
    MANAGE = "manage"
    TOOLS = "tools"
    METRICS = "metrics"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: never the secret itself.

    Attributes:
        prefix: The first characters of the secret, by which people recognise it.
        models: Patterns of `fnmatch` of the models that it may use; empty: all.
        may_launch: It was given the right to have models loaded, which may stop others; see `launches`.
        loading: How waiting for a model is shown to it, `comment`, `reasoning` or `503`; None: as the settings say.
    """

    id: str
    name: str
    prefix: str = ""
    scopes: frozenset[Scope] = frozenset({Scope.INFERENCE})
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    max_concurrent: int | None = None
    tokens_per_day: int | None = None
    expires_at: float | None = None
    may_launch: bool = False
    loading: str | None = None
    created_at: float = 0.0
    last_used_at: float | None = None

    def allows(self, scope: Scope) -> bool:
        """Return whether it may do what needs a scope."""
        if Scope.ADMIN in self.scopes or scope in self.scopes:
            return True
        return scope is Scope.READ and Scope.MANAGE in self.scopes

    @property
    def launches(self) -> bool:
        """Return whether it may have models loaded: `admin` is everything, and includes this."""
        return self.may_launch or Scope.ADMIN in self.scopes

    def sees(self, model: str) -> bool:
        """Return whether it may use a model."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)

    def to_json(self) -> dict[str, object]:
        """Return what `keys list --json` prints of it; times are ISO 8601 in UTC."""
        return {
            "id": self.id,
            "name": self.name,
            "prefix": self.prefix,
            "scopes": sorted(self.scopes),
            "models": list(self.models),
            "requests_per_minute": self.requests_per_minute,
            "max_concurrent": self.max_concurrent,
            "tokens_per_day": self.tokens_per_day,
            "expires_at": None if self.expires_at is None else iso_time(self.expires_at),
            "may_launch": self.launches,
            "loading": self.loading,
            "created_at": iso_time(self.created_at),
            "last_used_at": None if self.last_used_at is None else iso_time(self.last_used_at),
        }


#: Who comes over the socket in the studio's own directory, or with the key of the settings.
OWNER = ApiKey("owner", "owner", scopes=frozenset({Scope.ADMIN}), may_launch=True)
#: Who comes over loopback where no key is asked for.
LOCAL = ApiKey("local", "local", scopes=frozenset({Scope.ADMIN}), may_launch=True)
#: Who has no key, or a wrong one, where one is needed.
ANONYMOUS = ApiKey("anonymous", "anonymous", scopes=frozenset())
#: Who comes from anywhere to a server that a person insisted to open: models, and nothing of the studio itself.
GUEST = ApiKey("guest", "guest", may_launch=True)
